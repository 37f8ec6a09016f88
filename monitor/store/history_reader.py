"""Reads a history file, also while a monitor writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import numpy as np

from monitor.core.record import Field, Record
from monitor.errors import MonitorError
from monitor.store.blocks import BadBlock, columns_in, layout_in, records_in
from monitor.store.disk import reason_of
from monitor.store.history_file import Kind, checked_version, key_of, read_layouts, read_streams, start_of
from monitor.types import StreamId


class HistoryReader:
    """A history file, open for reading; use as ``with HistoryReader(path) as history:``. For one thread.

    Args:
        path: The file.

    Attributes:
        streams: Names of the streams in it, sorted.

    Raises:
        MonitorError: (also from every method) It cannot be read, is damaged, or is not ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Without a log beside it the file is whole, and can be read where not even a lock can be taken.
        whole = not path.with_name(path.name + "-wal").exists()
        error: Exception = FileNotFoundError(2, "no such file")
        for options in ("mode=ro", *(["mode=ro&immutable=1"] if whole else [])):
            db = None
            try:
                db = sqlite3.connect(f"file:{quote(str(path))}?{options}", uri=True, timeout=2.0)
                checked_version(db, path)
                self._streams, self._layouts = read_streams(db), read_layouts(db)
                break
            except sqlite3.Error as found:
                error = found
            except BaseException:
                if db is not None:
                    db.close()
                raise
            if db is not None:
                db.close()
        else:
            raise MonitorError(f"{path}: {reason_of(error)}") from error
        self._db = db
        self.streams = tuple(self._streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def span(self, kind: Kind, stream: StreamId) -> tuple[int, int] | None:
        """Unix ms of the oldest block's start and of the newest block's end; None where there is none."""
        base = key_of(kind, self._streams[stream], 0)
        try:
            first, last = self._db.execute(
                "SELECT min(key), max(key) FROM block WHERE key BETWEEN ? AND ?", (base, base | 0xFFFFFFFF)
            ).fetchone()
        except sqlite3.Error as error:
            raise MonitorError(f"{self.path}: {reason_of(error)}") from error
        return None if first is None else (start_of(first), start_of(last) + kind.span_ms)

    def records(self, kind: Kind, stream: StreamId, from_ms: int, to_ms: int) -> Iterator[Record]:
        """Records of a stream with ``from_ms <= ts < to_ms``, in order of time."""
        for start, content, fields in self._blocks(kind, stream, from_ms, to_ms):
            try:
                for record in records_in(start, content, fields):
                    if from_ms <= record.ts < to_ms:
                        yield record
            except BadBlock as error:
                raise MonitorError(f"{self.path}: {error}") from error

    def columns(
        self, kind: Kind, stream: StreamId, from_ms: int, to_ms: int, names: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """The same as columns of float64, NaN where unknown; ``ts`` comes first."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ("ts", *names)}
        for start, content, fields in self._blocks(kind, stream, from_ms, to_ms):
            try:
                columns = columns_in(start, content, fields)
            except BadBlock as error:
                raise MonitorError(f"{self.path}: {error}") from error
            wanted = (columns["ts"] >= from_ms) & (columns["ts"] < to_ms)
            nothing = np.full(len(wanted), np.nan)
            for name, list_ in parts.items():
                list_.append(columns.get(name, nothing)[wanted])
        return {name: np.concatenate(list_) if list_ else np.empty(0) for name, list_ in parts.items()}

    def _blocks(
        self, kind: Kind, stream: StreamId, from_ms: int, to_ms: int
    ) -> Iterator[tuple[int, bytes, tuple[Field, ...]]]:
        number = self._streams[stream]
        first, last = key_of(kind, number, from_ms), key_of(kind, number, min(to_ms, 2**32 * _MINUTE_MS - 1))
        try:
            for key, content in self._db.execute(
                "SELECT key, data FROM block WHERE key BETWEEN ? AND ? ORDER BY key", (first, last)
            ):
                layout = layout_in(content)
                if layout not in self._layouts:
                    # A newer monitor began to write while this reads.
                    self._layouts = read_layouts(self._db)
                yield start_of(key), content, self._layouts[layout]
        except (sqlite3.Error, BadBlock, KeyError) as error:
            reason = reason_of(error) if isinstance(error, sqlite3.Error) else str(error)
            raise MonitorError(f"{self.path}: {reason}") from error


_MINUTE_MS = 60_000
