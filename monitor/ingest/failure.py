"""What an FFmpeg error means: a code, whether to try again, one line for the user."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import av

from monitor.errors import SourceCode, SourceError
from monitor.ingest.ffmpeg_log import LogLine

# A read that is cut off returns a little before or after its limit.
_CLOCK_SLACK_S = 0.1

_LONGEST_MESSAGE = 300

# Classes that FFmpeg returns for a read it cut off: which one depends on the protocol and the phase.
_VAGUE = (av.error.ExitError, av.error.InvalidDataError, av.error.EOFError, av.error.TimeoutError)

_UNRESOLVED = ("resolve hostname", "getaddrinfo", "name or service not known")


def timed_out(waited_s: float, limit_s: float) -> bool:
    """Whether a call that took ``waited_s`` ran into its limit; FFmpeg's error class does not tell."""
    return waited_s >= limit_s - _CLOCK_SLACK_S


def failure_of(
    error: Exception, lines: Sequence[LogLine], *, shown: str, network: bool, waited_s: float, limit_s: float
) -> SourceError:
    """The error to raise for one that FFmpeg raised.

    The returned error is not chained to it: FFmpeg's error quotes the URL with its credentials. Raise it
    outside the ``except`` block.

    Args:
        error: What PyAV raised.
        lines: FFmpeg's log lines of the failed call, redacted.
        shown: The redacted URL.
        network: The source is reached over the network.
        waited_s: How long the call took.
        limit_s: How long it was allowed to take.
    """
    if network and timed_out(waited_s, limit_s) and _is_vague(error):
        return source_error(shown, f"no data for {waited_s:.1f} s", SourceCode.TIMEOUT, transient=True)
    code, transient, reason = _classify(error, lines, network=network)
    if code is SourceCode.TLS:
        # What stands on top of it only says that it could not connect.
        lines = _tls_lines(lines)
    return source_error(shown, reason, code, transient=transient, lines=lines)


def source_error(
    shown: str, reason: str, code: SourceCode, *, transient: bool, lines: Sequence[LogLine] = ()
) -> SourceError:
    """An error of one line: the redacted URL, the reason, FFmpeg's last words on it if it had any."""
    detail = f" ({lines[-1].part}: {lines[-1].text})" if lines and lines[-1].text else ""
    message = " ".join(f"{shown}: {reason}{detail}".split())
    if len(message) > _LONGEST_MESSAGE:
        message = message[: _LONGEST_MESSAGE - 3] + "..."
    return SourceError(message, code, transient=transient)


def _is_vague(error: Exception) -> bool:
    return isinstance(error, _VAGUE) or getattr(error, "errno", None) in (errno.EIO, errno.EAGAIN)


def _classify(error: Exception, lines: Sequence[LogLine], *, network: bool) -> tuple[SourceCode, bool, str]:
    match error:
        case av.error.HTTPUnauthorizedError():
            return SourceCode.AUTH, False, "credentials are missing or wrong (401)"
        case av.error.HTTPForbiddenError():
            return SourceCode.AUTH, False, "access denied (403)"
        case av.error.HTTPNotFoundError():
            # A feed that is not published yet answers so too.
            return SourceCode.NOT_FOUND, True, "not found (404)"
        case av.error.HTTPBadRequestError():
            return SourceCode.CONNECTION, False, "the server refused the request (400)"
        case av.error.HTTPClientError() | av.error.HTTPError():
            return SourceCode.CONNECTION, True, _words(error)
        case av.error.ProtocolNotFoundError():
            return SourceCode.PROTOCOL_MISSING, False, "this build of FFmpeg does not speak this protocol"
        case av.error.DecoderNotFoundError():
            return SourceCode.CODEC, False, "no decoder for this codec"
        case av.error.FileNotFoundError() | av.error.NotADirectoryError():
            return SourceCode.NOT_FOUND, network, "no such file"
        case av.error.PermissionError():
            return SourceCode.AUTH, network, "permission denied"
        case av.error.TimeoutError() | av.error.ExitError():
            return SourceCode.TIMEOUT, True, "timed out"
        case av.error.EOFError():
            return SourceCode.ENDED, network, "ended before anything could be read"
        case av.error.InvalidDataError() | av.error.DemuxerNotFoundError() | av.error.IsADirectoryError():
            return SourceCode.INVALID_DATA, network, "this is no video that can be read"
    return _classify_log(error, lines, network=network)


def _classify_log(error: Exception, lines: Sequence[LogLine], *, network: bool) -> tuple[SourceCode, bool, str]:
    """Input/output errors, which only FFmpeg's log tells apart."""
    if any(word in line.text.lower() for line in lines for word in _UNRESOLVED):
        return SourceCode.CONNECTION, True, "the host's name cannot be resolved"
    if tls := _tls_lines(lines):
        certificate = any("certificate" in line.text.lower() for line in tls)
        return SourceCode.TLS, not certificate, "the certificate is not trusted" if certificate else "TLS failed"
    if isinstance(error, ConnectionRefusedError):
        return SourceCode.CONNECTION, True, "connection refused"
    if not network:
        return SourceCode.INVALID_DATA, False, _words(error)
    # EINVAL is about the URL or an option, which stay as they are.
    return SourceCode.CONNECTION, getattr(error, "errno", None) != errno.EINVAL, _words(error)


def _tls_lines(lines: Sequence[LogLine]) -> list[LogLine]:
    return [line for line in lines if line.part == "tls"]


def _words(error: Exception) -> str:
    """FFmpeg's text for the error's number; never ``str(error)``, which quotes the URL."""
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()
