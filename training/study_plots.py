"""Pictures of a study's tables. Nothing here touches matplotlib's global state: no pyplot, no rcParams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.study_results import F64

#: Okabe and Ito's colours, told apart with any colour vision; shapes tell the same in grey.
INK, GREY, RULE = "#222222", "#6b6b6b", "#dddddd"
MEASURED, PUBLISHED = "#0072B2", "#D55E00"
STYLES = {"imagenet": ("#009E73", "s"), "trained": (MEASURED, "o"), "random": ("#CC79A7", "^")}
_TEXT = 9.0
_DPI = 150


@dataclass(frozen=True, slots=True)
class Points:
    """One figure of every line of a table.

    Attributes:
        measured: (n,) means; nan where not run.
        measured_sd: (n,) standard deviations; nan where there is none.
        published: (n,) means; nan where not given.
        published_sd: (n,) standard deviations; nan where there is none.
    """

    measured: F64
    measured_sd: F64
    published: F64
    published_sd: F64


@dataclass(frozen=True, slots=True)
class Bar:
    """A difference and its interval.

    Attributes:
        kind: Kind of trunk.
        mean: Measured difference; nan where not run.
        low: Lower end; nan where there is none.
        high: Upper end.
    """

    kind: str
    mean: float
    low: float
    high: float


def plot_table(
    path: Path,
    title: str,
    labels: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[str, Points]]]],
    *,
    connect: bool = False,
) -> None:
    """Measured beside published figures.

    Args:
        path: PNG to write.
        title: Heading.
        labels: Names of the n lines.
        rows: A row of panels for every kind of trunk: its heading, and heading and points of every panel. All
            rows have the same panels, and panels below one another share their scale.
        connect: Join the points: the lines are steps of one quantity.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(1.2 + 3.7 * columns, 1.0 + 2.9 * len(rows)), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=_TEXT + 3, color=INK)
    grid = figure.subplots(len(rows), columns, squeeze=False, sharey="col")
    for axes_row, (kind, panels) in zip(grid, rows, strict=True):
        for axes, (heading, points) in zip(axes_row, panels, strict=True):
            _draw_points(axes, points, connect)
            axes.set_title(heading, fontsize=_TEXT + 1, color=INK)
            axes.set_xticks(range(len(labels)), labels, fontsize=_TEXT)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        axes_row[0].set_ylabel(kind, fontsize=_TEXT, color=INK)
    for column in range(columns):
        _set_range(grid[0, column], [panels[column][1] for _, panels in rows])
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=_TEXT, frameon=False)
    _save(figure, path)


def _draw_points(axes: Axes, points: Points, connect: bool) -> None:
    _plain(axes, "y")
    at = np.arange(points.measured.size)
    series = (
        ("measured: mean and SD over runs", MEASURED, "o", MEASURED, points.measured, points.measured_sd, at - 0.2),
        ("published", PUBLISHED, "D", "white", points.published, points.published_sd, at + 0.2),
    )
    for name, colour, marker, fill, means, sds, x in series:
        # An error of nan would be drawn as nothing but is warned of.
        axes.errorbar(
            x,
            means,
            yerr=np.nan_to_num(sds),
            fmt=marker,
            color=colour,
            markerfacecolor=fill,
            markersize=6,
            capsize=3,
            elinewidth=1.3,
            linestyle=":" if connect else "none",
            linewidth=1,
            label=name,
        )
        for place, mean, sd in zip(x, means, np.nan_to_num(sds), strict=True):
            if math.isfinite(mean):
                _note(axes, f"{mean:.3f}".replace("0.", ".", 1), (place, mean + sd), colour)
            elif name.startswith("measured"):
                axes.annotate(
                    "not run",
                    (place, 0.02),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    ha="center",
                    va="bottom",
                    fontsize=_TEXT - 1,
                    color=GREY,
                )


def _note(axes: Axes, text: str, xy: tuple[float, float], colour: str) -> None:
    note = axes.annotate(
        text,
        xy,
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=_TEXT - 1,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3},
    )
    note.set_in_layout(False)  # it lies inside; measuring every one is what layout costs


