"""What can go wrong with a file of SQLite, in words, and what is done about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_AUTH: "permission denied",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no database",
}


def reason_of(error: Exception) -> str:
    """Why a file cannot be used, in a few words."""
    if isinstance(error, BlockingIOError):
        return "another vqwatch uses it"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    code = getattr(error, "sqlite_errorcode", None)
    return str(error) if code is None else _REASONS.get(code & 0xFF, str(error))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, as SQLite sees it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def rename_with_log(path: Path, aside: Path) -> None:
    """Renames the file and its log."""
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))


def inode_of(path: Path) -> tuple[int, int] | None:
    """Identity of the file behind a name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def number(db: sqlite3.Connection, query: str, *values: object) -> int:
    """The one number of a query, 0 where it is NULL."""
    row = db.execute(query, values).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])
