"""A user's own ratings: a CSV of files and scores."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.types import F64
from training.clips import Clip, file_problem
from training.datasets import Row, read_rows
from training.errors import DataError

#: Fewer say too little about four parameters.
MIN_RATINGS = 10
#: Ratings that reach no further than this could as well be of a scale that ends at 1, 5 or 10.
_SMALL_SCALE = 10.0
AS_SHOWN = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Ratings:
    """Rated files, in the file's order.

    Attributes:
        name: Of the CSV file.
        files: The clips.
        shown: (n,) ratings on the scale that is shown, 0-100.
        contents: n names; a file that names none is a content of its own.
        scale: The user's ratings that are shown as 0 and 100.
        predicted: (n,) pooled qualities where the file states them.
    """

    name: str
    files: tuple[Path, ...]
    shown: F64
    contents: tuple[str, ...]
    scale: tuple[float, float]
    predicted: F64 | None


def read_ratings(path: Path, videos: Path, scale: tuple[float, float] | None = None) -> Ratings:
    """Reads ratings, and looks for every file that will have to be scored.

    Args:
        path: CSV with the columns ``file, score`` and, where wanted, ``content`` and ``predicted`` (the model's mean
            pooled quality before calibration; with it no file is opened).
        videos: Folder that ``file`` is relative to.
        scale: Ratings that are shown as 0 and 100; None: 0 and 100, where the ratings reach beyond 10.

    Raises:
        DataError: Names all rows and files that cannot be used; or the ratings are too few, or all the same.
    """
    rows = read_rows(path, ("file", "score"))
    stated = bool(rows) and "predicted" in rows[0]
    problems: list[str] = []
    clips: list[Clip] = []
    predicted: list[float] = []
    for line, row in enumerate(rows, start=2):
        try:
            clips.append(_clip(row, videos))
            if stated:
                predicted.append(_number(row, "predicted"))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    counted = Counter(clip.path for clip in clips)
    problems += [
        f"{file.name}: rated {n} times, one mean score a file is needed" for file, n in counted.items() if n > 1
    ]
    if not stated:
        problems += [problem for clip in clips if (problem := file_problem(clip)) is not None]
    ratings = np.array([clip.label for clip in clips])
    if not problems:
        problems += _scale_problems(ratings, scale)
    if problems:
        raise DataError(path.name, problems)
    low, high = scale or AS_SHOWN
    return Ratings(
        path.name,
        tuple(clip.path for clip in clips),
        (ratings - low) / (high - low) * 100,
        tuple(clip.content for clip in clips),
        (low, high),
        np.array(predicted) if stated else None,
    )


def _clip(row: Row, videos: Path) -> Clip:
    file = row["file"].strip()
    if not file:
        raise ValueError("file must not be empty")
    content = row.get("content", "").strip() or file
    return Clip(videos / file, content, content, _number(row, "score"))


def _number(row: Row, column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} is {row[column]!r}, no number")
    return value


def _scale_problems(ratings: F64, scale: tuple[float, float] | None) -> list[str]:
    if len(ratings) < MIN_RATINGS:
        return [f"{len(ratings)} ratings, a fit needs {MIN_RATINGS} at least"]
    lowest, highest = float(ratings.min()), float(ratings.max())
    if lowest == highest:
        return [f"all ratings are {lowest:g}, which says nothing about better and worse"]
    reach = f"ratings go from {lowest:g} to {highest:g}"
    if scale is None and (lowest < 0 or not _SMALL_SCALE < highest <= 100):
        return [f"{reach}: --scale MIN,MAX says which are shown as 0 and 100"]
    if scale is not None and (lowest < scale[0] or highest > scale[1]):
        return [f"{reach}, beyond --scale {scale[0]:g},{scale[1]:g}"]
    return []