def _set_range(axes: Axes, all_points: Sequence[Points]) -> None:
    """Room for every error bar and the value above it."""
    ends = []
    for points in all_points:
        for means, sds in ((points.measured, points.measured_sd), (points.published, points.published_sd)):
            ends += [means - np.nan_to_num(sds), means + np.nan_to_num(sds)]
    held = np.concatenate(ends)
    held = held[np.isfinite(held)]
    if held.size:
        low, high = float(held.min()), float(held.max())
        span = max(high - low, 0.05)
        axes.set_ylim(low - 0.12 * span, high + 0.2 * span)


def plot_claims(path: Path, title: str, claims: Sequence[tuple[str, float, Sequence[Bar]]]) -> None:
    """Differences with their intervals, and zero.

    Args:
        path: PNG to write.
        title: Heading.
        claims: Name, published difference (nan where not given) and measured differences of every claim, with
            the same kinds of trunk in the same order.
    """
    kinds = [bar.kind for bar in claims[0][2]]
    step = 0.7 / (len(kinds) + 1)
    height = 1.6 + len(claims) * (0.3 + 0.2 * len(kinds))
    figure = Figure(figsize=(9.5, height), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=_TEXT + 3, color=INK)
    axes = figure.subplots()
    _plain(axes, "x")
    axes.axvline(0, color=INK, linewidth=1)
    base = np.arange(len(claims), dtype=np.float64)
    axes.plot(
        [published for _, published, _ in claims],
        base - step * len(kinds) / 2,
        "D",
        color=PUBLISHED,
        markerfacecolor="white",
        markersize=6,
        label="published",
    )
    for number, kind in enumerate(kinds):
        bars = [measured[number] for _, _, measured in claims]
        colour, marker = STYLES[kind]
        means = np.array([bar.mean for bar in bars])
        ends = np.array([[bar.mean - bar.low for bar in bars], [bar.high - bar.mean for bar in bars]])
        y = base + step * (number + 1 - len(kinds) / 2)
        axes.errorbar(
            means,
            y,
            xerr=np.maximum(np.nan_to_num(ends), 0),
            fmt=marker,
            color=colour,
            markersize=5.5,
            capsize=3,
            elinewidth=1.3,
            label=f"measured, {kind} trunk: mean and 95 % interval",
        )
        for place, bar in zip(y, bars, strict=True):
            text = "not run" if math.isnan(bar.mean) else f"{bar.mean:+.3f}"
            axes.annotate(
                text,
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=_TEXT - 1,
                color=GREY if math.isnan(bar.mean) else colour,
                annotation_clip=False,
            )
    for edge in base[1:] - 0.5:
        axes.axhline(edge, color=RULE, linewidth=0.7)
    axes.set_yticks(base, [name for name, _, _ in claims], fontsize=_TEXT)
    axes.set_ylim(len(claims) - 0.5, -0.5)
    axes.set_xlabel("difference of SROCC", fontsize=_TEXT)
    figure.legend(loc="outside lower center", ncols=2, fontsize=_TEXT, frameon=False)
    _save(figure, path)


def plot_map(
    path: Path, title: str, rows: Sequence[str], columns: Sequence[str], panels: Sequence[tuple[str, F64]]
) -> None:
    """Tables of numbers, shaded by value.

    Args:
        path: PNG to write.
        title: Heading.
        rows: Names of the rows.
        columns: Names of the columns.
        panels: Heading and values (rows, columns) of every table; nan where there is no number.
    """
    figure = Figure(
        figsize=(1.8 + 1.05 * len(columns), 1.2 + len(panels) * (0.8 + 0.42 * len(rows))),
        dpi=_DPI,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=_TEXT + 3, color=INK)
    finite = np.concatenate([values[np.isfinite(values)] for _, values in panels])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    middle = (low + high) / 2
    for axes, (heading, values) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        axes.imshow(values, cmap="cividis", vmin=low, vmax=max(high, low + 1e-6), aspect="auto")
        axes.set_title(heading, fontsize=_TEXT + 1, color=INK)
        axes.set_xticks(range(len(columns)), columns, fontsize=_TEXT)
        axes.set_yticks(range(len(rows)), rows, fontsize=_TEXT)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for (row, column), value in np.ndenumerate(values):
            known = math.isfinite(value)
            colour = (INK if value > middle else "white") if known else GREY
            text = f"{value:.2f}" if known else "-"
            axes.text(column, row, text, ha="center", va="center", fontsize=_TEXT, color=colour)
    _save(figure, path)


def _plain(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.grid(axis=grid, color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=_TEXT, length=0, colors=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, facecolor="white")
