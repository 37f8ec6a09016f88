"""Real brokers, outside clients and a link that can be cut, for the tests of publishing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol, Self

import aiomqtt
import pytest

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.embedded import EmbeddedBroker

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker(Protocol):
    """A broker that tests can kill and start again on the same port."""

    @property
    def address(self) -> BrokerAddress: ...

    async def start(self) -> None: ...

    async def kill(self) -> None: ...

    async def stop(self) -> None: ...


class Mosquitto:
    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        self.address = BrokerAddress("127.0.0.1", free_port())
        self._config = folder / "mosquitto.conf"
        # Started by root it would give up its rights, and then could not read files of the tests.
        self._config.write_text(f"listener {self.address.port} 127.0.0.1\nuser root\n{settings}\n")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._config), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            while not await reachable(self.address):
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self._process = None

    async def stop(self) -> None:
        if self._process is not None:
            await self.kill()


class KillableEmbedded(EmbeddedBroker):
    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self.wait_died()


async def reachable(address: BrokerAddress) -> bool:
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def mosquitto_or_skip(folder: Path, settings: str = "allow_anonymous true") -> Mosquitto:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (Debian package mosquitto), which is not installed")
    return Mosquitto(folder, settings)


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    """A running broker of each kind."""
    kind: Broker
    if request.param == "mosquitto":
        kind = mosquitto_or_skip(tmp_path)
    else:
        kind = KillableEmbedded(mqtt_port=0, ws_port=None)
    await kind.start()
    try:
        yield kind
    finally:
        await kind.stop()


class Link:
    """A TCP relay in front of a broker: can refuse, cut, or silently swallow everything."""

    def __init__(self, target: BrokerAddress) -> None:
        self._target = target
        self._open = True
        self._flow = asyncio.Event()
        self._flow.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowed: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.accepted = 0

    @property
    def address(self) -> BrokerAddress:
        assert self._server is not None
        return BrokerAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        self._open = True

    def swallow(self) -> None:
        """Keep present connections open on both sides, but pass nothing more; new ones work."""
        self._flow.clear()
        self._swallowed, self._writers = self._writers, set()
        self._flow = asyncio.Event()
        self._flow.set()

    def drop_swallowed(self) -> None:
        """Break the connections that were swallowed, on the broker's side too."""
        for writer in self._swallowed:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.drop_swallowed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink, self._flow))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await flow.wait()
                sink.write(data)
                await sink.drain()
        if flow.is_set():
            sink.close()


class Subscriber:
    """An outside client: keeps what it receives, in order, as (topic, payload, retain flag)."""

    def __init__(self, address: BrokerAddress, topic: str = "vqwatch/#") -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self._news = asyncio.Condition()
        self._address = address
        self._topic = topic
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._listen(ready))
        async with asyncio.timeout(20):
            await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, ready: asyncio.Event) -> None:
        client = aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
        )
        async with client:
            await client.subscribe(self._topic, qos=1)
            ready.set()
            with contextlib.suppress(aiomqtt.MqttError):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    self.received.append((str(message.topic), message.payload, message.retain))
                    async with self._news:
                        self._news.notify_all()

    async def until(self, enough: Callable[[dict[str, bytes]], bool], timeout_s: float = 20.0) -> None:
        """Wait until the newest payload by topic is as wanted."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: enough(self.newest))
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s; received {self.received}") from None

    async def until_is(self, topic: str, payload: bytes, timeout_s: float = 20.0) -> None:
        await self.until(lambda newest: newest.get(topic) == payload, timeout_s)

    @property
    def newest(self) -> dict[str, bytes]:
        return {topic: payload for topic, payload, _ in self.received}

    def on(self, topic: str) -> list[bytes]:
        return [payload for received, payload, _ in self.received if received == topic]


Subscribe = Callable[..., Awaitable[Subscriber]]


@pytest.fixture
async def subscribe() -> AsyncIterator[Subscribe]:
    """Make outside clients that leave at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(address: BrokerAddress, topic: str = "vqwatch/#") -> Subscriber:
            return await stack.enter_async_context(Subscriber(address, topic))

        yield make


@pytest.fixture
async def link(broker: Broker) -> AsyncIterator[Link]:
    """A link to the running broker that can be cut while the broker stays up."""
    async with Link(broker.address) as relay:
        yield relay


@pytest.fixture
async def link_to() -> AsyncIterator[Callable[[BrokerAddress], Awaitable[Link]]]:
    """Make links to brokers, started or not."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(address: BrokerAddress) -> Link:
            return await stack.enter_async_context(Link(address))

        yield make


@pytest.fixture
def mosquitto_with() -> Callable[[Path, str], Mosquitto]:
    """Make a mosquitto with settings of its own, not started."""
    return mosquitto_or_skip
