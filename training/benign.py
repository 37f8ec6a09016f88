"""Clean clips that look unlike other clean clips: what a monitor must not call damaged.

Cadence conversion by the grid, slow and motionless scenes, cuts, fades, grain, and graphics over the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

from training import distortions
from training.pictures import Picture
from training.sources import Content, StillShot, clean_clip, fits

Rng = np.random.Generator

#: What `benign_clip` makes; ``plain`` is the clip as it is.
VARIANTS = ("plain", "24to25", "30to25", "slow", "static", "cut", "grain", "fade", "captions", "ticker")
#: What it makes besides, of any clip: also a look that whole groups of training clips can have, damage and all.
LOOKS = ("dark", "animation", "film")
#: Variants whose pictures stand where the plain clip's stand, so that a full-reference value of them means something.
COMPARABLE = ("plain", "grain")
#: Film's grain: its size (sigma of what smooths white noise), its strength in mid-tones, and what is left of it in
#: black and white. A size and a strength by tone are what AV1's film grain synthesis describes grain by (AV1
#: specification, 7.18.3); an impairment's noise is white, on all planes, and the same in every tone.
_GRAIN_PX, _GRAIN_SD, _GRAIN_AT_ENDS = (0.5, 1.1), (1.5, 4.0), 0.3
#: Pictures are shown other parts of one field of grain, which is so much larger, mirrored or not.
_GRAIN_ROOM = 128
#: White of captions and the grey of the band below a ticker, limited range.
_TEXT, _BAND = 235, 40
_WORDS = (
    "live from the stadium tonight weather traffic markets close higher after a calm session results at ten".split()
)


class Tick(NamedTuple):
    """How the grid came to a sample: see ``SideChannel.push``.

    Attributes:
        held: The grid itself repeats the previous picture.
        step: Media time since the previous sample's picture, in samples.
    """

    held: bool = False
    step: float = 1.0


def benign_clip(
    variant: str, content: Content, others: list[Content], clean: Sequence[Picture], length: int, rng: Rng
) -> tuple[Iterable[Picture], list[Tick]]:
    """A variant of a clean clip.

    Args:
        variant: One of VARIANTS or LOOKS.
        content: What the clip shows.
        others: Contents of the same side of the split, for cuts.
        clean: The plain clip, at least ``length * 30 / 25`` pictures.
        length: Samples to make.
        rng: Draws everything else.

    Returns:
        ``length`` pictures, and how the grid came to each.
    """
    height, width = clean[0].y.shape
    plain = [Tick()] * length
    if variant in ("24to25", "30to25"):
        source_fps = int(variant[:2])
        shown = [t * source_fps // 25 for t in range(length)]
        steps = [1, *(b - a for a, b in pairwise(shown))]
        return (clean[i] for i in shown), [Tick(s == 0, s * 25 / source_fps) for s in steps]
    if variant in ("slow", "static"):
        if content.is_video:
            # Time cannot be slowed without inventing pictures: a real clip is held, as on a locked camera.
            return (_breathe(clean[0], rng) for _ in range(length)), plain
        rate = rng.uniform(0.08, 0.3) if variant == "slow" else 0.0
        shot = StillShot.draw(content, others, (width, height), rng)
        return (_breathe(p, rng) for p in shot.pictures([t * rate for t in range(length)])), plain
    if variant == "cut":
        other = others[int(rng.integers(len(others)))]
        at = int(rng.integers(length // 5, length * 4 // 5))
        fitting = fits(other, (width, height))
        rest = clean_clip(other, others, length, (width, height), rng) if fitting else iter(clean[::-1])
        return (*clean[:at], *islice(rest, length - at)), plain
    if variant == "grain":
        return distortions.noise_at(clean[:length], float(rng.uniform(1.0, 2.2)), rng), plain
    if variant == "fade":
        start, half = int(rng.integers(length // 10, length * 3 // 5)), int(rng.integers(12, 40))
        return _fade(clean[:length], start, half), plain
    if variant == "captions":
        return _captions(clean[:length], rng), plain
    if variant == "ticker":
        return _ticker(clean[:length], rng), plain
    if variant in LOOKS:
        return with_look(variant, clean[:length], rng), plain
    return clean[:length], plain


def with_look(look: str, pictures: Sequence[Picture], rng: Rng) -> Iterator[Picture]:
    """The pictures as a night scene, as drawn ones or as film; ``look`` is one of LOOKS."""
    if look == "film":
        return _film(pictures, rng)
    return _dark(pictures, rng) if look == "dark" else _animation(pictures)


def _breathe(picture: Picture, rng: Rng) -> Picture:
    """Sensor noise: a static camera is never exactly still."""
    noise = rng.standard_normal(picture.y.shape, dtype=np.float32) * np.float32(0.7)
    return picture._replace(y=np.clip(picture.y + noise + 0.5, 0, 255).astype(np.uint8))


def _fade(pictures: Iterable[Picture], start: int, half: int) -> Iterator[Picture]:
    """Down to black and back up, as between programmes."""
    for t, picture in enumerate(pictures):
        gain = min(1.0, abs(t - start - half) / half)
        y, u, v = (
            ((plane.astype(np.float32) - base) * gain + base + 0.5).astype(np.uint8)
            for plane, base in zip(picture, (16, 128, 128), strict=True)
        )
        yield Picture(y, u, v)


def _dark(pictures: Iterable[Picture], rng: Rng) -> Iterator[Picture]:
    """A night scene: a fifth to two fifths of the light, pale colours, and a sensor's noise."""
    gain = rng.uniform(0.2, 0.4)
    for picture in pictures:
        y, u, v = (plane.astype(np.float32) for plane in picture)
        y = (y - 16) * gain + 16 + rng.standard_normal(y.shape, dtype=np.float32)
        u, v = ((plane - 128) * 0.5 + 128 for plane in (u, v))
        yield Picture(*(np.clip(plane + 0.5, 0, 255).astype(np.uint8) for plane in (y, u, v)))


