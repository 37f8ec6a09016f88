"""MQTT 5 where the broker speaks it, 3.1.1 where it does not; and the way to another broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher
from monitor.publish.wire import Topics
from monitor.types import Message

pytestmark = pytest.mark.servers

STATUS = "vqwatch/n1/status"
STATE = Message(Topics("n1").state("cam1"), b"{}", retain=True, expires_s=2)
INFO = Message(Topics("n1").info("cam1"), b"{}", qos=1, retain=True)
mosquitto = pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)


@asynccontextmanager
async def running(address: BrokerAddress, protocol: str) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(address, "n1", protocol=protocol)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        await publisher.close(5.0)
        await task


async def settled(publisher: MqttPublisher) -> None:
    async with asyncio.timeout(30):
        await publisher.wait_connected()
        while publisher.counts.pending:
            await asyncio.sleep(0.01)


async def properties(address: BrokerAddress, topics: int) -> dict[str, tuple[Any, Any]]:
    """Content type and remaining life of each retained message, as a client of MQTT 5 gets them."""
    found: dict[str, tuple[Any, Any]] = {}
    async with (
        asyncio.timeout(20),
        aiomqtt.Client(address.host, address.port, protocol=aiomqtt.ProtocolVersion.V5) as client,
    ):
        await client.subscribe("vqwatch/#")
        async for message in client.messages:
            given = message.properties
            found[str(message.topic)] = (
                getattr(given, "ContentType", None), getattr(given, "MessageExpiryInterval", None)
            )  # fmt: skip
            if len(found) == topics:
                break
    return found


@mosquitto
async def test_with_mqtt_5_messages_say_what_they_are_and_states_do_not_outlive_their_time(
    broker: Any, subscribe: Any
) -> None:
    async with running(broker.address, "auto") as publisher:
        publisher.offer(STATE)
        publisher.offer(INFO)
        await settled(publisher)
        found = await properties(broker.address, 3)
        assert found[STATUS] == ("text/plain", None)
        assert found[INFO.topic] == ("application/json", None)
        assert found[STATE.topic][0] == "application/json"
        assert found[STATE.topic][1] in (1, 2)
        await asyncio.sleep(3.1)
        late = await subscribe(broker.address)
        await late.until_is(STATUS, b"online")
        await late.until_is(INFO.topic, INFO.payload)
        assert STATE.topic not in late.newest


@mosquitto
async def test_with_3_1_1_messages_have_no_properties(broker: Any) -> None:
    async with running(broker.address, "3.1.1") as publisher:
        publisher.offer(STATE)
        await settled(publisher)
        assert await properties(broker.address, 2) == {STATUS: (None, None), STATE.topic: (None, None)}


@pytest.mark.parametrize("manner", ["refuses", "hangs up"])
async def test_a_broker_of_3_1_1_alone_is_spoken_to_in_it_at_once(
    manner: str, caplog: pytest.LogCaptureFixture
) -> None:
    versions: list[int] = []

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):
            kind, body = head[0] >> 4, await reader.readexactly(head[1])
            if kind == 1:
                versions.append(body[6])
                if body[6] == 5:
                    if manner == "refuses":
                        writer.write(b"\x20\x02\x00\x01")
                    break
                writer.write(b"\x20\x02\x00\x00")
            elif kind == 3:
                length = int.from_bytes(body[:2], "big")
                writer.write(b"\x40\x02" + body[2 + length : 4 + length])
            elif kind == 8:
                writer.write(b"\x90\x03" + body[:2] + b"\x80")
            elif kind == 10:
                writer.write(b"\xb0\x02" + body[:2])
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    address = BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    async with running(address, "auto") as publisher:
        await settled(publisher)
    async with running(address, "5") as publisher, asyncio.timeout(20):
        while publisher.trouble is None:
            await asyncio.sleep(0.01)
        assert not publisher.counts.connected
    server.close()
    assert versions[:3] == [5, 4, 5]
    assert 4 not in versions[2:]
    # Of the first publisher nothing: that the broker is an old one is no outage.
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert ("it does not speak this version" in told[0]) == (manner == "refuses")


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_amqtt_which_does_not_answer_to_mqtt_5_is_spoken_to_in_3_1_1(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with running(broker.address, "auto") as publisher:
        publisher.offer(INFO)
        await settled(publisher)
        await outside.until_is(INFO.topic, INFO.payload)


@mosquitto
async def test_a_publisher_moves_to_another_broker_with_all_that_waits(
    broker: Any, subscribe: Any, mosquitto_with: Any, tmp_path: Any
) -> None:
    (tmp_path / "second").mkdir()
    second = mosquitto_with(tmp_path / "second")
    await second.start()
    try:
        first, then = await subscribe(broker.address), await subscribe(second.address)
        async with running(broker.address, "auto") as publisher:
            publisher.offer(INFO)
            await settled(publisher)
            publisher.redirect(second.address, protocol="3.1.1")
            publisher.offer(Message("vqwatch/n1/stream/cam1/alert", b"1", qos=1, conflate=False))
            await then.until_is("vqwatch/n1/stream/cam1/alert", b"1")
            await then.until_is(INFO.topic, INFO.payload)
            await first.until_is(STATUS, b"stopped")
            assert then.newest[STATUS] == b"online"
    finally:
        await second.stop()


async def test_what_an_access_rule_keeps_from_everyone_is_counted_and_told(
    mosquitto_with: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite vqwatch/n1/status\ntopic readwrite vqwatch/n1/stream/cam1/state\n")
    server = mosquitto_with(tmp_path, f"allow_anonymous true\nacl_file {rules}")
    await server.start()
    try:
        async with running(server.address, "5") as publisher:
            publisher.offer(STATE)
            publisher.offer(INFO)
            publisher.offer(INFO)
            await settled(publisher)
            publisher.offer(INFO)
            await settled(publisher)
            assert publisher.counts.denied >= 2
    finally:
        await server.stop()
    told = [r.getMessage() for r in caplog.records if "event=broker_denied" in r.getMessage()]
    assert len(told) == 1, "said once a link"
    assert "Not authorized" in told[0]


@mosquitto
async def test_entering_the_same_broker_anew_shows_offline_in_between(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with running(broker.address, "auto") as publisher:
        await settled(publisher)
        publisher.redirect(broker.address, protocol="auto")
        await outside.until(lambda _: outside.on(STATUS) == [b"online", b"offline", b"online"])


@mosquitto
async def test_listeners_hear_their_topics_over_all_links(broker: Any) -> None:
    heard: list[tuple[str, bytes, bool]] = []
    async with running(broker.address, "auto") as publisher:
        publisher.listen("homeassistant/status", lambda *message: heard.append(message))
        await settled(publisher)
        await broker.kill()
        await broker.start()
        async with asyncio.timeout(20), aiomqtt.Client("127.0.0.1", broker.address.port) as client:
            while not heard:
                await client.publish("homeassistant/status", "online")
                await asyncio.sleep(0.1)
            publisher.listen("homeassistant/status", None)
            await asyncio.sleep(0.3)
            heard.clear()
            await client.publish("homeassistant/status", "offline", qos=1)
            await asyncio.sleep(0.2)
    assert heard == []
