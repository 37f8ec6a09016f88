"""The load on the pipeline: looked at a few times a second, and every stream told its rate."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from statistics import mean

from monitor.core.repeats import RepeatLimit
from monitor.core.shedding import Load, Shedding
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.stream_task import StreamTask
from monitor.types import DropCause, StreamId

log = logging.getLogger("vqwatch.load")

#: Looks at the load are this far apart.
LOOK_S = 0.1
#: What is dropped for want of computing power. What a change of rate gave up is told by the rate.
_DROPS = (DropCause.MAILBOX_FULL, DropCause.STALE)
#: The share of dropped samples is that of the last seconds.
_SHARE_S = 5.0


class LoadWatch:
    """Tells the decision-maker what the pipeline does, and the streams what it decided. Event loop only.

    Args:
        shedding: Decides.
        streams: Every stream by id; may change.
        inference: The engine's thread.
        enabled: Where False the load is looked at, and rates stay.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        shedding: Shedding,
        streams: Mapping[StreamId, StreamTask],
        inference: InferenceThread,
        *,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shedding = shedding
        self._streams = streams
        self._inference = inference
        self._enabled = enabled
        self._clock = clock
        self._hurried = False
        #: Every stream has the rate that was decided for it.
        self._dealt = True
        self._repeats = RepeatLimit()
        self._ticks: deque[tuple[float, int, int]] = deque()  # when, due, dropped

    def prioritise(self, priorities: Mapping[str, int]) -> None:
        """Takes other streams or priorities; rates follow at the next look."""
        self._shedding.prioritise(priorities)
        self._dealt = False

    @property
    def shed(self) -> float:
        """Share of the samples due at full rates that are not analysed for want of computing power, 0-1."""
        dropped = 0.0
        if self._ticks:
            (_, due_then, dropped_then), (_, due_now, dropped_now) = self._ticks[0], self._ticks[-1]
            if due_now > due_then:
                dropped = min(1.0, (dropped_now - dropped_then) / (due_now - due_then))
        return 1 - (1 - self._shedding.shed) * (1 - dropped)

    def look(self) -> bool:
        """Looks once; whether any stream's rate has changed."""
        now_s = self._clock()
        balances = [task.scored.ledger.balance() for task in self._streams.values()]
        dropped = sum(balance.dropped[cause] for balance in balances for cause in _DROPS)
        self._ticks.append((now_s, sum(balance.due for balance in balances), dropped))
        while len(self._ticks) > 2 and self._ticks[1][0] <= now_s - _SHARE_S:
            self._ticks.popleft()
        waiting = max((task.scored.mailbox.waiting_s() for task in self._streams.values()), default=0.0)
        live = [id_ for id_, task in self._streams.items() if task.live]
        readings = [self._streams[id_].readings for id_ in live]
        behind_s = max((reader.behind_s for reader in readings), default=0.0)
        spare = mean(reader.spare for reader in readings) if readings else 1.0
        inference = self._inference
        load = Load(inference.computed, inference.busy_s, waiting, dropped, live, behind_s, spare)
        if not self._enabled:
            return False
        changed = (self._shedding.step(now_s, load) or not self._dealt) and self._apply(load)
        self._hurry(now_s)
        return changed

    def _apply(self, load: Load) -> bool:
        self._dealt = True
        shedding = self._shedding
        counts = dict.fromkeys(shedding.rates, 0)
        partly = 0
        less = more = False
        for id_, task in self._streams.items():
            rung = shedding.rung(id_)
            counts[shedding.rates[rung]] += 1
            partly += shedding.reference_only(rung)
            if rung != task.rung:
                more |= rung > task.rung
                less |= rung < task.rung
                task.rung = rung
        if not (more or less):
            return False
        rates = ",".join(f"{rate:g}x{count}" for rate, count in counts.items() if count)
        event = "shedding" if shedding.level else "shedding_over"
        log.log(
            logging.WARNING if more else logging.INFO,
            "event=%s shed=%.2f rates=%s decoded_in_part=%d waited_ms=%.0f behind_ms=%.0f",
            event, shedding.shed, rates, partly, load.late_s * 1000, load.behind_s * 1000,
        )  # fmt: skip
        return True

    def _hurry(self, now_s: float) -> None:
        overloaded = self._shedding.overloaded
        if overloaded == self._hurried:
            return
        self._hurried = overloaded
        for task in self._streams.values():
            task.hurry(overloaded)
        if not overloaded:
            log.warning("event=overload_over suppressed=%d", self._repeats.settle())
            return
        suppressed = self._repeats.tell("overload", now_s)
        if suppressed is not None:
            log.error(
                "event=overload suppressed=%d more samples fall due than this machine scores, at the lowest rate that "
                "the model and the configuration allow (%g a second); some are dropped",
                suppressed, self._shedding.rates[-1],
            )  # fmt: skip
