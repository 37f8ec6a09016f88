"""Each kind of stall, made for real, is told as what it is and told to be over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.campaign import EXPECTED, Outcome, run_campaign, summary, write_report
from tests.fixtures.transport import Programme

#: Runs of each; ``make faults`` asks for 20, and for the limits to be kept. It needs a machine with time to spare, and
#: more of it than the other tests, so nothing else runs it.
RUNS = int(os.environ.get("VQWATCH_FAULT_RUNS", "1"))
SEED = int(os.environ.get("VQWATCH_FAULT_SEED", "1"))
AT_ONCE = int(os.environ.get("VQWATCH_FAULT_AT_ONCE", "4"))
#: Where the report goes; none without it.
REPORT = os.environ.get("VQWATCH_FAULT_REPORT")
#: A machine that does other work cannot be held to seconds.
STRICT = os.environ.get("VQWATCH_FAULT_STRICT") == "1"

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(120 + 60 * RUNS * -(-len(EXPECTED) // AT_ONCE)),
    pytest.mark.skipif("VQWATCH_FAULT_RUNS" not in os.environ, reason="`make faults` runs it; it takes over a minute"),
]


async def test_every_stall_is_told_as_what_it_is_and_its_end_too(programme: Programme) -> None:
    outcomes = await run_campaign(programme, runs=RUNS, seed=SEED, at_once=AT_ONCE)
    if REPORT:
        write_report(Path(REPORT), outcomes, runs=RUNS, seed=SEED, at_once=AT_ONCE)
    for row in summary(outcomes):
        print(row)
    assert len(outcomes) == RUNS * len(EXPECTED)
    failed: list[Outcome] = [outcome for outcome in outcomes if not outcome.right]
    assert not failed, failed
    if STRICT:
        late = [outcome for outcome in outcomes if not outcome.in_time]
        assert not late, late
