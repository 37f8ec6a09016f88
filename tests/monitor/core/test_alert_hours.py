"""A few of the stream-hours that ``make soak`` plays by the hundred thousand."""

from __future__ import annotations

import os

from tests.monitor.core.alert_hours import play

#: Hours; ``make soak`` plays its own.
HOURS = int(os.environ.get("VQWATCH_HOURS", "8"))


def test_stream_hours_on_a_fake_clock_equal_the_oracle() -> None:
    played = [play(seed, 2.0) for seed in range(HOURS // 2)]
    # Traces that raise nothing prove nothing.
    assert sum(total.raises for total in played) > 5 * HOURS
    assert all(total.clears <= total.raises for total in played)
