"""A real browser for tests: headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """One page of a headless browser; use as ``async with Chromium(folder) as page:``.

    ``problems`` holds what went wrong inside the page: exceptions, console errors, refused loads.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 800) -> None:
        self._folder = folder
        self._size = (width, height)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exit = contextlib.AsyncExitStack()
        self._session_id: str | None = None
        self.problems: list[str] = []
        self.requested: list[str] = []

    async def __aenter__(self) -> Self:
        assert CHROMIUM is not None
        arguments = [
            "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
            f"--user-data-dir={self._folder}", f"--window-size={self._size[0]},{self._size[1]}",
        ]  # fmt: skip
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # it refuses to run as root otherwise
        async with contextlib.AsyncExitStack() as stack:
            process = await asyncio.create_subprocess_exec(
                CHROMIUM, *arguments, "about:blank",
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            stack.push_async_callback(_end, process)
            assert process.stderr is not None
            async with asyncio.timeout(20):
                address = ""
                while not address:
                    text = (await process.stderr.readline()).decode(errors="replace")
                    assert text, "Chromium ended before it listened"
                    address = text.partition("DevTools listening on ")[2].strip()
            drain = asyncio.create_task(_drain(process.stderr))
            stack.push_async_callback(_cancel, drain)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            self._socket = await stack.enter_async_context(session.ws_connect(address, max_msg_size=0))
            listener = asyncio.create_task(self._listen())
            stack.push_async_callback(_cancel, listener)
            target = await self.call("Target.createTarget", url="about:blank")
            attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            self._session_id = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await self.call(f"{domain}.enable")
            self._exit = stack.pop_all()
        await self.resize(*self._size)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def value(self, script: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 15.0) -> None:
        """Wait until a JavaScript expression is true."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.value(script):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            page = await self.value("document.body.innerText")
            raise AssertionError(f"never true: {script}\n{self.problems}\n{page}") from None

    async def screenshot(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session_id is not None:
            message["sessionId"] = self._session_id
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(message)
        async with asyncio.timeout(20):
            return await future

    async def _listen(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content:
                future = self._answers.pop(content["id"])
                if future.cancelled():
                    continue
                if "error" in content:
                    future.set_exception(AssertionError(content["error"]))
                else:
                    future.set_result(content["result"])
            else:
                self._take_in(content["method"], content.get("params", {}))

    def _take_in(self, method: str, fields: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(fields["exceptionDetails"]))
        elif method == "Log.entryAdded" and fields["entry"]["level"] == "error":
            self.problems.append(f"{fields['entry']['text']} {fields['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and fields["type"] in ("error", "assert"):
            self.problems.append(json.dumps(fields["args"]))
        elif method == "Network.requestWillBeSent":
            self.requested.append(fields["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requested.append(fields["url"])


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()
        await process.wait()
