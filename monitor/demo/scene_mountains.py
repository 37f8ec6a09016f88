"""A flight along a valley of fractal mountains: forests, rock, snow, lakes, haze and drifting clouds.

The terrain is a periodic height field seen by ray-marching whole picture columns at once: the field is
projected at a few hundred depths, the running maximum of the projections says which depth each pixel belongs
to, and the pixel then takes its own texel. The camera advances one period of the field in one loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.demo.textures import Field, Grain, code, fractal, mix, shrink, smoothstep, soften, yuv
from monitor.types import U8

Bool = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]

_PERIOD = 1024  # world units
_LEVELS = 5  # mip levels of the ground texture
_SUN = np.array([-0.74, -0.30, 0.60], np.float32) / np.float32(
    0.999
)  # x right, y forward, z up: from the left, behind the camera
_HAZE = (0.70, 0.765, 0.85)
_HAZE_CODE = [float(part) for part in yuv(np.array(_HAZE, np.float32))]


def _ground_colour(
    heights: Field, dx: Field, dy: Field, lit: Field, speckle: Field, patches: Field, water: Bool
) -> Field:
    """(3, rows, columns) gamma RGB of ground with the given heights, slopes, sunlight and random fields."""
    norm = 1.0 / np.sqrt(dx * dx + dy * dy + 1.0)
    light = np.maximum((_SUN[2] - dx * _SUN[0] - dy * _SUN[1]) * norm, 0.0)
    level = heights + 5.0 * patches
    steep = 1.0 - norm
    rock = mix((0.36, 0.33, 0.31), (0.56, 0.51, 0.46), smoothstep(patches + 0.35 * speckle, -1.5, 1.5))
    meadow = mix((0.34, 0.42, 0.16), (0.58, 0.55, 0.27), smoothstep(patches, -1.2, 1.6))
    forest = mix((0.05, 0.125, 0.06), (0.19, 0.30, 0.12), smoothstep(speckle + 0.25 * patches, -1.0, 1.7))
    colour = mix(meadow, forest, smoothstep(0.8 * patches + 0.15 * speckle + level / 30.0, 0.1, 0.5))
    bare = np.maximum(smoothstep(steep + 0.02 * speckle, 0.30, 0.42), smoothstep(level, 46.0, 56.0))
    colour = mix(colour, rock, bare)
    snow = smoothstep(level + 2.5 * speckle, 56.0, 66.0) * (1.0 - smoothstep(steep, 0.34, 0.5))
    colour = mix(colour, (0.96, 0.97, 1.0), snow)
    shore = smoothstep(heights, 0.0, 1.2) * (1.0 - smoothstep(heights, 1.2, 3.0)) * (1.0 - bare)
    colour = mix(colour, (0.66, 0.60, 0.46), 0.6 * shore)
    shade = (0.26 + 1.0 * light * (0.16 + 0.84 * lit)) * (1.0 + 0.08 * speckle * (1.0 - 0.75 * snow) * (1.0 - steep))
    colour *= shade
    lake = mix((0.07, 0.16, 0.22), (0.36, 0.50, 0.58), np.clip(0.5 + 0.06 * speckle + 0.14 * patches, 0.0, 1.0))
    return np.where(water, lake, colour)


@dataclass(frozen=True, slots=True)
class _Depths:
    """What depends on the depth step alone: mip level and share of haze, both (D,)."""

    level: I64
    veil: Field

    @classmethod
    def of(cls, depth: Field, focal: float, cell: int) -> _Depths:
        # A texel's footprint grows with depth across and, on slopes that face us, with its square along.
        footprint = depth**1.5 * np.float32(cell / (focal * np.sqrt(4.0 * 70.0)))
        level = np.rint(np.log2(np.maximum(footprint, 1.0)) + 0.1).astype(np.int64)
        veil = 1.0 - np.exp(-np.maximum(depth - 120.0, 0.0) / np.float32(760.0))
        return cls(np.clip(level, 0, _LEVELS - 2), veil)


class Mountains:
    """Renders one loop of the flight.

    Args:
        seed: Another seed is another valley.
        width: Luma columns, even.
        height: Luma rows, even.
        frames: Pictures in the loop.
        seconds: Duration of the loop; the flight takes its whole length whatever it is.
    """

    title = "Mountain flight"

    def __init__(self, seed: int, width: int, height: int, frames: int, seconds: float) -> None:
        del seconds
        self._w, self._h, self._frames = width, height, frames
        self._cell = 2 if height > 400 else 1  # texels per world unit
        self._size = _PERIOD * self._cell
        rng = np.random.default_rng([seed, 1])
        heights = self._terrain(rng)
        self._ground(rng, heights)
        self._heights = [heights]
        for _ in range(3):
            self._heights.append(shrink(self._heights[-1], 2))
        self._focal = 0.94 * width
        self._horizon = 0.345 * height
        self._depth_bands = ((84.0, 260.0, 2), (260.0, 600.0, 4), (600.0, 1900.0, 12))
        self._sky(rng)
        self._grain = Grain(rng, height, width, 0.8)
        self._columns = np.arange(width, dtype=np.float32) - np.float32(width / 2)

    def _terrain(self, rng: np.random.Generator) -> Field:
        """(size, size) float32 heights in world units, 0 is the lakes' level."""
        base = fractal(rng, self._size, self._size, 1.9, high_cut=48)
        ridges = 1.0 - np.abs(fractal(rng, self._size, self._size, 2.1, 3.0, high_cut=96)) * 1.25
        gullies = np.abs(fractal(rng, self._size, self._size, 1.75, 9.0, high_cut=256))
        across = np.arange(self._size, dtype=np.float32) / self._size
        along = np.arange(self._size, dtype=np.float32)[:, None] / self._size
        bend = 0.05 * np.sin(2 * np.pi * along) + 0.02 * np.sin(4 * np.pi * along + 1.0)
        off = np.abs((across[None, :] - bend) % 1.0 - 0.5)  # periods from the valley's middle
        walls = smoothstep(off, 0.01, 0.30)
        rough = 0.10 + 0.90 * smoothstep(off, 0.0, 0.22)
        alpine = 14.0 * base + 38.0 * np.maximum(ridges, -0.6) - 2.6 * gullies
        return np.asarray(walls * 36.0 - 2.4 + alpine * rough, np.float32)

    def _ground(self, rng: np.random.Generator, heights: Field) -> None:
        """Colour, light and shade of the ground, as mip-mapped Y, U and V."""
        water = heights <= 0.0
        np.maximum(heights, 0.0, out=heights)
        lit = self._unshadowed(heights)
        tile = self._size // 2
        speckle = soften(fractal(rng, tile, tile, 0.55, 30.0))
        speckle /= speckle.std()
        patches = fractal(rng, tile, tile, 1.1, 5.0)
        planes = [np.empty((self._size, self._size), np.float32) for _ in range(3)]
        strip = 64  # rows at a time: the work stays in the cache
        for top in range(0, self._size, strip):
            rows = slice(top, top + strip)
            around = heights.take(range(top - 1, top + strip + 1), axis=0, mode="wrap")
            middle = around[1:-1]
            dx = (np.roll(middle, -1, 1) - np.roll(middle, 1, 1)) * np.float32(self._cell / 2)
            dy = (around[2:] - around[:-2]) * np.float32(self._cell / 2)
            pattern = slice(top % tile, top % tile + strip)
            colour = _ground_colour(
                middle,
                dx,
                dy,
                lit[rows],
                np.tile(speckle[pattern], 2),
                np.tile(patches[pattern], 2),
                water[rows],
            )
            for plane, part in zip(planes, yuv(colour), strict=True):
                plane[rows] = part
        pyramid: list[list[U8]] = [[], [], []]
        for plane, kept in zip(planes, pyramid, strict=True):
            level_plane = plane
            for level in range(_LEVELS):
                level_plane = shrink(level_plane, 2) if level else level_plane
                kept.append(code(level_plane).ravel())
        self._texels = [np.concatenate(kept) for kept in pyramid]
        self._level_start = np.cumsum([0] + [(self._size >> i) ** 2 for i in range(_LEVELS)])

    def _unshadowed(self, heights: Field) -> Field:
        """Share of sunlight that mountains between here and the sun let through, 0-1."""
        cell = self._cell
        coarse = shrink(heights, 4)
        blocked = np.full_like(coarse, -1e3)
        rise = 0.8 * float(_SUN[2] / np.hypot(_SUN[0], _SUN[1])) * 4 / cell
        for step in range(1, 20 * cell):
            shift = np.rint(np.array([-_SUN[1], -_SUN[0]]) / np.hypot(_SUN[0], _SUN[1]) * step).astype(int)
            blocked = np.maximum(blocked, np.roll(coarse, tuple(shift), (0, 1)) - rise * step)
        lit = 1.0 - smoothstep(soften(blocked - coarse), -3.0, 3.0)
        return np.asarray(soften(np.repeat(np.repeat(lit, 4, 0), 4, 1), 2))

    def _sky(self, rng: np.random.Generator) -> None:
        """Sky gradient and, per pixel, where a plane of clouds is hit."""
        rows = int(self._horizon) + 2
        self._sky_rows = rows
        size = 1024
        puffs = fractal(rng, size, size, 1.65, 2.0)
        cover = smoothstep(puffs, 0.05, 1.35)
        relief = np.clip(0.5 + 0.55 * (puffs - np.roll(puffs, (14, 10), (0, 1))), 0.0, 1.0)
        self._cloud_cover = cover.ravel()
        self._cloud_lit = (150.0 + 74.0 * relief).ravel()
        above = self._horizon + 0.012 * self._h - np.arange(rows, dtype=np.float32) - 0.5
        depth = 0.075 * self._h * 1000.0 / np.maximum(above, 0.02 * self._h)
        columns = np.arange(self._w, dtype=np.float32) - self._w / 2
        across = depth[:, None] * columns[None, :] / (0.94 * self._w) * 1.0
        along = np.rint(depth * 0.9).astype(np.int64)[:, None]
        self._cloud_at = ((along & 1023) << 10) | (np.rint(across * 0.9).astype(np.int64) & 1023)
        up = np.clip(above / self._horizon, 0.0, 1.0)
        blue = mix(_HAZE, (0.24, 0.43, 0.74), smoothstep(up, 0.0, 1.1))  # (3, rows)
        self._sky_yuv = [plane[:, None] for plane in yuv(blue)]
        self._cloud_fade = smoothstep(up, 0.04, 0.45)[:, None]

    def _draw_sky(self, index: int, y: U8, u: U8, v: U8) -> None:
        shift = round(1024 * index / self._frames)  # one period of the cloud tile in one loop
        flat = (self._cloud_at + (shift << 10)) & 0xFFFFF
        cover = self._cloud_cover.take(flat, mode="clip") * self._cloud_fade
        lit = self._cloud_lit.take(flat, mode="clip")
        rows, half = self._sky_rows, self._sky_rows // 2
        y[:rows] = (self._sky_yuv[0] + (lit - self._sky_yuv[0]) * cover).astype(np.uint8)
        thin = cover[: half * 2 : 2, ::2]
        for plane, haze in zip((y, u, v), _HAZE_CODE, strict=True):
            scale = plane.shape[0] / self._h
            plane[int(rows * scale) : int((rows + 0.12 * self._h) * scale)] = round(haze)
        for plane, sky, cloud in ((u, self._sky_yuv[1], 129.5), (v, self._sky_yuv[2], 127.0)):
            base = sky[: half * 2 : 2]
            plane[:half] = (base + (cloud - base) * thin + 0.5).astype(np.uint8)

    def draw(self, index: int) -> U8:
        """Picture ``index`` of the loop, (H * 3 / 2, W) uint8 I420."""
        width, height = self._w, self._h
        phase = 2 * np.pi * index / self._frames
        forward = _PERIOD * index / self._frames
        side = _PERIOD / 2 + _PERIOD * 0.034 * np.sin(phase + 0.35)
        up = 82.0 + 5.0 * np.sin(phase + 2.0)
        picture = np.empty((height * 3 // 2, width), np.uint8)
        y = picture[:height]
        u = picture[height : height + height // 4].reshape(height // 2, width // 2)
        v = picture[height + height // 4 :].reshape(height // 2, width // 2)
        self._draw_sky(index, y, u, v)

        depth, tops = self._project(forward, side, up)
        top_row = max(0, int(tops[-1].min())) & ~1
        steps, ground = self._steps(tops, top_row)
        marks = _Depths.of(depth, self._focal, self._cell)
        for first in range(0, len(steps), 48):  # rows at a time: the work stays in the cache
            block = steps[first : first + 48]
            rows = slice(top_row + first, top_row + first + len(block))
            z = self._pixel_depths(block, rows, depth, tops)
            across = ((side + self._columns * (z * np.float32(1.0 / self._focal))) * self._cell).astype(np.int64)
            along = ((z + np.float32(forward)) * self._cell).astype(np.int64)
            shown = ground[first : first + 48]
            np.copyto(y[rows], self._shaded(0, block, across, along, marks), where=shown)
            part = (slice(None, None, 2), slice(None, None, 2))
            half = slice(rows.start // 2, rows.start // 2 + (len(block) + 1) // 2)
            for number, plane in ((1, u), (2, v)):
                colour = self._shaded(number, block[part], across[part], along[part], marks)
                np.copyto(plane[half], colour, where=shown[part])
        self._grain.add(y, index)
        return picture

    def _steps(self, tops: Field, top_row: int) -> tuple[I64, Bool]:
        """Per pixel from ``top_row`` down: the depth step that covers it (1 to D-1), and whether any does."""
        width, count = self._w, self._h - top_row
        bins = np.clip(np.ceil(tops - np.float32(top_row + 0.5)), 0, count).astype(np.int64)
        bins *= width
        bins += np.arange(width)
        hits = np.bincount(bins.ravel(), minlength=(count + 1) * width)[: count * width]
        below = np.cumsum(hits.reshape(count, width), axis=0)
        np.subtract(len(tops), below, out=below)
        ground = below < len(tops)
        return np.clip(below, 1, len(tops) - 1, out=below), ground

    def _pixel_depths(self, steps: I64, rows: slice, depth: Field, tops: Field) -> Field:
        """Depth of each pixel of some picture rows, between those of its step and the step before."""
        here = steps * self._w + np.arange(self._w)
        flat = tops.ravel()
        far_y = flat.take(here, mode="clip")
        here -= self._w
        near_y = flat.take(here, mode="clip")
        share = near_y - np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(0.5)
        share /= np.maximum(near_y - far_y, np.float32(1e-3))
        np.clip(share, 0.0, 1.0, out=share)
        share *= np.diff(depth, prepend=depth[:1]).take(steps, mode="clip")
        share += np.concatenate([depth[:1], depth[:-1]]).take(steps, mode="clip")
        return share

    def _shaded(self, plane: int, steps: I64, across: I64, along: I64, marks: _Depths) -> U8:
        """Ground texels behind their haze."""
        extra = int(plane > 0)  # chroma pixels are twice as wide
        level = (marks.level + extra).take(steps, mode="clip")
        mask = (((self._size - 1) >> marks.level) >> extra).take(steps, mode="clip")
        place = ((along >> level) & mask) * (mask + 1)
        place += (across >> level) & mask
        place += self._level_start[marks.level + extra].take(steps, mode="clip")
        colour = self._texels[plane].take(place, mode="clip").astype(np.float32)
        colour *= (1.0 - marks.veil).take(steps, mode="clip")
        colour += (marks.veil * _HAZE_CODE[plane] + np.float32(0.5)).take(steps, mode="clip")
        return np.asarray(colour.astype(np.uint8))

    def _project(self, forward: float, side: float, up: float) -> tuple[Field, Field]:
        """Depths (D,) from near to far and the running top row (D, W) of the ground at each of them."""
        depths: list[Field] = []
        tops: list[Field] = []
        half = np.arange(-1, self._w + 3, 2, dtype=np.float32) - np.float32(self._w / 2)
        for number, (near, far, stride) in enumerate(self._depth_bands):
            # Anchored to the world, not to the camera: ridges do not shimmer as they approach.
            first = np.ceil((forward + near) / stride) * stride
            world = np.arange(first, forward + far, stride)
            z = (world - forward).astype(np.float32)
            heights = self._heights[(0, 1, 2)[number]]
            size = heights.shape[0]
            scale = size / _PERIOD
            row = (world * scale).astype(np.int32) & (size - 1)
            column = ((side + half[None, :] * (z[:, None] / self._focal)) * scale).astype(np.int32) & (size - 1)
            found = heights.ravel()[row[:, None] * size + column]
            depths.append(z)
            tops.append(np.float32(self._horizon) + self._focal * (up - found) / z[:, None])
        coarse = np.minimum.accumulate(np.concatenate(tops), axis=0)
        full = np.empty((len(coarse), self._w), np.float32)
        # Coarse columns stand at luma columns -1, 1, 3, ...: odd ones are exact, even ones between two.
        full[:, 1::2] = coarse[:, 1 : 1 + self._w // 2]
        full[:, 0::2] = 0.5 * (coarse[:, : self._w // 2] + coarse[:, 1 : 1 + self._w // 2])
        return np.concatenate(depths), full
