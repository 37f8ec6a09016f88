from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import UsageError
from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher
from monitor.types import Message

pytestmark = pytest.mark.servers

STATUS = "vqwatch/n1/status"

# Where what is tested does not depend on the kind of broker, the one that starts faster.
any_broker = pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)


class Soon(random.Random):
    """Jitter that does not make a test wait."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


@contextlib.asynccontextmanager
async def running(address: BrokerAddress, **options: Any) -> AsyncIterator[MqttPublisher]:
    publisher = MqttPublisher(address, "n1", **{"rng": Soon(), **options})
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        await publisher.close(10.0)
        await task


def state(value: int, stream: str = "cam1") -> Message:
    return Message(f"vqwatch/n1/stream/{stream}/state", b"%d" % value, retain=True)


def alert(value: int, stream: str = "cam1") -> Message:
    return Message(f"vqwatch/n1/stream/{stream}/alert", b"%d" % value, qos=1, conflate=False)


def numbers(payloads: list[bytes]) -> list[int]:
    return [int(payload) for payload in payloads]


async def connected(publisher: MqttPublisher) -> None:
    async with asyncio.timeout(20):
        await publisher.wait_connected()


async def disconnected(publisher: MqttPublisher) -> None:
    async with asyncio.timeout(20):
        while publisher.counts.connected:
            await asyncio.sleep(0.01)


async def sent_all(publisher: MqttPublisher) -> None:
    async with asyncio.timeout(20):
        while publisher.counts.pending:
            await asyncio.sleep(0.01)


async def test_status_is_online_while_running_and_stopped_after_close(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with running(broker.address) as publisher:
        await outside.until_is(STATUS, b"online")
        await connected(publisher)
        assert publisher.counts.connected
    await outside.until_is(STATUS, b"stopped")
    assert not publisher.counts.connected
    # The clean DISCONNECT made the broker forget the will.
    late = await subscribe(broker.address)
    await late.until_is(STATUS, b"stopped")
    assert outside.on(STATUS) == [b"online", b"stopped"]
    assert late.received == [(STATUS, b"stopped", True)]


@pytest.mark.parametrize(("kill", "final"), [(signal.SIGKILL, b"offline"), (signal.SIGTERM, b"stopped")])
async def test_status_tells_a_killed_process_from_a_stopped_one(
    broker: Any, subscribe: Any, kill: signal.Signals, final: bytes
) -> None:
    outside = await subscribe(broker.address)
    script = Path(__file__).with_name("publisher_process.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(broker.address.port), "n1", stdin=subprocess.DEVNULL
    )
    try:
        await outside.until_is(STATUS, b"online", 20)
        process.send_signal(kill)
        await outside.until_is(STATUS, final)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    late = await subscribe(broker.address)
    await late.until_is(STATUS, final)
    assert process.returncode == (-kill if kill == signal.SIGKILL else 0)


@any_broker
async def test_a_cancelled_run_leaves_offline(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    publisher = MqttPublisher(broker.address, "n1")
    task = asyncio.create_task(publisher.run())
    await connected(publisher)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await outside.until_is(STATUS, b"offline")


async def test_late_subscriber_sees_the_newest_retained_values_and_no_alerts(broker: Any, subscribe: Any) -> None:
    async with running(broker.address) as publisher:
        for value in range(3):
            publisher.offer(state(value))
            publisher.offer(alert(value))
            await sent_all(publisher)
        late = await subscribe(broker.address)
        await late.until(lambda newest: len(newest) == 2)
        assert set(late.received) == {(STATUS, b"online", True), (state(2).topic, b"2", True)}


@any_broker
async def test_a_removed_stream_leaves_nothing_retained(broker: Any, subscribe: Any) -> None:
    async with running(broker.address) as publisher:
        publisher.offer(state(1))
        await sent_all(publisher)
        publisher.offer(Message(state(1).topic, b"", qos=1, retain=True))
        await sent_all(publisher)
        late = await subscribe(broker.address)
        await late.until_is(STATUS, b"online")
        assert state(1).topic not in late.newest


async def test_restarted_broker_gets_everything_retained_and_queued_alerts_in_order(
    broker: Any, subscribe: Any
) -> None:
    async with running(broker.address) as publisher:
        publisher.offer(state(1))
        publisher.offer(state(1, "cam2"))
        publisher.offer(alert(0))
        await connected(publisher)
        await sent_all(publisher)
        await broker.kill()
        await disconnected(publisher)
        for value in range(1, 60):
            publisher.offer(state(value))
            publisher.offer(alert(value, "cam1" if value % 2 else "cam2"))
        counts = publisher.counts
        assert (counts.pending, counts.superseded) == (60, 58)
        await broker.start()
        # No outside client can be sure to come back before the publisher: alerts are seen by the next test.
        await connected(publisher)
        await sent_all(publisher)
        late = await subscribe(broker.address)
        expected = {STATUS: b"online", state(0).topic: b"59", state(0, "cam2").topic: b"1"}
        await late.until(lambda newest: newest == expected)
        assert publisher.counts.reconnects == 1


@any_broker
async def test_alerts_queued_while_away_arrive_in_order_and_states_conflate(
    broker: Any, link: Any, subscribe: Any
) -> None:
    outside = await subscribe(broker.address)
    delivered: list[Message] = []
    async with running(link.address, on_delivered=delivered.append) as publisher:
        await connected(publisher)
        link.cut()
        await outside.until_is(STATUS, b"offline")
        await disconnected(publisher)
        for value in range(200):
            publisher.offer(alert(value))
            publisher.offer(state(value))
        assert publisher.counts.pending == 201
        assert publisher.trouble is not None
        link.restore()
        await outside.until(lambda newest: newest.get(alert(0).topic) == b"199")
        await sent_all(publisher)
        assert numbers(outside.on(alert(0).topic)) == list(range(200))
        assert numbers(outside.on(state(0).topic)) == [199]
        assert numbers([message.payload for message in delivered]) == list(range(200))
        assert publisher.trouble is None
    assert outside.newest[STATUS] == b"stopped"


# amqtt acknowledges before it passes on, and drops what it did not pass on when the link breaks.
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
async def test_alerts_in_doubt_are_sent_again_none_is_lost(broker: Any, link: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with running(link.address) as publisher:
        await connected(publisher)
        for value in range(300):
            publisher.offer(alert(value))
            if value % 60 == 59:
                await asyncio.sleep(0.01)
                link.cut()
                await disconnected(publisher)
                link.restore()
                await connected(publisher)
        await sent_all(publisher)
        await outside.until(lambda newest: newest.get(alert(0).topic) == b"299")
    seen = numbers(outside.on(alert(0).topic))
    assert list(dict.fromkeys(seen)) == list(range(300))
    # A repeat starts over from a message in doubt and goes on without a gap.
    assert all(after <= before + 1 for before, after in itertools.pairwise(seen))


async def test_a_silent_link_is_noticed_while_idle_and_a_late_will_is_corrected(
    broker: Any, link: Any, subscribe: Any
) -> None:
    outside = await subscribe(broker.address)
    async with running(link.address, keepalive_s=1) as publisher:
        await connected(publisher)
        link.swallow()
        await disconnected(publisher)
        await connected(publisher)
        assert link.accepted >= 2
        # Now the broker loses the first link too, and may publish its will.
        link.drop_swallowed()
        await asyncio.sleep(0.1)
        await outside.until_is(STATUS, b"online")
        late = await subscribe(broker.address)
        await late.until_is(STATUS, b"online")
        await asyncio.sleep(0.3)
        assert outside.newest[STATUS] == b"online"


async def test_offer_without_a_broker_is_bounded_and_says_what_it_refuses() -> None:
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", 1), "n1", max_queued=10, rng=Soon())
    task = asyncio.create_task(publisher.run())
    accepted = [publisher.offer(alert(value)) for value in range(25)]
    for value in range(1000):
        assert publisher.offer(state(value))
    counts = publisher.counts
    assert accepted == [True] * 10 + [False] * 15
    assert (counts.pending, counts.refused, counts.superseded) == (11, 15, 999)
    async with asyncio.timeout(8):
        await publisher.close(1.0)
        await task
    assert publisher.counts.pending == 11


async def test_close_does_not_outlast_its_deadline_on_a_broker_that_hangs() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1]), "n1")
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        await publisher.close(0.3)
        await task
    server.close()


async def test_closing_a_publisher_that_never_ran_returns() -> None:
    await MqttPublisher(BrokerAddress("127.0.0.1", 1), "n1").close()


async def test_close_sends_what_waits_before_stopped(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    publisher = MqttPublisher(broker.address, "n1")
    task = asyncio.create_task(publisher.run())
    await connected(publisher)
    for value in range(60):
        publisher.offer(alert(value))
    await publisher.close(20.0)
    await task
    await outside.until_is(STATUS, b"stopped")
    assert numbers(outside.on(alert(0).topic)) == list(range(60))
    assert publisher.counts.pending == 0


@any_broker
async def test_an_outage_is_one_line_each_way_and_nothing_else_is_printed(
    broker: Any, link: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    async with running(link.address) as publisher:
        await connected(publisher)
        link.cut()
        await disconnected(publisher)
        await asyncio.sleep(0.2)
        link.restore()
        await connected(publisher)
    gc.collect()
    await asyncio.sleep(0)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("vqwatch.mqtt", "INFO"),
        ("vqwatch.mqtt", "WARNING"),
        ("vqwatch.mqtt", "INFO"),
    ]
    assert complaints == []
    assert capfd.readouterr().err == ""


async def test_refused_credentials_are_one_clear_line_without_the_credentials(
    mosquitto_with: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("admin:right\n")
    mosquitto = mosquitto_with(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    hashing = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", str(passwords))
    assert await hashing.wait() == 0
    await mosquitto.start()
    caplog.set_level(logging.INFO)
    try:
        port = mosquitto.address.port
        for url, words in (
            (f"mqtt://admin:hunter2@127.0.0.1:{port}", "it refuses the credentials"),
            (f"mqtt://127.0.0.1:{port}", "it asks for a user and a password"),
        ):
            caplog.clear()
            async with running(BrokerAddress.parse(url)) as publisher:
                await asyncio.sleep(0.3)
                assert (publisher.trouble, publisher.trouble_code) == (words, "auth")
            errors = [record.getMessage() for record in caplog.records]
            assert errors == [
                f"event=broker_down broker=mqtt://127.0.0.1:{port} code=auth waiting=0 {words}; trying again"
            ]
            assert "hunter2" not in caplog.text
        async with running(BrokerAddress.parse(f"mqtt://admin:right@127.0.0.1:{port}")) as publisher:
            await connected(publisher)
            assert (publisher.trouble, publisher.trouble_code) == (None, None)
    finally:
        await mosquitto.stop()


async def test_an_unknown_host_is_named_plainly(caplog: pytest.LogCaptureFixture) -> None:
    async with running(BrokerAddress("broker.invalid")) as publisher:
        async with asyncio.timeout(20):
            while publisher.trouble is None:
                await asyncio.sleep(0.01)
        assert publisher.trouble == "its host name cannot be resolved"


@any_broker
async def test_a_publisher_runs_once(broker: Any) -> None:
    async with running(broker.address) as publisher:
        await connected(publisher)
        with pytest.raises(RuntimeError, match="once"):
            await publisher.run()


async def test_a_bad_node_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'No/de'"):
        MqttPublisher(BrokerAddress("h"), "No/de")


async def test_it_disconnects_only_once_the_broker_has_passed_on_its_last_word() -> None:
    """A broker as slow to pass on as amqtt is under load, in the packets of MQTT 3.1.1."""
    events: list[str] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def pass_on(packet: bytes) -> None:
            await asyncio.sleep(0.2)
            events.append("passed on")
            writer.write(packet)

        late: list[asyncio.Task[None]] = []
        while head := await reader.read(2):
            kind, body = head[0] >> 4, await reader.readexactly(head[1])
            if kind == 1:  # CONNECT -> CONNACK
                writer.write(b"\x20\x02\x00\x00")
            elif kind == 3:  # PUBLISH, QoS 1 -> PUBACK
                length = int.from_bytes(body[:2], "big")
                writer.write(b"\x40\x02" + body[2 + length : 4 + length])
                if body.endswith(b"stopped"):
                    plain = body[: 2 + length] + body[4 + length :]
                    late.append(asyncio.create_task(pass_on(bytes([0x30, len(plain)]) + plain)))
            elif kind == 8:  # SUBSCRIBE -> SUBACK
                writer.write(b"\x90\x03" + body[:2] + b"\x01")
            elif kind == 14:
                events.append("disconnect")
        await asyncio.gather(*late)
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    async with running(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1])) as publisher:
        await connected(publisher)
    server.close()
    await asyncio.sleep(0.05)
    assert events == ["passed on", "disconnect"]
