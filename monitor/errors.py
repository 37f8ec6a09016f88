"""Errors of the monitor.

::

    MonitorError                    anything a user may be shown as one line
     ├─ UsageError                  bad option or bad configuration: exit status 2
     ├─ SourceError                 a feed cannot be opened or read (code, transient)
     └─ PublishError                the broker cannot be used
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial


class SourceCode(StrEnum):
    """Why a feed failed; a label of metrics and a word of logs."""

    CONNECTION = "connection"
    AUTH = "auth"
    TLS = "tls"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    CODEC = "codec"
    NO_VIDEO = "no_video"
    PROTOCOL_MISSING = "protocol_missing"
    INVALID_DATA = "invalid_data"
    ENDED = "ended"


class MonitorError(Exception):
    """Something went wrong that a user can be told in one line."""


class UsageError(MonitorError):
    """The command line or the configuration is wrong; the process exits with status 2."""


class SourceError(MonitorError):
    """A feed cannot be opened or read.

    Args:
        message: One line; must not hold credentials (pass URLs through ``monitor.ingest.redact``).
        code: Class of the failure.
        transient: Whether trying again can help.
    """

    def __init__(self, message: str, code: SourceCode, *, transient: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient

    def __reduce__(self) -> tuple[object, ...]:
        # It comes out of reader processes.
        return partial(SourceError, transient=self.transient), (str(self), self.code)


class PublishError(MonitorError):
    """The broker cannot be used; the message names it without credentials."""
