"""Self-made training material: impaired clips for the head; `training.trunk_pictures` makes the trunk's.

Both hold only what the monitor itself would keep of a picture (fragments, side channel), cut by the monitor's own
code, next to the facts of the impairment. Labels are made from those facts in ``training.labels``; they are our
pseudo-labels, never opinions of people.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.preprocess import InputMode, InputSpec, PictureCutter
from monitor.core.side_channel import SideChannel
from monitor.core.strips import measure_strips
from monitor.types import CAUSES
from training.benign import COMPARABLE, LOOKS, VARIANTS, Tick, benign_clip, with_look
from training.distortions import distort, mild_encode
from training.filter_distortions import distort_by_filters
from training.pictures import Picture, to_frame
from training.sources import Content, clean_clip, fits
from training.ssim import fragment_ssim_db
from training.xpsnr import CAP_DB, XpsnrMeter, clip_db

U8 = npt.NDArray[np.uint8]
Rng = np.random.Generator

SAMPLE_FPS = 25.0
#: Rates to which a monitor without enough power falls back, in this order.
LADDER_FPS = (20.0, 12.5, 5.0)
CLIP_LENGTH = 100  # samples, 4 s
#: Extra clean pictures behind a clip, so that jumps and woven fields have something to reach for.
_SPARE = 64
SIZES = ((640, 360), (960, 540), (1280, 720), (1920, 1080))
#: Heights that material can be asked for alone, each 16:9. 2160 rows are not drawn by themselves: a group of them takes
#: two gigabytes and minutes.
HEIGHTS = (*(height for _, height in SIZES), 2160)
_SIZE_SHARES = (0.5, 0.3, 0.15, 0.05)
TRUNK_CLASSES = ("none", "compression", "aliasing", "interlacing", "blur", "noise")
DISTORTED = CAUSES[1:]
#: Impairments that are no cause, so that nothing is trained on them: what a model makes of the unknown.
UNSEEN = ("banding", "macroblocks")
#: A kind of group, not a cause: one impairment at levels 3 to 5 over a lesser one at a fixed low level.
MIXED = "mixed"
#: A control, not a benign variant: the pictures of a clip in no order.
SHUFFLED = "shuffled"
SPEC = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32, colour="yuv")

#: What cannot be seen where nothing moves, and the motion (mean |dY|, grey levels) below which it is not made:
#: measured, woven fields of a talking head at 0.2 leave SSIM and every comb figure where they were, at 1.3 not.
_NEEDS_MOTION = ("interlacing", "judder", "frame_drop")
_LEAST_MOTION = 0.8
#: What a full-reference value of whole pictures grades.
_GRADED = ("compression", "aliasing", "blur", "noise", *UNSEEN)
#: Contents that are tried before a group is given up.
_TRIES = 12
#: Where in a chain from camera to viewer each impairment arises; mixtures apply them in this order.
_CHAIN = (
    "noise",
    "blur",
    "aliasing",
    "interlacing",
    "judder",
    "frame_drop",
    "flicker",
    "banding",
    "compression",
    "macroblocks",
)


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was done to one clip."""

    content: str
    stem: str
    kind: str  # one of CAUSES or UNSEEN
    level: int  # 0 is clean
    variant: str  # benign variant of a clean clip, else ""
    width: int
    height: int
    motion: float  # mean |dY| of the clean clip on the small luma, grey levels
    ssim_db: float  # mean over pictures, against the clean clip, on the fragments
    xpsnr_db: float | None = None  # of the clip, luma, against the clean clip; None where it was not taken
    second: str = ""  # a lesser impairment below the one that `kind` names, "" without
    second_level: int = 0
    look: str = ""  # one of LOOKS that the content was given before any damage


