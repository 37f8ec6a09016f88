"""``POST /api/streams/{id}/accept``: an operator takes a stream's present level for its usual one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from monitor.errors import MonitorError

logger = logging.getLogger("vqwatch.web")

#: From a stream's id to its baseline afterwards. KeyError: no such stream is watched; MonitorError: why it cannot be.
Accept = Callable[[str], float]


def acceptance(accept: Accept | None) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of the route.

    It answers 200 with the new baseline; 403 where ``accept`` is None, or where the page of another site asks; 404 for
    a stream that is not watched; and 409 where the stream has no present level.

    Args:
        accept: Does it, in the event loop; None: nobody may.
    """

    async def handle(request: web.Request) -> web.Response:
        if accept is None:
            return _refusal(403, "accepting a level over HTTP is switched off: http.accept")
        if not _from_here(request):
            return _refusal(403, "asked by the page of another site")
        stream = request.match_info["id"]
        try:
            baseline = accept(stream)
        except KeyError:
            return _refusal(404, "no such stream is watched")
        except MonitorError as error:
            return _refusal(409, str(error))
        logger.info("stream=%s event=level_accepted baseline=%.1f by=%s", stream, baseline, request.remote)
        return web.json_response({"v": 1, "stream": stream, "baseline": round(baseline, 2)})

    return handle


def _from_here(request: web.Request) -> bool:
    """Whether no other site's page sent it: browsers say where a POST comes from, other programs say nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
