"""The history file: seconds of every stream, and minutes made of them, in blocks, in one SQLite file.

A file of its own beside the ledger: it is thousands of times larger, may lose its last seconds in a power cut, and may
fill a disk or break without an alert being in danger. It can be removed at any time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

from monitor.core.record import FIELDS, Field, Record, minute_of
from monitor.errors import MonitorError
from monitor.store.blocks import BadBlock, Rows, layout_in
from monitor.store.disk import number
from monitor.types import StreamId

#: Version of the tables, in the file's ``user_version``.
SCHEMA_VERSION = 1
#: "vqwh": tells our files from other programs' ones.
APPLICATION_ID = 0x76717768

_TABLES = """
CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE layout (id INTEGER PRIMARY KEY, fields TEXT NOT NULL UNIQUE);
CREATE TABLE block (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_MINUTE_MS = 60_000
#: Where the wall clock leaps ahead, what is kept shrinks no faster than so many times the time that passes.
_HASTE = 10.0
#: Room is given back to the disk from so many free pages on; fewer are soon used again.
_SPARE_PAGES = 1024


class Kind(IntEnum):
    """What a block holds."""

    SECONDS = 0  # one minute of seconds
    MINUTES = 1  # one hour of minutes

    @property
    def span_ms(self) -> int:
        """Time in one block."""
        return _MINUTE_MS if self is Kind.SECONDS else 60 * _MINUTE_MS


class HistoryRefused(MonitorError):
    """The file is someone else's, or a newer version's."""


def key_of(kind: Kind, stream: int, ts: int) -> int:
    """Key of the block with a moment (unix ms) in it: kind, stream and number, so that ranges of time are ranges."""
    return (kind << 56) | (stream << 32) | max(0, ts) // kind.span_ms


def start_of(key: int) -> int:
    """Unix ms at which the block of a key starts."""
    return (key & 0xFFFFFFFF) * Kind(key >> 56).span_ms


class HistoryFile:
    """Records seconds; for one thread.

    Anything but the constructor's refusal raises ``sqlite3.Error``; after one the object is to be closed, and to
    write the same again is safe.

    Args:
        path: The file; made where it is missing.
        keep_seconds_s: Seconds older than this go.
        keep_minutes_s: Minutes older than this go.
        max_bytes: Where the file would grow beyond, older ones go sooner.
        busy_s: How long to wait while another process holds the file.
        clock: Unix seconds, for ages.
        monotonic: Seconds of a clock that nobody sets.

    Attributes:
        share: Part of the configured time that ``max_bytes`` leaves room for.

    Raises:
        HistoryRefused: Another program's file, or a newer version's.
        sqlite3.Error: It cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_seconds_s: float,
        keep_minutes_s: float,
        max_bytes: int,
        busy_s: float = 1.0,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.path = path
        self.share = 1.0
        self._keep_s = {Kind.SECONDS: keep_seconds_s, Kind.MINUTES: keep_minutes_s}
        self._max_bytes = max_bytes
        self._clock, self._monotonic = clock, monotonic
        self._streams: dict[StreamId, int] = {}
        self._open_blocks: dict[tuple[Kind, int], tuple[int, Rows]] = {}
        self._horizons: dict[Kind, float] = {}
        self._pruned_s = monotonic()
        # The owner may close in another thread than the one that opened; it never uses both at once.
        self._db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        db = self._db
        checked_version(db, self.path)
        if number(db, "PRAGMA page_count") == 0:
            # Before the first page is written, or never.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        # The disk is waited for once in a while, not at each commit: a power cut costs seconds, never the file.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 8388608")
        db.execute("BEGIN IMMEDIATE")
        try:
            if checked_version(db, self.path) == 0:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("INSERT INTO layout (fields) VALUES (?) ON CONFLICT DO NOTHING", (_described(FIELDS),))
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._layouts = read_layouts(db)
        self._layout = next(known for known, fields in self._layouts.items() if fields == FIELDS)
        self._streams = read_streams(db)

    def write(self, entries: Iterable[tuple[StreamId, Record]]) -> None:
        """Records seconds, all or none. Those of a stream come in order; a clock that was set back wins."""
        changed: dict[int, Rows] = {}
        over: dict[int, Rows] = {}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for name, record in entries:
                stream = self._stream(name)
                key, rows, before = self._block(Kind.SECONDS, stream, record.ts)
                rows.put(record)
                changed[key] = rows
                if before is not None:
                    over[before[0]] = before[1]
            self._sum_up(over, changed)
            self._put(changed)
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def prune(self) -> None:
        """Lets go of what is too old, and of more where the file is too large; gives room back to the disk."""
        elapsed_s, self._pruned_s = self._monotonic() - self._pruned_s, self._monotonic()
        self._age(elapsed_s)
        while self.bytes_used() > self._max_bytes and self.share > 0.001:
            self.share *= 0.9
            self._delete()
        if self.share < 1.0 and self.bytes_used() < 0.8 * self._max_bytes:
            self.share = min(1.0, self.share * 1.05)
        free = number(self._db, "PRAGMA freelist_count")
        if free > max(_SPARE_PAGES, number(self._db, "PRAGMA page_count") // 10):
            # It frees a page with each row that is fetched.
            self._db.execute(f"PRAGMA incremental_vacuum({free - _SPARE_PAGES // 2})").fetchall()

    def bytes_used(self) -> int:
        """Size of the file without the pages that it will use again."""
        pages = number(self._db, "PRAGMA page_count") - number(self._db, "PRAGMA freelist_count")
        return pages * number(self._db, "PRAGMA page_size")

    def finish(self) -> None:
        """Sums up the minutes that are being written; for an orderly end."""
        changed: dict[int, Rows] = {}
        held = {key: rows for (kind, _), (key, rows) in self._open_blocks.items() if kind is Kind.SECONDS}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._sum_up(held, changed)
            self._put(changed)
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def _put(self, changed: dict[int, Rows]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO block VALUES (?, ?)",
            [(key, changed[key].packed(self._layout)) for key in sorted(changed)],
        )

    def _stream(self, name: StreamId) -> int:
        if name not in self._streams:
            self._db.execute("INSERT INTO stream (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            self._streams[name] = number(self._db, "SELECT id FROM stream WHERE name = ?", name)
        return self._streams[name]

    def _sum_up(self, over: dict[int, Rows], changed: dict[int, Rows]) -> None:
        """Puts minutes that are over into their hours."""
        for key, rows in over.items():
            if not len(rows):
                continue
            stream = (key >> 32) & 0xFFFFFF
            hour_key, hour, _ = self._block(Kind.MINUTES, stream, rows.start_ms)
            hour.replace(minute_of(list(rows.records()), rows.start_ms))
            changed[hour_key] = hour

    def _block(self, kind: Kind, stream: int, ts: int) -> tuple[int, Rows, tuple[int, Rows] | None]:
        """The block with a moment in it, and the one written before, where that is another.

        Its rows are those in hand, those of the file, or none yet.
        """
        key = key_of(kind, stream, ts)
        before = self._open_blocks.get((kind, stream))
        if before is not None and before[0] == key:
            return (*before, None)
        if before is None and kind is Kind.SECONDS:
            # An earlier run may have been killed before its last minute was over.
            last = number(
                self._db, "SELECT max(key) FROM block WHERE key BETWEEN ? AND ?", key_of(kind, stream, 0), key
            )
            if last and last != key:
                before = last, self._read(last)
        rows = self._read(key)
        self._open_blocks[kind, stream] = key, rows
        return key, rows, before

    def _read(self, key: int) -> Rows:
        found = self._db.execute("SELECT data FROM block WHERE key = ?", (key,)).fetchone()
        rows = Rows(start_of(key))
        if found is not None:
            # One block that cannot be read is no reason to stop; it is written anew.
            with suppress(BadBlock, KeyError):
                rows = Rows.unpacked(rows.start_ms, found[0], self._layouts[layout_in(found[0])])
        return rows

    def _age(self, elapsed_s: float) -> None:
        now_s = self._clock()
        for kind, keep_s in self._keep_s.items():
            target = now_s - keep_s
            before = self._horizons.get(kind)
            if before is None:
                # Nothing says how long the monitor was away, so the oldest that is there is where it goes on.
                oldest = self._oldest_s(kind)
                before = target if oldest is None else min(target, oldest)
            self._horizons[kind] = min(target, before + _HASTE * elapsed_s) if target > before else before
        self._delete()

    def _oldest_s(self, kind: Kind) -> float | None:
        found = []
        for stream in self._streams.values():
            key = number(
                self._db,
                "SELECT min(key) FROM block WHERE key BETWEEN ? AND ?",
                key_of(kind, stream, 0),
                key_of(kind, stream, 0) | 0xFFFFFFFF,
            )
            if key:
                found.append(start_of(key) / 1000)
        return min(found, default=None)

    def _delete(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for kind, horizon in self._horizons.items():
                shortened = horizon + (1.0 - self.share) * self._keep_s[kind]
                for stream in self._streams.values():
                    self._db.execute(
                        "DELETE FROM block WHERE key BETWEEN ? AND ?",
                        (key_of(kind, stream, 0), key_of(kind, stream, int(shortened * 1000)) - 1),
                    )
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # A full disk may have rolled back by itself.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def checked_version(db: sqlite3.Connection, path: Path) -> int:
    """Version of the tables; 0 of an empty file.

    Raises:
        HistoryRefused: It is not ours, or newer.
    """
    version = number(db, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise HistoryRefused(f"{path}: written by a newer vqwatch (tables {version}, this one knows {SCHEMA_VERSION})")
    ours = number(db, "PRAGMA application_id") == APPLICATION_ID
    if not ours and (version or number(db, "SELECT count(*) FROM sqlite_schema")):
        raise HistoryRefused(f"{path}: not a history of vqwatch")
    return version


def read_streams(db: sqlite3.Connection) -> dict[StreamId, int]:
    """Number of each stream in the file."""
    return {StreamId(name): known for known, name in db.execute("SELECT id, name FROM stream ORDER BY name")}


def read_layouts(db: sqlite3.Connection) -> dict[int, tuple[Field, ...]]:
    """Fields of the blocks by layout number: files outlive the fields that a version has."""
    return {
        known: tuple(Field(name, decimals) for name, decimals in json.loads(fields))
        for known, fields in db.execute("SELECT id, fields FROM layout")
    }


def _described(fields: Iterable[Field]) -> str:
    return json.dumps([[field.name, field.decimals] for field in fields])
