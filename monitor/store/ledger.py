"""The alert ledger: every raise and clear, and which of them are still owed to a receiver, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from monitor.core.alerts import CLEARED, RAISED
from monitor.errors import MonitorError
from monitor.store.standing import MQTT, Addressed, Delivered, Entry, EventKey, Standing, key_of
from monitor.types import AlertEvent, Severity, StreamId

#: Version of the tables, in the file's ``user_version``.
SCHEMA_VERSION = 2
#: "vqwa": tells our files from other programs' ones.
APPLICATION_ID = 0x76717761

_COLUMNS = (
    "stream", "seq", "id", "rule", "severity", "status", "raised_at", "value", "threshold", "cleared_at", "cause",
    "cause_p", "worst_at",
)  # fmt: skip
_TABLES = """
CREATE TABLE event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,
    status TEXT NOT NULL, raised_at REAL NOT NULL, value REAL, threshold REAL, cleared_at REAL, cause TEXT,
    cause_p REAL, worst_at REAL,
    UNIQUE (stream, seq, id)
);
CREATE INDEX event_of_alert ON event (id);
CREATE TABLE active (position INTEGER PRIMARY KEY REFERENCES event (position));
CREATE TABLE stream (name TEXT PRIMARY KEY, next_seq INTEGER NOT NULL) WITHOUT ROWID;
"""
# What is owed to whom.
_OUTBOX = """
CREATE TABLE outbox (
    position INTEGER NOT NULL REFERENCES event (position) ON DELETE CASCADE, destination TEXT NOT NULL,
    PRIMARY KEY (position, destination)
) WITHOUT ROWID;
"""
# In version 1 there was MQTT alone, and a position in the outbox was owed to it.
_FROM_1 = f"""
ALTER TABLE outbox RENAME TO outbox_1;
{_OUTBOX}
INSERT INTO outbox SELECT position, '{MQTT}' FROM outbox_1;
DROP TABLE outbox_1;
"""
_INSERT = (
    f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    "ON CONFLICT (stream, seq, id) DO NOTHING"
)
# Pruning looks at the whole file, so it is not done for each event.
_PRUNE_EVERY = 500


class CorruptLedger(sqlite3.DatabaseError):
    """The file is damaged."""


class LedgerRefused(MonitorError):
    """The file, or the folder, is someone else's."""


