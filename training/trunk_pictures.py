"""Single impaired pictures for the trunk: each drawn by itself, with its class, continuous level and SSIM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from training import distortions
from training.benign import with_look
from training.distortions import distort, mild_encode
from training.pictures import Picture
from training.sources import Content, clean_clip
from training.ssim import fragment_ssim_db
from training.synthesis import SPEC, TRUNK_CLASSES, draw_size, height_tag, write_group

U8 = npt.NDArray[np.uint8]
Rng = np.random.Generator

_CLASS_SHARES = (0.2, 0.22, 0.17, 0.13, 0.17, 0.11)
#: Fragment sets cut from one picture, each on its own random grid: many patches, one encode.
SETS = 4
#: Pictures before the one kept, so that encoders predict as they do on air.
_LEAD = 5
#: Above this SSIM, in dB, and before any encode, nothing can be seen of an impairment in these patches.
_INVISIBLE_DB = 24.0


def make_pictures(
    content: Content,
    others: list[Content],
    out: Path,
    seed: int,
    shots: int = 6,
    look: str = "",
    height: int | None = None,
) -> str:
    """Independently drawn impaired pictures of one content: ``shots`` views x five impairments x SETS grids.

    Args:
        content: What they show.
        others: All contents of the same side of the split.
        out: Folder.
        seed: Draws everything.
        shots: Views.
        look: One of ``training.benign.LOOKS`` that all of them have, or "".
        height: As of `training.synthesis.make_group`.

    Returns:
        The file's name. An existing file is kept, so an interrupted run goes on.
    """
    target = out / f"{content.name}{look and '-' + look}{height_tag(height)}.{seed}.npz"
    if target.exists():
        return target.name
    rng = np.random.default_rng(seed)
    y, uv, labels = [], [], []
    for _ in range(shots):
        size = draw_size(content, rng, height)
        clean = list(clean_clip(content, others, _LEAD + 4, size, rng))
        if look:
            clean = list(with_look(look, clean, rng))
        for _ in range(5):
            kind = str(rng.choice(TRUNK_CLASSES, p=_CLASS_SHARES))
            level = float(rng.uniform(1, 5)) if kind != "none" else 0.0
            impaired = _impair(clean, kind, level, rng)
            encoded = impaired
            if kind != "compression" or rng.random() < 0.5:
                encoded = list(mild_encode(impaired, rng, 25))
            for _ in range(SETS):
                grid = _random_grid(size, rng)
                reference = _gather(clean[_LEAD - 1], *grid)[0]
                if kind != "none" and fragment_ssim_db(reference, _gather(impaired[-1], *grid)[0]) > _INVISIBLE_DB:
                    continue
                pixels = _gather(encoded[-1], *grid)
                y.append(pixels[0])
                uv.append(pixels[1])
                labels.append((TRUNK_CLASSES.index(kind), level, fragment_ssim_db(reference, pixels[0])))
    write_group(target, {"y": np.stack(y), "uv": np.stack(uv), "label": np.array(labels, np.float32)}, [])
    return target.name


def _impair(clean: list[Picture], kind: str, level: float, rng: Rng) -> list[Picture]:
    """The lead under one impairment, before anything encodes it."""
    if kind == "none":
        return clean[:_LEAD]
    if kind == "interlacing":
        ahead = min(3, max(1, round(level / 5 * 3)))
        return [distortions.weave(clean[i], clean[i + ahead], int(rng.integers(2))) for i in range(_LEAD)]
    return list(distort(clean[:_LEAD], kind, level, seed=rng))


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
