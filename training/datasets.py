"""Readers of the data sets of the study: scores file and folder of videos -> list of `Clip`.

Each reader checks everything first and names all faults at once: rows that contradict themselves, videos that
are missing, empty or cut short. No video is opened here.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from training.clips import Clip, require_files
from training.errors import DataError

Row = dict[str, str]

#: LIVE-APV's letters and words for its seven versions -> our word (one of ``monitor.types.CAUSES``).
LIVE_APV_DISTORTIONS = {
    "a": ("aliasing", "aliasing"),
    "c": ("compression", "compression"),
    "d": ("framedrop", "frame_drop"),
    "f": ("flicker", "flicker"),
    "i": ("interlacing", "interlacing"),
    "j": ("judder", "judder"),
    "o": ("original", "clean"),
}

_LIVE_APV_NAME = re.compile(
    r"(?P<content>(?P<source>.+)_(?P<height>2160|1080)_(?P<fps>25|30)fps)_(?P<letter>[acdfijo])\.yuv"
)
_LIVE_APV_HEIGHTS = {"4k": 2160, "1080p": 1080}
_LIVE_APV_WIDTHS = {2160: 3840, 1080: 1920}

#: A trailing ``p1``, ``p2``, ``_p1`` or ``_p2`` marks half of a recording; the p of ``LongJump1`` does not.
_HALF = re.compile(r"(?<!Jum)_*p[12]$")


def live_apv_stem(source: str) -> str:
    """The recording that a LIVE-APV content was cut from.

    Twelve recordings were cut in two: ``Kickoffp1`` and ``Kickoffp2``, ``1Runner_1_p1`` and ``1Runner_1_p2``,
    ``LongJump1_`` and ``LongJump1p2_`` (whose first half carries no mark). So the mark is taken off, and the
    underscores that some names end in. Numbers that are not such a mark are kept: ``JumpRope_`` and
    ``JumpRope_2_`` or ``LongJump1_`` and ``LongJump2_`` are different recordings (of one event, perhaps from
    one camera place: splits by stem do not keep those together). 45 contents give 33 stems.

    Args:
        source: Name up to the height, for example ``LongJump1p2_``.
    """
    return _HALF.sub("", source.rstrip("_")).rstrip("_")


def read_rows(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """Rows of a CSV file with a header that holds at least these columns.

    Raises:
        DataError: It cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(path.name, [f"no column {column!r}" for column in missing])
            # Short rows leave None, and long ones a list under None; both become plain strings here.
            return [{str(k): v if isinstance(v, str) else "" for k, v in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path.name, [f"cannot be read: {error}"]) from error


def _label(text: str) -> float:
    """A finite score, or ValueError."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"score is {text}")
    return value


def _read(scores: Path, columns: tuple[str, ...], to_clip: Callable[[Row], Clip]) -> list[Clip]:
    """Turn every row into a clip and check every file; all faults in one error."""
    clips: list[Clip] = []
    problems: list[str] = []
    for line, row in enumerate(read_rows(scores, columns), start=2):
        try:
            clips.append(to_clip(row))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    listed = Counter(clip.path for clip in clips)
    problems += [f"{path.name}: listed twice" for path, count in listed.items() if count > 1]
    require_files(scores.name, clips, problems)
    return clips


def live_apv(scores: Path, videos: Path) -> list[Clip]:
    """LIVE-APV (LIVE Livestream): 45 contents in seven versions each, raw 8-bit 4:2:0.

    Args:
        scores: CSV with the columns ``video, distortion, distortionType, resolution, MOS``.
        videos: Folder with ``<source>_<2160|1080>_<25|30>fps_<letter>.yuv``, 3840x2160 or 1920x1080.

    Returns:
        A clip per row, label = MOS. The rate is the scores file's; a video that is named with the other of 25
        and 30 fps (``bbpoint`` changed between two releases of the scores) is accepted under that name.

    Raises:
        DataError: Names all rows and files that cannot be used.
    """

    def to_clip(row: Row) -> Clip:
        name = row["video"].strip()
        match = _LIVE_APV_NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not <source>_<2160|1080>_<25|30>fps_<letter>.yuv")
        letter, height = match["letter"], int(match["height"])
        word, distortion = LIVE_APV_DISTORTIONS[letter]
        if row["distortion"].strip() != letter or row["distortionType"].strip() != word:
            raise ValueError(f"{name}: distortion {row['distortion']!r}, {row['distortionType']!r} is not its own")
        if _LIVE_APV_HEIGHTS.get(row["resolution"].strip()) != height:
            raise ValueError(f"{name}: resolution {row['resolution']!r} is not its own")
        other = {"25": "30", "30": "25"}[match["fps"]]
        candidates = (videos / name, videos / f"{match['source']}_{height}_{other}fps_{letter}.yuv")
        return Clip(
            path=next((path for path in candidates if path.is_file()), candidates[0]),
            content=match["content"],
            stem=live_apv_stem(match["source"]),
            label=_label(row["MOS"]),
            distortion=distortion,
            width=_LIVE_APV_WIDTHS[height],
            height=height,
            fps=Fraction(match["fps"]),
            pix_fmt="yuv420p",
        )

    return _read(scores, ("video", "distortion", "distortionType", "resolution", "MOS"), to_clip)


def konvid_1k(scores: Path, videos: Path) -> list[Clip]:
    """KoNViD-1k: 1200 videos from Flickr, each its own content.

    Args:
        scores: CSV with the columns ``flickr_id, mos`` (1-5).
        videos: Folder with ``<flickr_id>.mp4``.

    Raises:
        DataError: Names all rows and files that cannot be used.
    """

    def to_clip(row: Row) -> Clip:
        name = row["flickr_id"].strip()
        return Clip(videos / f"{name}.mp4", content=name, stem=name, label=_label(row["mos"]))

    return _read(scores, ("flickr_id", "mos"), to_clip)


def lsvq(scores: Path, videos: Path) -> list[Clip]:
    """LSVQ: 39 k videos, each its own content.

    Assumed of ``labels_train_test.csv`` and ``labels_test_1080p.csv`` as released with PatchVQ: a column
    ``name`` with the path without suffix below the folder of videos (``yfcc-batch2/123``), and ``mos`` for
    the whole video, 0-100. The patch scores and the fixed test set (``is_test``) are not used.

    Args:
        scores: One of the two CSV files.
        videos: Folder with ``<name>.mp4``.

    Raises:
        DataError: Names all rows and files that cannot be used.
    """

    def to_clip(row: Row) -> Clip:
        name = row["name"].strip()
        return Clip(videos / f"{name}.mp4", content=name, stem=name, label=_label(row["mos"]))

    return _read(scores, ("name", "mos"), to_clip)


def manifest(scores: Path, videos: Path) -> list[Clip]:
    """Any folder of videos with a plain list.

    Args:
        scores: CSV with the columns ``file, score, content`` and, where wanted, ``stem`` (default: content),
            ``distortion``, and for raw ``.yuv`` files ``width, height, fps`` (``25`` or ``30000/1001``) and
            ``pix_fmt`` (``yuv420p``).
        videos: Folder that ``file`` is relative to.

    Raises:
        DataError: Names all rows and files that cannot be used.
    """

    def to_clip(row: Row) -> Clip:
        def optional(column: str) -> str | None:
            return row.get(column, "").strip() or None

        file, content = row["file"].strip(), row["content"].strip()
        if not file or not content:
            raise ValueError("file and content must not be empty")
        width, height, fps = optional("width"), optional("height"), optional("fps")
        try:
            rate = Fraction(fps) if fps else None
        except ZeroDivisionError as error:
            raise ValueError(f"fps is {fps}") from error
        return Clip(
            path=videos / file,
            content=content,
            stem=optional("stem") or content,
            label=_label(row["score"]),
            distortion=optional("distortion"),
            width=int(width) if width else None,
            height=int(height) if height else None,
            fps=rate,
            pix_fmt=optional("pix_fmt"),
        )

    return _read(scores, ("file", "score", "content"), to_clip)


#: Readers by the name that a command line uses.
DATASETS: dict[str, Callable[[Path, Path], list[Clip]]] = {
    "live-apv": live_apv,
    "konvid-1k": konvid_1k,
    "lsvq": lsvq,
    "manifest": manifest,
}
