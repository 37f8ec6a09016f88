"""Fuzzed transport packets and damaged files: each ends with a score or a classified failure, and no process dies."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import SourceCode
from tests.faults.fuzz_child import PACKETS
from tests.faults.report import record

#: ``make faults`` asks for 100 connections (100,000 packets) and 1000 files.
CONNECTIONS = int(os.environ.get("VQWATCH_FAULT_FUZZ_PACKETS", "1000")) // PACKETS
FILES = int(os.environ.get("VQWATCH_FAULT_FUZZ_FILES", "7"))
SEED = int(os.environ.get("VQWATCH_FAULT_SEED", "1"))
#: Longest time for one case, the start of the child included; longer is a hang.
CASE_S = 60.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600 + 5 * (CONNECTIONS + FILES))]


def child(folder: Path, kind: str, first: int, count: int) -> tuple[Counter[str], int]:
    """Outcomes from ``first`` on as far as the child got, and how many cases those were."""
    command = [sys.executable, "-m", "tests.faults.fuzz_child", str(folder), kind, *map(str, (SEED, first, count))]
    outcomes: Counter[str] = Counter()
    begun = first - 1
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    hung = False
    with process:
        try:
            while line := lines.get(timeout=CASE_S):
                word, number, *rest = line.split()
                begun = int(number)
                if word == "end":
                    outcomes[rest[0]] += 1
        except queue.Empty:
            hung = True
            process.kill()
        process.wait()
        reader.join()
    if process.returncode:
        outcomes[f"{'hang' if hung else f'crash {process.returncode}'} in case {begun}"] += 1
    return outcomes, max(1, begun + 1 - first)


def campaign(folder: Path, kind: str, count: int) -> Counter[str]:
    """Every case, the ones behind a crash too."""
    outcomes: Counter[str] = Counter()
    done = 0
    while done < count:
        some, cases = child(folder, kind, done, count - done)
        outcomes += some
        done += cases
    return outcomes


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("clip.mp4", "clip.mkv", "clip.flv", "clip.avi", "clip.mov"):
        clip_maker(folder / name, seconds=0.6, size=(160, 90), gop=8)
    clip_maker(folder / "clip.mpg", seconds=0.6, size=(160, 90), gop=8, codec="mpeg2video")
    clip_maker(folder / "clip.ts", seconds=8.0, size=(160, 90), gop=8, audio=True)
    return folder


@pytest.mark.parametrize(("kind", "count"), [("packets", CONNECTIONS), ("files", FILES)])
def test_every_fuzzed_input_ends_with_a_score_or_a_classified_failure(clips: Path, kind: str, count: int) -> None:
    outcomes = campaign(clips, kind, count)
    what = f"{count} connections of {PACKETS} fuzzed packets each" if kind == "packets" else f"{count} damaged files"
    record(
        f"fuzz-{kind}", f"{what}, seed {SEED}.", [{"outcome": name, "cases": n} for name, n in outcomes.most_common()]
    )
    known = {"score", "unscored", *map(str, SourceCode)}
    assert set(outcomes) <= known, outcomes
    assert sum(outcomes.values()) == count
