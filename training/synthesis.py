"""Self-made training material: impaired clips for the head, impaired single pictures for the trunk.

Both hold only what the monitor itself would keep of a picture (fragments, side channel), cut by the monitor's own
code, next to the facts of the impairment. Labels are made from those facts in ``training.labels``; they are our
pseudo-labels, never opinions of people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.preprocess import InputMode, InputSpec, PictureCutter
from monitor.core.side_channel import SideChannel
from monitor.types import CAUSES
from training import distortions
from training.distortions import distort, mild_encode
from training.pictures import Picture, to_frame
from training.sources import Content, StillShot, clean_clip, fits
from training.ssim import fragment_ssim_db

U8 = npt.NDArray[np.uint8]
Rng = np.random.Generator

CLIP_LENGTH = 100  # samples, 4 s at 25 fps
#: Extra clean pictures behind a clip, so that jumps and woven fields have something to reach for.
_SPARE = 64
SIZES = ((640, 360), (960, 540), (1280, 720))
_SIZE_SHARES = (0.5, 0.33, 0.17)
TRUNK_CLASSES = ("none", "compression", "aliasing", "interlacing", "blur", "noise")
BENIGN = ("plain", "24to25", "30to25", "slow", "static", "cut", "grain", "fade")
DISTORTED = CAUSES[1:]
#: Fragment sets cut from one trunk picture, each on its own random grid: many patches, one encode.
SETS = 4
SPEC = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32, colour="yuv")


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was done to one clip."""

    content: str
    stem: str
    kind: str  # one of CAUSES
    level: int  # 0 is clean
    variant: str  # benign variant of a clean clip, else ""
    width: int
    height: int
    motion: float  # mean |dY| of the clean clip on the small luma, grey levels
    ssim_db: float  # mean over pictures, against the clean clip, on the fragments
    xpsnr_db: float | None = None  # of the clip, luma, against the clean clip; None where it was not taken


# --- clips for the head ----------------------------------------------------------------------------------------


def make_group(content: Content, others: list[Content], kind: str, out: Path, seed: int) -> str:
    """One content under one distortion at three of five levels, and clean; written to one file.

    Returns:
        The file's name. An existing file is kept, so an interrupted run goes on.
    """
    target = out / f"{content.name}.{kind}.{seed}.npz"
    if target.exists():
        return target.name
    rng = np.random.default_rng(seed)
    size = _draw_size(content, rng)
    clean = list(clean_clip(content, others, CLIP_LENGTH + _SPARE, size, rng))
    reference = [_fragments_y(p) for p in clean[:CLIP_LENGTH]]
    levels = sorted(rng.choice([1, 2, 3, 4, 5], size=3, replace=False).tolist())
    stacks: dict[str, list[npt.NDArray[np.generic]]] = {"y": [], "uv": [], "side": []}
    facts = []
    motion = float(np.mean([np.abs(b.y[::4, ::4].astype(int) - a.y[::4, ::4]).mean() for a, b in _pairs(clean)]))
    for level in (0, *levels):
        variant = ""
        held_steps: list[tuple[bool, float]] = [(False, 1.0)] * CLIP_LENGTH
        if level == 0:
            variant = str(rng.choice(BENIGN[1:])) if rng.random() < 0.45 else "plain"
            pictures, held_steps = _benign(variant, content, others, clean, size, rng)
            encode = True
        else:
            pictures = distort(iter(clean), kind, level, seed=rng)
            encode = kind != "compression" or rng.random() < 0.5
        if encode:
            pictures = mild_encode(pictures, rng, 25)
        y, uv, side = _cut_clip(islice(pictures, CLIP_LENGTH), held_steps)
        compare = variant in ("", "plain", "grain")
        ssim = [fragment_ssim_db(r, d) for r, d in zip(reference[::5], y[::5], strict=True)] if compare else [24.0]
        facts.append(
            ClipFacts(
                content.name, content.stem, kind if level else "clean", int(level), variant, *size, motion,
                float(np.mean(ssim)),
            )
        )  # fmt: skip
        for name, value in zip(stacks, (y, uv, side), strict=True):
            stacks[name].append(value)
    arrays = {name: np.stack(values) for name, values in stacks.items()}
    _write(target, arrays, [asdict(f) for f in facts])
    return target.name


