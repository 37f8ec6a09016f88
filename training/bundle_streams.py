"""What a bundle says of recordings that nobody labelled, by the monitor's own command: a table to read and discuss."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engines.bundle import Bundle
from training.errors import UsageError


class StreamRow(NamedTuple):
    """One recording.

    Attributes:
        file: Its name.
        result: What ``vqwatch score --json`` printed; empty where it refused the file.
        refusal: Why it did.
    """

    file: str
    result: dict[str, Any]
    refusal: str


def score_streams(bundle: Bundle, folder: Path, options: Sequence[str] = ()) -> list[StreamRow]:
    """Scores every file of a folder, each in a process of its own, so that one cannot spoil the others.

    Args:
        bundle: Model.
        folder: Recordings; files that are told apart by no suffix of a recording (CSV, Markdown, JSON) are left out.
        options: More options of ``vqwatch score``.

    Raises:
        UsageError: The folder holds no files.
    """
    files = [
        p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix.lower() not in (".csv", ".md", ".json", ".txt")
    ]
    if not files:
        raise UsageError(f"{folder}: no recordings there")
    rows = []
    command = [sys.executable, "-m", "monitor", "score", "--json", "--model", str(bundle.path), *options]
    for file in files:
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        refusal = "" if lines else (done.stderr.strip().splitlines() or ["no score"])[-1].replace(f"{folder}/", "")
        rows.append(StreamRow(file.name, json.loads(lines[0]) if lines else {}, refusal))
    return rows


def streams_text(bundle: Bundle, rows: Sequence[StreamRow]) -> str:
    """The table as Markdown."""
    lines = ["| recording | score | ± | cause | conditions, s | out of domain, s |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row.refusal or row.result.get("score") is None:
            lines.append(f"| {row.file} | none | | | {row.refusal or _seconds(row.result, 'conditions')} | |")
            continue
        causes = row.result["causes"]
        cause = max(causes, key=causes.__getitem__) if causes else ""
        width = bundle.manifest.uncertainty.get(cause)
        named = f"{cause} {causes[cause]:.2f}" if causes else ""
        interval = "" if width is None else f"{width:.0f}"
        seconds = " | ".join(_seconds(row.result, of) for of in ("conditions", "out_of_domain"))
        lines.append(f"| {row.file} | {row.result['score']:.1f} | {interval} | {named} | {seconds} |")
    return "\n".join(lines) + "\n"


def _seconds(result: dict[str, Any], of: str) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in (result.get(of) or {}).items())
