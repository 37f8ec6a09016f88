"""The way of an alert: log, ledger, MQTT, webhooks; and which alerts are raised now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from monitor.evidence import EvidenceDesk
from monitor.publish import wire
from monitor.publish.mqtt import MqttPublisher
from monitor.store.alert_log import AlertLog
from monitor.types import AlertEvent, Message, StreamId
from monitor.webhooks import Webhooks

log = logging.getLogger("vqwatch.app")


class AlertDelivery:
    """Hands each event to all who are to know it. Event loop only.

    With a ledger an event is on the disk before anyone is told, and is told again until each has acknowledged it.

    Args:
        make_webhooks: Builds the webhooks around this object's `settled`.
        on_alert: Called with each event.
    """

    def __init__(
        self,
        make_webhooks: Callable[[Callable[[AlertEvent, str], None]], Webhooks],
        on_alert: Callable[[AlertEvent], None] | None = None,
    ) -> None:
        self.webhooks = make_webhooks(self.settled)
        self._on_alert = on_alert
        #: Where events are kept until they are delivered; None where there is no data directory.
        self.ledger: AlertLog | None = None
        #: Stills beside the events; None where none are kept.
        self.evidence: EvidenceDesk | None = None
        #: The way to the broker; None before there is one.
        self.publisher: MqttPublisher | None = None
        #: Messages that the broker has not acknowledged, where a ledger wants to know.
        self._owed: dict[Message, AlertEvent] = {}
        self._active: dict[tuple[StreamId, str], AlertEvent] = {}
        self._active_changed = False

    def take(self, event: AlertEvent) -> None:
        """Tells a new event."""
        log.log(
            logging.WARNING if event.status == "raised" else logging.INFO,
            "stream=%s event=alert_%s rule=%s severity=%s value=%s cause=%s",
            event.stream, event.status, event.rule, event.severity,
            "-" if event.value is None else f"{event.value:.1f}", event.cause or "-",
        )  # fmt: skip
        webhooks = self.webhooks.addressed(event)
        if self.ledger is None:
            self.send(event)
            for webhook in webhooks:
                self.send_to_webhook(webhook, event)
        else:
            self.ledger.append(event, webhooks)
        if self._on_alert is not None:
            self._on_alert(event)

    def withdraw(self, events: Iterable[AlertEvent]) -> None:
        """Tells clears of what is no longer looked at, and ends the evidence of it."""
        for event in events:
            if self.evidence is not None:
                self.evidence.close(event)
            self.take(event)

    def resume(self, raised: Iterable[AlertEvent]) -> None:
        """What an earlier run left raised is raised still."""
        self._active = {(event.stream, event.rule): self._with_still(event) for event in raised}

    def send(self, event: AlertEvent) -> bool:
        """Hands an event to the publisher; False where that cannot take more now."""
        publisher = self.publisher
        if publisher is None:
            return False
        event = self._with_still(event)
        message = wire.alert_message(publisher.topics, event)
        if not publisher.offer(message):
            return False
        if self.ledger is not None:
            self._owed[message] = event
        key = (event.stream, event.rule)
        if event.status == "raised":
            self._active[key] = event
        elif key in self._active and self._active[key].id == event.id:
            del self._active[key]
        if not self._active_changed:
            # Once for all that change in one go.
            self._active_changed = True
            asyncio.get_running_loop().call_soon(self.publish_active)
        return True

    def send_to_webhook(self, destination: str, event: AlertEvent) -> None:
        """Hands an event to a webhook."""
        self.webhooks.offer(destination, self._with_still(event))

    def delivered(self, message: Message) -> None:
        """The broker has acknowledged a message."""
        event = self._owed.pop(message, None)
        if event is not None and self.ledger is not None:
            self.ledger.delivered(event)

    def settled(self, event: AlertEvent, destination: str) -> None:
        """A webhook has taken an event, or is not to have it any more."""
        if self.ledger is not None:
            self.ledger.delivered(event, destination)

    def publish_active(self) -> None:
        """Tells which alerts are raised."""
        self._active_changed = False
        assert self.publisher is not None
        topics = self.publisher.topics
        self.publisher.offer(wire.alerts_message(topics, int(time.time() * 1000), self._active.values()))

    def _with_still(self, event: AlertEvent) -> AlertEvent:
        return event if self.evidence is None else self.evidence.with_still(event)