def make_group(
    content: Content,
    others: list[Content],
    kind: str,
    out: Path,
    seed: int,
    *,
    redraw: bool = False,
    look: str = "",
    by_filters: bool = False,
    height: int | None = None,
) -> str:
    """One content clean, as one benign variant, and under one impairment at all five levels; written to one file.

    The contribution encode that most clips get is drawn for each by itself, as feeds differ in that, too.

    With a look, the clean clip and all that is made of it have it, and the benign variant is the content without it.

    Where ``content`` is too still for the impairment to be seen, another one of ``others`` takes its place.

    Args:
        content: Preferred content.
        others: All contents of the same side of the split.
        kind: A cause, one of UNSEEN, or MIXED.
        out: Folder.
        seed: Draws everything.
        redraw: Draw the impairment anew for each level, its codec, phases and kind of fault: as different feeds that
            are bad in the same way differ, not as one that gets worse.
        look: One of LOOKS, or "".
        by_filters: Impair by ``training.filter_distortions``, a code of its own; its kinds and MIXED.
        height: One of HEIGHTS, which all ``others`` are large enough for; None draws one.

    Returns:
        The file's name. An existing file is kept, so an interrupted run goes on.

    Raises:
        ValueError: No content moves enough.
    """
    ways = (
        "-redrawn" if redraw else "",
        "-filters" if by_filters else "",
        look and f"-{look}",
        height_tag(height),
    )
    target = out / f"{kind}{''.join(ways)}.{seed}.npz"
    if target.exists():
        return target.name
    rng = np.random.default_rng(seed)
    (worst, second, second_level), steps = _plan(kind, rng)
    content, size, clean = _shot(content, others, worst, rng, height)
    natural = clean
    if look:
        clean = list(with_look(look, clean, rng))
    reference = [_fragments_y(p) for p in clean[:CLIP_LENGTH]]
    motion = _motion(clean)
    variant = str(rng.choice(VARIANTS[1:]))
    stacks: dict[str, list[npt.NDArray[np.generic]]] = {}
    facts = []

    def keep(pictures: Iterable[Picture], ticks: list[Tick], level: int, benign: str) -> None:
        meter = XpsnrMeter(SAMPLE_FPS) if level and kind in _GRADED else None
        pictures = islice(pictures, CLIP_LENGTH)
        cut = _cut_clip(_metered(pictures, clean, meter) if meter else pictures, ticks)
        xpsnr = clip_db(meter.values().y, CAP_DB) if meter else None
        compare = level > 0 or benign == look or (benign in COMPARABLE and not look)
        shown = zip(reference[::5], cut["y"][::5], strict=True)
        ssim = [fragment_ssim_db(r, d) for r, d in shown] if compare else [24.0]  # type: ignore[arg-type]
        named = worst if level else "clean"
        beside = (second, second_level) if level else ("", 0)
        facts.append(
            ClipFacts(
                content.name,
                content.stem,
                named,
                level,
                benign,
                *size,
                motion,
                float(np.mean(ssim)),
                xpsnr,
                *beside,
                look,
            )
        )
        for name, value in cut.items():
            stacks.setdefault(name, []).append(value)

    benign_clips = ((look, clean), ("plain", natural)) if look else (("plain", clean), (variant, clean))
    for benign, shown in benign_clips:
        # A clip that has its look is plain of its kind.
        made = "plain" if benign == look else benign
        pictures, ticks = benign_clip(made, content, others, shown, CLIP_LENGTH, rng)
        keep(mild_encode(pictures, rng, SAMPLE_FPS), ticks, 0, benign)
    # One impairment that gets worse: its codec, phases and kind of fault are drawn once, only its strength changes.
    # Drawn anew for each level, a coarser MPEG-2 would be ranked below a finer x264, which says nothing of either.
    drawn = None if redraw else int(rng.integers(1 << 32))
    impair = distort_by_filters if by_filters else distort
    for level in steps:
        chain = sorted(
            [(worst, level), *([(second, second_level)] if second else [])], key=lambda s: _CHAIN.index(s[0])
        )
        pictures = iter(clean)
        for position, (step_kind, step_level) in enumerate(chain):
            own = rng if drawn is None else np.random.default_rng([drawn, position])
            pictures = impair(pictures, step_kind, step_level, seed=own, fps=SAMPLE_FPS)
        if chain[-1][0] != "compression" or rng.random() < 0.5:
            pictures = mild_encode(pictures, rng, SAMPLE_FPS)
        keep(pictures, [Tick()] * CLIP_LENGTH, level, "")
    write_group(target, {name: np.stack(values) for name, values in stacks.items()}, [asdict(f) for f in facts])
    return target.name


def make_controls(content: Content, others: list[Content], out: Path, seed: int, height: int | None = None) -> str:
    """One content clean, as every benign variant, and with its pictures in no order; written to one file.

    None of them is impaired but the last, which is level 0 too and is told by its variant: it must fall.

    Returns:
        The file's name. An existing file is kept.
    """
    target = out / f"controls{height_tag(height)}.{seed}.npz"
    if target.exists():
        return target.name
    rng = np.random.default_rng(seed)
    content, size, clean = _shot(content, others, "judder", rng, height)
    motion = _motion(clean)
    stacks: dict[str, list[npt.NDArray[np.generic]]] = {}
    facts = []
    for variant in (*VARIANTS, *LOOKS, SHUFFLED):
        if variant == SHUFFLED:
            pictures: Iterable[Picture] = [clean[i] for i in rng.permutation(CLIP_LENGTH)]
            ticks = [Tick()] * CLIP_LENGTH
        else:
            pictures, ticks = benign_clip(variant, content, others, clean, CLIP_LENGTH, rng)
        for name, value in _cut_clip(mild_encode(pictures, rng, SAMPLE_FPS), ticks).items():
            stacks.setdefault(name, []).append(value)
        facts.append(ClipFacts(content.name, content.stem, "clean", 0, variant, *size, motion, 24.0))
    write_group(target, {name: np.stack(values) for name, values in stacks.items()}, [asdict(f) for f in facts])
    return target.name


def _plan(kind: str, rng: Rng) -> tuple[tuple[str, str, int], tuple[int, ...]]:
    """Worst impairment, lesser one and its level; and the levels of the worst."""
    if kind != MIXED:
        return (kind, "", 0), (1, 2, 3, 4, 5)
    known = [kind for kind in _CHAIN if kind in DISTORTED]
    worst, second = (str(k) for k in rng.choice(known, size=2, replace=False))
    return (worst, second, int(rng.integers(1, 3))), (3, 4, 5)


