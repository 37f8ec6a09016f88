"""A shore at sunset: wind waves in perspective with the sun's glitter, drifting clouds, a yacht and gulls.

The sea is a sum of free waves on two periodic tiles (swell and ripples), each with the dispersion of deep
water, whose frequencies are rounded to whole cycles of the loop. Slopes, not heights, are seen: they turn the
mirror.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from monitor.demo.coast_things import gull, yacht
from monitor.demo.shapes import Canvas
from monitor.demo.textures import Field, Grain, fractal, mix, smoothstep, yuv
from monitor.types import U8

C64 = npt.NDArray[np.complex64]
I64 = npt.NDArray[np.int64]

_GRAVITY = 9.81
_TILE = 256
_LENGTHS_M = (76.0, 11.0)  # sides of the swell's and the ripples' tile
_EYE_M = 5.5
_SUN_ELEVATION = 0.075  # radians
_ELEVATIONS = 512  # entries of the sky tables, for 0 to 1.2 rad


class _Waves:
    """Slopes (across + i along) of free waves on one periodic tile."""

    def __init__(
        self, rng: np.random.Generator, length_m: float, band: tuple[float, float], rms: float, loop_s: float
    ) -> None:
        k = np.fft.fftfreq(_TILE, length_m / _TILE) * 2 * np.pi
        kx, ky = k[None, :], k[:, None]
        size = np.hypot(kx, ky)
        size[0, 0] = 1.0
        wavelength = 2 * np.pi / size
        inside = (wavelength > band[0]) & (wavelength < band[1])
        # Mostly towards the viewer (-y), spread as cos^2 about a wind from the right.
        heading = np.arctan2(ky, kx) - (-np.pi / 2 - 0.42)
        spread = np.maximum(np.cos(heading), 0.0) ** 2 + 0.03
        amplitude = np.where(inside, size**-1.9 * spread, 0.0)
        waves = amplitude * (rng.standard_normal(size.shape) + 1j * rng.standard_normal(size.shape))
        cycles = np.rint(np.sqrt(_GRAVITY * size) * loop_s / (2 * np.pi))
        self._cycles = (-2 * np.pi * cycles).astype(np.float32)
        self._mirror = (-np.arange(_TILE)) % _TILE
        self._waves = waves.astype(np.complex64)
        self._gradient = (1j * kx - ky).astype(
            np.complex64
        )  # i kx + i (i ky): slopes across and along as one complex number
        still = self.slopes(0.0)
        self._waves *= np.float32(rms / float(np.std(still)))

    def slopes(self, phase: float) -> C64:
        """(_TILE, _TILE) complex slopes at ``phase`` of the loop, 0-1."""
        angle = self._cycles * np.float32(phase)
        moved = self._waves * (np.cos(angle) + np.complex64(1j) * np.sin(angle))
        real = moved + np.conj(moved[np.ix_(self._mirror, self._mirror)])
        return np.asarray(np.fft.ifft2(real * self._gradient), np.complex64)


class Coast:
    """Renders one loop of the shore.

    Args:
        seed: Another seed is another sea, sky and headland.
        width: Luma columns, even.
        height: Luma rows, even.
        frames: Pictures in the loop.
        seconds: Duration of the loop, which the waves' periods divide.
    """

    title = "Sunset coast"

    def __init__(self, seed: int, width: int, height: int, frames: int, seconds: float) -> None:
        self._w, self._h, self._frames = width, height, frames
        rng = np.random.default_rng([seed, 2])
        self._horizon = 2 * round(0.215 * height)
        self._focal = 0.95 * width
        self._sun_x = width * rng.uniform(0.5, 0.72)
        self._waves = (
            _Waves(rng, _LENGTHS_M[0], (1.6, 40.0), 0.075, seconds),
            _Waves(rng, _LENGTHS_M[1], (0.16, 1.6), 0.075, seconds),
        )
        self._sky(rng)
        self._sea()
        self._land(rng)
        self._yacht, self._reflection = yacht(height / 720)
        self._gulls = [gull(height / 720, step / 12) for step in range(12)]
        self._paths = rng.uniform(0.0, 1.0, (6, 6))
        self._grain = Grain(rng, height, width, 0.8)

    def _glow(self, up: Field, away: Field) -> Field:
        """(3, ...) sky colour at elevation ``up`` and ``away`` from the sun, both in radians."""
        colour = mix((0.93, 0.62, 0.42), (0.80, 0.60, 0.60), smoothstep(up, 0.0, 0.10))
        colour = mix(colour, (0.40, 0.46, 0.66), smoothstep(up, 0.05, 0.30))
        colour = mix(colour, (0.16, 0.25, 0.47), smoothstep(up, 0.22, 0.75))
        near = np.exp(-np.hypot(away, up - _SUN_ELEVATION) / np.float32(0.16))
        return mix(colour, (1.0, 0.83, 0.52), 0.85 * near)

    def _sky(self, rng: np.random.Generator) -> None:
        rows, width = self._horizon, self._w
        up = (rows - np.arange(rows, dtype=np.float32)[:, None] - 0.5) / self._focal
        away = (np.arange(width, dtype=np.float32)[None, :] - self._sun_x) / self._focal
        up, away = np.broadcast_arrays(up, away)
        colour = self._glow(up, away)
        disc = np.hypot(away, up - _SUN_ELEVATION)
        colour = mix(colour, (1.0, 0.97, 0.86), 1.0 - smoothstep(disc, 0.021, 0.024))
        self._sky_yuv = yuv(colour)
        near = np.exp(-disc / np.float32(0.30))
        dark = mix((0.33, 0.29, 0.38), (0.52, 0.33, 0.30), near)
        bright = mix((0.74, 0.58, 0.60), (1.0, 0.80, 0.55), near)
        self._cloud_dark, self._cloud_bright = yuv(dark), yuv(bright)

        size = 1024
        puffs = fractal(rng, size, size, 1.55, 2.0)
        self._cover = smoothstep(puffs + 0.12 * fractal(rng, size, size, 0.8, 20.0), 0.15, 1.2).ravel()
        relief = 0.35 + 0.9 * (puffs - np.roll(puffs, (9, 4), (0, 1))) + 0.35 * (1.3 - puffs)
        self._relief = np.clip(relief, 0.0, 1.0).ravel()
        depth = np.minimum(38.0 / (up[:, :1] + 0.035), 900.0)
        cell = np.rint(depth * 0.8).astype(np.int64) & 1023
        across = np.rint(depth * np.arange(-width // 2, width - width // 2)[None, :] / self._focal * 0.8)
        self._cloud_at = (cell << 10) | (across.astype(np.int64) & 1023)
        self._cloud_fade = smoothstep(up[:, :1], 0.012, 0.09)

    def _sea(self) -> None:
        rows = self._h - self._horizon
        down = (np.arange(rows, dtype=np.float32) + 0.5) / self._focal  # radians below the horizon
        depth = _EYE_M / down
        columns = np.arange(self._w, dtype=np.float32) - self._w / 2
        self._down = down[:, None]
        self._azimuth = ((columns + self._w / 2 - self._sun_x) / self._focal)[None, :]
        self._at: list[tuple[Field, Field]] = []  # texel coordinates of each tile: across, along
        for length in _LENGTHS_M:
            scale = _TILE / length
            across = (depth[:, None] * columns[None, :] / self._focal) * np.float32(scale)
            self._at.append((across, (depth * np.float32(scale))[:, None]))
        # A pixel's footprint along the line of sight says how far a tile is averaged before it is sampled.
        foot = depth * depth / (self._focal * _EYE_M) * 0.9
        self._level = [np.clip(np.rint(np.log2(np.maximum(foot * _TILE / n, 1.0))), 0, 6) for n in _LENGTHS_M]
        # What averaging takes away still widens the glitter.
        self._width = (0.035 + 0.05 * smoothstep(depth, 15.0, 300.0))[:, None]
        elevation = np.linspace(0.0, 1.2, _ELEVATIONS, dtype=np.float32)
        far = self._glow(elevation, np.full_like(elevation, 0.35))
        self._mirror = np.stack(yuv(far))  # (3, _ELEVATIONS)
        cosine = np.clip(elevation, 0.0, 1.0)
        self._fresnel = (0.03 + 0.97 * (1.0 - cosine) ** 5).astype(np.float32)
        self._deep = [float(part) for part in yuv(np.array([0.05, 0.13, 0.17], np.float32))]
        self._fog = smoothstep(-down, -0.03, 0.0)[:, None] * np.float32(0.55)

    def _land(self, rng: np.random.Generator) -> None:
        """A headland with a lighthouse and a farther island, painted over sky and sea."""
        h, w = self._h, self._w
        canvas = Canvas(w, self._horizon + 8)
        for shift, tall, colour, left, right in (
            (0.0, 0.05, (0.52, 0.40, 0.44), 0.0, 0.50),
            (1.0, 0.115, (0.20, 0.16, 0.20), 0.0, 0.27),
        ):
            line = fractal(rng, 512, 512, 1.7)[int(shift * 100)]
            x = np.linspace(left, right, 512)
            shape = (1.0 - smoothstep(((x - left) / (right - left)).astype(np.float32), 0.35, 1.0)) ** 0.8
            top = self._horizon + 1 - h * tall * shape * (0.75 + 0.16 * line) - 1.5
            points = [(float(a * w), float(b)) for a, b in zip(x, top, strict=True)]
            canvas.polygon([(-1, self._horizon + 2.0), *points, (right * w, self._horizon + 2.0)], colour)
        base = self._horizon - 0.080 * h
        canvas.polygon(
            [
                (0.098 * w, base),
                (0.101 * w, base - 0.085 * h),
                (0.109 * w, base - 0.085 * h),
                (0.112 * w, base),
            ],
            (0.62, 0.50, 0.47),
        )
        canvas.rectangle(0.0995 * w, base - 0.052 * h, 0.011 * w, 0.018 * h, (0.55, 0.16, 0.14))
        canvas.rectangle(0.1015 * w, base - 0.100 * h, 0.007 * w, 0.016 * h, (0.25, 0.20, 0.22))
        for number in range(14):
            left_edge = w * (0.005 + 0.012 * number) + float(rng.uniform(-4, 4))
            y = self._horizon - h * float(rng.uniform(0.004, 0.03)) * (1.0 - number / 16)
            canvas.rectangle(left_edge, y - 5 * h / 720, 8 * h / 720, 5 * h / 720, (0.46, 0.36, 0.34))
            canvas.rectangle(left_edge + 2 * h / 720, y - 3.5 * h / 720, 2 * h / 720, 2 * h / 720, (1.0, 0.85, 0.5))
        self._coastline = canvas.sprite()

    def draw(self, index: int) -> U8:
        """Picture ``index`` of the loop, (H * 3 / 2, W) uint8 I420."""
        width, height = self._w, self._h
        phase = (index % self._frames) / self._frames
        picture = np.empty((height * 3 // 2, width), np.uint8)
        y = picture[:height]
        u = picture[height : height + height // 4].reshape(height // 2, width // 2)
        v = picture[height + height // 4 :].reshape(height // 2, width // 2)
        planes = (y, u, v)
        self._draw_sky(phase, planes)
        self._draw_sea(phase, planes)
        self._coastline.put(planes, 0.0, 0.0)
        self._draw_things(phase, planes)
        self._grain.add(y, index)
        return picture

    def _draw_sky(self, phase: float, planes: tuple[U8, U8, U8]) -> None:
        flat = (self._cloud_at + round(1024 * phase)) & 0xFFFFF
        cover = self._cover.take(flat, mode="clip")
        cover *= self._cloud_fade
        relief = self._relief.take(flat, mode="clip")
        for number, plane in enumerate(planes):
            part = (slice(None), slice(None)) if number == 0 else (slice(None, None, 2), slice(None, None, 2))
            dark, bright = self._cloud_dark[number][part], self._cloud_bright[number][part]
            cloud = bright - dark
            cloud *= relief[part]
            cloud += dark
            clear = self._sky_yuv[number][part]
            cloud -= clear
            cloud *= cover[part]
            cloud += clear
            plane[: cloud.shape[0]] = cloud

    def _slopes(self, phase: float, rows: slice) -> C64:
        """Slopes of swell and ripples at each pixel of some rows below the horizon."""
        total: C64 | None = None
        for number in range(2):
            pyramid = self._pyramids[number]
            across, along = self._at[number]
            level = int(self._level[number][rows].max())
            tile = pyramid[level]
            size = tile.shape[0]
            x, y = across[rows] * np.float32(size / _TILE), along[rows] * np.float32(size / _TILE)
            x0, y0 = np.floor(x), np.floor(y)
            flat = tile.ravel()
            left, top = x0.astype(np.int64) & (size - 1), (y0.astype(np.int64) & (size - 1)) * size
            right, bottom = (left + 1) & (size - 1), (top + size) & (size * size - 1)
            fx, fy = x - x0, y - y0
            upper = flat.take(top + left, mode="clip")
            upper += (flat.take(top + right, mode="clip") - upper) * fx
            lower = flat.take(bottom + left, mode="clip")
            lower += (flat.take(bottom + right, mode="clip") - lower) * fx
            upper += (lower - upper) * fy
            total = upper if total is None else total + upper
        assert total is not None
        return total

    def _draw_sea(self, phase: float, planes: tuple[U8, U8, U8]) -> None:
        self._pyramids = []
        for waves in self._waves:
            pyramid = [waves.slopes(phase)]
            for _ in range(6):
                last = pyramid[-1]
                half = last[0::2] + last[1::2]
                pyramid.append((half[:, 0::2] + half[:, 1::2]) * np.complex64(0.25 * 1.12))
            self._pyramids.append(pyramid)
        to_entry = np.float32((_ELEVATIONS - 1) / 1.2)
        total = self._h - self._horizon
        edges = [*(edge for edge in (0, 8, 16, 28, 44, 64, *range(96, total, 32)) if edge < total), total]
        for first, last in pairwise(edges):
            rows = slice(first, last)
            slopes = self._slopes(phase, rows)
            down = self._down[rows]
            facing = np.maximum(down + slopes.imag, np.float32(0.0))  # angle between line of sight and surface
            up = np.maximum(2.0 * facing - down, np.float32(0.004))  # elevation that is mirrored
            entry = np.minimum(up * to_entry, np.float32(_ELEVATIONS - 1)).astype(np.int64)
            share = self._fresnel.take(np.minimum(facing * to_entry, np.float32(511)).astype(np.int64), mode="clip")
            width = self._width[rows]
            sideways = (self._azimuth + slopes.real * (0.35 + down)) / (width * np.float32(1.1))
            upwards = (up - np.float32(_SUN_ELEVATION)) / (width * np.float32(1.6))
            glint = np.exp(-np.minimum(sideways * sideways + upwards * upwards, np.float32(20.0)))
            glint *= np.float32(0.95)
            fog = self._fog[rows]
            for number, plane in enumerate(planes):
                step = 1 if number == 0 else 2
                part = (slice(None, None, step), slice(None, None, step))
                colour = self._mirror[number].take(entry[part], mode="clip")
                colour -= np.float32(self._deep[number])
                colour *= share[part]
                colour += np.float32(self._deep[number])
                colour += (np.float32((226.0, 108.0, 146.0)[number]) - colour) * glint[part]
                horizon = np.float32(self._sky_yuv[number][-1].mean())
                colour += (horizon - colour) * fog[part[0]]
                top = (self._horizon + first) // step
                plane[top : top + colour.shape[0]] = colour

    def _draw_things(self, phase: float, planes: tuple[U8, U8, U8]) -> None:
        scale, turn = self._h / 720, 2 * np.pi * phase
        span = self._w + 2 * self._yacht.width
        x = (0.30 * self._w + span * phase) % span - self._yacht.width
        bob = 2.5 * scale * np.sin(3 * turn) + 1.5 * scale * np.sin(5 * turn + 1.0)
        water = self._horizon + 40 * scale
        lean = 2.0 * scale * np.sin(7 * turn)
        self._reflection.put(planes, x + lean, water - 4 * scale)
        self._yacht.put(planes, x, water + 13 * scale - self._yacht.height + bob)
        for number, (px, py, ax, ay, pa, pb) in enumerate(self._paths):
            along = turn + 2 * np.pi * pa
            gx = self._w * (0.12 + 0.76 * px) + self._w * (0.10 + 0.10 * ax) * np.sin(along)
            gy = self._h * (0.06 + 0.30 * py) + self._h * (0.03 + 0.05 * ay) * np.sin(2 * along + 6.28 * pb)
            beat = (phase * (14 + 2 * number) + pb) % 1.0
            self._gulls[int(beat * 12) % 12].put(planes, gx, gy)
