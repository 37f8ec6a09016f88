"""The publisher: one task that keeps a link to the broker and sends what waits.

The contract of ``vqwatch/{node}/status``, retained: ``online`` while the link stands, ``stopped`` after an
orderly end, ``offline`` by the broker's hand (the will) after any other. To keep it, only an orderly end may
send DISCONNECT, which tells the broker to forget the will; every other way out cuts the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiomqtt

from monitor.core.backoff import Backoff
from monitor.publish.broker_address import BrokerAddress
from monitor.publish.link import ClosingTlsSocket, cut, enter, first
from monitor.publish.link_errors import LINK_ERRORS, LinkCode, code_of, explain, is_configuration
from monitor.publish.outbox import Outbox
from monitor.publish.wire import OFFLINE, ONLINE, STOPPED, Topics
from monitor.types import Message

__all__ = ["BrokerAddress", "MqttPublisher", "PublisherCounts"]

logger = logging.getLogger("vqwatch.mqtt")

# aiomqtt and paho warn of what is told here in one line.
_library_logger = logging.getLogger("vqwatch.mqtt.paho")
_library_logger.setLevel(logging.CRITICAL)

# A silent link is found dead within two of these: one until the ping, one for its answer.
_KEEPALIVE_S = 5
# Time for one answer of the broker; the same for the TCP and TLS handshakes.
_ANSWER_S = 5.0
# Messages of each sort under way at once: over a round trip of 50 ms that is still 320 a second.
_BATCH = 16
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
# A link that stood this long starts the delays anew; shorter: two nodes of one name, or a sick broker.
_STEADY_S = 10.0
# Share of the time to close that the flush may take, so that "stopped" goes out where the flush does not end.
_FLUSH_SHARE = 2 / 3
# Time for our own last word to come back; a broker that grants the subscription but hides it costs this much.
_ECHO_S = 1.0
# Two nodes of one name correct each other's status no more often than this.
_CONTRADICT_S = 0.5


@dataclass(frozen=True, slots=True)
class PublisherCounts:
    """Where the publisher stands.

    Attributes:
        sent: Messages delivered, repeats included.
        superseded: Messages replaced by a newer one before they went out.
        refused: Messages not accepted because a bound was reached.
        pending: Messages accepted that wait now.
        reconnects: Links made after the first one.
        connected: A link stands now.
    """

    sent: int
    superseded: int
    refused: int
    pending: int
    reconnects: int
    connected: bool


class MqttPublisher:
    """Publishes over MQTT 3.1.1, through any outage of the broker.

    ``offer`` never waits. Retained topics are sent again, newest value, on each new link; messages that do
    not conflate are delivered in order, at least once, and leave memory only after the broker's
    acknowledgement. All methods belong to the event loop's thread.

    Args:
        target: The broker.
        node: Name of this monitor, unique on the broker, also its client id.
        tls: Context for ``mqtts``; the system's trust store by default. It becomes the publisher's.
        max_queued: Most messages that wait in line; more are refused (``offer`` says so).
        on_delivered: Told of each message in line once the broker has acknowledged it.
        keepalive_s: Idle time after which the link is tested; a dead one is noticed within twice this.
        rng: Source of the jitter of reconnection delays.

    Raises:
        UsageError: The node's name cannot be part of a topic.
    """

    def __init__(
        self,
        target: BrokerAddress,
        node: str,
        *,
        tls: ssl.SSLContext | None = None,
        max_queued: int = 10_000,
        on_delivered: Callable[[Message], None] | None = None,
        keepalive_s: int = _KEEPALIVE_S,
        rng: random.Random | None = None,
    ) -> None:
        self.topics = Topics(node)
        self.target = target
        self._tls: ssl.SSLContext | None = None
        if target.tls:
            self._tls = tls or ssl.create_default_context()
            self._tls.sslsocket_class = ClosingTlsSocket
        self._keepalive_s = keepalive_s
        self._backoff = Backoff(_FIRST_DELAY_S, _LONGEST_DELAY_S, _STEADY_S, rng)
        self._outbox = Outbox(max_queued, on_delivered=on_delivered)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._up = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._links = 0
        self._said = OFFLINE
        self._heard = asyncio.Event()
        self._contradicted = False
        self._close_by_s = 0.0
        self._trouble: str | None = None
        self._trouble_code: LinkCode | None = None
        self._reported: str | None = None

    @property
    def counts(self) -> PublisherCounts:
        """Counters since the start, and the state now."""
        box = self._outbox
        reconnects = max(0, self._links - 1)
        return PublisherCounts(box.sent, box.superseded, box.refused, box.pending, reconnects, self._up.is_set())

    @property
    def trouble(self) -> str | None:
        """Why there is no link, without credentials; None while there is one or before the first try."""
        return self._trouble

    @property
    def trouble_code(self) -> LinkCode | None:
        """The kind of ``trouble``."""
        return self._trouble_code

    def offer(self, message: Message) -> bool:
        """Accept a message and return at once; False where a bound refused it, and it stays the caller's."""
        accepted = self._outbox.offer(message)
        self._wake.set()
        return accepted

    async def wait_connected(self) -> None:
        """Wait until a link stands and everything retained is on the broker."""
        await self._up.wait()

    async def run(self) -> None:
        """Keep the link until ``close``; run it as one task. A cancelled run leaves ``offline`` behind."""
        if self._limit is not None:
            raise RuntimeError("a publisher runs once")
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._keep_link()
        except TimeoutError:
            self._report_down("no answer in the time left to close", LinkCode.CONNECTION)
        finally:
            self._up.clear()
            self._ended.set()

    async def close(self, deadline_s: float = 3.0) -> None:
        """Send what waits, then ``stopped``, and leave; returns at the latest after the deadline.

        Args:
            deadline_s: Seconds for all of it; messages still waiting then are counted in ``pending``.
        """
        self._closing.set()
        self._wake.set()
        self._close_by_s = asyncio.get_running_loop().time() + deadline_s
        if self._limit is None:
            return
        if not self._ended.is_set():
            self._limit.reschedule(self._close_by_s)
        await self._ended.wait()

    async def _keep_link(self) -> None:
        now_s = asyncio.get_running_loop().time
        final_try = False
        while not final_try:
            final_try = self._closing.is_set()
            try:
                await self._hold_link()
            except LINK_ERRORS as err:
                self._report_down(explain(err, self.target), code_of(err), configuration=is_configuration(err))
            else:
                return
            if self._up.is_set():
                self._backoff.succeeded(now_s())
                self._up.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._backoff.delay())

    async def _hold_link(self) -> None:
        """Make a link and use it; returns after an orderly end, raises one of LINK_ERRORS when it is lost."""
        client = aiomqtt.Client(
            self.target.host,
            self.target.port,
            username=self.target.username,
            password=self.target.password,
            # One id for every link of this node: a broker then ends a half-open earlier one, will and all.
            identifier=f"vqwatch-{self.topics.node}",
            will=aiomqtt.Will(self.topics.status, OFFLINE, qos=1, retain=True),
            keepalive=self._keepalive_s,
            timeout=_ANSWER_S,
            tls_context=self._tls,
            # Else each small packet waits up to 40 ms for the acknowledgement of the one before.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_library_logger,
        )
        client.pending_calls_threshold = 4 * _BATCH
        await enter(client)
        lost = asyncio.create_task(self._listen(client), name="mqtt-listen")
        orderly = False
        try:
            await self._use(client, lost)
            await client.__aexit__(None, None, None)
            orderly = True
        finally:
            if not orderly:
                cut(client)
            # It ends by itself once the link is down, and thereby fetches the error that aiomqtt holds.
            await asyncio.wait({lost}, timeout=1.0)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)

    async def _use(self, client: aiomqtt.Client, lost: asyncio.Task[None]) -> None:
        await self._say(client, lost, ONLINE)
        granted = await first(lost, client.subscribe(self.topics.status, qos=1))
        for _ in range(0, self._outbox.restore(), _BATCH):
            await self._send(client, lost, in_line=False)
        self._report_up()
        while not self._closing.is_set():
            await first(lost, self._wake.wait())
            self._wake.clear()
            if self._contradicted:
                await self._say(client, lost, ONLINE)
            if self._outbox.pending:
                self._wake.set()
                await self._send(client, lost)
        left_s = max(0.0, self._close_by_s - asyncio.get_running_loop().time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s * _FLUSH_SHARE):
                while self._outbox.pending:
                    await self._send(client, lost)
        await self._say(client, lost, STOPPED)
        # amqtt acknowledges before it passes on, and drops what it did not pass on when DISCONNECT comes; our
        # own last word, back from the broker, says that it passed all of it on.
        if granted[0] in (0, 1):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ECHO_S):
                    await first(lost, self._heard.wait())

    async def _say(self, client: aiomqtt.Client, lost: asyncio.Task[None], status: bytes) -> None:
        self._contradicted = False
        self._said = status
        self._heard.clear()
        await first(lost, client.publish(self.topics.status, status, qos=1, retain=True))

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Listen to our own status, until the link is lost: then raises.

        The broker may send the will of an earlier, half-open link of ours after we said "online" on this one;
        the retained status would then be wrong for as long as we run. amqtt does so.
        """
        loop = asyncio.get_running_loop()
        async for message in client.messages:
            if str(message.topic) != self.topics.status:
                # amqtt greets each client with retained messages of others' subscriptions.
                continue
            if message.payload == self._said:
                self._heard.set()
            elif not message.retain:
                loop.call_later(_CONTRADICT_S, self._contradict)

    def _contradict(self) -> None:
        self._contradicted = True
        self._wake.set()

    async def _send(self, client: aiomqtt.Client, lost: asyncio.Task[None], *, in_line: bool = True) -> None:
        batch = self._outbox.take(_BATCH, in_line=in_line)
        calls = [
            # Tasks start in this order, and each hands its packet over before it first waits: order is kept.
            asyncio.create_task(client.publish(m.topic, m.payload, qos=m.qos, retain=m.retain))
            for m in batch
        ]
        answers = asyncio.gather(*calls, return_exceptions=True)
        try:
            results = await first(lost, answers)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            self._outbox.settle(batch, [not call.cancelled() and call.exception() is None for call in calls])
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _report_up(self) -> None:
        self._links += 1
        self._trouble = self._trouble_code = self._reported = None
        self._backoff.succeeded(asyncio.get_running_loop().time())
        self._up.set()
        logger.info("event=broker_up broker=%s node=%s", self.target, self.topics.node)

    def _report_down(self, reason: str, code: LinkCode, *, configuration: bool = False) -> None:
        self._trouble, self._trouble_code = reason, code
        # "lost" and then "refused" is one outage; what someone has to repair is said whenever it changes.
        report = reason if configuration else "outage"
        if self._reported == report:
            return
        self._reported = report
        level = logging.ERROR if configuration else logging.WARNING
        then = "" if self._closing.is_set() else "; trying again"
        logger.log(
            level,
            "event=broker_down broker=%s code=%s waiting=%d %s%s",
            self.target, code, self._outbox.pending, reason, then,
        )  # fmt: skip
