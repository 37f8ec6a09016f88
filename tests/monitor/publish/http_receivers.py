"""Receivers of webhooks on loopback, which misbehave as they are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

#: Things to do in place of answering with a status.
HANG, CUT, HALF_A_HEAD, HALF_A_BODY, ENDLESS_BODY, NOT_HTTP = "hang", "cut", "half head", "half body", "endless", "junk"


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery(self) -> str:
        return self.headers["X-Vqwatch-Delivery"]


@dataclass
class Receiver:
    """Answers each request as ``plan`` says, then with 200; keeps what was asked, and what of it was taken."""

    plan: deque[object] = field(default_factory=deque)
    asked: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    url: str = ""
    port: int = 0

    async def until(self, taken: int) -> None:
        async with asyncio.timeout(50):
            while len(self.taken) < taken:
                await asyncio.sleep(0.01)

    async def until_asked(self, asked: int) -> None:
        async with asyncio.timeout(50):
            while len(self.asked) < asked:
                await asyncio.sleep(0.01)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        got = Request(request.path_qs, dict(request.headers), await request.read())
        self.asked.append(got)
        plan = self.plan.popleft() if self.plan else 200
        transport = request.transport
        assert transport is not None
        match plan:
            case int():
                if plan < 300:
                    self.taken.append(got)
                return web.Response(status=plan, text="echo: " + str(dict(request.headers)))
            case web.Response():
                return plan
            case "hang":
                await asyncio.sleep(3600)
            case "cut":
                transport.abort()  # type: ignore[attr-defined]
            case "half head":
                transport.write(b"HTTP/1.1 20")  # type: ignore[attr-defined]
                transport.close()
            case "junk":
                transport.write(b"220 mail.example ESMTP ready\r\n\r\n")  # type: ignore[attr-defined]
                transport.close()
            case "half body":
                self.taken.append(got)
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")  # type: ignore[attr-defined]
                transport.close()
            case "endless":
                self.taken.append(got)
                endless = web.StreamResponse()
                await endless.prepare(request)
                while True:
                    await endless.write(b"x" * 65536)
        return web.Response()

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[Self]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{self.port}/hook"
            yield self
        finally:
            await runner.cleanup()
