"""Time stamps that wrap, jump or leave a gap in a real transport stream: no sample is missed, the score is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.bundle import BUNDLED
from monitor.commands.model_arguments import open_model
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import ClipResult, score_source
from monitor.types import StreamId
from tests.fixtures.transport import FPS, STEP_90K, Line, make_programme, shift

PICTURES = 4 * FPS
HALF = PICTURES // 2
#: Far from zero, so that a jump back stays above it.
START = 100 * 90_000
COURSES: dict[str, Callable[[int], int]] = {
    "undisturbed": lambda n: START + n * STEP_90K,
    "wraps at 2^33": lambda n: (1 << 33) + (n - HALF) * STEP_90K,
    "crosses 2^32": lambda n: (1 << 32) + (n - HALF) * STEP_90K,
    "jumps back": lambda n: START + n * STEP_90K - (n >= HALF) * 60 * 90_000,
    "gap of 10 s": lambda n: START + n * STEP_90K + (n >= HALF) * 10 * 90_000,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipResult]:
    folder = tmp_path_factory.mktemp("courses")
    programme = make_programme(folder / "programme.ts", seconds=4, size=(160, 96))

    def written(course: Callable[[int], int]) -> Path:
        line, path, out = Line(), folder / "course.ts", []
        for number, group in enumerate(programme.groups[:PICTURES]):
            for packet in group:
                moved = bytearray(packet)
                shift(moved, course(number) - programme.first_pts - number * STEP_90K)
                out.append(line.number(moved))
        path.write_bytes(b"".join(out))
        return path

    async def scored() -> dict[str, ClipResult]:
        scoring, engine = open_model(BUNDLED, "openvino", "auto", 1)
        inference = InferenceThread(engine, scoring.head, scoring.domain)
        batcher = Batcher(inference, max_wait_s=0.0)
        running = asyncio.create_task(batcher.run())
        found = {}
        for name, course in COURSES.items():
            found[name] = await score_source(
                PyAvSource(str(written(course)), stream=StreamId("cam"), live=False),
                batcher,
                spec=scoring.input,
                scoring=scoring.scoring,
                with_side_channel=scoring.with_side_channel,
            )
        batcher.close()
        await running
        inference.close()
        return found

    return asyncio.run(scored())


@pytest.mark.parametrize("course", COURSES)
def test_no_sample_is_missed_and_nothing_reads_as_a_fault(results: dict[str, ClipResult], course: str) -> None:
    result = results[course]
    assert (result.frames, result.samples) == (PICTURES, PICTURES)
    assert set(result.conditions) == {"ok"}


@pytest.mark.parametrize("course", ["wraps at 2^33", "crosses 2^32"])
def test_a_clock_that_goes_round_changes_no_score(results: dict[str, ClipResult], course: str) -> None:
    straight = results["undisturbed"]
    assert results[course].score == pytest.approx(straight.score, abs=1e-6)
    assert [s for _, s in results[course].seconds] == pytest.approx([s for _, s in straight.seconds], abs=1e-6)


@pytest.mark.parametrize("course", ["jumps back", "gap of 10 s"])
def test_before_the_jump_the_score_is_the_same_and_after_it_it_begins_anew(
    results: dict[str, ClipResult], course: str
) -> None:
    straight = results["undisturbed"]
    assert results[course].seconds[0][1] == pytest.approx(straight.seconds[0][1], abs=1e-6)
    assert results[course].score == pytest.approx(straight.score, abs=10.0)
