"""What a study's folder keeps beside its results: what it is a study of, and the time it took.

A folder holds one study: runs with other clips, trunks or recipes must not mix.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.clips import Clip
from training.errors import DataError, UsageError
from training.splits import DEFAULT_SHARES, split_groups

SETTINGS = "settings.json"


class Stages:
    """Seconds spent in each stage, over all sessions of one study."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = _read(file)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time within to a stage, also where it is interrupted."""
        started = time.monotonic()
        print(f"study: {name}", file=sys.stderr)
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 1)
            if self._file.parent.is_dir():  # not before the study has anything to keep
                _write(self._file, self.seconds)


def compare_settings(file: Path, settings: Mapping[str, object]) -> dict[str, object]:
    """Whether a study's folder can go on with these.

    Args:
        file: `SETTINGS` of the folder; may not be there yet.
        settings: Plain values by name.

    Returns:
        What is recorded, with these added.

    Raises:
        UsageError: The folder holds another study.
        DataError: The record is damaged.
    """
    known: dict[str, object] = _read(file)
    wanted: dict[str, object] = json.loads(json.dumps(settings))
    if differ := [name for name in wanted if name in known and known[name] != wanted[name]]:
        raise UsageError(f"{file.parent} holds a study with other {', '.join(differ)} ({file.name}); take another")
    return known | wanted


def keep_settings(file: Path, settings: Mapping[str, object]) -> None:
    """Adds settings to the record.

    Raises:
        UsageError: The folder holds another study.
    """
    together = compare_settings(file, settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, together)


def digest_of_clips(clips: Sequence[Clip]) -> str:
    """Of the clips' names, groups and labels: the runs' splits and targets."""
    rows = sorted((clip.name, clip.content, clip.stem, clip.label) for clip in clips)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def check_splits(clips: Sequence[Clip], groupings: Sequence[str]) -> None:
    """Whether there are groups enough for train, validation and test, which must not turn out after the features.

    Raises:
        UsageError: A split leaves a side empty.
    """
    for by in groupings:
        try:
            split_groups([getattr(clip, by) for clip in clips], 0, DEFAULT_SHARES)
        except ValueError as error:
            raise UsageError(f"by {by}: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(str(file), [f"is no record of a study: {error}"]) from error


def _write(file: Path, values: Mapping[str, object]) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
