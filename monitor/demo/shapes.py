"""Anti-aliased drawing of small things: a super-sampled canvas and the sprites that it makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monitor.demo.textures import Field, shrink, yuv
from monitor.types import U8

Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]]
Bool = npt.NDArray[np.bool_]

_SUPER = 4  # samples per pixel and direction

#: 5x7 letters, a row per byte, lowest bit rightmost.
_LETTERS = {
    "A": "0E11111F111111", "B": "1E11111E11111E", "C": "0E11101010110E", "D": "1E11111111111E",
    "E": "1F10101E10101F", "F": "1F10101E101010", "G": "0E11101711110E", "H": "1111111F111111",
    "I": "0E04040404040E", "K": "11121418141211", "L": "1010101010101F", "M": "111B1515111111",
    "N": "11191915131311", "O": "0E11111111110E", "P": "1E11111E101010", "R": "1E11111E141211",
    "S": "0F10100E01011E", "T": "1F040404040404", "U": "1111111111110E", "V": "11111111110A04",
    "W": "1111111515150A", "X": "11110A040A1111", "Y": "11110A04040404", "Z": "1F01020408101F",
    "0": "0E11131519110E", "1": "040C040404040E", "2": "0E11010204081F", "3": "1F02040201110E",
    "4": "02060A121F0202", "5": "1F101E0101110E", "6": "0608101E11110E", "7": "1F010204080808",
    "8": "0E11110E11110E", "9": "0E11110F01020C", "&": "08141408151209", " ": "00000000000000",
}  # fmt: skip


class Canvas:
    """A transparent drawing surface in pixels, y downwards.

    Args:
        width: Pixels.
        height: Pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._rgb = np.zeros((3, height * _SUPER, width * _SUPER), np.float32)
        self._alpha = np.zeros((height * _SUPER, width * _SUPER), np.float32)

    def _window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice, Field, Field]:
        """The samples within a box, as slices and as coordinates: columns (1, w) and rows (h, 1)."""
        x0, y0 = max(0, int(left * _SUPER) - 1), max(0, int(top * _SUPER) - 1)
        x1 = max(x0, min(self.width * _SUPER, int(right * _SUPER) + 2))
        y1 = max(y0, min(self.height * _SUPER, int(bottom * _SUPER) + 2))
        columns = (np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5) / _SUPER
        rows = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5) / _SUPER
        return slice(y0, y1), slice(x0, x1), columns, rows

    def _fill(self, ys: slice, xs: slice, inside: Bool, colour: Colour | Field, opacity: float = 1.0) -> None:
        for channel in range(3):
            plane = self._rgb[channel, ys, xs]
            value = np.broadcast_to(np.asarray(colour[channel], np.float32), plane.shape)[inside]
            kept = plane[inside]
            # Over an empty canvas the colour itself, over paint a mixture.
            covered = self._alpha[ys, xs][inside]
            plane[inside] = np.where(covered > 0, kept + (value - kept) * opacity, value)
        window = self._alpha[ys, xs]
        window[inside] += (1.0 - window[inside]) * opacity

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour, opacity: float = 1.0) -> None:
        """Axis-parallel box."""
        x0, x1 = (min(max(round(v * _SUPER), 0), self.width * _SUPER) for v in (x, x + w))
        y0, y1 = (min(max(round(v * _SUPER), 0), self.height * _SUPER) for v in (y, y + h))
        ys, xs = slice(y0, y1), slice(x0, x1)
        if opacity < 1.0 and self._alpha[ys, xs].all():
            for channel in range(3):
                plane = self._rgb[channel, ys, xs]
                plane += (np.float32(colour[channel]) - plane) * np.float32(opacity)
        elif opacity >= 1.0:
            for channel in range(3):
                self._rgb[channel, ys, xs] = colour[channel]
            self._alpha[ys, xs] = 1.0
        else:
            self._fill(ys, xs, np.ones((y1 - y0, x1 - x0), bool), colour, opacity)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, opacity: float = 1.0) -> None:
        """Ellipse around (x, y)."""
        ys, xs, columns, rows = self._window(x - rx, y - ry, x + rx, y + ry)
        self._fill(ys, xs, ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 <= 1.0, colour, opacity)

    def polygon(self, points: Points, colour: Colour, opacity: float = 1.0) -> None:
        """Filled polygon, even-odd."""
        px, py = [p[0] for p in points], [p[1] for p in points]
        ys, xs, columns, rows = self._window(min(px), min(py), max(px), max(py))
        inside = np.zeros((rows.shape[0], columns.shape[1]), bool)
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            if ay == by:
                continue
            crossing = ax + (rows - ay) * ((bx - ax) / (by - ay))
            inside ^= ((rows >= min(ay, by)) & (rows < max(ay, by))) & (columns < crossing)
        self._fill(ys, xs, inside, colour, opacity)

    def line(self, points: Points, width: float | Sequence[float], colour: Colour, opacity: float = 1.0) -> None:
        """Polyline with round ends; ``width`` is one number or one for each point."""
        widths = [width] * len(points) if isinstance(width, float | int) else list(width)
        for number in range(len(points) - 1):
            (ax, ay), (bx, by) = points[number], points[number + 1]
            ra, rb = widths[number] / 2, widths[number + 1] / 2
            reach = max(ra, rb)
            box = (min(ax, bx) - reach, min(ay, by) - reach, max(ax, bx) + reach, max(ay, by) + reach)
            ys, xs, columns, rows = self._window(*box)
            length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-6)
            along = np.clip(((columns - ax) * (bx - ax) + (rows - ay) * (by - ay)) / length, 0.0, 1.0)
            gap = (columns - ax - along * (bx - ax)) ** 2 + (rows - ay - along * (by - ay)) ** 2
            self._fill(ys, xs, gap <= (ra + along * (rb - ra)) ** 2, colour, opacity)

    def text(self, words: str, x: float, y: float, height: float, colour: Colour) -> None:
        """One line of capitals and digits, top left at (x, y); a letter is ``height`` x 5/7 of it."""
        dot = height / 7
        for number, letter in enumerate(words):
            rows = bytes.fromhex(_LETTERS[letter])
            for row, bits in enumerate(rows):
                for column in range(5):
                    if bits >> (4 - column) & 1:
                        left = x + (number * 6 + column) * dot
                        self.rectangle(left, y + row * dot, dot * 1.02, dot * 1.02, colour)

    def texture(self, gain: Field) -> None:
        """Multiply the paint by a (height, width) field, repeated where it is too small."""
        size = self._alpha.shape
        fine = np.repeat(np.repeat(gain, _SUPER, 0), _SUPER, 1)
        reps = (-(-size[0] // fine.shape[0]), -(-size[1] // fine.shape[1]))
        self._rgb *= np.tile(fine, reps)[: size[0], : size[1]]

    def layers(self) -> tuple[Field, Field]:
        """Anti-aliased colour (3, height, width), not premultiplied, and opacity (height, width)."""
        alpha = shrink(self._alpha, _SUPER)
        rgb = np.stack([shrink(channel * self._alpha, _SUPER) for channel in self._rgb])
        return rgb / np.maximum(alpha, 1e-4), alpha

    def sprite(self) -> Sprite:
        """What has been drawn, ready to be put into pictures."""
        return Sprite(*self.layers())


class Sprite:
    """A small picture with opacity that can stand at any fraction of a pixel.

    Args:
        rgb: (3, H, W) gamma RGB.
        alpha: (H, W) opacity.
    """

    def __init__(self, rgb: Field, alpha: Field) -> None:
        height, width = alpha.shape
        room = ((2, 2 + height % 2), (2, 2 + width % 2))
        alpha = np.pad(alpha, room)
        planes = [np.pad(plane, room) * alpha for plane in yuv(rgb)]
        self._luma = (planes[0], alpha)
        small = shrink(alpha, 2)
        self._chroma = [(shrink(plane, 2), small) for plane in planes[1:]]
        self.height, self.width = height, width

    def put(self, planes: tuple[U8, U8, U8], x: float, y: float, opacity: float = 1.0) -> None:
        """Blend into Y, U and V planes with the top left corner at (x, y) luma pixels; cut at the edges."""
        _blend(planes[0], *self._luma, x - 2.0, y - 2.0, opacity)
        for plane, (colour, alpha) in zip(planes[1:], self._chroma, strict=True):
            _blend(plane, colour, alpha, x / 2 - 1.0, y / 2 - 1.0, opacity)

    def mirrored(self) -> Sprite:
        """The sprite seen from the other side."""
        other = Sprite.__new__(Sprite)
        other._luma = (self._luma[0][:, ::-1], self._luma[1][:, ::-1])
        other._chroma = [(colour[:, ::-1], alpha[:, ::-1]) for colour, alpha in self._chroma]
        other.height, other.width = self.height, self.width
        return other


def _shifted(field: Field, right: float, down: float) -> Field:
    """Linear interpolation by a fraction of a pixel; the padded border takes what moves out."""
    if right:
        field = field * np.float32(1.0 - right) + np.roll(field, 1, 1) * np.float32(right)
    if down:
        field = field * np.float32(1.0 - down) + np.roll(field, 1, 0) * np.float32(down)
    return field


def _blend(plane: U8, colour: Field, alpha: Field, x: float, y: float, opacity: float) -> None:
    left, top = int(np.floor(x)), int(np.floor(y))
    height, width = alpha.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, plane.shape[1]), min(top + height, plane.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    cut = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    moved = _shifted(colour, x - left, y - top)[cut]
    cover = _shifted(alpha, x - left, y - top)[cut]
    below = plane[y0:y1, x0:x1]
    plane[y0:y1, x0:x1] = (below * (1.0 - opacity * cover) + opacity * moved + 0.5).astype(np.uint8)