def _benign(
    variant: str,
    content: Content,
    others: list[Content],
    clean: list[Picture],
    size: tuple[int, int],
    rng: Rng,
) -> tuple[Iterable[Picture], list[tuple[bool, float]]]:
    """A clean clip that must not be called damaged, and per sample (held by the grid, step in samples)."""
    plain = [(False, 1.0)] * CLIP_LENGTH
    if variant in ("24to25", "30to25"):
        source_fps = int(variant[:2])
        shown = [t * source_fps // 25 for t in range(CLIP_LENGTH)]
        steps = [1, *(b - a for a, b in pairwise(shown))]
        return (clean[i] for i in shown), [(s == 0, s * 25 / source_fps) for s in steps]
    if variant in ("slow", "static"):
        if content.is_video:
            held = clean[0]
            return (_breathe(held, rng) for _ in range(CLIP_LENGTH)), plain
        rate = rng.uniform(0.08, 0.3) if variant == "slow" else 0.0
        shot = StillShot.draw(content, others, size, rng)
        pictures: Iterator[Picture] = shot.pictures([t * rate for t in range(CLIP_LENGTH)])  # type: ignore[arg-type]
        return (_breathe(p, rng) for p in pictures), plain
    if variant == "cut":
        other = others[int(rng.integers(len(others)))]
        at = int(rng.integers(20, 80))
        rest = clean_clip(other, others, CLIP_LENGTH, size, rng) if fits(other, size) else iter(clean[::-1])
        return (*clean[:at], *islice(rest, CLIP_LENGTH - at)), plain
    if variant == "grain":
        return distortions.noise_at(clean, float(rng.uniform(1.0, 2.2)), rng), plain
    if variant == "fade":
        return _fade(clean, int(rng.integers(10, 60)), int(rng.integers(12, 40))), plain
    return clean, plain


def _breathe(picture: Picture, rng: Rng) -> Picture:
    """Sensor noise: a static camera is never exactly still."""
    noise = rng.standard_normal(picture.y.shape, dtype=np.float32) * np.float32(0.7)
    return picture._replace(y=np.clip(picture.y + noise + 0.5, 0, 255).astype(np.uint8))


def _fade(pictures: list[Picture], start: int, length: int) -> Iterator[Picture]:
    """Down to black and back up, as between programmes."""
    for t, picture in enumerate(pictures):
        gain = min(1.0, abs(t - start - length) / length)
        y, u, v = (
            ((plane.astype(np.float32) - base) * gain + base + 0.5).astype(np.uint8)
            for plane, base in zip(picture, (16, 128, 128), strict=True)
        )
        yield Picture(y, u, v)


def _cut_clip(
    pictures: Iterable[Picture], held_steps: list[tuple[bool, float]]
) -> tuple[U8, U8, npt.NDArray[np.float32]]:
    cutter, side_channel = PictureCutter(SPEC), SideChannel()
    y, uv, side = [], [], []
    for picture, (held, step) in zip(pictures, held_steps, strict=True):
        cut = cutter.cut(to_frame(picture))
        y.append(cut.pixels[0])
        uv.append(cut.pixels[1:, ::2, ::2])
        side.append(side_channel.push(cut.luma, cut.columns, cut.rows, step=step, held=held))
    return np.stack(y), np.stack(uv), np.stack(side)


# --- single pictures for the trunk -----------------------------------------------------------------------------


def make_pictures(content: Content, others: list[Content], out: Path, seed: int, shots: int = 6) -> str:
    """Independently drawn impaired pictures of one content: ``shots`` views x five impairments x SETS grids."""
    target = out / f"{content.name}.{seed}.npz"
    if target.exists():
        return target.name
    rng = np.random.default_rng(seed)
    y, uv, labels = [], [], []
    for _ in range(shots):
        size = _draw_size(content, rng)
        lead = 5  # pictures before the one kept, so that encoders predict as they do on air
        clean = list(clean_clip(content, others, lead + 4, size, rng))
        for _ in range(5):
            kind = str(rng.choice(TRUNK_CLASSES, p=[0.2, 0.22, 0.17, 0.13, 0.17, 0.11]))
            level = float(rng.uniform(1, 5)) if kind != "none" else 0.0
            last = _impair(clean, kind, level, lead, rng)
            for _ in range(SETS):
                grid = _random_grid(size, rng)
                pixels, reference = _gather(last, *grid), _gather(clean[lead - 1], *grid)
                ssim = fragment_ssim_db(reference[0], pixels[0])
                if kind != "none" and ssim > 24:
                    continue  # nothing to be seen of it in these patches
                y.append(pixels[0])
                uv.append(pixels[1])
                labels.append((TRUNK_CLASSES.index(kind), level, ssim))
    _write(target, {"y": np.stack(y), "uv": np.stack(uv), "label": np.array(labels, np.float32)}, [])
    return target.name


def _impair(clean: list[Picture], kind: str, level: float, lead: int, rng: Rng) -> Picture:
    head: Iterable[Picture] = clean[:lead]
    if kind == "interlacing":
        ahead = min(3, max(1, round(level / 5 * 3)))
        head = [distortions.weave(clean[i], clean[i + ahead], int(rng.integers(2))) for i in range(lead)]
    elif kind != "none":
        head = distort(head, kind, level, seed=rng)
    if kind != "compression" or rng.random() < 0.5:
        head = mild_encode(head, rng, 25)
    return list(head)[-1]


def _random_grid(size: tuple[int, int], rng: Rng) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Even offsets of 4 x 4 patches (rows, columns), anywhere in the picture, patches of a row on one line."""
    width, height = size
    rows = rng.integers(0, (height - SPEC.patch) // 2 + 1, SPEC.grid) * 2
    columns = rng.integers(0, (width - SPEC.patch) // 2 + 1, SPEC.grid) * 2
    return rows, columns


def _gather(picture: Picture, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> tuple[U8, U8]:
    within = np.arange(SPEC.patch)
    y_rows, y_columns = (rows[:, None] + within).ravel(), (columns[:, None] + within).ravel()
    c_rows, c_columns = y_rows[::2, None] // 2, y_columns[::2] // 2
    return picture.y[y_rows[:, None], y_columns], np.stack([p[c_rows, c_columns] for p in picture[1:]])


# --- shared ----------------------------------------------------------------------------------------------------


def _fragments_y(picture: Picture) -> U8:
    pixels: U8 = PictureCutter(SPEC).pixels(to_frame(picture))[0]
    return pixels


def _draw_size(content: Content, rng: Rng) -> tuple[int, int]:
    allowed = [fits(content, size) for size in SIZES]
    if not any(allowed):
        return SIZES[0]
    shares = np.array(_SIZE_SHARES) * allowed
    return SIZES[int(rng.choice(len(SIZES), p=shares / shares.sum()))]


def _pairs(pictures: list[Picture]) -> Iterator[tuple[Picture, Picture]]:
    yield from zip(pictures[:CLIP_LENGTH:10], pictures[1 : CLIP_LENGTH + 1 : 10], strict=False)


def _write(target: Path, arrays: dict[str, npt.NDArray[np.generic]], facts: list[dict[str, object]]) -> None:
    """Written aside and renamed: a file that is there is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part.npz")
    with aside.open("wb") as file:
        np.savez(file, **arrays, facts=np.array(json.dumps(facts)))  # type: ignore[arg-type]
    aside.rename(target)


Job = tuple[Callable[..., str], tuple[object, ...]]


def clip_jobs(
    contents: list[Content], groups: int, out: Path, seed: int, kinds: Sequence[str] = DISTORTED
) -> list[Job]:
    """Groups spread evenly over kinds and contents; clips come up as often as six stills."""
    if not contents or not groups:
        return []
    rng = np.random.default_rng(seed)
    weights = np.array([6.0 if c.is_video else 1.0 for c in contents])
    order = rng.choice(len(contents), size=groups, p=weights / weights.sum())
    return [
        (make_group, (contents[c], contents, kinds[i % len(kinds)], out, seed * 100_000 + i))
        for i, c in enumerate(order)
    ]


def picture_jobs(contents: list[Content], count: int, out: Path, seed: int) -> list[Job]:
    """Batches of trunk pictures, each of one content."""
    if not contents or not count:
        return []
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(contents)) for _ in range(count // len(contents) + 1)])[:count]
    return [(make_pictures, (contents[c], contents, out, seed * 100_000 + i)) for i, c in enumerate(order.tolist())]


def run_job(job: Job) -> str:
    """Runs one job; a broken source is reported, not fatal."""
    function, arguments = job
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        return f"skipped {arguments[0]}: {error}"