def _film(pictures: Sequence[Picture], rng: Rng) -> Iterator[Picture]:
    """Film's grain on luma: coarser than a pixel, strongest in mid-tones, new in every picture."""
    height, width = pictures[0].y.shape
    field = rng.standard_normal((height + _GRAIN_ROOM, width + _GRAIN_ROOM), dtype=np.float32)
    field = ndimage.gaussian_filter(field, rng.uniform(*_GRAIN_PX))
    field *= rng.uniform(*_GRAIN_SD) / field.std()
    tone = np.clip((np.arange(256, dtype=np.float32) - 16) / 219, 0, 1)
    strength = _GRAIN_AT_ENDS + (1 - _GRAIN_AT_ENDS) * 4 * tone * (1 - tone)
    for picture in pictures:
        top, left = rng.integers(_GRAIN_ROOM + 1, size=2)
        grain = field[top : top + height, left : left + width]
        grain = grain[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        y = picture.y + strength[picture.y] * grain
        yield picture._replace(y=np.clip(y + 0.5, 0, 255).astype(np.uint8))


def _animation(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """Drawn pictures: flat tones with dark lines where they meet, each shown twice, as hand animation is."""
    for t in range(len(pictures)):
        if t % 2 == 0:
            drawn = _drawn(pictures[t])
        yield drawn


def _drawn(picture: Picture) -> Picture:
    size = picture.y.shape[1] // 640 + 1
    tones = []
    for plane, step in zip(picture, (36, 24, 24), strict=True):
        smooth = Image.fromarray(plane).filter(ImageFilter.MedianFilter(2 * size + 1))
        tones.append(np.asarray(smooth, np.int16) // step * step + step // 2)
    luma = tones[0]
    line = np.zeros(luma.shape, np.float32)
    line[:, 1:] += luma[:, 1:] != luma[:, :-1]
    line[1:] += luma[1:] != luma[:-1]
    # A pen's width, soft at its rim.
    lines = Image.fromarray((line.clip(0, 1) * 255).astype(np.uint8))
    ink = np.asarray(lines.filter(ImageFilter.GaussianBlur(size / 2)))
    drawn = luma * (1 - 0.6 * np.minimum(ink / 110.0, 1.0))
    planes = (np.maximum(drawn, 20), *tones[1:])
    return Picture(*(np.clip(plane, 0, 255).astype(np.uint8) for plane in planes))


def _text(height: int, words: int, rng: Rng) -> npt.NDArray[np.float32]:
    """A line of text as coverage in [0, 1], (h, w), about a fifteenth of the picture's height."""
    line = " ".join(rng.choice(_WORDS, size=words))
    font = ImageFont.load_default(size=max(12.0, height / 18))
    left, top, right, bottom = font.getbbox(line)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8), 0)
    ImageDraw.Draw(image).text((4 - left, 4 - top), line, fill=255, font=font)
    return np.asarray(image, np.float32) / 255


def _captions(pictures: Iterable[Picture], rng: Rng) -> Iterator[Picture]:
    """Subtitles that come and go."""
    text, left, on = None, 0, True
    for picture in pictures:
        height, width = picture.y.shape
        if left == 0:
            on, left = not on, int(rng.integers(15, 50))
            text = _text(height, int(rng.integers(3, 6)), rng) if on else None
        left -= 1
        if text is None:
            yield picture
            continue
        shown = text[:, :width]
        top, at = height - height // 10 - shown.shape[0], (width - shown.shape[1]) // 2
        y = picture.y.copy()
        _lay(y[top : top + shown.shape[0], at : at + shown.shape[1]], shown)
        yield picture._replace(y=y)


def _ticker(pictures: Iterable[Picture], rng: Rng) -> Iterator[Picture]:
    """A band with text that runs from right to left at an even pace."""
    text, speed = None, 0.0
    for t, picture in enumerate(pictures):
        height, width = picture.y.shape
        if text is None:
            text = _text(height, 60, rng)
            speed = width / rng.uniform(100, 250)
        top = height - text.shape[0] - height // 30
        # Even rows: the band's chroma lines up with its luma.
        top, bottom = top & ~1, (top + text.shape[0] + 1) & ~1
        planes = [plane.copy() for plane in picture]
        planes[0][top:bottom] = _BAND
        for plane in planes[1:]:
            plane[top // 2 : bottom // 2] = 128
        at = int(t * speed) % max(1, text.shape[1] - width)
        _lay(planes[0][top : top + text.shape[0]], text[:, at : at + width])
        yield Picture(*planes)


def _lay(place: npt.NDArray[np.uint8], coverage: npt.NDArray[np.float32]) -> None:
    """Writes white text over a view of the luma."""
    shown = coverage[:, : place.shape[1]]
    place = place[:, : shown.shape[1]]
    place[:] = (place + (_TEXT - place.astype(np.float32)) * shown + 0.5).astype(np.uint8)
