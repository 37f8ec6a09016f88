"""A tracking shot along a shopping street: houses, trees, traffic and people pass behind the followed car.

The camera drives at a whole number of pixels a picture, so that the street, one period of a panorama, repeats
after one loop and stays as sharp as it was drawn; the road is the same period seen in perspective. Everything
that moves has a distance of its own to come back after the loop.
"""

from __future__ import annotations

import math

import numpy as np

from monitor.demo.city_things import car, facade, lamp, put, tree, walker
from monitor.demo.shapes import Canvas, Sprite
from monitor.demo.textures import Field, Grain, code, fractal, mix, smoothstep, yuv
from monitor.types import U8

_PAVEMENT, _KERB, _NEAR_KERB = 0.735, 0.785, 0.945  # rows, as shares of the height
_STRETCH = 1.62  # how much faster the nearest row passes than the houses


class City:
    """Renders one loop of the street.

    Args:
        seed: Another seed is another street.
        width: Luma columns, even.
        height: Luma rows, divisible by 4.
        frames: Pictures in the loop.
        seconds: Duration of the loop, which steps and bobbing divide.
    """

    title = "City street"

    def __init__(self, seed: int, width: int, height: int, frames: int, seconds: float) -> None:
        self._w, self._h, self._frames, self._seconds = width, height, frames, seconds
        self._scale = s = height / 540
        rng = np.random.default_rng([seed, 3])
        self._speed = max(round(6 * s), math.ceil((width + 8) / frames))  # pixels a picture
        self._period = self._speed * frames
        self._street(rng)
        self._sky(rng)
        self._road(rng)
        self._hero = car(rng, 1.08 * s, (0.62, 0.15, 0.12))
        self._traffic = [car(rng, 0.86 * s) for _ in range(3)]
        self._traffic_at = np.arange(3) / 3 + rng.uniform(0.0, 0.16, 3)
        self._walkers = [walker(rng, s) for _ in range(6)]
        self._walks = [(float(rng.uniform()), bool(n % 2), float(rng.uniform())) for n in range(6)]
        self._post = self._foreground()
        self._grain = Grain(rng, height, width, 0.8)

    def _street(self, rng: np.random.Generator) -> None:
        """The panorama of houses, trees and the far pavement."""
        s, height, period = self._scale, self._h, self._period
        base, kerb = round(_PAVEMENT * height), round(_KERB * height)
        rgb = np.zeros((3, kerb, period), np.float32)
        covered = np.zeros((kerb, period), bool)
        left = 0
        while left < period:
            width = round(float(rng.uniform(170, 260)) * s)
            width = period - left if period - left < width + 120 * s else width
            tall = round(min(float(rng.uniform(0.48, 0.70)) * height, base - 2))
            house = facade(rng, width, tall, s)
            put(rgb, house.layers(), left, base - tall)
            covered[base - tall :, left : left + width] = True
            left += width
        rows = np.arange(kerb, dtype=np.float32)[:, None] / height
        across = np.arange(period)
        dirt = fractal(rng, 512, 512, 0.9)[np.arange(kerb)[:, None] % 512, across % 512]
        light = 1.0 + 0.055 * dirt
        # Houses behind the camera shade the lower floors: a stepped, soft edge of sun and sky light.
        roofs = rng.uniform(0.30, 0.50, 9)[np.minimum(across * 9 // period, 8)]
        edge = np.convolve(np.concatenate([roofs[-40:], roofs, roofs[:40]]), np.full(41, 1 / 41), "same")[40:-40]
        sun = 1.0 - smoothstep(rows - edge + 0.004 * dirt, -0.012, 0.012)
        stone = 0.53 + 0.022 * fractal(rng, 512, 512, 0.8)[np.arange(kerb - base)[:, None], np.arange(period) % 512]
        joints = (np.arange(period) % round(34 * s) < max(1, round(s)))[None, :]
        stone = np.where(joints, stone * 0.82, stone) * np.linspace(0.86, 1.08, kerb - base)[:, None]
        for channel, tint in enumerate((1.0, 0.965, 0.90)):
            rgb[channel] *= light * ((0.50, 0.54, 0.62)[channel] + (0.66, 0.52, 0.34)[channel] * sun)
            rgb[channel, base:] = 0.72 * stone * tint
        covered[base:] = True
        rgb[:, base : base + max(2, round(3 * s))] *= 0.62
        alpha = covered.astype(np.float32)
        trees = [tree(rng, s * size).layers() for size in (0.92, 1.0, 1.1)]
        post = lamp(s).layers()
        for left in range(round(60 * s), period - round(100 * s), round(float(rng.uniform(300, 340)) * s)):
            shadow = Canvas(round(170 * s), round(14 * s))
            shadow.ellipse(85 * s, 7 * s, 84 * s, 6 * s, (0.10, 0.11, 0.14), 0.55)
            put(rgb, shadow.layers(), left + round(20 * s), kerb - round(14 * s))
            leaves = trees[int(rng.integers(len(trees)))]
            _, opaque = leaves
            top = kerb - round(5 * s) - opaque.shape[0]
            put(rgb, leaves, left, top)
            put(rgb, post, left + round(235 * s), kerb - round(214 * s))
            part = alpha[max(top, 0) : top + opaque.shape[0], left : left + opaque.shape[1]]
            np.maximum(part, opaque[max(-top, 0) :, : part.shape[1]], out=part)
        planes = [code(self._shutter(plane)) for plane in yuv(rgb)]
        wide = np.arange(period + self._w) % period
        self._panorama = [planes[0][:, wide], *(self._half(plane)[:, wide] for plane in planes[1:])]
        self._open = (alpha < 0.5)[:, wide]
        self._roofs = int(np.flatnonzero(self._open.any(axis=1)).max()) // 2 * 2 + 2
        self._kerb = kerb // 2 * 2

    def _shutter(self, plane: Field) -> Field:
        """Motion blur of a camera whose shutter is open for half of each picture's time."""
        taps = max(1, self._speed // 2)
        total = np.zeros_like(plane)
        for tap in range(taps):
            total += np.roll(plane, tap - taps // 2, axis=1)
        return total / taps

    @staticmethod
    def _half(plane: U8) -> U8:
        """Half the rows, every column kept: chroma can start at an odd luma column."""
        rows = plane.shape[0] // 2 * 2
        merged = plane[0:rows:2].astype(np.uint16) + plane[1:rows:2]
        merged = merged + np.roll(merged, -1, 1)
        return np.asarray(((merged + 2) >> 2).astype(np.uint8))

    def _sky(self, rng: np.random.Generator) -> None:
        """Late light, broken cloud and a hazy skyline far off, which stand still."""
        rows, width, s = self._roofs, self._w, self._scale
        up = 1.0 - np.arange(rows, dtype=np.float32)[:, None] / (0.62 * self._h)
        colour = mix((0.96, 0.86, 0.74), (0.45, 0.58, 0.74), np.broadcast_to(smoothstep(up, 0.0, 1.0), (rows, width)))
        puffs = fractal(rng, 1024, 2048, 1.6, 3.0)
        cover = smoothstep(puffs, -0.2, 1.1)[:rows, :width] * 0.85
        shade = np.clip(0.72 + 0.5 * (puffs - np.roll(puffs, 12, 0)), 0.0, 1.0)[:rows, :width]
        colour = mix(colour, mix((0.66, 0.63, 0.66), (1.0, 0.97, 0.93), shade), cover)
        canvas = Canvas(width, rows)
        x = 0.0
        while x < width:
            w, tall = float(rng.uniform(26, 70)) * s, float(rng.uniform(0.30, 0.56)) * self._h
            top = max(0.02 * self._h, 0.70 * self._h - tall)
            tone = float(rng.uniform(0.60, 0.70))
            canvas.rectangle(x, top, w, rows - top, (tone, tone * 0.99, tone * 1.03))
            for wy in np.arange(top + 5 * s, rows, 7 * s):
                for wx in np.arange(x + 3 * s, x + w - 4 * s, 6 * s):
                    canvas.rectangle(float(wx), float(wy), 3 * s, 4 * s, (0.50, 0.53, 0.60), 0.55)
            x += w * float(rng.uniform(0.9, 1.5))
        far, alpha = canvas.layers()
        colour = mix(colour, far, 0.72 * alpha)
        y, u, v = yuv(colour)
        self._far = [code(y), code(u[::2, ::2]), code(v[::2, ::2])]

    def _road(self, rng: np.random.Generator) -> None:
        """Asphalt, markings, near pavement, and which texel each pixel shows before the camera moves."""
        s, period = self._scale, self._period
        rows = np.arange(self._kerb, self._h, dtype=np.float32) + 0.5
        depth = (rows - self._kerb) / (self._h - self._kerb)
        passing = 1.0 + (_STRETCH - 1.0) * depth
        count = len(rows)
        grit = np.tile(fractal(rng, 256, period, 0.45, 10.0), (-(-count // 256), 1))[:count]
        stains = fractal(rng, 256, period, 1.3)[:count]
        grey = 0.27 + 0.032 * grit + 0.035 * stains - 0.05 * np.exp(-depth / 0.05)[:, None]
        rgb = np.stack([grey, grey * 0.99, grey * 1.0])
        share = rows[:, None] / self._h
        across = np.arange(period, dtype=np.float32)[None, :]
        dash = 120 * s
        dashes = (np.abs(share - 0.862) < 0.0045) & ((across * round(period / dash) / period) % 1.0 < 0.45)
        rgb = np.where(dashes, np.array([0.86, 0.85, 0.80], np.float32)[:, None, None] * (1.0 + 0.1 * grit), rgb)
        slab = (share > _NEAR_KERB).astype(np.float32)
        joint = ((across * round(period / (44 * s)) / period) % 1.0 < 0.035) | (np.abs(share - 0.972) < 0.0015)
        stone = (0.47 + 0.035 * grit + 0.03 * stains) * np.where(joint, 0.72, 1.0)
        edge = np.abs(share - _NEAR_KERB) < 0.006
        rgb = np.where(slab[None] > 0, np.stack([stone, stone * 0.97, stone * 0.91]), rgb)
        rgb = np.where(edge[None], 0.72, rgb)
        y, u, v = (self._shutter(plane) for plane in yuv(rgb))
        self._ground = [code(y).ravel(), code(u[::2]).ravel(), code(v[::2]).ravel()]
        columns = np.arange(self._w, dtype=np.float32)[None, :] - self._w / 2
        texel = np.floor(columns / passing[:, None]).astype(np.int64)
        row = np.arange(count)[:, None] * period
        self._ground_at = [(texel, row)]
        half = np.arange(len(range(0, count, 2)))[:, None] * period
        self._ground_at += [(texel[::2, ::2], half)] * 2

    def _foreground(self) -> Sprite:
        """A lamp post and a sign close to the camera."""
        s = self._scale
        canvas = Canvas(round(110 * s), self._h)
        canvas.rectangle(46 * s, 0, 15 * s, self._h, (0.11, 0.12, 0.13))
        canvas.rectangle(49 * s, 0, 3 * s, self._h, (0.34, 0.35, 0.36))
        canvas.rectangle(8 * s, 118 * s, 92 * s, 60 * s, (0.93, 0.93, 0.91))
        canvas.rectangle(11 * s, 121 * s, 86 * s, 54 * s, (0.10, 0.26, 0.52))
        canvas.text("OLD", 32 * s, 127 * s, 18 * s, (0.96, 0.96, 0.94))
        canvas.text("TOWN", 20 * s, 152 * s, 18 * s, (0.96, 0.96, 0.94))
        return canvas.sprite()

    def draw(self, index: int) -> U8:
        """Picture ``index`` of the loop, (H * 3 / 2, W) uint8 I420."""
        width, height = self._w, self._h
        index %= self._frames
        moved = self._speed * index
        picture = np.empty((height * 3 // 2, width), np.uint8)
        y = picture[:height]
        u = picture[height : height + height // 4].reshape(height // 2, width // 2)
        v = picture[height + height // 4 :].reshape(height // 2, width // 2)
        planes = (y, u, v)
        for number, plane in enumerate(planes):
            step = 1 if number == 0 else 2
            kerb, roofs = self._kerb // step, self._roofs // step
            plane[:kerb] = self._panorama[number][:kerb, moved : moved + width : step]
            empty = self._open[: self._roofs : step, moved : moved + width : step]
            np.copyto(plane[:roofs], self._far[number][:roofs], where=empty)
            texel, row = self._ground_at[number]
            plane[kerb:] = self._ground[number].take((texel + (moved + width // 2)) % self._period + row)
        self._draw_things(index / self._frames, planes)
        self._grain.add(y, index)
        return picture

    def _draw_things(self, phase: float, planes: tuple[U8, U8, U8]) -> None:
        s, width, height = self._scale, self._w, self._h
        turn, street = 2 * np.pi * phase, float(self._period)
        for (at, leftwards, step), figures in zip(self._walks, self._walkers, strict=True):
            # Seen from the car the pavement passes: who comes towards it passes faster, others slower.
            distance = street * (1.17 if leftwards else max(0.84, (width + 62 * s) / street))
            x = (at - phase) % 1.0 * distance - 60 * s
            strides = round(0.95 * self._seconds)
            figure = figures[int(((phase * strides + step) % 1.0) * 16)]
            figure = figure.mirrored() if leftwards else figure
            figure.put(planes, x, (_KERB - 0.012 - 0.014 * at) * height - figure.height)
        for at, (body, wheels) in zip(self._traffic_at, self._traffic, strict=True):
            distance = max(2.9 * street, 2.0 * width)
            x = (at - phase) % 1.0 * distance - 240 * s
            _put_car(planes, body, wheels, 0.86 * s, x, 0.862 * height, phase * 14, True)
        body, wheels = self._hero
        x = 0.40 * width + 0.055 * width * np.sin(turn + 0.8) + 0.012 * width * np.sin(3 * turn)
        bounce = s * (0.8 * np.sin(7 * turn) + 0.6 * np.sin(11 * turn + 1.0))
        _put_car(planes, body, wheels, 1.08 * s, float(x), 0.935 * height + float(bounce), phase * 22, False)
        for at in (0.12, 0.62):
            x = (at - phase) % 1.0 * street * 2.6 - 110 * s
            self._post.put(planes, x, 0.0)


def _put_car(
    planes: tuple[U8, U8, U8],
    body: Sprite,
    wheels: list[Sprite],
    s: float,
    x: float,
    foot: float,
    turns: float,
    leftwards: bool,
) -> None:
    """A car with its tyres at row ``foot`` after so many turns of the wheels, each of five equal parts."""
    if x > planes[0].shape[1] or x + body.width < 0:
        return
    shown = body.mirrored() if leftwards else body
    shown.put(planes, x, foot - 81 * s)
    step = int((turns * 5 % 1.0) * 8)
    wheel = wheels[7 - step if leftwards else step]
    for centre in (50, 178):
        offset = 230 - centre if leftwards else centre
        wheel.put(planes, x + (offset - 17) * s, foot - 34 * s)
