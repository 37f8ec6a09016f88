"""``python -m training sheets``: pictures and tables of what each distortion does at each level.

The page itself is written by hand; this command draws its pictures and fills its tables, between marks.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from training import distortion_levels as levels
from training.clips import Clip, read_planes
from training.distortion_levels import LEVELS, PARAMETERS, Ladder, Rng, Steps
from training.distortion_measures import MEASURES, Curve
from training.distortion_pictures import PANEL, Panel, Row, crop, grey, write_sheet, write_strip
from training.distortions import DISTORTIONS, distort, draw_codec, draw_gain_flicker
from training.errors import DataError, UsageError
from training.pictures import Picture

FPS = 25.0
SIZE = (640, 360)
#: The longest hold or gap, and the latest that it may begin.
SECONDS = 5.6
_SLICE = 72  # half of the pixels of each picture in a strip, a quarter where the slice is a column
_FACADE = (240, 60)
_BAD_ENOUGH = 0.4  # of a level's worst picture


class Case(NamedTuple):
    """One distortion, or one variant of it, as it is shown.

    Attributes:
        kind: A key of DISTORTIONS.
        seed: Of all its levels.
        variant: Its name in tables and files; empty where there is only one.
        parameters: What a level sets; default: all of the kind's.
        scene: Of the demo: file name of the clip up to its seed.
        corner: Left and top of the crops; the slice runs through their middle.
        moment: Number of the picture in the contact sheet; None: one that is bad at all levels, where there is one,
            else each level's worst.
        zoom: Screen pixels of each pixel in the contact sheet, across and down.
        halves: What stands next to the level's picture: nothing, the clean picture of the moment above it or left
            of it, or above it the picture shown before.
        upright: The strip's slice is a column, else a row.
        colour: The contact sheet is in colour.
        drawn: It has pictures, else a line in the table alone.
    """

    kind: str
    seed: int = 1
    variant: str = ""
    parameters: tuple[Ladder | Steps, ...] = ()
    scene: str = "city"
    corner: tuple[int, int] = (130, 56)
    moment: int | None = 70
    zoom: int = 2
    halves: Literal["", "above", "left", "jump"] = ""
    upright: bool = False
    colour: bool = False
    drawn: bool = True

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.kind}-{self.variant}" if self.variant else self.kind

    @property
    def shown(self) -> tuple[Ladder | Steps, ...]:
        """Parameters in its labels."""
        return self.parameters or PARAMETERS[self.kind]


def _seed(wanted: Callable[[Rng], bool]) -> int:
    """The first seed with which a distortion draws the wanted variant."""
    return next(seed for seed in itertools.count(1) if wanted(np.random.default_rng(seed)))


def _codec(name: str, parameter: Ladder, *, drawn: bool = False) -> Case:
    seed = _seed(lambda rng: draw_codec(rng) == name)
    return Case("compression", seed, name, (parameter,), drawn=drawn)


CASES = (
    _codec("cbr", levels.CBR_BITS, drawn=True),
    _codec("x264", levels.CRF),
    _codec("x265", levels.CRF),
    _codec("mpeg2", levels.QUANTISER),
    Case("aliasing"),
    Case("interlacing", moment=None, upright=True, corner=(300, 232)),
    Case("judder", moment=None, halves="above", corner=_FACADE),
    Case("flicker", _seed(draw_gain_flicker), "gain", (levels.GAIN_PERCENT,), "coast", (380, 30), None, halves="left"),
    Case("flicker", _seed(lambda rng: not draw_gain_flicker(rng)), "coding", (levels.FLICKER_CRF,), moment=None),
    Case("frame_drop", 7, moment=None, halves="jump", corner=_FACADE),
    Case("blur"),
    Case("noise"),
    Case("banding", scene="coast", corner=(380, 30)),
    Case("macroblocks", moment=None, zoom=1, colour=True),
    Case("freeze", moment=50, halves="above", corner=_FACADE),
    Case("black", moment=30),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--scenes",
        type=Path,
        required=True,
        metavar="DIR",
        help="clips of the demo's scenes: python -m monitor.demo.scene_clips --out DIR --seeds 1 "
        f"--size {SIZE[0]} {SIZE[1]} --seconds {SECONDS}",
    )
    parser.add_argument("--page", type=Path, required=True, metavar="FILE.md", help="page whose tables are filled")
    parser.add_argument("--images", type=Path, metavar="DIR", help="default: images/distortions next to the page")
    parser.add_argument("--kinds", nargs="+", choices=list(DISTORTIONS), default=list(DISTORTIONS))


def run(args: argparse.Namespace) -> int:
    """Draws the pictures and fills the page."""
    if not args.page.is_file():
        raise UsageError(f"{args.page} is missing")
    images = args.images or args.page.parent / "images" / "distortions"
    images.mkdir(parents=True, exist_ok=True)
    cases = [case for case in CASES if case.kind in args.kinds]
    clips = {scene: _read(args.scenes, scene) for scene in {case.scene for case in cases}}
    measured: dict[str, dict[str, list[float]]] = {}
    for case in track(cases, "drawing", console=Console(stderr=True)):
        measured.setdefault(case.kind, {})[case.variant] = show(case, clips[case.scene], images)
    page = args.page.read_text(encoding="utf-8")
    for kind, values in measured.items():
        page = fill(page, kind, table(kind, values))
    args.page.write_text(page, encoding="utf-8")
    print(f"{args.page}: {len(measured)} tables; {images}: {2 * sum(case.drawn for case in cases)} pictures")
    return 0


def _read(folder: Path, scene: str) -> list[Picture]:
    """All pictures of a scene's clip.

    Raises:
        DataError: There is none, or it is too short or of another size.
    """
    found = sorted(folder.glob(f"scene-{scene}*.mp4"))
    if not found:
        raise DataError(str(folder), [f"no clip of the scene {scene}"])
    clip = Clip(found[0], scene, scene, 0.0)
    pictures = [Picture(*(plane.copy() for plane in planes)) for planes in read_planes(clip)]
    if len(pictures) < round(FPS * SECONDS) or pictures[0].y.shape != SIZE[::-1]:
        raise DataError(found[0].name, [f"not {SECONDS} s of {SIZE[0]}x{SIZE[1]}"])
    return pictures[: round(FPS * SECONDS)]


def show(case: Case, clean: Sequence[Picture], images: Path) -> list[float]:
    """Draws one case where it is to be drawn; the measure at each level."""
    measure = MEASURES[case.kind]
    by_level: list[tuple[Sequence[Picture], Curve]] = [(clean, measure.curve(clean, clean))]
    for level in LEVELS:
        distorted = list(distort(iter(clean), case.kind, level, seed=case.seed, fps=FPS))
        by_level.append((distorted, measure.curve(clean, distorted)))
    values = [measure.of_clip(curve) for _, curve in by_level]
    if case.drawn:
        _draw_sheet(images / f"{case.name}-sheet.png", case, clean, by_level)
        _draw_strip(images / f"{case.name}-strip.png", case, by_level, values)
    return values[1:]


def _draw_sheet(
    path: Path, case: Case, clean: Sequence[Picture], by_level: Sequence[tuple[Sequence[Picture], Curve]]
) -> None:
    moments = _moments(case, clean, by_level[1:])
    panels = [
        Panel("clean", f"picture {moments[2]}", crop(clean[moments[2]], case.corner, case.zoom, colour=case.colour))
    ]
    for level, moment in zip(LEVELS, moments, strict=True):
        pixels = crop(by_level[level][0][moment], case.corner, case.zoom, colour=case.colour).copy()
        reference = crop(clean[moment], case.corner, case.zoom, colour=case.colour)
        if case.halves == "jump":
            reference = crop(by_level[level][0][moment - 1], case.corner, case.zoom, colour=case.colour)
        if case.halves in ("above", "jump"):
            half = len(pixels) // 2
            pixels[:half] = reference[:half]
        elif case.halves == "left":
            half = pixels.shape[1] // 2
            pixels[:, :half] = reference[:, :half]
        note = "; ".join(f"{parameter.name}: {parameter.shown(level)}" for parameter in case.shown)
        panels.append(Panel(f"level {level}", note, pixels))
    explained = {
        "": f"native pixels, each drawn {case.zoom} x {case.zoom}",
        "above": "upper half: what is due at this moment; lower half: what is shown",
        "jump": "upper half: the last picture before a jump; lower half: the next that is shown",
        "left": "left half: clean; right half: what is shown at the same moment",
    }[case.halves]
    write_sheet(path, panels, f"{case.name.replace('_', ' ').replace('-', ', ')}; {explained}")


def _moments(case: Case, clean: Sequence[Picture], by_level: Sequence[tuple[Sequence[Picture], Curve]]) -> list[int]:
    """For each level the picture to show: the same for all where every level is bad at once."""
    if case.moment is not None:
        return [case.moment] * len(by_level)
    badness = np.stack([_badness(case, clean, *shown) for shown in by_level])
    in_common = (badness / np.maximum(badness.max(axis=1, keepdims=True), 1e-9)).min(axis=0)
    if in_common.max() > _BAD_ENOUGH:
        return [int(in_common.argmax())] * len(by_level)
    return [int(row.argmax()) for row in badness]


def _badness(case: Case, clean: Sequence[Picture], distorted: Sequence[Picture], curve: Curve) -> Curve:
    """How much each picture shows: by the measure; within the crop where it may well lie beside it."""
    if case.halves != "above" and case.kind != "macroblocks":
        return np.abs(curve)
    left, top = case.corner
    area = (slice(top, top + PANEL[1] // case.zoom), slice(left, left + PANEL[0] // case.zoom))
    return np.array(
        [float(np.abs(d.y[area].astype(int) - c.y[area]).mean()) for c, d in zip(clean, distorted, strict=True)]
    )


def _draw_strip(
    path: Path, case: Case, by_level: Sequence[tuple[Sequence[Picture], Curve]], values: Sequence[float]
) -> None:
    left, top = case.corner
    column, line = left + PANEL[0] // 2 // case.zoom, top + PANEL[1] // 2 // case.zoom
    rows = []
    for level, (pictures, curve) in enumerate(by_level):
        if case.upright:
            lines = [p.y[line - _SLICE // 4 : line + _SLICE // 4, column] for p in pictures]
        else:
            lines = [p.y[line, column - _SLICE : column + _SLICE] for p in pictures]
        title = f"level {level}" if level else "clean"
        rows.append(Row(title, f"{values[level]:.3g}", grey(np.stack(lines, axis=1)), curve))
    which = f"column {column}" if case.upright else f"row {line}"
    write_strip(path, rows, FPS, MEASURES[case.kind].of_picture, f"{which} of each picture, side by side")


# --- tables of the page ----------------------------------------------------------------------------------------


def parameter_rows(kind: str) -> list[str]:
    """Rows of a kind's table that the code alone decides."""
    return [_row(p.name, [p.shown(level) for level in LEVELS]) for p in PARAMETERS[kind]]


def table(kind: str, measured: dict[str, list[float]]) -> str:
    """A kind's table: its parameters, and its measure by variant, at each level."""
    head = [_row("", [f"level {level}" for level in LEVELS]), _row("---", ["---:"] * len(LEVELS))]
    name = MEASURES[kind].name
    found = [
        _row(f"**measured:** {name}{f' ({variant})' if variant else ''}", [f"{value:.3g}" for value in values])
        for variant, values in measured.items()
    ]
    return "\n".join([*head, *parameter_rows(kind), *found])


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def fill(page: str, kind: str, text: str) -> str:
    """The page with a kind's table replaced.

    Raises:
        DataError: The page has no marks for it, or several.
    """
    pattern = re.compile(rf"(<!-- table: {kind} -->\n).*?(<!-- end -->)", re.DOTALL)
    filled, count = pattern.subn(lambda match: f"{match[1]}{text}\n{match[2]}", page)
    if count != 1:
        raise DataError("page", [f"{count} places for the table of {kind}"])
    return filled
