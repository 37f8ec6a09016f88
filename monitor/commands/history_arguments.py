"""Arguments of the commands that read a history."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from monitor.core.moments import parse_moment
from monitor.errors import UsageError
from monitor.store.history import FILE_NAME
from monitor.store.history_reader import HistoryReader
from monitor.types import StreamId

#: Beyond every moment that a history can hold, unix ms.
_END_MS = 2**52


@dataclass(frozen=True, slots=True)
class Span:
    """From (with) and to (without), unix ms."""

    from_ms: int
    to_ms: int


def add_history_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to read: streams and time."""
    parser.add_argument("--stream", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    parser.add_argument(
        "--from", dest="begin", metavar="TIME", help="2026-11-22T10:00:00Z, 2026-11-22, 2h (ago), today, yesterday"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="the same, not included; now without it")


def span_of(args: argparse.Namespace) -> Span:
    """The span asked for; all of time where nothing was.

    Raises:
        UsageError: Something that is no moment, or the end before the start.
    """
    now_ms = int(time.time() * 1000)
    found = []
    for option, text, default in (("--from", args.begin, 0), ("--to", args.end, _END_MS)):
        try:
            found.append(default if text is None else parse_moment(text, now_ms))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{option}: {error}") from error
    if found[1] < found[0]:
        raise UsageError("--to lies before --from")
    return Span(*found)


def open_history(folder: Path | None) -> HistoryReader:
    """The history of a data directory.

    Raises:
        UsageError: No folder was named, or none with a history.
        MonitorError: It cannot be read.
    """
    if folder is None:
        raise UsageError("no history: name a data directory with --data-dir, or a configuration with data_dir")
    path = folder / FILE_NAME
    if not path.exists():
        raise UsageError(f"{path}: no such file; `vqwatch run --data-dir {folder}` records one")
    return HistoryReader(path)


def chosen(wanted: list[str], known: tuple[StreamId, ...], where: object) -> tuple[StreamId, ...]:
    """The streams asked for; all that are known where none was.

    Raises:
        UsageError: One is not known.
    """
    for name in wanted:
        if name not in known:
            raise UsageError(f"--stream {name}: not in {where}; there are {', '.join(known) or 'none'}")
    return tuple(StreamId(name) for name in dict.fromkeys(wanted)) or known
