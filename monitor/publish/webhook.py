"""One webhook: a receiver of alerts over HTTP, and all that it may do wrong."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from monitor.core.alerts import RAISED
from monitor.core.delivery import DeliveryQueue
from monitor.publish.http_answers import Answer, Verdict, explain, verdict_of
from monitor.publish.name_lookup import NameLookup
from monitor.publish.signature import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, delivery_id, signature
from monitor.publish.templates import REPEAT_S, Template
from monitor.types import AlertEvent

log = logging.getLogger("vqwatch.webhook")

# Redirects within one host that are followed, such as to a path with a slash at its end.
_HOPS = 3
# An idle connection is closed by us before most servers close it: one closed by them costs an attempt.
_KEEP_ALIVE_S = 5.0
# Nobody reads the body of an answer: this much of it is taken from the network, and the rest is cut off.
_ANSWER_BYTES = 16 * 1024
# The lost ones are told of this often at most.
_TELL_LOST = 1000


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """Where a webhook stands, since the start.

    Attributes:
        sent: Events that the receiver took.
        failed: Attempts after which the event waits for another.
        refused: Events that the receiver refused for good.
        lost: Events that went unsent for want of room.
        pending: Events that wait now.
    """

    sent: int
    failed: int
    refused: int
    lost: int
    pending: int


class Webhook:
    """Sends alert events to one URL: each at least once, in order per stream, through any outage of the receiver.

    It has connections, waits and name look-ups of its own and shares nothing with other receivers. ``offer`` never
    waits. All methods belong to the event loop's thread.

    Args:
        name: What logs call it.
        url: ``http://`` or ``https://``; may hold a user and a password. It is secret: no log shows more than its host.
        template: How the receiver is spoken to.
        node: Name of this monitor.
        key: Key of the signature; none is sent without it.
        headers: Sent with each request; none of those that this object sets itself.
        timeout_s: Longest time for one attempt.
        max_waiting: Most events that wait; beyond it the oldest go, which is said.
        on_settled: Told of each event that is done with: taken, refused for good, or gone for want of room.
        rng: Source of the jitter.
        initial_s: Bound of the first wait after a failure.
        cap_s: Bound of every wait.
        clock: Unix seconds.

    Raises:
        ValueError: The URL cannot be used.
    """

    def __init__(
        self,
        name: str,
        url: str,
        template: Template,
        node: str,
        *,
        key: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        max_waiting: int = 10_000,
        on_settled: Callable[[AlertEvent], None] | None = None,
        rng: random.Random | None = None,
        initial_s: float = 1.0,
        cap_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        whole = URL(url)
        if whole.scheme not in ("http", "https") or not whole.host:
            raise ValueError("need http:// or https:// and a host")
        self._url = whole.with_user(None)
        self._template, self._node, self._key = template, node, key
        self._headers = dict(headers or {})
        if whole.raw_user:
            credentials = f"{whole.user}:{whole.password or ''}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(credentials).decode("ascii")
        self._timeout_s = timeout_s
        self._on_settled = on_settled
        self._clock = clock
        self._queue = DeliveryQueue(initial_s=initial_s, cap_s=cap_s, max_waiting=max_waiting, rng=rng)
        #: What the receiver believes to be up, by alert id, where it wants to be told again and again.
        self._up: dict[str, AlertEvent] = {}
        self._repeat_due_s = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()
        self._sent = self._failed = self._refused = self._lost = 0
        self._trouble: str | None = None
        self._told: set[str] = set()

    @property
    def counts(self) -> WebhookCounts:
        """Counters since the start, and what waits now."""
        return WebhookCounts(self._sent, self._failed, self._refused, self._lost, len(self._queue))

    @property
    def trouble(self) -> str | None:
        """Why the last attempt failed, without credentials; None where it did not."""
        return self._trouble

    def waiting(self) -> list[AlertEvent]:
        """What is not settled, oldest first."""
        return self._queue.waiting()

    def up(self) -> list[AlertEvent]:
        """What the receiver is told of again and again."""
        return list(self._up.values())

    def offer(self, event: AlertEvent) -> None:
        """Takes an event, to be sent; returns at once."""
        lost = self._queue.add(event)
        if lost is not None:
            if self._lost % _TELL_LOST == 0:
                log.error(
                    "webhook=%s event=webhook_full %d alerts wait; the oldest go unsent (%d so far)",
                    self.name, len(self._queue), self._lost + 1,
                )  # fmt: skip
            self._lost += 1
            self._settle(lost, taken=False)
        self._wake.set()

    def resume(self, active: Iterable[AlertEvent]) -> None:
        """Says what the receiver was told of as raised by an earlier run."""
        if self._template.repeat is not None:
            self._up |= {event.id: event for event in active}

    async def run(self) -> None:
        """Sends until ``close``; run it as one task."""
        # Bodies are not decompressed, so that a small answer cannot become a large one.
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=_KEEP_ALIVE_S, resolver=NameLookup()),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_ANSWER_BYTES,
            auto_decompress=False,
        )
        try:
            async with session:
                while not self._over():
                    await self._turn(session)
        finally:
            self._ended.set()

    async def close(self, deadline_s: float) -> None:
        """Sends what waits, if the receiver takes it, and ends; returns at the latest after the deadline."""
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(deadline_s):
                await self._ended.wait()
        except TimeoutError:
            log.info("webhook=%s event=webhook_unfinished %d alerts wait", self.name, len(self._queue))

    def _over(self) -> bool:
        # A receiver that fails is not waited for.
        return self._closing and (not self._queue or self._queue.failures > 0)

    async def _turn(self, session: aiohttp.ClientSession) -> None:
        now_s = asyncio.get_running_loop().time()
        event = self._queue.next(now_s)
        if event is not None:
            await self._deliver(session, event)
            return
        due = [self._queue.due_s()]
        if self._up and self._template.repeat is not None:
            if self._repeat_due_s <= now_s:
                self._repeat_due_s = now_s + REPEAT_S
                await self._repeat(session)
                return
            due.append(self._repeat_due_s)
        self._wake.clear()
        next_s = min((at_s for at_s in due if at_s is not None), default=None)
        try:
            async with asyncio.timeout_at(next_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _deliver(self, session: aiohttp.ClientSession, event: AlertEvent) -> None:
        body = self._template.render(event, self._node, self._clock())
        answer = await self._send(session, body, {DELIVERY_HEADER: delivery_id(event.id, event.status)})
        if answer.verdict is Verdict.FAILED:
            self._failed += 1
            self._queue.failed(event, asyncio.get_running_loop().time(), answer.retry_after_s)
            self._report_failure(answer.reason)
            return
        self._queue.settled(event)
        if answer.verdict is Verdict.REFUSED:
            self._refused += 1
            log.error(
                "webhook=%s event=webhook_refused stream=%s rule=%s status=%s id=%s %s answers %s; not sent again",
                self.name, event.stream, event.rule, event.status, event.id, self._url.origin(), answer.reason,
            )  # fmt: skip
        else:
            self._sent += 1
        self._settle(event, taken=answer.verdict is Verdict.DELIVERED)
        self._report_success()

    async def _repeat(self, session: aiohttp.ClientSession) -> None:
        assert self._template.repeat is not None
        for body in self._template.repeat(list(self._up.values()), self._node, self._clock()):
            answer = await self._send(session, body, {})
            if answer.verdict is not Verdict.DELIVERED:
                # The next repeat is soon enough.
                self._report_failure(answer.reason)
                return
        self._report_success()

    async def _send(self, session: aiohttp.ClientSession, body: bytes, more: Mapping[str, str]) -> Answer:
        timestamp = str(int(self._clock()))
        headers = {**self._headers, "Content-Type": "application/json", "User-Agent": "vqwatch"}
        headers |= {TIMESTAMP_HEADER: timestamp, **more}
        if self._key is not None:
            headers[SIGNATURE_HEADER] = signature(self._key, timestamp, body)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(session, body, headers)
        except TimeoutError:
            return Answer(Verdict.FAILED, f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Verdict.FAILED, explain(error))
        except Exception as error:  # an answer that aiohttp cannot digest must not end the task
            # Its text may quote the URL or a header.
            return Answer(Verdict.FAILED, f"the request failed ({type(error).__name__})")

    async def _post(self, session: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str]) -> Answer:
        url = self._url
        for _ in range(_HOPS + 1):
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                # The status line is the answer: what becomes of the body is of no account, and nobody waits for it.
                status, answered = response.status, response.headers
            if status not in (307, 308) or "Location" not in answered:
                return verdict_of(status, answered, self._clock())
            target = url.join(URL(answered["Location"]))
            if target.origin() != self._url.origin():
                return Answer(Verdict.FAILED, f"HTTP {status} to another host, which is not followed")
            url = target.with_user(None)
        return Answer(Verdict.FAILED, f"more than {_HOPS} redirects")

    def _settle(self, event: AlertEvent, *, taken: bool) -> None:
        if event.status != RAISED:
            self._up.pop(event.id, None)
        elif taken and self._template.repeat is not None:
            if not self._up:
                self._repeat_due_s = asyncio.get_running_loop().time() + REPEAT_S
            self._up[event.id] = event
        if self._on_settled is not None:
            self._on_settled(event)

    def _report_failure(self, reason: str) -> None:
        self._trouble = reason
        if reason not in self._told:
            self._told.add(reason)
            log.warning(
                "webhook=%s event=webhook_failed %s: %s; %d alerts wait%s",
                self.name, self._url.origin(), reason, len(self._queue), "" if self._closing else "; trying again",
            )  # fmt: skip

    def _report_success(self) -> None:
        self._trouble = None
        # While one event fails among others that do not, that was said already.
        if self._told and not self._queue:
            self._told.clear()
            log.info("webhook=%s event=webhook_recovered nothing waits", self.name)
