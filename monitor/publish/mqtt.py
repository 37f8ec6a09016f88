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
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from monitor.core.backoff import Backoff
from monitor.publish.broker_address import BrokerAddress
from monitor.publish.link import cut, enter, first, tell_denials, tls_socket
from monitor.publish.link_errors import (
    LINK_ERRORS,
    LinkCode,
    closed_unasked,
    code_of,
    explain,
    is_configuration,
    left_unanswered,
    refuses_version,
)
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
# Messages of each sort under way at once. A batch is over when the broker has answered to all of it, so that what waits
# waits here, where newer values replace older ones, and not in buffers on the way: a broker that takes one message a
# second gets one or two at a time, one that answers at once gets many.
_FIRST_BATCH = 16
_LARGEST_BATCH = 256
# A full batch answered sooner than this may grow, one answered later than the next shrinks.
_QUICK_S = 0.5
_LATE_S = 2.0
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

#: Version 5 where the broker speaks it, else 3.1.1.
AUTO = "auto"
_V5, _V311 = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311
_VERSIONS = {AUTO: (_V5, _V311), "5": (_V5,), "3.1.1": (_V311,)}
_NAMES = {_V5: "5", _V311: "3.1.1"}


@dataclass(frozen=True, slots=True)
class _Way:
    """To a broker, and how to speak to it."""

    target: BrokerAddress
    tls: ssl.SSLContext | None
    protocol: str


@dataclass(frozen=True, slots=True)
class PublisherCounts:
    """Where the publisher stands.

    Attributes:
        sent: Messages delivered, repeats included.
        superseded: Messages replaced by a newer one before they went out.
        refused: Messages not accepted because a bound was reached.
        denied: Messages that the broker refused (MQTT 5), and that nobody gets.
        pending: Messages accepted that wait now.
        reconnects: Links made after the first one.
        connected: A link stands now.
    """

    sent: int
    superseded: int
    refused: int
    denied: int
    pending: int
    reconnects: int
    connected: bool