def _shot(
    content: Content, others: list[Content], kind: str, rng: Rng, height: int | None = None
) -> tuple[Content, tuple[int, int], list[Picture]]:
    """A content, a size and a clean clip in which the impairment can be seen."""
    for _ in range(_TRIES):
        size = draw_size(content, rng, height)
        clean = list(clean_clip(content, others, CLIP_LENGTH + _SPARE, size, rng))
        if kind not in _NEEDS_MOTION or _motion(clean) >= _LEAST_MOTION:
            return content, size, clean
        content = others[int(rng.integers(len(others)))]
    raise ValueError(f"no content moves enough to show {kind}")


def _motion(clean: list[Picture]) -> float:
    """Mean |dY| from picture to picture, every tenth pair, on every fourth pixel, grey levels."""
    pairs = zip(clean[:CLIP_LENGTH:10], clean[1 : CLIP_LENGTH + 1 : 10], strict=False)
    return float(np.mean([np.abs(b.y[::4, ::4].astype(int) - a.y[::4, ::4]).mean() for a, b in pairs]))


def _cut_clip(pictures: Iterable[Picture], ticks: list[Tick]) -> dict[str, npt.NDArray[np.generic]]:
    """What the monitor keeps of a clip, by array name; side channels at every analysed rate."""
    cutter = PictureCutter(SPEC)
    sides = {fps: (SideChannel(), dict(rate_ticks(ticks, fps))) for fps in (SAMPLE_FPS, *LADDER_FPS)}
    arrays: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in ("y", "uv", *map(side_name, sides))}
    for t, picture in zip(range(len(ticks)), pictures, strict=True):
        cut = cutter.cut(to_frame(picture))
        arrays["y"].append(cut.pixels[0])
        arrays["uv"].append(cut.pixels[1:, ::2, ::2])
        strips = measure_strips(cut.columns, cut.rows)
        for fps, (side_channel, chosen) in sides.items():
            if t in chosen:
                held, step = chosen[t]
                vector = side_channel.push(cut.luma, strips, step=step, held=held)
                arrays[side_name(fps)].append(vector)
    return {name: np.stack(values) for name, values in arrays.items()}


def side_name(fps: float) -> str:
    """Name of the array that holds the side channel at a rate."""
    return "side" if fps == SAMPLE_FPS else f"side_{fps:g}"


def rate_ticks(ticks: list[Tick], fps: float) -> list[tuple[int, Tick]]:
    """Which of a clip's samples a grid of fewer ticks a second shows, and how it comes to each.

    Args:
        ticks: At SAMPLE_FPS.
        fps: Ticks a second, at most SAMPLE_FPS.

    Returns:
        (index into the clip, tick) of each sample at the lower rate.
    """
    at = np.cumsum([0.0, *(0.0 if tick.held else tick.step for tick in ticks[1:])])
    ratio = SAMPLE_FPS / fps
    indices = [int(k * ratio + 1e-9) for k in range(int(np.ceil(len(ticks) / ratio - 1e-9)))]
    steps = [1.0, *(float(at[b] - at[a]) / ratio for a, b in pairwise(indices))]
    return [(i, Tick(step == 0, step or 1.0)) for i, step in zip(indices, steps, strict=True)]


def _metered(pictures: Iterable[Picture], clean: Iterable[Picture], meter: XpsnrMeter) -> Iterator[Picture]:
    """The pictures as they are, compared on their way with the clean ones."""
    for picture, reference in zip(pictures, clean, strict=False):
        meter.push(reference, picture)
        yield picture


def _fragments_y(picture: Picture) -> U8:
    pixels: U8 = PictureCutter(SPEC).pixels(to_frame(picture))[0]
    return pixels


def size_of(height: int) -> tuple[int, int]:
    """Width and height of a 16:9 raster."""
    return height * 16 // 9, height


def height_tag(height: int | None) -> str:
    """What the names of files say of a height that was asked for."""
    return f"-{height}p" if height else ""


def draw_size(content: Content, rng: Rng, height: int | None = None) -> tuple[int, int]:
    """A raster that the content is large enough for; that of the height asked for, where one was."""
    if height:
        return size_of(height)
    allowed = [fits(content, size) for size in SIZES]
    if not any(allowed):
        return SIZES[0]
    shares = np.array(_SIZE_SHARES) * allowed
    return SIZES[int(rng.choice(len(SIZES), p=shares / shares.sum()))]


def facts_of(file: Path) -> list[ClipFacts]:
    """Records of a group file, without its pictures."""
    with np.load(file) as data:
        return [ClipFacts(**one) for one in json.loads(str(data["facts"]))]


def write_group(target: Path, arrays: dict[str, npt.NDArray[np.generic]], facts: list[dict[str, object]]) -> None:
    """Written aside and renamed: a file that is there is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part.npz")
    with aside.open("wb") as file:
        np.savez(file, **arrays, facts=np.array(json.dumps(facts)))  # type: ignore[arg-type]
    aside.rename(target)
