"""A bundle's pooled quality of recordings, as ``vqwatch score`` finds it, before any calibration.

The monitor's own command does the work, in a process of its own. What it prints is calibrated; so it is given a copy of
the bundle whose calibration is a ruler: a straight line over more than the qualities that can come.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from engines.bundle import MANIFEST, Bundle, CalibrationPart, load_bundle
from monitor.types import F64
from training.errors import DataError

#: A ruler that was too short is made longer by this factor, so many times at most.
_LONGER, _TRIES = 8.0, 4
#: Files of one process.
_BATCH = 200


class Found(NamedTuple):
    """Pooled quality of n recordings, (n,), and the most probable cause of each ("" where the model names none)."""

    quality: F64
    causes: tuple[str, ...]


def write_calibrated(bundle: Bundle, out: Path, **changes: object) -> Bundle:
    """Copies a bundle, all its files to the byte, and changes fields of its manifest.

    Args:
        bundle: The original, which stays as it is.
        out: Folder to make; the manifest is written last.
        changes: Fields of the manifest.
    """
    # A folder without a manifest is no bundle, so a copy that was broken off is none.
    shutil.copytree(bundle.path, out, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
    manifest = bundle.manifest.model_copy(update=changes)
    manifest = manifest.model_copy(update={"numeric_hash": manifest.compute_hash()})
    (out / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return load_bundle(out)


def pooled_quality(bundle: Bundle, files: Sequence[Path], options: Sequence[str] = ()) -> Found:
    """Scores recordings with the monitor.

    Args:
        bundle: Model.
        files: Recordings.
        options: More options of ``vqwatch score``, such as ``--threads 1``.

    Raises:
        DataError: Names all files that could not be scored.
    """
    low, high = (0.0, 1.0) if bundle.manifest.head.bounded else _ruler(bundle.manifest.calibration)
    quality, causes = np.full(len(files), math.nan), [""] * len(files)
    todo = list(range(len(files)))
    for _ in range(_TRIES):
        results = _scored(bundle, [files[i] for i in todo], (low, high), options)
        for i, result in zip(todo, results, strict=True):
            quality[i] = low + result["score"] / 100 * (high - low)
            told = result["causes"]
            causes[i] = max(told, key=told.__getitem__) if told else ""
        todo = [i for i, r in zip(todo, results, strict=True) if not 0 < r["score"] < 100]
        if not todo:
            return Found(quality, tuple(causes))
        centre, half = (low + high) / 2, (high - low) / 2 * _LONGER
        low, high = centre - half, centre + half
    raise DataError(bundle.path.name, [f"{files[i].name}: quality beyond {low:g} to {high:g}" for i in todo])


def _ruler(calibration: CalibrationPart) -> tuple[float, float]:
    """Qualities that are told apart now, and as much again on either side."""
    low, high = calibration.points[0][0], calibration.points[-1][0]
    for slope, offset in reversed(calibration.logistics):
        low, high = ((_logit(value) - offset) / slope for value in (low, high))
    return low - (high - low), high + (high - low)


def _logit(share: float) -> float:
    inside = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(inside / (1 - inside))


def _scored(
    bundle: Bundle, files: Sequence[Path], ruler: tuple[float, float], options: Sequence[str]
) -> list[dict[str, Any]]:
    """What ``vqwatch score --json`` prints of each file."""
    with tempfile.TemporaryDirectory(prefix="vqwatch-calibrate-") as name:
        folder = Path(name)
        points = ((ruler[0], 0.0), (ruler[1], 100.0))
        model = write_calibrated(bundle, folder / "model", calibration=CalibrationPart(points=points)).path
        # Names of our own: the command hides what looks like a secret in the names that it prints.
        links = {}
        for number, file in enumerate(files):
            link = folder / f"{number:06d}{file.suffix}"
            link.symlink_to(file.resolve())
            links[str(link)] = file.name
        command = [sys.executable, "-m", "monitor", "score", "--json", "--model", str(model), *options]
        console, quiet = Console(stderr=True), not sys.stderr.isatty()
        found: dict[str, dict[str, Any]] = {}
        told: list[str] = []
        names = list(links)
        batches = [names[i : i + _BATCH] for i in range(0, len(names), _BATCH)]
        for batch in batches:
            with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
                with subprocess.Popen([*command, *batch], stdout=subprocess.PIPE, stderr=errors, text=True) as process:
                    assert process.stdout is not None
                    for line in track(process.stdout, "scoring", total=len(batch), console=console, disable=quiet):
                        result = json.loads(line)
                        found[result["file"]] = result
                errors.seek(0)
                told += [line.strip() for line in errors if line.strip()]
    missing = [link for link in links if "score" not in found.get(link, {})]
    if missing:
        raise DataError("scoring", [_reason(links[link], link, told) for link in missing])
    return [found[link] for link in links]


def _reason(name: str, link: str, told: Sequence[str]) -> str:
    """What the monitor said of a file, by the file's own name; where it said nothing of it, its last word."""
    words = [line for line in told if link in line or Path(link).name in line] or [*told[-1:]] or ["no score"]
    word = words[0].removeprefix("vqwatch: ").replace(link, name).replace(Path(link).name, name)
    return word if name in word else f"{name}: {word}"