class MqttPublisher:
    """Publishes over MQTT, 5 where the broker speaks it and else 3.1.1, through any outage of the broker.

    ``offer`` never waits. Retained topics are sent again, newest value, on each new link; messages that do
    not conflate are delivered in order, at least once, and leave memory only after the broker's
    acknowledgement. All methods belong to the event loop's thread.

    Args:
        target: The broker.
        node: Name of this monitor, unique on the broker, also its client id.
        tls: Context for ``mqtts``; the system's trust store by default. It becomes the publisher's.
        protocol: Version of MQTT: "3.1.1", "5", or "auto".
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
        protocol: str = "3.1.1",
        max_queued: int = 10_000,
        on_delivered: Callable[[Message], None] | None = None,
        keepalive_s: int = _KEEPALIVE_S,
        rng: random.Random | None = None,
    ) -> None:
        self.topics = Topics(node)
        self._next: _Way | None = None
        self._listeners: dict[str, Callable[[str, bytes, bool], None]] = {}
        self._size = _FIRST_BATCH
        self._set_out(_Way(target, tls, protocol))
        self._keepalive_s = keepalive_s
        self._backoff = Backoff(_FIRST_DELAY_S, _LONGEST_DELAY_S, _STEADY_S, rng)
        self._outbox = Outbox(max_queued, on_delivered=on_delivered)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        # Something else than the link wants the task: the end, or another way to a broker.
        self._called = asyncio.Event()
        self._ended = asyncio.Event()
        self._up = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._links = 0
        self._said = OFFLINE
        self._heard = asyncio.Event()
        self._contradicted = False
        self._denied = 0
        self._denial: str | None = None
        self._close_by_s = 0.0
        self._trouble: str | None = None
        self._trouble_code: LinkCode | None = None
        self._reported: str | None = None

    @property
    def counts(self) -> PublisherCounts:
        """Counters since the start, and the state now."""
        box = self._outbox
        reconnects = max(0, self._links - 1)
        return PublisherCounts(
            box.sent, box.superseded, box.refused, self._denied, box.pending, reconnects, self._up.is_set()
        )

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

    def listen(self, topics: str, heard: Callable[[str, bytes, bool], None] | None) -> None:
        """Have a callback told of (topic, payload, retained) of every message on some topics, over all links.

        Args:
            topics: A filter, such as ``homeassistant/status``; not the status of this node.
            heard: None ends it.
        """
        if heard is None:
            self._listeners.pop(topics, None)
        else:
            self._listeners[topics] = heard
        self._wake.set()

    def redirect(self, target: BrokerAddress, tls: ssl.SSLContext | None = None, protocol: str = AUTO) -> None:
        """Leave the present broker for another one, or enter the same one anew; nothing that waits is lost."""
        self._next = _Way(target, tls, protocol)
        self._called.set()
        self._wake.set()

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
        self._called.set()
        self._wake.set()
        self._close_by_s = asyncio.get_running_loop().time() + deadline_s
        if self._limit is None:
            return
        if not self._ended.is_set():
            self._limit.reschedule(self._close_by_s)
        await self._ended.wait()

    def _set_out(self, way: _Way) -> None:
        self.target = way.target
        self._tls: ssl.SSLContext | None = None
        self._tls_failure: ssl.SSLError | None = None
        if way.target.tls:
            self._tls = way.tls or ssl.create_default_context()
            self._tls.sslsocket_class = tls_socket(self._note_tls_failure)
        self._versions = _VERSIONS[way.protocol]
        self._version = self._versions[0]
        # The version of the last link; only before it is known, a broker that hangs up is asked in the other one.
        self._spoken: aiomqtt.ProtocolVersion | None = None

    def _note_tls_failure(self, error: ssl.SSLError) -> None:
        self._tls_failure = error

    async def _keep_link(self) -> None:
        now_s = asyncio.get_running_loop().time
        final_try = False
        while not final_try:
            final_try = self._closing.is_set()
            if self._next is not None:
                self._set_out(self._next)
                self._next = None
            try:
                await self._hold_link()
            except LINK_ERRORS as err:
                if self._try_older(err):
                    continue
                self._report_down(explain(err, self.target), code_of(err), configuration=is_configuration(err))
            else:
                if self._closing.is_set():
                    return
            if self._up.is_set():
                self._backoff.succeeded(now_s())
                self._up.clear()
            if self._next is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._called.wait(), self._backoff.delay())
            if not self._closing.is_set():
                self._called.clear()

    def _try_older(self, error: BaseException) -> bool:
        """Whether the broker may not know the version, and another one is to be tried at once."""
        known = self._spoken is not None
        older = self._version is self._versions[0] and len(self._versions) > 1
        if older and (refuses_version(error) or (closed_unasked(error) and not known)):
            self._version = self._versions[1]
            return True
        if not known:
            # Silence is told as such, and the next attempt is made in the other version.
            self._version = self._versions[-1 if older and left_unanswered(error) else 0]
        return False

    async def _hold_link(self) -> None:
        """Make a link and use it; returns after an orderly end, raises one of LINK_ERRORS when it is lost."""
        client = aiomqtt.Client(
            self.target.host,
            self.target.port,
            username=self.target.username,
            password=self.target.password,
            # One id for every link of this node: a broker then ends a half-open earlier one, will and all.
            identifier=f"vqwatch-{self.topics.node}",
            protocol=self._version,
            will=aiomqtt.Will(self.topics.status, OFFLINE, qos=1, retain=True),
            keepalive=self._keepalive_s,
            timeout=_ANSWER_S,
            tls_context=self._tls,
            # Else each small packet waits up to 40 ms for the acknowledgement of the one before.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_library_logger,
        )
        client.pending_calls_threshold = 4 * _LARGEST_BATCH
        self._denial = None
        tell_denials(client, self._report_denied)
        self._tls_failure = None
        try:
            await enter(client)
        except LINK_ERRORS:
            if self._tls_failure is not None:
                raise self._tls_failure from None
            raise
        lost = asyncio.create_task(self._listen(client), name="mqtt-listen")
        orderly = False
        try:
            if await self._use(client, lost):
                await client.__aexit__(None, None, None)
                orderly = True
        finally:
            if not orderly:
                cut(client)
            # It ends by itself once the link is down, and thereby fetches the error that aiomqtt holds.
            await asyncio.wait({lost}, timeout=1.0)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)

    async def _use(self, client: aiomqtt.Client, lost: asyncio.Task[None]) -> bool:
        """Send until the link is not wanted any more; whether it is to end in order."""
        await self._say(client, lost, ONLINE)
        granted = await first(lost, client.subscribe(self.topics.status, qos=1))
        heard: set[str] = set()
        await self._subscribe(client, lost, heard)
        self._spoken = self._version
        left = self._outbox.restore()
        while left > 0:
            # Where the broker is slow, alerts do not wait for everything that it may have forgotten.
            left -= await self._send(client, lost, in_line=self._size < _FIRST_BATCH)
        self._report_up()
        # What an earlier link left waits without another call.
        self._wake.set()
        while not self._called.is_set():
            await first(lost, self._wake.wait())
            self._wake.clear()
            if self._called.is_set():
                break
            if self._contradicted:
                await self._say(client, lost, ONLINE)
            await self._subscribe(client, lost, heard)
            if self._outbox.pending:
                self._wake.set()
                await self._send(client, lost)
        if not self._closing.is_set():
            if self._next is not None and (self._next.target.host, self._next.target.port) != (
                self.target.host, self.target.port
            ):  # fmt: skip
                await self._say(client, lost, STOPPED)
                return True
            # The same broker says "offline" until we are back: the new way in may not work.
            return False
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
        return True

    async def _subscribe(self, client: aiomqtt.Client, lost: asyncio.Task[None], heard: set[str]) -> None:
        """Ask for what listeners want, and no more for what none wants any more; ``heard`` is what was asked for."""
        for topics in self._listeners.keys() - heard:
            # A broker that refuses it is no reason not to publish.
            await first(lost, client.subscribe(topics, qos=0))
            heard.add(topics)
        for topics in heard - self._listeners.keys():
            await first(lost, client.unsubscribe(topics))
            heard.discard(topics)

    async def _say(self, client: aiomqtt.Client, lost: asyncio.Task[None], status: bytes) -> None:
        self._contradicted = False
        self._said = status
        self._heard.clear()
        word = Message(self.topics.status, status, qos=1, retain=True, content_type="text/plain")
        await first(lost, self._publish(client, word))

    def _publish(self, client: aiomqtt.Client, message: Message) -> Coroutine[Any, Any, None]:
        properties = None
        if self._version is aiomqtt.ProtocolVersion.V5 and message.payload:
            properties = _properties(message.content_type, message.expires_s)
        return client.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain, properties=properties
        )

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Listen to our own status, until the link is lost: then raises.

        The broker may send the will of an earlier, half-open link of ours after we said "online" on this one;
        the retained status would then be wrong for as long as we run. amqtt does so.
        """
        loop = asyncio.get_running_loop()
        async for message in client.messages:
            if str(message.topic) != self.topics.status:
                # amqtt greets each client with retained messages of others' subscriptions.
                for topics, heard in list(self._listeners.items()):
                    if message.topic.matches(topics) and isinstance(message.payload, bytes):
                        heard(str(message.topic), message.payload, message.retain)
                continue
            if message.payload == self._said:
                self._heard.set()
            elif not message.retain:
                loop.call_later(_CONTRADICT_S, self._contradict)

    def _contradict(self) -> None:
        self._contradicted = True
        self._wake.set()

    async def _send(self, client: aiomqtt.Client, lost: asyncio.Task[None], *, in_line: bool = True) -> int:
        """Send one batch and wait for the broker's answer to it; how many messages that conflate were in it."""
        now_s = asyncio.get_running_loop().time
        started_s, size = now_s(), self._size
        batch = self._outbox.take(size, in_line=in_line)
        # Tasks start in this order, and each hands its packet over before it first waits: order is kept.
        calls = [asyncio.create_task(self._publish(client, message)) for message in batch]
        if any(message.qos == 0 for message in batch):
            # Those get no answer; this does, once the broker has read all that was sent before.
            calls.append(asyncio.create_task(client.unsubscribe(f"{self.topics.root}/nothing")))
        answers = asyncio.gather(*calls, return_exceptions=True)
        try:
            results = await first(lost, answers)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            done = [not call.cancelled() and call.exception() is None for call in calls]
            self._outbox.settle(batch, done[: len(batch)])
            took_s = now_s() - started_s
            if took_s > _LATE_S:
                self._size = max(1, size // 2)
            elif took_s < _QUICK_S and len(batch) >= size:
                self._size = min(_LARGEST_BATCH, 2 * size)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(message.conflate for message in batch)

    def _report_up(self) -> None:
        self._links += 1
        self._trouble = self._trouble_code = self._reported = None
        self._backoff.succeeded(asyncio.get_running_loop().time())
        self._up.set()
        logger.info("event=broker_up broker=%s node=%s mqtt=%s", self.target, self.topics.node, _NAMES[self._version])

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

    def _report_denied(self, reason: str) -> None:
        self._denied += 1
        if self._denial == reason:
            return
        self._denial = reason
        logger.error(
            "event=broker_denied broker=%s reason=%r: it passes on none of the messages that it denies; look at its "
            "access rules for %s/#",
            self.target, reason, self.topics.root,
        )  # fmt: skip


@cache
def _properties(content_type: str, expires_s: int | None) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1  # text in UTF-8
    properties.ContentType = content_type
    if expires_s is not None:
        properties.MessageExpiryInterval = expires_s
    return properties
