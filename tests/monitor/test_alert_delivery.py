from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from monitor.alert_delivery import AlertDelivery
from monitor.publish.mqtt import BrokerAddress, MqttPublisher
from monitor.types import AlertEvent, Message, Severity, StreamId
from monitor.webhooks import Webhooks

RAISED = AlertEvent("a-1", 1, StreamId("cam"), "black", Severity.CRITICAL, "raised", 1_800_000_000.0)
CLEARED = replace(RAISED, seq=2, status="cleared", cleared_at=1_800_000_060.0)


class Recorded(MqttPublisher):
    """A publisher without a link that keeps what it took, and takes nothing while ``full``."""

    def __init__(self) -> None:
        super().__init__(BrokerAddress("127.0.0.1", 1), "node")
        self.taken: list[Message] = []
        self.full = False

    def offer(self, message: Message) -> bool:
        if not self.full:
            self.taken.append(message)
        return not self.full

    def raised(self) -> list[list[str]]:
        """Ids in each message that tells which alerts are raised."""
        own = [message for message in self.taken if message.topic == "vqwatch/node/alerts"]
        return [[alert["id"] for alert in json.loads(message.payload)["active"]] for message in own]


def no_webhooks(settled: Callable[[AlertEvent, str], None]) -> Webhooks:
    return Webhooks([], "node", durable=False, on_settled=settled)


@pytest.fixture
async def publisher() -> Recorded:
    return Recorded()


@pytest.fixture
def alerts(publisher: Recorded) -> AlertDelivery:
    delivery = AlertDelivery(no_webhooks)
    delivery.publisher = publisher
    return delivery


async def test_what_is_raised_is_told_once_for_all_that_changed_in_one_go(
    alerts: AlertDelivery, publisher: Recorded
) -> None:
    alerts.take(RAISED)
    alerts.take(replace(RAISED, id="a-2", stream=StreamId("other")))
    assert publisher.raised() == []
    await asyncio.sleep(0)
    assert publisher.raised() == [["a-1", "a-2"]]
    alerts.take(CLEARED)
    await asyncio.sleep(0)
    assert publisher.raised()[1:] == [["a-2"]]


async def test_the_clear_of_an_earlier_alert_leaves_the_present_one_raised(
    alerts: AlertDelivery, publisher: Recorded
) -> None:
    alerts.take(replace(RAISED, id="a-3", seq=3))
    alerts.take(CLEARED)
    await asyncio.sleep(0)
    assert publisher.raised() == [["a-3"]]


async def test_what_an_earlier_run_left_raised_is_raised_still(alerts: AlertDelivery, publisher: Recorded) -> None:
    alerts.resume([RAISED])
    alerts.publish_active()
    assert publisher.raised() == [["a-1"]]


async def test_what_the_publisher_refuses_is_not_told_as_raised(alerts: AlertDelivery, publisher: Recorded) -> None:
    publisher.full = True
    assert not alerts.send(RAISED)
    publisher.full = False
    alerts.publish_active()
    assert publisher.raised() == [[]]


async def test_before_there_is_a_publisher_nothing_is_sent() -> None:
    told: list[AlertEvent] = []
    alerts = AlertDelivery(no_webhooks, told.append)
    assert not alerts.send(RAISED)
    alerts.take(RAISED)
    assert told == [RAISED]
