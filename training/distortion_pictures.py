"""Drawings of what a distortion does: a contact sheet of one moment, and a strip over time with a curve."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from training.pictures import Picture, to_frame

U8 = npt.NDArray[np.uint8]
Curve = npt.NDArray[np.float64]

#: Screen pixels of a panel, across and down.
PANEL = (320, 224)
_COLUMNS = 3
_LABEL, _GAP = 42, 8
_INK, _QUIET, _PAPER, _LINE = "#1a1a1a", "#5c5c5c", "#ffffff", "#c0392b"
_DPI = 100


class Panel(NamedTuple):
    """One crop of a contact sheet.

    Attributes:
        title: First line over it.
        note: Second line, smaller.
        pixels: (rows, columns, 3) uint8 of native pixels.
    """

    title: str
    note: str
    pixels: U8


class Row(NamedTuple):
    """One row of a strip.

    Attributes:
        title: Left of it.
        note: Under the title.
        pixels: (height, pictures) uint8, grey: one line of pixels of each picture, side by side.
        curve: (pictures,) the measure.
    """

    title: str
    note: str
    pixels: U8
    curve: Curve


def crop(picture: Picture, corner: tuple[int, int], zoom: int, *, colour: bool) -> U8:
    """A panel's worth of a picture.

    Args:
        picture: Where from; BT.709, limited range.
        corner: Left and top.
        zoom: Screen pixels that each will have, across and down.
        colour: RGB; else luma alone.

    Returns:
        (rows, columns, 3) uint8.
    """
    (left, top), (width, height) = corner, (PANEL[0] // zoom, PANEL[1] // zoom)
    if colour:
        frame = to_frame(picture).reformat(format="rgb24", src_colorspace="ITU709")
        rgb = frame.to_ndarray().astype(np.uint8, copy=False)
        return rgb[top : top + height, left : left + width]
    return np.repeat(grey(picture.y[top : top + height, left : left + width])[..., None], 3, axis=2)


def grey(luma: U8) -> U8:
    """Limited-range luma as screens show it."""
    shown: U8 = np.clip((luma.astype(np.float32) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
    return shown


def write_sheet(path: Path, panels: Sequence[Panel], caption: str) -> None:
    """Panels in rows of three, whole multiples of native pixels, under a caption."""
    width, height = PANEL
    rows = -(-len(panels) // _COLUMNS)
    size = (_GAP + _COLUMNS * (width + _GAP), 34 + rows * (height + _LABEL + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(17), ImageFont.load_default(14)
    draw.text((_GAP, 7), caption, _QUIET, small)
    for number, panel in enumerate(panels):
        left = _GAP + number % _COLUMNS * (width + _GAP)
        top = 34 + number // _COLUMNS * (height + _LABEL + _GAP)
        draw.text((left, top), panel.title, _INK, large)
        draw.text((left, top + 20), panel.note, _QUIET, small)
        image = Image.fromarray(panel.pixels).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(image, (left, top + _LABEL))
    _save(sheet, path)


def write_strip(path: Path, rows: Sequence[Row], fps: float, measure: str, caption: str) -> None:
    """A row a level: a line of pixels over time, and the measure over the same time."""
    seconds = rows[0].pixels.shape[1] / fps
    figure = Figure(figsize=(9.9, 0.35 + 0.98 * len(rows) + 0.35), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, sharex=True, width_ratios=(1.25, 1), squeeze=False)
    figure.subplots_adjust(left=0.115, right=0.988, top=0.945, bottom=0.072, wspace=0.09, hspace=0.16)
    low = min(0.0, *(float(row.curve.min()) for row in rows))
    high = max(float(row.curve.max()) for row in rows)
    margin = 0.06 * max(high - low, 1e-6)
    for (slice_axes, curve_axes), row in zip(axes, rows, strict=True):
        extent = (0, seconds, row.pixels.shape[0], 0)
        slice_axes.imshow(
            row.pixels, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest", extent=extent
        )
        slice_axes.set_yticks([])
        slice_axes.set_ylabel(
            f"{row.title}\n{row.note}", rotation=0, ha="right", va="center", fontsize=8.5, labelpad=4, color=_INK
        )
        times = np.arange(len(row.curve) + 1) / fps
        curve_axes.stairs(row.curve, times, color=_LINE, linewidth=1.1, baseline=None)
        curve_axes.axhline(0, color="#bbbbbb", linewidth=0.6)
        curve_axes.set_ylim(low - margin, high + margin)
        curve_axes.tick_params(labelsize=7.5)
        curve_axes.set_axisbelow(True)
        curve_axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        slice_axes.tick_params(labelsize=7.5)
        slice_axes.set_xlim(0, seconds)
    for bottom in axes[-1]:
        bottom.set_xlabel("seconds", fontsize=8, labelpad=1)
    axes[0, 0].set_title(caption, fontsize=9, color=_QUIET, pad=5)
    axes[0, 1].set_title(measure, fontsize=9, color=_LINE, pad=5)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=_PAPER)
    _save(Image.open(buffer).convert("RGB"), path)


def _save(image: Image.Image, path: Path) -> None:
    """As small as it goes without a visible loss: grey where it is grey, else 256 colours."""
    pixels = np.asarray(image)
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all():
        image = image.convert("L")
    else:
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
