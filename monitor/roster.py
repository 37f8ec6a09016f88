"""The streams that are watched: each with its task and its alerts, added, changed and removed while others run."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.alert_delivery import AlertDelivery
from monitor.core.alert_book import AlertBook
from monitor.core.identifiers import uuid7
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.stream_task import StreamTask
from monitor.rules import StreamRules
from monitor.store.standing import Standing
from monitor.stream_plan import StreamPlan
from monitor.types import AlertEvent, StreamId

#: Makes the task of a stream that is read and alerted so.
MakeTask = Callable[[StreamPlan, StreamRules, AlertBook], StreamTask]


@dataclass(frozen=True, slots=True)
class RosterChange:
    """How many streams a change of the configuration touched."""

    added: int
    removed: int
    reconnected: int
    rules: int


class Roster:
    """Owns the streams' tasks. Event loop only.

    Args:
        plans: How each stream is read, in the configuration's order.
        rules: How each is alerted.
        make: Makes a stream's task.
        batcher: Forgets streams that have left.
        alerts: Takes events of streams and rules that are not watched any more.
        on_removed: Called with each stream that was taken from the configuration.
    """

    def __init__(
        self,
        plans: Mapping[StreamId, StreamPlan],
        rules: Mapping[StreamId, StreamRules],
        make: MakeTask,
        batcher: Batcher,
        alerts: AlertDelivery,
        on_removed: Callable[[StreamId], None],
    ) -> None:
        self._plans, self._rules = plans, rules
        self._make, self._batcher, self._alerts, self._on_removed = make, batcher, alerts, on_removed
        #: By id; the same object while the monitor lives.
        self.streams: dict[StreamId, StreamTask] = {}
        #: Where the numbers of a stream's events go on, should it come back.
        self._next_seq: dict[StreamId, int] = {}
        self._running: dict[StreamId, asyncio.Task[None]] = {}
        #: Ends of streams that are not watched any more.
        self.leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def watched(self) -> set[tuple[StreamId, str]]:
        """Every stream with the name of each of its rules."""
        return {(id_, rule.name) for id_, alerting in self._rules.items() for rule in alerting.rules}

    def add_all(self, standing: Standing) -> None:
        """Adds every stream of the configuration, with the alerts that an earlier run left raised."""
        self._next_seq = dict(standing.next_seq)
        for id_ in self._plans:
            self._add(id_, standing)

    def start_all(self) -> None:
        """Begins to watch what was added."""
        for id_ in self.streams:
            self._start(id_)

    def change(self, plans: Mapping[StreamId, StreamPlan], rules: Mapping[StreamId, StreamRules]) -> RosterChange:
        """Goes over to other plans and rules; a stream whose plan is equal keeps its connection."""
        plans_before, rules_before = self._plans, self._rules
        self._plans, self._rules = plans, rules
        gone = [id_ for id_ in plans_before if id_ not in plans]
        for id_ in gone:
            self._remove(id_)
        added = reconnected = other_rules = 0
        for id_, plan in plans.items():
            if id_ not in plans_before:
                self._add(id_, Standing(next_seq=self._next_seq))
                self._start(id_)
                added += 1
                continue
            if rules[id_] != rules_before[id_]:
                self._change_rules(id_, rules_before[id_])
                other_rules += 1
            if plan != plans_before[id_]:
                self._change_source(id_)
                reconnected += 1
        return RosterChange(added, len(gone), reconnected, other_rules)

    async def over(self) -> None:
        """Until every stream that is watched has ended.

        Raises:
            Exception: What a stream's task died of.
        """
        changed = asyncio.create_task(self._changed.wait(), name="vqwatch.changed")
        try:
            while True:
                waiting: set[asyncio.Task[Any]] = {changed, *self.leaving}
                waiting |= {task for task in self._running.values() if not task.done()}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self.leaving -= done
                if changed in done:
                    self._changed.clear()
                    changed = asyncio.create_task(self._changed.wait(), name="vqwatch.changed")
                if all(task.done() for task in self._running.values()):
                    return
        finally:
            changed.cancel()

    async def stop(self) -> None:
        """Stops all of them, and waits until they have ended."""
        for stream in self.streams.values():
            stream.stop()
        await asyncio.gather(*self._running.values(), *self.leaving, return_exceptions=True)

    def _add(self, id_: StreamId, standing: Standing) -> None:
        plan, alerting = self._plans[id_], self._rules[id_]
        book = AlertBook(
            id_,
            alerting.rules,
            _new_alert_id,
            next_seq=standing.next_seq.get(id_, 1),
            active=standing.active_on(id_),
            now_s=time.monotonic(),
            utc_s=time.time(),
            maintenance=alerting.maintenance,
        )
        self.streams[id_] = self._make(plan, alerting, book)

    def _start(self, id_: StreamId) -> None:
        self._running[id_] = asyncio.create_task(self.streams[id_].run(), name=f"vqwatch.stream[{id_}]")
        self._changed.set()

    def _remove(self, id_: StreamId) -> None:
        stream = self.streams.pop(id_)
        stream.stop()
        self.leaving.add(asyncio.create_task(self._left(stream, self._running.pop(id_))))
        self._changed.set()
        self._alerts.withdraw(stream.book.withdraw(time.monotonic(), time.time()))
        self._next_seq[id_] = stream.book.next_seq
        self._on_removed(id_)

    async def _left(self, stream: StreamTask, running: asyncio.Task[None]) -> None:
        """Lets a stream that is no longer watched end."""
        await running
        self._batcher.remove(stream.scored)

    def _change_rules(self, id_: StreamId, before: StreamRules) -> None:
        stream, alerting = self.streams[id_], self._rules[id_]
        events = stream.book.change(alerting.rules, time.monotonic(), time.time(), alerting.maintenance)
        if alerting.expected != before.expected:
            stream.change_expected(alerting.expected)
        for event in events:
            self._alerts.take(event)

    def _change_source(self, id_: StreamId) -> None:
        stream, plan = self.streams[id_], self._plans[id_]
        self._alerts.withdraw(stream.book.withdraw(time.monotonic(), time.time(), plan.unseen))
        if not self._running[id_].done():
            stream.change_source(plan.settings, plan.feed.connect)
            return
        # A file that was over: another begins, under the same name.
        self._batcher.remove(stream.scored)
        self._add(id_, Standing(_by_id(stream.book.active), next_seq={id_: stream.book.next_seq}))
        self._start(id_)


def _by_id(events: Iterable[AlertEvent]) -> dict[str, AlertEvent]:
    return {event.id: event for event in events}


def _new_alert_id() -> str:
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
