"""The distortions: streaming generators over pictures, seeded, five levels each, levels in between allowed.

The six of LIVE-APV (aliasing, compression, flicker, frame drop, interlacing, judder) and more that operators see.
Each takes an iterator of pictures and yields as many, holding a bounded number in memory, so that 2160p works.
Level 1 is just visible to an expert; level 5 is what makes a viewer leave. Levels are floats in [1, 5].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training import distortion_levels as levels
from training.distortion_levels import LEVELS
from training.pictures import Picture, transcode

__all__ = ["DISTORTIONS", "LEVELS", "Recipe", "distort", "mild_encode", "noise_at", "weave"]

Rng = np.random.Generator
Distortion = Callable[[Iterable[Picture], float, Rng, float], Iterator[Picture]]


# --- spatial ---------------------------------------------------------------------------------------------------


def draw_codec(rng: Rng) -> str:
    """The coder that `compression` uses with a generator, which is its first draw."""
    return str(rng.choice(["x264", "cbr", "x265", "mpeg2"], p=[1 / 3, 1 / 3, 1 / 6, 1 / 6]))


def compression(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """A real encoder at a coarse setting: x264 by CRF or starved CBR, x265, MPEG-2 (2:2:1:1).

    Live feeds go bad by starved CBR: quality pulses with the GOP, which must not read as flicker.
    """
    kind = draw_codec(rng)
    if kind == "cbr":
        stream = iter(pictures)
        first = next(stream, None)
        if first is None:
            return
        bits = levels.CBR_BITS.at(level)
        rate = int(bits * first.y.size * fps)
        options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "x264-params": f"vbv-maxrate={rate // 1000}:vbv-bufsize={rate // 2000}:nal-hrd=none",
        }
        gop = int(rng.choice([25, 50, 100]))
        yield from transcode(chain([first], stream), "libx264", options, fps=fps, bit_rate=rate, gop=gop)
    elif kind == "mpeg2":
        quantiser = round(levels.QUANTISER.at(level))
        yield from transcode(pictures, "mpeg2video", {}, fps=fps, quantiser=quantiser, gop=12)
    else:
        crf = levels.CRF.at(level) + rng.uniform(-1.5, 1.5)
        if kind == "x264":
            options = {"preset": str(rng.choice(["superfast", "veryfast"])), "crf": f"{crf:.1f}"}
            yield from transcode(pictures, "libx264", options, fps=fps)
        else:
            options = {"preset": "ultrafast", "crf": f"{crf:.1f}", "x265-params": "log-level=none:pools=none"}
            yield from transcode(pictures, "libx265", options, fps=fps)


def aliasing(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Decimation without a filter, then enlarged back, by repetition or bilinearly."""
    factor = levels.DECIMATION.at(level)
    smooth = bool(rng.integers(2))
    for picture in pictures:
        yield Picture(*(_alias(plane, factor, smooth=smooth) for plane in picture))


def _alias(plane: npt.NDArray[np.uint8], factor: float, *, smooth: bool) -> npt.NDArray[np.uint8]:
    height, width = plane.shape
    small_height, small_width = max(2, round(height / factor)), max(2, round(width / factor))
    # Sampled at cell centres: off-centre decimation would also shift the picture by half a pixel.
    rows = ((np.arange(small_height) + 0.5) * height / small_height).astype(int)
    columns = ((np.arange(small_width) + 0.5) * width / small_width).astype(int)
    small = plane[rows[:, None], columns]
    y = (np.arange(height) + 0.5) * small_height / height
    x = (np.arange(width) + 0.5) * small_width / width
    if not smooth:
        return small[y.astype(int)[:, None], x.astype(int)]
    y0, x0 = np.clip(y - 0.5, 0, small_height - 1), np.clip(x - 0.5, 0, small_width - 1)
    top, left = y0.astype(int), x0.astype(int)
    bottom, right = np.minimum(top + 1, small_height - 1), np.minimum(left + 1, small_width - 1)
    wy, wx = (y0 - top)[:, None].astype(np.float32), (x0 - left)[None].astype(np.float32)
    values = small.astype(np.float32)
    rows_blend = values[top] * (1 - wy) + values[bottom] * wy
    out: npt.NDArray[np.uint8] = (rows_blend[:, left] * (1 - wx) + rows_blend[:, right] * wx + 0.5).astype(np.uint8)
    return out


