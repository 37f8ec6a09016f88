"""What an answer to a webhook's request means, and why there was none, in words without credentials. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus

import aiohttp

# Answers that ask to try again, though the client is said to be at fault.
_TRANSIENT_4XX = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Verdict(Enum):
    """What became of a request."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        verdict: Taken, refused for good, or to be tried again.
        reason: Why, in a few words; nothing that the receiver or the configuration wrote.
        retry_after_s: For how long the receiver asks not to be called.
    """

    verdict: Verdict
    reason: str
    retry_after_s: float = 0.0


def verdict_of(status: int, headers: Mapping[str, str], now_s: float) -> Answer:
    """What a status means: 2xx taken; 4xx refused, but for 408, 425 and 429; all else is worth another attempt.

    A redirect that was not followed is: the alert was not taken, and whoever repairs the address still wants it.
    """
    try:
        reason = f"HTTP {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        reason = f"HTTP {status}"
    if 200 <= status < 300:
        return Answer(Verdict.DELIVERED, reason)
    if 400 <= status < 500 and status not in _TRANSIENT_4XX:
        return Answer(Verdict.REFUSED, reason)
    if 300 <= status < 400:
        reason += ", which is not followed"
    return Answer(Verdict.FAILED, reason, _retry_after_s(headers.get("Retry-After"), now_s))


def explain(error: Exception) -> str:
    """Why there was no answer. aiohttp's own words are not used: some of them quote the URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS connection"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return "no connection" if not number else os.strerror(number).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return "the connection ended before an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    return f"no answer ({type(error).__name__})"


def _retry_after_s(value: str | None, now_s: float) -> float:
    """Seconds of a Retry-After (RFC 9110, 10.2.3): a number, or a date; 0 where there is none or it makes no sense."""
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit():
        # More digits than a century has seconds of are no number worth parsing.
        return float(text[:10])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
