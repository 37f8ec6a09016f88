"""The dashboard's HTTP server: the page, what the page needs to know, the past, health checks and payload schemas.

It carries no score of this moment: the page gets those from the broker itself, over MQTT in a WebSocket.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

from aiohttp import web

from monitor.errors import MonitorError, UsageError
from monitor.types import HistoryQuery, Problem
from monitor.web.acceptance import Accept, acceptance
from monitor.web.history_query import history_query
from monitor.web.pages import Page, load_pages

logger = logging.getLogger("vqwatch.web")

#: Says what is wrong, worst first; empty where nothing is. Called in the event loop, so it must not block.
Check = Callable[[], Sequence[Problem]]
#: From the Accept header, and whether to compress with gzip, to the body of ``/metrics`` and its content type.
MetricsSource = Callable[[str, bool], Awaitable[tuple[bytes, str]]]
#: Answers with columns by stream, ``ts`` (unix ms) among them; None is unknown. Raises MonitorError with the reason.
HistorySource = Callable[[HistoryQuery], Awaitable[dict[str, dict[str, list[float | str | None]]]]]
#: Where the page finds the broker: a WebSocket port of the host that served the page, or a whole ws(s) URL.
WebSocketBroker = int | str


class EvidenceSource(Protocol):
    """The evidence of alerts, by their ids; None where there is none."""

    async def recent(self, count: int) -> list[dict[str, Any]]:
        """The newest alerts, newest first, as their messages have them."""

    async def document(self, id_: str) -> dict[str, Any] | None:
        """What is known of an alert."""

    async def still(self, id_: str) -> bytes | None:
        """Its worst picture, a JPEG."""


#: A stream without a message for this long looks stale; five of its one-second beats.
STALE_AFTER_S: Final = 5.0

_HEADERS: Final = {
    # The broker's port, and behind a proxy its host, are not this origin's, so WebSockets may go anywhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Alerts in one answer; each is a small file.
_RECENT, _RECENT_MOST = 40, 500
# An open keep-alive connection must not hold up the end of the process.
_SHUTDOWN_LIMIT_S = 1.0


def _fine() -> Sequence[Problem]:
    return ()


class DashboardServer:
    """Serves the dashboard; use as ``async with DashboardServer(...) as server:``.

    Routes: ``/`` and ``/static/...`` (the page), ``/config.json`` (node, topics and broker, for the page),
    ``/livez`` and ``/readyz`` (200, or 503 with JSON that says why), ``/metrics`` (Prometheus; 404 where there are
    none), ``/schema/{name}.json``, ``/api/history`` (columns by stream; 400 with a JSON reason for what cannot be
    answered, 404 where no history is kept), ``/api/alerts`` (the newest), ``/api/alerts/{id}/evidence`` and
    ``.../still.jpg``. All of these only read; ``POST /api/streams/{id}/accept`` is the one that changes something.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        node: Name of the monitor; the page shows ``vqwatch/{node}/#``.
        websocket: Where the page finds the broker, or a function that says so at each request, None as long as
            it is not known. A URL must hold no credentials: everyone who opens the page is told it.
        livez: Whether the process works at all; a lost stream or broker is no reason to say no.
        readyz: Whether it does its work: it can score, and publish.
        metrics: The text of ``/metrics``.
        schema: From the name of a payload to its JSON schema as text; KeyError where there is none.
        history: The past of the streams.
        evidence: What alerts left behind.
        accept: Takes a stream's present level for its usual one; None: nobody may ask for it here.
        clock: Unix seconds.

    Attributes:
        host: Address listened on.
        port: Port listened on, once entered.

    Raises:
        UsageError: ``websocket`` is no ws(s) URL, holds credentials, or is no port.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        node: str,
        websocket: WebSocketBroker | Callable[[], WebSocketBroker | None],
        livez: Check = _fine,
        readyz: Check = _fine,
        metrics: MetricsSource | None = None,
        schema: Callable[[str], str] | None = None,
        history: HistorySource | None = None,
        evidence: EvidenceSource | None = None,
        accept: Accept | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.host = host
        self.port = port
        self._node = node
        self._websocket = websocket
        if not callable(websocket):
            _broker_fields(websocket)
        self._checks: dict[str, Check] = {"livez": livez, "readyz": readyz}
        self._metrics_source = metrics
        self._schema = schema
        self._history_source = history
        self._evidence_source = evidence
        self._accept = accept
        self._clock = clock
        self._pages: dict[str, Page] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What to type into a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    async def __aenter__(self) -> Self:
        """Starts to listen.

        Raises:
            UsageError: The port is in use or not allowed; one line that names it.
        """
        self._pages = await asyncio.to_thread(load_pages)
        application = web.Application()
        application.on_response_prepare.append(_add_headers)
        application.router.add_get("/", self._index)
        application.router.add_get("/static/{path:.+}", self._static)
        application.router.add_get("/config.json", self._config)
        application.router.add_get("/{check:livez|readyz}", self._health)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/schema/{name}.json", self._schema_file)
        application.router.add_get("/api/history", self._history)
        application.router.add_get("/api/alerts", self._alerts)
        application.router.add_get("/api/alerts/{id}/evidence", self._evidence)
        application.router.add_get("/api/alerts/{id}/still.jpg", self._still)
        application.router.add_post("/api/streams/{id}/accept", acceptance(self._accept))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_LIMIT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(_explain(self.host, self.port, error)) from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _index(self, request: web.Request) -> web.Response:
        return _page_response(request, self._pages["index.html"])

    async def _static(self, request: web.Request) -> web.Response:
        # Only names that were found at the start are served, so no path can leave the folder.
        page = self._pages.get(request.match_info["path"])
        if page is None:
            raise web.HTTPNotFound()
        return _page_response(request, page)

    async def _config(self, request: web.Request) -> web.Response:
        fields: dict[str, str | int | float] = {
            "node": self._node,
            "topic_prefix": f"vqwatch/{self._node}",
            "stale_after_s": STALE_AFTER_S,
        }
        if self._history_source is not None:
            fields["history"] = True
        if self._evidence_source is not None:
            fields["evidence"] = True
        if self._accept is not None:
            fields["accept"] = True
        try:
            broker = self._websocket() if callable(self._websocket) else self._websocket
            if broker is not None:
                fields |= _broker_fields(broker)
        except MonitorError as error:
            logger.warning("event=no_broker_for_page %s", error)
        return web.json_response(fields)

    async def _health(self, request: web.Request) -> web.Response:
        name = request.match_info["check"]
        try:
            problems = self._checks[name]()
        except Exception:
            # A probe that gets no answer restarts the process without a word; this says what broke.
            logger.exception("event=check_failed the check behind /%s failed", name)
            problems = [Problem("check", "bug", "the check itself failed")]
        if not problems:
            return web.json_response({"status": "ok"})
        answer = {
            "status": "failing",
            "reason": "; ".join(f"{problem.part}: {problem.reason}" for problem in problems),
            "problems": [{"part": p.part, "code": p.code, "reason": p.reason} for p in problems],
        }
        return web.json_response(answer, status=503)

    async def _metrics(self, request: web.Request) -> web.Response:
        if self._metrics_source is None:
            raise web.HTTPNotFound()
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        body, content_type = await self._metrics_source(request.headers.get("Accept", ""), packed)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def _history(self, request: web.Request) -> web.Response:
        if self._history_source is None:
            return web.json_response({"error": "no history is kept: it needs data_dir"}, status=404)
        now_ms = int(self._clock() * 1000)
        try:
            query = history_query(request.query, now_ms)
            streams = await self._history_source(query)
        except UsageError as error:
            return web.json_response({"error": str(error)}, status=400)
        except MonitorError as error:
            logger.warning("event=history_unread %s", error)
            return web.json_response({"error": "the history cannot be read"}, status=503)
        resolution = "1m" if query.minutes else "1s"
        return web.json_response({"v": 1, "ts": now_ms, "resolution": resolution, "streams": streams})

    async def _alerts(self, request: web.Request) -> web.Response:
        if self._evidence_source is None:
            return web.json_response({"error": "no evidence of alerts is kept: it needs data_dir"}, status=404)
        asked = request.query.get("limit", str(_RECENT))
        if not asked.isdecimal() or not 1 <= int(asked) <= _RECENT_MOST:
            return web.json_response({"error": f"limit: must be 1 to {_RECENT_MOST}"}, status=400)
        return web.json_response({"v": 1, "alerts": await self._evidence_source.recent(int(asked))})

    async def _evidence(self, request: web.Request) -> web.Response:
        source = self._evidence_source
        document = None if source is None else await source.document(request.match_info["id"])
        if document is None:
            return web.json_response({"error": "no evidence of such an alert is kept"}, status=404)
        return web.json_response(document)

    async def _still(self, request: web.Request) -> web.Response:
        source = self._evidence_source
        jpeg = None if source is None else await source.still(request.match_info["id"])
        if jpeg is None:
            raise web.HTTPNotFound()
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def _schema_file(self, request: web.Request) -> web.Response:
        try:
            if self._schema is None:
                raise KeyError
            text = self._schema(request.match_info["name"])
        except KeyError:
            raise web.HTTPNotFound() from None
        return web.Response(text=text, content_type="application/schema+json")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # What a handler did not say otherwise of is true for this moment only.
    response.headers.setdefault("Cache-Control", "no-store")