def blur(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Gaussian blur; sigma grows with the square root of the height, as viewing distance does."""
    for picture in pictures:
        sigma = levels.BLUR_SIGMA.at(level) * np.sqrt(picture.y.shape[0] / 450)
        yield Picture(_gaussian(picture.y, sigma), _gaussian(picture.u, sigma / 2), _gaussian(picture.v, sigma / 2))


def _gaussian(plane: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    smooth = ndimage.gaussian_filter(plane.astype(np.float32), sigma, truncate=3.0, mode="nearest")
    out: npt.NDArray[np.uint8] = (smooth + 0.5).astype(np.uint8)
    return out


def noise(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """White noise on luma, half of it on chroma, new in every picture."""
    yield from noise_at(pictures, levels.NOISE_SIGMA.at(level), rng)


def noise_at(pictures: Iterable[Picture], sigma: float, rng: Rng) -> Iterator[Picture]:
    """White noise of a given standard deviation in grey levels."""
    for picture in pictures:
        yield Picture(*(_noisy(p, s, rng) for p, s in zip(picture, (sigma, sigma / 2, sigma / 2), strict=True)))


def _noisy(plane: npt.NDArray[np.uint8], sigma: float, rng: Rng) -> npt.NDArray[np.uint8]:
    noisy = plane + rng.standard_normal(plane.shape, dtype=np.float32) * np.float32(sigma)
    out: npt.NDArray[np.uint8] = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    return out


def banding(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Coarse quantisation of smooth luma: contours where gradients were."""
    step = levels.BAND_STEP.at(level)
    for picture in pictures:
        smooth = ndimage.uniform_filter(picture.y.astype(np.float32), 5)
        contours = np.floor(smooth / step) * step + step / 2
        flat = np.abs(picture.y - smooth) < step
        yield picture._replace(y=np.where(flat, contours, picture.y).clip(0, 255).astype(np.uint8))


def macroblocks(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Lost slices as a decoder conceals them: runs of 16x16 blocks replaced by shifted or flat ones."""
    share = levels.LOST_SHARE.at(level)
    for picture in pictures:
        height, width = picture.y.shape
        rows, columns = height // 16, width // 16
        y, u, v = (plane.copy() for plane in picture)
        for _ in range(rng.poisson(share * rows * columns / 6)):
            r, c, run = int(rng.integers(rows)), int(rng.integers(columns)), int(rng.integers(2, 11))
            left, right = c * 16, min((c + run) * 16, width)
            source = int(rng.integers(0, max(1, width - (right - left)))) & ~1
            y[r * 16 : r * 16 + 16, left:right] = picture.y[r * 16 : r * 16 + 16, source : source + right - left]
            half = slice(r * 8, r * 8 + 8)
            u[half, left // 2 : right // 2] = 128
            v[half, left // 2 : right // 2] = 128
        yield Picture(y, u, v)


# --- temporal --------------------------------------------------------------------------------------------------


def interlacing(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Fields of two moments, a few pictures apart, woven into one picture, in a share of the pictures."""
    step = levels.draw_step(level, rng)
    (ahead,), share = levels.FIELD_DISTANCE.at(step), levels.WOVEN_SHARE.at(step)
    parity = int(rng.integers(2))
    window: deque[Picture] = deque()
    for picture in pictures:
        window.append(picture)
        if len(window) > ahead:
            yield weave(window[0], window[-1], parity) if rng.random() < share else window[0]
            window.popleft()
    while window:
        yield weave(window[0], window[-1], parity) if rng.random() < share else window[0]
        window.popleft()


def weave(first: Picture, second: Picture, parity: int) -> Picture:
    """One field of each picture; ``parity`` is the first line taken from the second."""
    planes = []
    for a, b in zip(first, second, strict=True):
        woven = a.copy()
        woven[parity::2] = b[parity::2]
        planes.append(woven)
    return Picture(*planes)


def judder(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """A regular uneven cadence: each picture of the pattern is held for so many ticks, time runs on."""
    pattern = levels.CADENCE.at(levels.draw_step(level, rng))
    holds = _cycle(pattern, start=int(rng.integers(len(pattern))))
    left, shown = 0, None
    for picture in pictures:
        if left == 0 or shown is None:
            shown, left = picture, next(holds)
        left -= 1
        yield shown


def frame_drop(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Bursts of lost pictures: a hold and then a jump, or (one in three) a jump in which nothing is held."""
    step = levels.draw_step(level, rng)
    (length,), (count,) = levels.BURST_LENGTH.at(step), levels.BURST_COUNT.at(step)
    period = 4 * fps / count
    next_burst = float(rng.uniform(0.15, 0.6)) * period
    held: Picture | None = None
    left = jump = lost = 0
    for t, picture in enumerate(pictures):
        if jump:
            jump -= 1
            lost += 1
            continue
        if left == 0 and t >= next_burst:
            next_burst += period * float(rng.uniform(0.75, 1.25))
            if rng.random() < 1 / 3:
                # A jump: the lost pictures leave no hole, what follows comes early.
                jump, lost = length - 1, lost + 1
                continue
            left = length
        if left and held is not None:
            left -= 1
            yield held
            continue
        left, held = 0, picture
        yield picture
    # What jumps took away is missing at the end of a bounded clip; a live feed would simply have gone on.
    for _ in range(lost):
        if held is not None:
            yield held


def draw_gain_flicker(rng: Rng) -> bool:
    """Whether `flicker` changes the luma gain with a generator (else the coding), which is its first draw."""
    return bool(rng.random() < 0.5)


def flicker(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """Periodic change of quality (runs of good and badly coded pictures) or of luma gain (2-12 Hz)."""
    if draw_gain_flicker(rng):
        amplitude = levels.GAIN_PERCENT.at(level) / 100
        frequency = rng.uniform(2, 12)
        square, phase = bool(rng.integers(2)), rng.uniform(0, 2 * np.pi)
        for t, picture in enumerate(pictures):
            wave = np.sin(2 * np.pi * frequency * t / fps + phase)
            gain = 1 + amplitude * (np.sign(wave) if square else wave)
            y = np.clip((picture.y.astype(np.float32) - 16) * gain + 16.5, 0, 255).astype(np.uint8)
            yield picture._replace(y=y)
        return
    crf = levels.FLICKER_CRF.at(level)
    good_left, bad_left = int(rng.integers(2, 9)), 0
    window: list[Picture] = []
    for picture in pictures:
        if good_left > 0:
            good_left -= 1
            yield picture
            if good_left == 0:
                bad_left = int(rng.integers(2, 9))
            continue
        window.append(picture)
        if len(window) == bad_left:
            yield from transcode(window, "libx264", {"preset": "superfast", "crf": f"{crf:.1f}"}, fps=fps)
            window, good_left = [], int(rng.integers(2, 9))
    if window:
        yield from transcode(window, "libx264", {"preset": "superfast", "crf": f"{crf:.1f}"}, fps=fps)


def freeze(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """One long freeze in the middle: 0.5 s to 4 s."""
    length = round(levels.FREEZE_SECONDS.at(level) * fps)
    start = int(rng.integers(round(0.2 * fps), round(1.2 * fps)))
    held = None
    for t, picture in enumerate(pictures):
        if t < start or t >= start + length or held is None:
            held = picture
        yield held


def black(pictures: Iterable[Picture], level: float, rng: Rng, fps: float) -> Iterator[Picture]:
    """A gap of black: 0.2 s to 4 s."""
    length = round(levels.BLACK_SECONDS.at(level) * fps)
    start = int(rng.integers(round(0.2 * fps), round(1.2 * fps)))
    for t, picture in enumerate(pictures):
        if start <= t < start + length:
            yield Picture(np.full_like(picture.y, 16), np.full_like(picture.u, 128), np.full_like(picture.v, 128))
        else:
            yield picture


DISTORTIONS: dict[str, Distortion] = {
    "compression": compression,
    "aliasing": aliasing,
    "interlacing": interlacing,
    "judder": judder,
    "flicker": flicker,
    "frame_drop": frame_drop,
    "blur": blur,
    "noise": noise,
    "banding": banding,
    "macroblocks": macroblocks,
    "freeze": freeze,
    "black": black,
}


def distort(
    pictures: Iterable[Picture], kind: str, level: float, *, seed: int | Rng, fps: float = 25.0
) -> Iterator[Picture]:
    """Applies one distortion; yields as many pictures as come in, in order, each of the same size.

    Args:
        pictures: Pictures of one clip, even width and height.
        kind: A key of DISTORTIONS.
        level: 1 to 5.
        seed: Seed or generator; the same seed gives the same result.
        fps: Pictures a second.

    Raises:
        ValueError: Unknown kind or a level out of range.
    """
    if kind not in DISTORTIONS:
        raise ValueError(f"unknown distortion {kind!r}; one of {', '.join(DISTORTIONS)}")
    if not 1 <= level <= 5:
        raise ValueError(f"levels are 1 to 5, got {level}")
    return DISTORTIONS[kind](pictures, level, np.random.default_rng(seed), fps)


def mild_encode(pictures: Iterable[Picture], rng: Rng, fps: float) -> Iterator[Picture]:
    """The contribution-quality encode every feed has behind it; clean clips pass it too."""
    kind = rng.choice(["ultrafast", "superfast", "mpeg2", "x265"], p=[0.6, 0.15, 0.21, 0.04])
    if kind == "mpeg2":
        yield from transcode(pictures, "mpeg2video", {}, fps=fps, quantiser=int(rng.integers(2, 4)), gop=12)
    elif kind == "x265":
        options = {"preset": "ultrafast", "crf": "17", "x265-params": "log-level=none:pools=none"}
        yield from transcode(pictures, "libx265", options, fps=fps)
    else:
        yield from transcode(pictures, "libx264", {"preset": str(kind), "crf": f"{rng.uniform(15, 19):.1f}"}, fps=fps)


class Recipe(NamedTuple):
    """One distortion at one level, by name; level 0 is the clean clip."""

    kind: str
    level: float


def _cycle(pattern: tuple[int, ...], start: int) -> Iterator[int]:
    position = start
    while True:
        yield pattern[position % len(pattern)]
        position += 1
