"""Outages of a broker as they come: long, forgetful, refusing, slow, half-open. Alerts arrive in order, within bounds.

`make broker-outages` makes them in full: two hundred alerts, ten minutes without a broker, one message a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher
from monitor.types import Message

ALERTS = int(os.environ.get("VQWATCH_OUTAGE_ALERTS", "24"))
DOWN_S = float(os.environ.get("VQWATCH_OUTAGE_DOWN_S", "1"))
PACE_S = float(os.environ.get("VQWATCH_OUTAGE_PACE_S", "0.1"))
STREAMS = ("cam1", "cam2", "cam3")

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120 + 3 * DOWN_S + 12 * ALERTS * PACE_S)]
mosquitto = pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)


class SlowLink:
    """A relay that passes one MQTT packet of the client's in a while, and holds back all that comes after it."""

    def __init__(self, target: BrokerAddress, pace_s: float) -> None:
        self._target, self._pace_s = target, pace_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> BrokerAddress:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=512)
        return BrokerAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, far_writer]
        for passing in (self._packets(reader, far_writer), self._bytes(far_reader, writer)):
            self._tasks.add(asyncio.create_task(passing))

    async def _packets(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                packet = await reader.readexactly(1)
                length, shift = 0, 0
                while True:
                    packet += await reader.readexactly(1)
                    length |= (packet[-1] & 127) << shift
                    shift += 7
                    if packet[-1] < 128:
                        break
                writer.write(packet + await reader.readexactly(length))
                await asyncio.sleep(self._pace_s)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def _bytes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
        except OSError:
            pass
        writer.close()


def alert(number: int) -> Message:
    topic = f"vqwatch/n1/stream/{STREAMS[number % 3]}/alert"
    return Message(topic, b"%d" % number, qos=1, conflate=False)


def state(stream: str, second: int) -> Message:
    return Message(f"vqwatch/n1/stream/{stream}/state", b"%d" % second, retain=True)


class Monitoring:
    """States once in a while and alerts now and then, as a monitor offers them; counts the states."""

    def __init__(self, publisher: MqttPublisher) -> None:
        self.publisher = publisher
        self.states = 0
        self._info = Message("vqwatch/n1/stream/cam1/info", b"{}", qos=1, retain=True)
        self._process = psutil.Process()
        self._rss = self._process.memory_info().rss

    async def connected(self) -> None:
        async with asyncio.timeout(60):
            await self.publisher.wait_connected()
        self.publisher.offer(self._info)

    def second(self) -> None:
        for stream in STREAMS:
            assert self.publisher.offer(state(stream, self.states))
            self.states += 1

    async def outage(self, seconds: float) -> None:
        """All alerts, and as many seconds of states, while the broker is not to be had."""
        for number in range(ALERTS):
            self.publisher.offer(alert(number))
            self.second()
            await asyncio.sleep(seconds / ALERTS)
        # Of what is retained, the newest of each topic waits; all the rest is counted.
        assert self.publisher.counts.pending <= ALERTS + len(STREAMS) + 2
        assert self.publisher.counts.superseded >= self.states - 2 * len(STREAMS)

    async def recovered(self, link: Any, subscribe: Any, address: BrokerAddress) -> None:
        """Waits for the next connection; the broker's memory is right within five seconds from there."""
        before = link.accepted
        link.restore()
        async with asyncio.timeout(60):
            while link.accepted == before:
                await asyncio.sleep(0.005)
        started_s = asyncio.get_running_loop().time()
        expected = {state(stream, 0).topic: b"%d" % (self.states - 3 + n) for n, stream in enumerate(STREAMS)}
        expected |= {"vqwatch/n1/status": b"online", self._info.topic: b"{}"}
        late = await subscribe(address)
        await late.until(lambda newest: expected.items() <= newest.items(), 20)
        assert asyncio.get_running_loop().time() - started_s < 5.0

    def accounted(self) -> bool:
        """Every state went out, was replaced by a newer one, which is counted, or waits; every alert went out."""
        counts = self.publisher.counts
        bounded = (self._process.memory_info().rss - self._rss) / 1e6 < 64
        return bounded and counts.sent + counts.superseded + counts.pending >= self.states + ALERTS


@asynccontextmanager
async def monitoring(address: BrokerAddress) -> AsyncIterator[Monitoring]:
    publisher = MqttPublisher(address, "n1", protocol="auto")
    task = asyncio.create_task(publisher.run())
    try:
        yield Monitoring(publisher)
    finally:
        await publisher.close(1.0)
        await task


async def arrived(outside: Any, timeout_s: float) -> None:
    """Every alert, in order per stream; one in doubt may come twice."""

    def enough(_: object) -> bool:
        return {int(payload) for topic, payload, _ in outside.received if topic.endswith("/alert")} == set(
            range(ALERTS)
        )

    await outside.until(enough, timeout_s)
    for number, stream in enumerate(STREAMS):
        seen = list(dict.fromkeys(map(int, outside.on(f"vqwatch/n1/stream/{stream}/alert"))))
        assert seen == list(range(number, ALERTS, 3))


@mosquitto
async def test_alerts_arrive_over_a_link_that_carries_one_message_in_a_while(broker: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with SlowLink(broker.address, PACE_S) as address, monitoring(address) as work:
        await work.connected()
        for number in range(ALERTS):
            work.publisher.offer(alert(number))
        done = asyncio.create_task(arrived(outside, 60 + 10 * ALERTS * PACE_S))
        while not done.done():
            # Three states in the time of one message: more than the link can carry, for as long as it takes.
            work.second()
            await asyncio.sleep(PACE_S)
        await done
        # The newest state is never long behind: what waits waits where newer values replace it.
        lag = work.states - max(int(outside.newest.get(state(stream, 0).topic, b"0")) for stream in STREAMS)
        assert lag < 3 * 40
        assert work.publisher.counts.superseded > ALERTS / 4
        assert work.publisher.counts.pending <= ALERTS + len(STREAMS)
        assert work.accounted()


@mosquitto
async def test_a_broker_that_comes_back_without_its_memory_is_right_within_five_seconds(
    broker: Any, link: Any, subscribe: Any
) -> None:
    async with monitoring(link.address) as work:
        await work.connected()
        link.cut()
        await broker.kill()
        await work.outage(DOWN_S)
        await broker.start()
        outside = await subscribe(broker.address)
        await work.recovered(link, subscribe, broker.address)
        await arrived(outside, 60)
        assert work.accounted()


async def test_alerts_wait_while_the_password_is_refused(
    mosquitto_with: Any, link_to: Any, subscribe: Any, tmp_path: Path
) -> None:
    passwords = tmp_path / "passwords"

    async def know(password: str) -> None:
        passwords.write_text(f"op:{password}\n")
        hashing = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", str(passwords))
        assert await hashing.wait() == 0

    broker = mosquitto_with(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    await know("right")
    await broker.start()
    link = await link_to(broker.address)
    way = replace(link.address, username="op", password="right")
    known = replace(broker.address, username="op", password="right")
    try:
        async with monitoring(way) as work:
            await work.connected()
            await broker.kill()
            # Someone has changed it on the broker alone; what the broker kept is gone, too.
            await know("changed")
            await broker.start()
            await work.outage(DOWN_S)
            async with asyncio.timeout(20):
                while work.publisher.trouble_code != "auth":
                    await asyncio.sleep(0.01)
            assert work.publisher.trouble == "it refuses the credentials"
            link.cut()
            await broker.kill()
            await know("right")
            await broker.start()
            outside = await subscribe(known)
            await work.recovered(link, subscribe, known)
            await arrived(outside, 60)
            assert work.publisher.trouble is None
            assert work.accounted()
    finally:
        await broker.stop()


@mosquitto
async def test_alerts_in_a_half_open_link_arrive_over_the_next_one(broker: Any, link: Any, subscribe: Any) -> None:
    outside = await subscribe(broker.address)
    async with monitoring(link.address) as work:
        await work.connected()
        link.swallow()
        for number in range(ALERTS):
            work.publisher.offer(alert(number))
        work.second()
        await work.recovered(link, subscribe, broker.address)
        await arrived(outside, 90)
        assert work.publisher.counts.reconnects >= 1
        assert work.accounted()
