"""Between the monitor, which never waits, and the history file, whose disk may be slow, full or gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from monitor.core.record import FIELDS, WORDS, Record
from monitor.errors import UsageError
from monitor.store.disk import inode_of, is_damage, reason_of, rename_with_log
from monitor.store.history_file import HistoryFile, HistoryRefused, Kind
from monitor.store.history_reader import HistoryReader
from monitor.types import HistoryQuery, StreamId

log = logging.getLogger("vqwatch.history")

FILE_NAME = "history.db"

# Seconds a transaction: one of 500 streams' backlog must not grow without limit.
_BATCH = 20_000
_CLOSE_S = 2.0
_PRUNE_S = 60.0
_NAMES = frozenset(field.name for field in FIELDS)
#: Most rows in one answer: three quarters of an hour of seconds of 60 streams, or two days of one.
MAX_ROWS = 180_000


class History:
    """Records the seconds of all streams, in a thread of its own; use as ``async with History(...) as history:``.

    All methods belong to the event loop's thread. Seconds are written every few seconds; a kill loses no more. A disk
    that refuses is declared in ``trouble``, once in the log, and tried again; meanwhile the newest seconds wait in
    memory.

    Args:
        folder: Where ``history.db`` is kept; made where it is missing.
        keep_seconds_s: Seconds older than this go.
        keep_minutes_s: Minutes older than this go.
        max_bytes: Most that the file may take.
        flush_s: Pause between two writes.
        retry_s: Pause between two attempts at a disk that fails.
        max_waiting: Most seconds that wait for the disk, all streams together; older ones go.
        clock: Unix seconds, for ages alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_seconds_s: float = 48 * 3600.0,
        keep_minutes_s: float = 90 * 86400.0,
        max_bytes: int = 4 * 10**9,
        flush_s: float = 5.0,
        retry_s: float = 5.0,
        max_waiting: int = 30_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = folder / FILE_NAME
        self._keep_seconds_s, self._keep_minutes_s = keep_seconds_s, keep_minutes_s
        self._max_bytes = max_bytes
        self._flush_s, self._retry_s, self._max_waiting = flush_s, retry_s, max_waiting
        self._clock = clock
        self._trouble: str | None = None
        # Shared, under the condition: the loop appends, the thread removes what is in the file.
        self._changed = threading.Condition()
        self._todo: deque[tuple[StreamId, Record]] = deque()
        self._in_hand = 0
        self._lost = 0
        self._closing = False
        self._flushes: list[asyncio.Future[None]] = []
        # The thread's.
        self._file: HistoryFile | None = None
        self._inode: tuple[int, int] | None = None
        self._pruned_s = 0.0

    @property
    def trouble(self) -> str | None:
        """Why seconds are not recorded now; None while they are."""
        return self._trouble

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        # A disk that hangs must not keep the process alive.
        threading.Thread(target=self._run, name="vqwatch.history", daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Records what waits, as far as the disk lets it, and closes."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._ended.wait()
        except TimeoutError:
            log.error("event=history_failed file=%s the disk does not answer; leaving without it", self.path)

    def append(self, stream: StreamId, record: Record) -> None:
        """Takes a second, to be recorded soon; returns at once."""
        with self._changed:
            if len(self._todo) - self._in_hand >= self._max_waiting:
                # The oldest that the thread has not in hand.
                del self._todo[self._in_hand]
                self._lost += 1
            self._todo.append((stream, record))

    async def flush(self) -> None:
        """Waits until what was appended is in the file, or the disk has refused it."""
        done: asyncio.Future[None] = self._loop.create_future()
        with self._changed:
            self._flushes.append(done)
            self._changed.notify()
        await done

    async def read(self, query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
        """Columns by stream, each with ``ts`` (unix ms) first; None is unknown.

        Raises:
            UsageError: An unknown field or stream, or too much at once.
            MonitorError: The file cannot be read.
        """
        unknown = [name for name in query.fields if name not in _NAMES]
        if unknown:
            raise UsageError(f"unknown fields: {', '.join(unknown)}; known: {', '.join(sorted(_NAMES))}")
        await self.flush()
        return await asyncio.to_thread(read_columns, self.path, query)

    # --- history's thread ---

    def _run(self) -> None:
        while self._turn():
            pass
        self._let_go()
        self._tell(self._ended.set)

    def _turn(self) -> bool:
        """One transaction, or one attempt at it; False when it is time to end."""
        with self._changed:
            if not self._todo or len(self._todo) < _BATCH:
                self._changed.wait_for(lambda: self._closing or bool(self._flushes), self._flush_s)
            batch = list(islice(self._todo, _BATCH))
            self._in_hand = len(batch)
            closing = self._closing
            flushes, self._flushes = self._flushes, []
        try:
            self._write(batch, finish=closing and len(batch) == len(self._todo))
        except (sqlite3.Error, OSError, HistoryRefused) as error:
            self._let_go()
            self._tell(self._declare, str(error) if isinstance(error, HistoryRefused) else reason_of(error))
            self._tell(_resolve, flushes)
            with self._changed:
                self._in_hand = 0
                if not closing:
                    self._changed.wait_for(lambda: self._closing, self._retry_s)
            return not closing
        with self._changed:
            for _ in batch:
                self._todo.popleft()
            self._in_hand = 0
            lost, self._lost = self._lost, 0
            left = bool(self._todo)
            if left and flushes:
                self._flushes += flushes
                flushes = []
        self._tell(self._recorded, lost)
        self._tell(_resolve, flushes)
        return left or not closing

    def _write(self, batch: list[tuple[StreamId, Record]], *, finish: bool) -> None:
        if self._file is not None and inode_of(self.path) != self._inode:
            # Someone moved or removed the file: what SQLite wrote now would be gone with the process.
            self._let_go()
        file = self._file or self._open()
        try:
            if batch:
                file.write(batch)
            if finish:
                file.finish()
            elif time.monotonic() - self._pruned_s >= _PRUNE_S:
                self._pruned_s = time.monotonic()
                before = file.share
                file.prune()
                if before == 1.0 and file.share < 1.0:
                    log.warning(
                        "event=history_full file=%s history.max_size leaves room for %.0f %% of the time to be kept",
                        self.path, 100 * file.share,
                    )  # fmt: skip
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._let_go()
            # One is kept for whoever wants to look; more of them could fill the disk.
            aside = self.path.with_name(f"{self.path.name}.corrupt")
            rename_with_log(self.path, aside)
            log.error("event=history_corrupt file=%s %s; set aside as %s, a new one begins", self.path, error, aside)
            self._open().write(batch)

    def _open(self) -> HistoryFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = self._make()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            aside = self.path.with_name(f"{self.path.name}.corrupt")
            rename_with_log(self.path, aside)
            log.error("event=history_corrupt file=%s %s; set aside as %s, a new one begins", self.path, error, aside)
            file = self._make()
        self._file, self._inode = file, inode_of(self.path)
        return file

    def _make(self) -> HistoryFile:
        return HistoryFile(
            self.path,
            keep_seconds_s=self._keep_seconds_s,
            keep_minutes_s=self._keep_minutes_s,
            max_bytes=self._max_bytes,
            clock=self._clock,
            monotonic=time.monotonic,
        )

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            # The loop did not wait for a disk that hung.
            log.debug("event=history_late the loop is closed")

    # --- event loop ---

    def _declare(self, reason: str) -> None:
        if self._trouble != reason:
            log.error(
                "event=history_failed file=%s %s; scoring goes on, and the newest seconds wait in memory",
                self.path, reason,
            )  # fmt: skip
        self._trouble = reason

    def _recorded(self, lost: int) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.warning("event=history_recovered file=%s", self.path)
        if lost:
            log.error("event=history_lost file=%s %d seconds were never recorded", self.path, lost)


def read_columns(path: Path, query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
    """See ``History.read``; reads disk."""
    kind = Kind.MINUTES if query.minutes else Kind.SECONDS
    with HistoryReader(path) as reader:
        missing = [name for name in query.streams if name not in reader.streams]
        if missing:
            raise UsageError(f"no history of: {', '.join(missing)}")
        streams = query.streams or reader.streams
        rows = len(streams) * max(0, query.to_ms - query.from_ms) / (kind.span_ms / 60)
        if rows > MAX_ROWS:
            raise UsageError(f"that is up to {rows:.0f} rows, more than {MAX_ROWS}: ask for less time or fewer streams")
        found = {}
        for stream in streams:
            columns = reader.columns(kind, stream, query.from_ms, query.to_ms, query.fields)
            found[str(stream)] = {name: _listed(name, values) for name, values in columns.items()}
    return found


def _listed(name: str, values: np.ndarray) -> list[float | str | None]:
    words = WORDS.get(name)
    if words is not None:
        return [None if value != value else words[int(value)] for value in values.tolist()]
    if name == "ts":
        return [int(value) for value in values.tolist()]
    return [None if value != value else value for value in values.tolist()]


def _resolve(flushes: list[asyncio.Future[None]]) -> None:
    for flush in flushes:
        if not flush.done():
            flush.set_result(None)
