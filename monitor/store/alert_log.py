"""Between the monitor, which never waits, and the alert ledger, whose disk may be slow, full or gone.

An event is recorded first, with all to whom it is owed, and sent then. Where the disk refuses, or does not answer in
time, alerts still go out: that is said once, shown in ``trouble``, and what was sent from memory is recorded as soon as
the disk works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor.errors import MonitorError, UsageError
from monitor.store.disk import inode_of, is_damage, reason_of, rename_with_log
from monitor.store.ledger import CorruptLedger, Ledger, LedgerRefused, read_standing
from monitor.store.standing import MQTT, Addressed, Delivered, Entry, EventKey, Standing, key_of
from monitor.types import AlertEvent

log = logging.getLogger("vqwatch.ledger")

FILE_NAME = "vqwatch.db"
LOCK_NAME = "vqwatch.lock"

# Entries a transaction; what comes in while one is written makes the next, so that a storm costs few of them.
_BATCH = 500
_CLOSE_S = 2.0
# A monitor whose disk hangs starts without its ledger after this long.
_OPEN_S = 5.0
_SILENT = "the disk does not answer"


class AlertLog:
    """Records alert events and then sends them, each at least once, in order per stream; also over restarts.

    MQTT is owed every event; an event may be owed to other destinations besides, each with acknowledgements of its own.

    Use as ``async with AlertLog(...) as log:``. All methods belong to the event loop's thread; SQLite is touched by
    one thread of its own alone, so that the loop never waits for a disk.

    Args:
        folder: Where ``vqwatch.db`` is kept; made where it is missing. One monitor at a time.
        send: Hands an event to MQTT; False where it cannot take more now: it is offered again after the
            next ``delivered``. Called in the loop, in order.
        send_to: Hands an event to another destination, by its name. Called in the loop, in order.
        retry_s: Pause between two attempts at a ledger that fails.
        busy_s: How long a foreign lock is waited for.
        late_s: An event that is not recorded by then is sent all the same.
        max_waiting: Most entries that wait for the disk, and most events that wait for ``send``; older ones go.
        keep_s: Age at which delivered events go.
        keep_most: Number of events kept at most.
        clock: Unix seconds, for ages alone.

    Attributes:
        standing: What the ledger held open when it was entered.

    Raises:
        UsageError: (entering) The folder is a file.
        MonitorError: (entering) Another monitor uses the folder, or the file is not ours.
    """

    def __init__(
        self,
        folder: Path,
        send: Callable[[AlertEvent], bool],
        *,
        send_to: Callable[[str, AlertEvent], None] | None = None,
        retry_s: float = 5.0,
        busy_s: float = 1.0,
        late_s: float = 2.0,
        max_waiting: int = 20_000,
        keep_s: float = 90 * 86400.0,
        keep_most: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = folder / FILE_NAME
        self.standing = Standing()
        self._send, self._send_to = send, send_to
        self._retry_s, self._busy_s, self._late_s = retry_s, busy_s, late_s
        self._max_waiting = max_waiting
        self._keep_s, self._keep_most, self._clock = keep_s, keep_most, clock
        self._trouble: str | None = None
        # The loop's: events not yet recorded, and events that ``send`` has not taken yet.
        self._unrecorded: dict[EventKey, Addressed] = {}
        self._unsent: deque[AlertEvent] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        # Shared, under the condition: the loop appends, the thread removes what is in the file.
        self._changed = threading.Condition()
        self._todo: deque[Entry] = deque()
        self._in_hand = 0
        self._closing = False
        self._lost = 0
        # The thread's.
        self._ledger: Ledger | None = None
        self._lock: int | None = None
        self._inode: tuple[int, int] | None = None
        self._mirror = Standing()
        self._blind = False

    @property
    def trouble(self) -> str | None:
        """Why events are not recorded now; None while they are."""
        return self._trouble

    async def __aenter__(self) -> Self:
        """Opens the ledger; a disk that refuses is trouble, not an error."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[Standing] = self._loop.create_future()
        self._ended = asyncio.Event()
        # A disk that hangs must not keep the process alive.
        threading.Thread(target=self._run, args=(opened,), name="vqwatch.ledger", daemon=True).start()
        try:
            async with asyncio.timeout(_OPEN_S):
                self.standing = await asyncio.shield(opened)
        except TimeoutError:
            self._declare(_SILENT)
            opened.add_done_callback(self._opened_late)
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
            log.error("event=ledger_failed file=%s %s; leaving without it", self.path, _SILENT)

    def send_undelivered(self) -> None:
        """Sends again what an earlier run owed; call it once, before the first ``append``."""
        self._resume(self.standing)

    def append(self, event: AlertEvent, also: tuple[str, ...] = ()) -> None:
        """Takes an event, to be recorded and then sent, to MQTT and ``also``; returns at once."""
        key = key_of(event)
        addressed = Addressed(event, also)
        self._put(addressed)
        if self._trouble is not None:
            self._hand_over(addressed)
            return
        self._unrecorded[key] = addressed
        self._idle.clear()
        self._loop.call_later(self._late_s, self._late, key)

    def delivered(self, event: AlertEvent, destination: str = MQTT) -> None:
        """A destination has acknowledged an event, or is never to get it; returns at once."""
        self._put(Delivered(key_of(event), destination))
        if destination == MQTT:
            self._offer(())

    async def flush(self, deadline_s: float) -> None:
        """Waits until all that was appended has been sent, or the deadline is over."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
        except TimeoutError:
            self._declare(_SILENT)

    # --- event loop ---

    def _put(self, entry: Entry) -> None:
        with self._changed:
            if len(self._todo) - self._in_hand >= self._max_waiting:
                # The oldest that the thread has not in hand; history loses it, receivers do not.
                del self._todo[self._in_hand]
                self._lost += 1
            self._todo.append(entry)
            self._changed.notify()

    def _offer(self, events: Iterable[AlertEvent]) -> None:
        for event in events:
            if len(self._unsent) >= self._max_waiting:
                # The ledger still owes it: it is sent after the next start.
                self._unsent.popleft()
            self._unsent.append(event)
        while self._unsent and self._send(self._unsent[0]):
            self._unsent.popleft()

    def _hand_over(self, addressed: Addressed) -> None:
        self._offer([addressed.event])
        if self._send_to is not None:
            for destination in addressed.also:
                self._send_to(destination, addressed.event)

    def _resume(self, standing: Standing) -> None:
        self._offer(standing.undelivered.values())
        if self._send_to is not None:
            for destination, events in standing.owed.items():
                for event in events.values():
                    self._send_to(destination, event)

    def _release(self, until: EventKey | None = None) -> None:
        """Sends what waits to be recorded, up to and with one event, or all."""
        while self._unrecorded:
            key = next(iter(self._unrecorded))
            self._hand_over(self._unrecorded.pop(key))
            if key == until:
                break
        if not self._unrecorded:
            self._idle.set()

    def _opened_late(self, opened: asyncio.Future[Standing]) -> None:
        error = opened.exception()
        if error is None:
            self._resume(opened.result())
        else:
            self._declare(str(error))

    def _late(self, key: EventKey) -> None:
        if key in self._unrecorded:
            self._declare(_SILENT)

    def _declare(self, reason: str) -> None:
        if self._trouble != reason:
            log.error(
                "event=ledger_failed file=%s %s; alerts are sent from memory, and recorded once it works again",
                self.path, reason,
            )  # fmt: skip
        self._trouble = reason
        self._release()

    def _recorded(self, keys: list[EventKey], lost: int) -> None:
        for key in keys:
            if key in self._unrecorded:
                self._release(key)
        if self._trouble is not None:
            self._trouble = None
            log.warning("event=ledger_recovered file=%s", self.path)
        if lost:
            log.error("event=ledger_lost file=%s %d entries were never recorded", self.path, lost)

    # --- ledger's thread ---

    def _run(self, opened: asyncio.Future[Standing]) -> None:
        failure: Exception | None = None
        try:
            self._start()
        except (sqlite3.Error, OSError) as error:
            self._blind = (standing := read_standing(self.path)) is None
            self._mirror = standing or Standing()
            self._tell(self._declare, reason_of(error))
        except Exception as error:
            failure = error
        if failure is not None:
            self._tell(opened.set_exception, failure)
        else:
            self._tell(opened.set_result, self._mirror.copy())
            while self._turn():
                pass
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
        self._tell(self._ended.set)

    def _start(self) -> None:
        if self.path.parent.exists() and not self.path.parent.is_dir():
            raise UsageError(f"{self.path.parent}: not a folder")
        try:
            self._take_lock()
        except BlockingIOError as error:
            raise MonitorError(f"{self.path}: another vqwatch uses it") from error
        self._reopen()

    def _turn(self) -> bool:
        """One transaction, or one attempt at it; False when it is time to end."""
        with self._changed:
            # Where the ledger is not open it is tried again also without anything to write.
            if self._ledger is not None:
                self._changed.wait_for(lambda: bool(self._todo) or self._closing)
            batch = list(islice(self._todo, _BATCH))
            self._in_hand = len(batch)
            closing = self._closing
        try:
            self._write(batch)
        except (sqlite3.Error, OSError, LedgerRefused) as error:
            self._let_go()
            self._tell(self._declare, str(error) if isinstance(error, LedgerRefused) else reason_of(error))
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
            over = self._closing and not self._todo
        self._tell(self._recorded, [key_of(entry.event) for entry in batch if isinstance(entry, Addressed)], lost)
        return not over

    def _write(self, batch: list[Entry]) -> None:
        if self._ledger is not None and inode_of(self.path) != self._inode:
            # Someone moved or removed the file: what SQLite wrote now would be gone with the process.
            self._let_go()
        if self._lock is None:
            self._take_lock()
        ledger = self._ledger or self._reopen()
        if batch:
            ledger.write(batch)
        for entry in batch:
            self._mirror.take(entry)
        if ledger.dropped:
            log.error(
                "event=ledger_full file=%s %d events went undelivered for want of room", self.path, ledger.dropped
            )
            ledger.dropped = 0
            self._mirror = ledger.standing()

    def _take_lock(self) -> None:
        """SQLite's own locks would let two monitors take turns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(LOCK_NAME), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _reopen(self) -> Ledger:
        """Opens the file; a damaged one is set aside, and a new one takes over what is known."""
        try:
            ledger = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            aside = _set_aside(self.path)
            log.error("event=ledger_corrupt file=%s %s; set aside as %s, a new one begins", self.path, error, aside)
            ledger = self._open()
        try:
            if ledger.created:
                ledger.adopt(self._mirror)
            found = ledger.standing()
        except BaseException:
            ledger.close()
            raise
        if self._blind:
            # It can be read at last: what an earlier run owed goes out now.
            self._tell(self._resume, found.copy())
            self._blind = False
        self._mirror = found
        self._ledger, self._inode = ledger, inode_of(self.path)
        return ledger

    def _open(self) -> Ledger:
        return Ledger(self.path, busy_s=self._busy_s, keep_s=self._keep_s, keep_most=self._keep_most, clock=self._clock)

    def _let_go(self) -> None:
        if self._ledger is not None:
            with contextlib.suppress(sqlite3.Error):
                self._ledger.close()
            self._ledger = None

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            # The loop did not wait for a disk that hung.
            log.debug("event=ledger_late the loop is closed")


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, CorruptLedger) or is_damage(error)


def _set_aside(path: Path) -> Path:
    """Renames the file and its log; the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    rename_with_log(path, aside)
    return aside
