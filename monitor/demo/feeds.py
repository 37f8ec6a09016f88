"""The demo's feeds as the application sees them: a player process, its addresses and what it does to the feeds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from monitor.demo.impairments import Impairment
from monitor.demo.script import Fault, Script
from monitor.errors import MonitorError, UsageError

_log = logging.getLogger(__name__)

_START_S = 60.0  # opening slow sources included; scenes are announced before they are rendered
_END_S = 3.0
_KEPT_EVENTS = 256


class DemoFeed(NamedTuple):
    """One feed: its id, where it can be received and its name for people."""

    id: str
    url: str
    title: str


@dataclass(frozen=True, slots=True)
class DemoEvent:
    """Something that the player did.

    Attributes:
        kind: ``started`` (the script's clock begins), ``impairment_started`` or ``impairment_ended``.
        at: UTC seconds since 1970.
        feed: Which feed, None for ``started``.
        impairment: What was done to it.
    """

    kind: str
    at: float
    feed: str | None = None
    impairment: Impairment | None = None


class DemoFeeds:
    """Runs the player while the context lasts.

    Used on one event loop. The player ends with this process, however that ends: its stdin is a pipe from here.

    Args:
        sources: The viewer's own files; none plays the scenes.
        script: File with faults; None plays the default script.
        ports: UDP ports of the feeds, 0 or missing for free ones.
        cache: Folder for rendered scenes; None is the user's cache.
        options: Further options of the player.

    Attributes:
        feeds: What is played, known on entry.
        script: What happens to it, known on entry.
        started_at: UTC seconds at which the script's clock began; None until every feed plays.

    Raises:
        UsageError: On entry: a source or the script cannot be used; one line for each error.
        MonitorError: On entry: the player did not start.
    """

    def __init__(
        self,
        sources: Sequence[Path] = (),
        script: Path | None = None,
        ports: Sequence[int] = (),
        cache: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.feeds: list[DemoFeed] = []
        self.script = Script((), 1.0)
        self.started_at: float | None = None
        self._arguments = [
            *(f"--source={path}" for path in sources),
            *([f"--script={script}"] if script else []),
            *(f"--port={port}" for port in ports),
            *([f"--cache={cache}"] if cache else []),
            *options,
        ]
        self._process: asyncio.subprocess.Process | None = None
        self._events: asyncio.Queue[DemoEvent | None] = asyncio.Queue(_KEPT_EVENTS)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "monitor.demo.player",
            "--parent",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await self._begin(self._process)
        except BaseException:
            await self._end()
            raise
        return self

    async def _begin(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        except TimeoutError:
            raise MonitorError(f"the demo's player did not start within {_START_S:g} s") from None
        if not line:
            said = (await process.stderr.read()).decode(errors="replace").strip()
            status = await process.wait()
            problem = said.removeprefix("vqwatch demo: ") or f"the demo's player ended with status {status}"
            raise UsageError(problem) if status == 2 else MonitorError(problem)
        announced = json.loads(line)
        self.feeds = [DemoFeed(feed["id"], feed["url"], feed["title"]) for feed in announced["feeds"]]
        self.script = _script(announced["script"])
        self._tasks = [
            asyncio.create_task(self._read_events(process.stdout), name="demo-events"),
            asyncio.create_task(self._read_log(process.stderr), name="demo-log"),
        ]

    async def _read_events(self, stdout: asyncio.StreamReader) -> None:
        async for line in stdout:
            told = json.loads(line)
            kind = told.get("impairment")
            event = DemoEvent(told["event"], told["at"], told.get("feed"), Impairment(kind) if kind else None)
            if event.kind == "started":
                self.started_at = event.at
            self._keep(event)
        self._keep(None)

    def _keep(self, event: DemoEvent | None) -> None:
        if self._events.full():  # nobody listens: the oldest goes, the player is never held up
            self._events.get_nowait()
        self._events.put_nowait(event)

    async def _read_log(self, stderr: asyncio.StreamReader) -> None:
        async for line in stderr:
            _log.warning("%s", line.decode(errors="replace").rstrip())

    async def events(self) -> AsyncIterator[DemoEvent]:
        """What the player does from entry on, until it ends; for one listener."""
        while (event := await self._events.get()) is not None:
            yield event

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        for demand in (None, process.terminate, process.kill):
            if demand is not None:
                with contextlib.suppress(ProcessLookupError):
                    demand()
            try:
                await asyncio.wait_for(process.wait(), _END_S)
                break
            except TimeoutError:
                continue
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _script(told: dict[str, Any]) -> Script:
    faults = (
        Fault(fault["at_s"], fault["duration_s"], fault["feed"], Impairment(fault["impairment"]))
        for fault in told["faults"]
    )
    return Script(tuple(faults), told["period_s"])