class Ledger:
    """Alert events in one SQLite file (WAL), each durable once ``write`` has returned.

    The order is the order of writing; no clock has a say in it. For one thread. Anything but the constructor's
    refusal raises ``sqlite3.Error``; after one the object is to be closed, and to write the same again is safe.

    Args:
        path: The file; made where it is missing.
        busy_s: How long to wait while another process holds the file.
        keep_s: Delivered events older than this go.
        keep_most: Events beyond the newest so many go, delivered or not; what is active always stays.
        keep_least: The newest so many stay at any age, so that a clock that leaps ahead cannot empty the ledger.
        clock: Unix seconds, for ages alone.

    Attributes:
        created: The file was made by this object.
        dropped: Events that went undelivered since ``keep_most`` was reached.

    Raises:
        LedgerRefused: Another program's file, or a newer version's.
        CorruptLedger: The file is damaged.
        sqlite3.Error: It cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_s: float = 2.0,
        keep_s: float = 90 * 86400.0,
        keep_most: int = 100_000,
        keep_least: int = 1_000,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self.created = False
        self.dropped = 0
        self._keep_s, self._keep_most, self._keep_least = keep_s, keep_most, keep_least
        self._clock = clock
        self._unpruned = 0
        # The owner may close in another thread than the one that opened; it never uses both at once.
        self._db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        db = self._db
        db.execute("PRAGMA foreign_keys = ON")
        # Before anything is changed: the file may be another program's.
        _checked_version(db, self.path)
        if _number(db, "PRAGMA page_count") == 0:
            # Before the first page is written, or never.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns, also when the power fails.
        db.execute("PRAGMA synchronous = FULL")
        # The log is copied into the file, and used again, every MiB.
        db.execute("PRAGMA wal_autocheckpoint = 256")
        db.execute("PRAGMA journal_size_limit = 1048576")
        with self._transaction():
            version = _checked_version(db, self.path)
            if version < SCHEMA_VERSION:
                for statement in (_TABLES + _OUTBOX if version == 0 else _FROM_1).split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self.created = version == 0
        findings = [row[0] for row in db.execute("PRAGMA integrity_check(1)")]
        if findings != ["ok"]:
            raise CorruptLedger(findings[0])
        self.prune()

    def write(self, entries: Sequence[Entry]) -> None:
        """Records events and deliveries, all or none. An event that is there already is not recorded twice."""
        with self._transaction():
            for entry in entries:
                if isinstance(entry, Delivered):
                    self._db.execute(
                        "DELETE FROM outbox WHERE position = "
                        "(SELECT position FROM event WHERE stream = ? AND seq = ? AND id = ?) AND destination = ?",
                        (*entry.key, entry.destination),
                    )
                elif isinstance(entry, Addressed):
                    self._record(entry.event, (MQTT, *entry.also))
                else:
                    self._record(entry, (MQTT,))
        self._unpruned += len(entries)
        if self._unpruned >= _PRUNE_EVERY:
            self.prune()

    def adopt(self, standing: Standing) -> None:
        """Takes over what another ledger, now lost, held open."""
        owed = {MQTT: standing.undelivered} | standing.owed
        events = {key_of(event): event for event in standing.active.values()}
        for undelivered in owed.values():
            events |= undelivered
        with self._transaction():
            for key in sorted(events):
                self._record(events[key], [name for name, undelivered in owed.items() if key in undelivered])
            for stream, seq in standing.next_seq.items():
                self._number_after(stream, seq)

    def standing(self) -> Standing:
        """What is up, what is owed, and the next numbers."""
        return _standing(self._db)

    def events(self) -> list[AlertEvent]:
        """All that is kept, in the order of recording."""
        return [_event(row) for row in self._db.execute(f"SELECT {', '.join(_COLUMNS)} FROM event ORDER BY position")]

    def prune(self) -> None:
        """Lets old events go, and gives their room back to the disk."""
        self._unpruned = 0
        newest = _number(self._db, "SELECT max(position) FROM event")
        least, most = newest - self._keep_least, newest - self._keep_most
        with self._transaction():
            # An event counts once, however many destinations it was owed to.
            self.dropped += _number(self._db, f"SELECT count(DISTINCT position) FROM outbox WHERE position <= {most}")
            self._db.execute("DELETE FROM outbox WHERE position <= ?", (most,))
            gone = self._db.execute(
                "DELETE FROM event WHERE position <= ? AND (position <= ? OR coalesce(cleared_at, raised_at) < ?) "
                "AND position NOT IN (SELECT position FROM outbox) AND position NOT IN (SELECT position FROM active)",
                (least, most, self._clock() - self._keep_s),
            ).rowcount
        if gone:
            # It frees a page with each row that is fetched.
            self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def _record(self, event: AlertEvent, to: Iterable[str]) -> None:
        done = self._db.execute(_INSERT, _row(event))
        if done.rowcount != 1:
            return
        position = done.lastrowid
        for destination in to:
            self._db.execute("INSERT INTO outbox VALUES (?, ?)", (position, destination))
        if event.status == RAISED:
            self._db.execute("INSERT INTO active VALUES (?)", (position,))
        elif event.status == CLEARED:
            self._db.execute(
                "DELETE FROM active WHERE position IN (SELECT position FROM event WHERE id = ?)", (event.id,)
            )
        self._number_after(event.stream, event.seq + 1)

    def _number_after(self, stream: StreamId, seq: int) -> None:
        self._db.execute(
            "INSERT INTO stream VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET next_seq = max(next_seq, excluded.next_seq)",
            (stream, seq),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def read_standing(path: Path) -> Standing | None:
    """What a ledger holds open that can be read but not written; None where it cannot be read either."""
    # Without a log beside it the file is whole, and can be read where not even a lock can be taken.
    whole = not path.with_name(path.name + "-wal").exists()
    for options in ("mode=ro", *(["mode=ro&immutable=1"] if whole else [])):
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?{options}", uri=True, timeout=0.5)) as db:
                if (version := _checked_version(db, path)) > 0:
                    return _standing(db, version)
        except (sqlite3.Error, LedgerRefused):
            continue
    return None


def _checked_version(db: sqlite3.Connection, path: Path) -> int:
    version = _number(db, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise LedgerRefused(f"{path}: written by a newer vqwatch (tables {version}, this one knows {SCHEMA_VERSION})")
    ours = _number(db, "PRAGMA application_id") == APPLICATION_ID
    if not ours and (version or _number(db, "SELECT count(*) FROM sqlite_schema")):
        raise LedgerRefused(f"{path}: not a database of vqwatch")
    return version


def _standing(db: sqlite3.Connection, version: int = SCHEMA_VERSION) -> Standing:
    columns = ", ".join(f"event.{name}" for name in _COLUMNS)
    active = [
        _event(row) for row in db.execute(f"SELECT {columns} FROM active JOIN event USING (position) ORDER BY position")
    ]
    destination = "destination" if version > 1 else f"'{MQTT}'"
    owed: dict[str, dict[EventKey, AlertEvent]] = {}
    for name, *row in db.execute(
        f"SELECT {destination}, {columns} FROM outbox JOIN event USING (position) ORDER BY position"
    ):
        event = _event(row)
        owed.setdefault(name, {})[key_of(event)] = event
    return Standing(
        {event.id: event for event in active},
        owed.pop(MQTT, {}),
        {StreamId(name): seq for name, seq in db.execute("SELECT name, next_seq FROM stream")},
        owed,
    )


def _row(event: AlertEvent) -> tuple[object, ...]:
    return (
        str(event.stream), int(event.seq), event.id, event.rule, str(event.severity), event.status,
        *(_real(value) for value in (event.raised_at, event.value, event.threshold, event.cleared_at)),
        event.cause, _real(event.cause_p), _real(event.worst_at),
    )  # fmt: skip


def _event(row: Sequence[object]) -> AlertEvent:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["severity"] = Severity(str(fields["severity"]))
    return AlertEvent(**fields)  # type: ignore[arg-type]


def _real(value: float | None) -> float | None:
    # sqlite3 would store a numpy number as a blob.
    return None if value is None else float(value)


def _number(db: sqlite3.Connection, query: str) -> int:
    value = db.execute(query).fetchone()[0]
    return 0 if value is None else int(value)
