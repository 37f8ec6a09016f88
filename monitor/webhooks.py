"""The webhooks of one monitor: which of them an alert is owed to, and their lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from monitor.publish.templates import TEMPLATES
from monitor.publish.webhook import Webhook, WebhookCounts
from monitor.types import AlertEvent
from monitor.webhook_section import WebhookSection

log = logging.getLogger("vqwatch.webhook")

#: Events that wait for one webhook: where a ledger holds them too, as many as a ledger holds; else so many.
_MOST_WITH_LEDGER = 100_000
_MOST_IN_MEMORY = 10_000


class Webhooks:
    """All webhooks of one monitor, each with a task of its own.

    A destination is a webhook's name in the ledger. All methods belong to the event loop's thread.

    Args:
        sections: The configured ones.
        node: Name of this monitor.
        durable: A ledger remembers what is owed, over restarts.
        on_settled: Told of each event that is done with, and of the destination it was for.
    """

    def __init__(
        self,
        sections: Iterable[WebhookSection],
        node: str,
        *,
        durable: bool,
        on_settled: Callable[[AlertEvent, str], None] | None = None,
    ) -> None:
        self._sections = {section.destination: section for section in sections}
        self._durable = durable
        self._on_settled = on_settled
        self._node = node
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._webhooks = {destination: self._webhook(section, node) for destination, section in self._sections.items()}

    @property
    def counts(self) -> dict[str, WebhookCounts]:
        """Where each webhook stands, by its name."""
        return {webhook.name: webhook.counts for webhook in self._webhooks.values()}

    def addressed(self, event: AlertEvent) -> tuple[str, ...]:
        """The destinations that want an event."""
        return tuple(destination for destination, section in self._sections.items() if section.wants(event))

    def offer(self, destination: str, event: AlertEvent) -> None:
        """Takes an event for one destination; that of a webhook that is no more is passed over."""
        if destination in self._webhooks:
            self._webhooks[destination].offer(event)

    def gone(self, owed: Mapping[str, Iterable[AlertEvent]]) -> list[tuple[str, AlertEvent]]:
        """What is owed to webhooks that are not configured any more; said once for each."""
        orphans = []
        for destination in owed.keys() - self._webhooks.keys():
            events = list(owed[destination])
            log.warning(
                "webhook=%s event=webhook_removed %d alerts that it was owed are not sent",
                destination.partition(":")[2], len(events),
            )  # fmt: skip
            orphans += [(destination, event) for event in events]
        return orphans

    def resume(self, active: Iterable[AlertEvent], owed: Mapping[str, Iterable[AlertEvent]]) -> None:
        """Says what is up since an earlier run, to those that want to be told again and again."""
        up = list(active)
        for destination, webhook in self._webhooks.items():
            waiting = {event.id for event in owed.get(destination, ())}
            webhook.resume(
                event for event in up if event.id not in waiting and self._sections[destination].wants(event)
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps a task for each webhook; what is under way on the way out is cut off."""
        for destination in self._webhooks:
            self._start(destination)
        try:
            yield
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for webhook in self._webhooks.values():
                pending = webhook.counts.pending
                if pending and not self._durable:
                    log.error("webhook=%s event=webhook_lost %d alerts were never sent", webhook.name, pending)

    def change(self, sections: Iterable[WebhookSection]) -> list[str]:
        """Takes other webhooks from here on; call it while they run.

        What waits for one that has changed goes to it as it is now; what waits for one that is gone is settled.

        Returns:
            The names of those that were added, removed or changed.
        """
        wanted = {section.destination: section for section in sections}
        changed = [d for d in {**self._sections, **wanted} if self._sections.get(d) != wanted.get(d)]
        for destination in changed:
            old = self._webhooks.pop(destination, None)
            if old is not None:
                # An attempt under way is cut off, and made again: at least once, as ever.
                self._tasks.pop(destination).cancel()
            self._sections.pop(destination, None)
            waiting = [] if old is None else old.waiting()
            if destination in wanted:
                self._sections[destination] = wanted[destination]
                self._webhooks[destination] = new = self._webhook(wanted[destination], self._node)
                new.resume([] if old is None else old.up())
                for event in waiting:
                    new.offer(event)
                self._start(destination)
            elif waiting:
                for _, event in self.gone({destination: waiting}):
                    if self._on_settled is not None:
                        self._on_settled(event, destination)
        return [destination.partition(":")[2] for destination in changed]

    def _start(self, destination: str) -> None:
        webhook = self._webhooks[destination]
        task = asyncio.create_task(webhook.run(), name=f"vqwatch.webhook[{webhook.name}]")
        task.add_done_callback(_ended)
        self._tasks[destination] = task

    async def close(self, deadline_s: float) -> None:
        """Sends what waits, as far as the receivers take it; returns at the latest after the deadline."""
        await asyncio.gather(*(webhook.close(deadline_s) for webhook in self._webhooks.values()))

    def _webhook(self, section: WebhookSection, node: str) -> Webhook:
        def settled(event: AlertEvent) -> None:
            if self._on_settled is not None:
                self._on_settled(event, section.destination)

        return Webhook(
            section.name,
            section.url.get_secret_value(),
            TEMPLATES[section.template],
            node,
            key=None if section.secret is None else section.secret.get_secret_value().encode(),
            headers={name: value.get_secret_value() for name, value in section.headers.items()},
            timeout_s=section.timeout,
            max_waiting=_MOST_WITH_LEDGER if self._durable else _MOST_IN_MEMORY,
            on_settled=settled,
        )


def _ended(task: asyncio.Task[None]) -> None:
    """A webhook that dies of a mistake of ours takes nobody along, and does not do so in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("event=bug %s has ended: %s", task.get_name(), type(error).__name__)