def _page_response(request: web.Request, page: Page) -> web.Response:
    # no-cache: keep it, but ask each time, so that an upgraded monitor shows its own page.
    headers = {"Cache-Control": "no-cache", "ETag": f'"{page.etag}"', "Vary": "Accept-Encoding"}
    if any(tag.value == page.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    body = page.body
    if page.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = page.packed
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers, content_type=page.content_type, charset="utf-8")


def _broker_fields(broker: WebSocketBroker) -> dict[str, str | int | float]:
    """The broker as the page reads it: ``ws_port``, or ``ws_url``."""
    if isinstance(broker, int):
        if not 1 <= broker <= 65535:
            raise UsageError(f"the broker's WebSocket port must be 1 to 65535, got {broker}")
        return {"ws_port": broker}
    parts = urlsplit(broker)
    if "@" in parts.netloc:
        raise UsageError("the broker's WebSocket URL must hold no credentials: the page shows it to everyone")
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise UsageError(f"the broker's WebSocket URL must be ws://host or wss://host, got {broker!r}")
    return {"ws_url": broker}


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another with --http-port"
    # asyncio words a failed bind its own way, at length; a host that has no address says it in strerror.
    named = error.errno in errno.errorcode
    reason = os.strerror(error.errno or 0) if named else error.strerror or str(error)
    return f"the dashboard cannot listen on {host} port {port} (--http-port): {reason}"
