"""The evidence of alerts on the disk: one small JSON file and at most one JPEG each, within a quota.

Names are the alerts' ids (UUIDv7), which begin with the time of the raise: the order of names is that of age.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitor.store.disk import reason_of

log = logging.getLogger("vqwatch.evidence")

FOLDER_NAME = "evidence"

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
# A small file takes a whole block of the disk.
_BLOCK = 4096
_OPEN_S = _CLOSE_S = 2.0
_PRUNE_S = 60.0
# By age no more go at a time: a clock that leaps ahead must not take all with it at once. Quota is not bound by it.
_AGED_AT_ONCE = 20
_SILENT = "the disk does not answer"

Document = dict[str, Any]


@dataclass(slots=True)
class _Kept:
    """Bytes on the disk, and whether a still is among them."""

    size: int = 0
    still: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    document: Document
    jpeg: bytes | None
    amend: bool


class EvidenceFolder:
    """Keeps the evidence of alerts, in a thread of its own; use as ``async with EvidenceFolder(...) as evidence:``.

    All methods belong to the event loop's thread. A disk that refuses is declared in ``trouble``, once in the log, and
    tried again; meanwhile the newest evidence waits in memory, and can be read from there.

    Args:
        folder: The data directory; ``evidence/`` in it is ours alone.
        keep_s: Evidence of alerts raised longer ago goes.
        max_bytes: Most that it takes on the disk; the oldest goes first.
        retry_s: Pause between two attempts at a disk that fails.
        max_waiting: Most alerts whose evidence waits for the disk; that of older ones is lost.
        clock: Unix seconds, for ages alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_s: float = 30 * 86400.0,
        max_bytes: int = 10**9,
        retry_s: float = 5.0,
        max_waiting: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = folder / FOLDER_NAME
        self._keep_s, self._max_bytes = keep_s, max_bytes
        self._retry_s, self._max_waiting, self._clock = retry_s, max_waiting, clock
        self._trouble: str | None = None
        # Shared, under the condition: the loop puts, the thread removes what is on the disk.
        self._changed = threading.Condition()
        self._todo: dict[str, _Job] = {}
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0
        self._closing = False
        self._lost = 0
        # The thread's.
        self._opened = False
        self._pruned_s = float("-inf")

    @property
    def trouble(self) -> str | None:
        """Why evidence is not recorded now; None while it is."""
        return self._trouble

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk."""
        return self._bytes

    async def __aenter__(self) -> Self:
        """Finds what there is; a disk that refuses is trouble, not an error."""
        self._loop = asyncio.get_running_loop()
        self._found, self._ended = asyncio.Event(), asyncio.Event()
        # A disk that hangs must not keep the process alive.
        threading.Thread(target=self._run, name="vqwatch.evidence", daemon=True).start()
        try:
            async with asyncio.timeout(_OPEN_S):
                await self._found.wait()
        except TimeoutError:
            self._declare(_SILENT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Records what waits, as far as the disk lets it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._ended.wait()
        except TimeoutError:
            log.error("event=evidence_failed folder=%s %s; leaving without it", self.path, _SILENT)

    def put(self, id_: str, document: Mapping[str, Any], jpeg: bytes | None, *, amend: bool = False) -> None:
        """Takes the evidence of one alert, to be recorded soon; returns at once.

        Args:
            id_: Id of the alert, a UUIDv7.
            document: What goes into the JSON file.
            jpeg: Its worst picture; None leaves one that is there as it is.
            amend: Keep what the file has and ``document`` has not, and the beginning of its ``curve``.
        """
        if not _ID.fullmatch(id_):
            raise ValueError(f"not the id of an alert: {id_!r}")
        with self._changed:
            waiting = self._todo.pop(id_, None)
            if waiting is not None:
                jpeg = jpeg or waiting.jpeg
                document = _amended(waiting.document, document) if amend else document
                amend = amend and waiting.amend
            self._todo[id_] = _Job(dict(document), jpeg, amend)
            if len(self._todo) > self._max_waiting:
                del self._todo[next(iter(self._todo))]
                self._lost += 1
            self._changed.notify()

    def has_still(self, id_: str) -> bool:
        """Whether an alert's picture is kept, or is about to be."""
        with self._changed:
            job, kept = self._todo.get(id_), self._kept.get(id_)
            return (job is not None and job.jpeg is not None) or (kept is not None and kept.still)

    async def document(self, id_: str) -> Document | None:
        """The evidence of one alert; None where there is none."""
        with self._changed:
            job = self._todo.get(id_)
        if job is not None and not job.amend:
            return job.document
        return await asyncio.to_thread(self._read_document, id_)

    async def still(self, id_: str) -> bytes | None:
        """The worst picture of one alert, a JPEG; None where there is none."""
        with self._changed:
            job = self._todo.get(id_)
        if job is not None and job.jpeg is not None:
            return job.jpeg
        return await asyncio.to_thread(self._read, id_, ".jpg")

    async def recent(self, count: int) -> list[Document]:
        """The evidence of the newest alerts, newest first."""
        with self._changed:
            ids = sorted(self._kept.keys() | self._todo.keys())[-count:]
        found = [await self.document(id_) for id_ in reversed(ids)]
        return [document for document in found if document is not None]

    def _declare(self, reason: str) -> None:
        if self._trouble != reason:
            log.error("event=evidence_failed folder=%s %s; the newest waits in memory", self.path, reason)
        self._trouble = reason

    def _recorded(self, lost: int) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.warning("event=evidence_recovered folder=%s", self.path)
        if lost:
            log.error("event=evidence_lost folder=%s that of %d alerts was never recorded", self.path, lost)

    def _read(self, id_: str, suffix: str) -> bytes | None:
        # Only ids: no path can leave the folder.
        if not _ID.fullmatch(id_):
            return None
        try:
            return (self.path / f"{id_}{suffix}").read_bytes()
        except OSError:
            return None

    def _read_document(self, id_: str) -> Document | None:
        content = self._read(id_, ".json")
        try:
            found = None if content is None else json.loads(content)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    # --- thread ---

    def _run(self) -> None:
        while self._turn():
            pass
        self._tell(self._ended.set)

    def _turn(self) -> bool:
        """Writes what waits, or tries to; False when it is time to end."""
        with self._changed:
            if self._opened:
                self._changed.wait_for(lambda: bool(self._todo) or self._closing, _PRUNE_S)
            closing = self._closing
            jobs = list(self._todo.items())
        try:
            if not self._opened:
                self._find()
                self._opened = True
                self._tell(self._found.set)
            for id_, job in jobs:
                self._write(id_, job)
                with self._changed:
                    if self._todo.get(id_) is job:
                        del self._todo[id_]
            self._prune()
        except OSError as error:
            self._tell(self._declare, reason_of(error))
            self._tell(self._found.set)
            with self._changed:
                if not closing:
                    self._changed.wait_for(lambda: self._closing, self._retry_s)
            return not closing
        with self._changed:
            lost, self._lost = self._lost, 0
            over = self._closing and not self._todo
        self._tell(self._recorded, lost)
        return not over

    def _find(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        kept: dict[str, _Kept] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.partition(".")
                if not _ID.fullmatch(stem):
                    continue  # not ours
                if suffix not in ("json", "jpg"):
                    # A kill left it half written.
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
                    continue
                one = kept.setdefault(stem, _Kept())
                one.size += _on_disk(entry.stat().st_size)
                one.still |= suffix == "jpg"
        with self._changed:
            self._kept = dict(sorted(kept.items()))
            self._bytes = sum(one.size for one in kept.values())

    def _write(self, id_: str, job: _Job) -> None:
        document = job.document
        if job.amend and (before := self._read_document(id_)) is not None:
            document = _amended(before, document)
        # The picture first: a document that names one has it.
        if job.jpeg is not None:
            _replace(self.path / f"{id_}.jpg", job.jpeg)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        _replace(self.path / f"{id_}.json", text.encode("utf-8", "replace"))
        size, still = 0, False
        for suffix in (".json", ".jpg"):
            with contextlib.suppress(FileNotFoundError):
                size += _on_disk((self.path / f"{id_}{suffix}").stat().st_size)
                still = suffix == ".jpg"
        with self._changed:
            before_size = self._kept[id_].size if id_ in self._kept else 0
            self._kept[id_] = _Kept(size, still)
            self._bytes += size - before_size
        self._make_room(id_)

    def _make_room(self, newest: str) -> None:
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            oldest = min(id_ for id_ in self._kept if id_ != newest)
            self._remove(oldest)

    def _prune(self) -> None:
        now_s = time.monotonic()
        if now_s - self._pruned_s < _PRUNE_S:
            return
        self._pruned_s = now_s
        limit_ms = (self._clock() - self._keep_s) * 1000
        aged = [id_ for id_ in self._kept if _raised_ms(id_) < limit_ms]
        for id_ in sorted(aged)[:_AGED_AT_ONCE]:
            self._remove(id_)

    def _remove(self, id_: str) -> None:
        for suffix in (".json", ".jpg"):
            (self.path / f"{id_}{suffix}").unlink(missing_ok=True)
        with self._changed:
            self._bytes -= self._kept.pop(id_).size

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop did not wait for a disk that hung
            self._loop.call_soon_threadsafe(what, *arguments)


def _amended(before: Mapping[str, Any], after: Mapping[str, Any]) -> Document:
    """What both say, the later one where both do; a curve goes on where the earlier one ends."""
    document = {**before, **after}
    past, more = before.get("curve"), after.get("curve")
    if isinstance(past, dict) and isinstance(more, dict) and past.keys() == more.keys() and past.get("ts"):
        last = past["ts"][-1]
        fresh = [n for n, ts in enumerate(more["ts"]) if ts > last]
        document["curve"] = {name: [*past[name], *(more[name][n] for n in fresh)] for name in past}
    return document


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is whole at any moment; evidence is not worth a wait for the disk's own cache."""
    half = path.with_name(path.name + ".part")
    half.write_bytes(content)
    half.replace(path)


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _raised_ms(id_: str) -> int:
    # UUIDv7 (RFC 9562): its first 48 bits are unix milliseconds.
    return int(id_[:8] + id_[9:13], 16)
