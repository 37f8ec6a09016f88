"""What an ``srt://`` URL asks for, in the words of SRT's own programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from monitor.errors import SourceCode, SourceError
from monitor.ingest.failure import source_error

#: SRT's own default, milliseconds.
DEFAULT_LATENCY_MS = 120

# FFmpeg writes latency in microseconds where SRT's programs write milliseconds; nobody waits half a minute.
_LONGEST_LATENCY_MS = 30_000

# What URLs made for other programs may hold and what a receiver of live MPEG-TS has no use for.
_IGNORED = frozenset(
    {"pkt_size", "payload_size", "transtype", "smoother", "congestion", "linger", "timeout", "connect_timeout"}
    | {"maxbw", "inputbw", "oheadbw", "sndbuf", "tlpktdrop", "nakreport", "enforced_encryption", "messageapi"}
)
_MODES = {"caller": False, "client": False, "listener": True, "server": True}
_KEYS = ("mode", "passphrase", "pbkeylen", "streamid", "latency", "rcvlatency", "peerlatency")


@dataclass(frozen=True, slots=True)
class SrtFeed:
    """One SRT connection to make or to wait for.

    Attributes:
        host: Where to call, or the local address to listen on ("" for any).
        port: UDP port.
        listen: Wait for the sender to call.
        passphrase: 10 to 79 characters, or None.
        pbkeylen: Key length in bytes (16, 24, 32), or None to take the sender's.
        streamid: Sent when calling; often holds credentials.
        rcvlatency_ms: Our receiving latency.
        peerlatency_ms: Least latency asked of the other side, or None.
    """

    host: str
    port: int
    listen: bool
    passphrase: str | None = field(default=None, repr=False)
    pbkeylen: int | None = None
    streamid: str | None = field(default=None, repr=False)
    rcvlatency_ms: int = DEFAULT_LATENCY_MS
    peerlatency_ms: int | None = None

    def receiver_request(self, connect_timeout_s: float) -> dict[str, object]:
        """For ``srt_receiver``; holds the secrets."""
        return {
            "host": self.host,
            "port": self.port,
            "listen": self.listen,
            "passphrase": self.passphrase,
            "pbkeylen": self.pbkeylen,
            "streamid": None if self.listen else self.streamid,
            "rcvlatency": self.rcvlatency_ms,
            "peerlatency": self.peerlatency_ms,
            "connect_timeout_ms": round(connect_timeout_s * 1000),
        }

    def ffmpeg_input(self, connect_timeout_s: float) -> tuple[str, dict[str, str]]:
        """URL and options for an FFmpeg that speaks SRT: it has its latencies in microseconds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = {
            "mode": "listener" if self.listen else "caller",
            "passphrase": self.passphrase,
            "pbkeylen": self.pbkeylen,
            "streamid": None if self.listen else self.streamid,
            "rcvlatency": self.rcvlatency_ms * 1000,
            "peerlatency": None if self.peerlatency_ms is None else self.peerlatency_ms * 1000,
            # Microseconds of waiting for a caller; milliseconds of calling.
            "listen_timeout": round(connect_timeout_s * 1e6) if self.listen else None,
            "connect_timeout": None if self.listen else round(connect_timeout_s * 1000),
        }
        return f"srt://{host}:{self.port}", {key: str(value) for key, value in options.items() if value is not None}


def parse_srt(url: str, shown: str, options: Mapping[str, str]) -> SrtFeed:
    """Reads an ``srt://`` URL; ``options`` win over its query.

    ``srt://host:port`` calls, ``srt://:port`` and ``?mode=listener`` listen. Values may be percent-encoded. A ``#``
    begins no fragment: stream ids begin with it.

    Raises:
        SourceError: Something in it can never work; the message names the key, not its value.
    """

    def wrong(reason: str, code: SourceCode = SourceCode.CONNECTION) -> SourceError:
        return source_error(shown, reason, code, transient=False)

    place, _, query = url.partition("?")
    given = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    given = {key.lower(): unquote(value) for key, value in given.items()} | dict(options)
    unknown = sorted(key for key in given if key not in _KEYS and key not in _IGNORED)
    if unknown:
        raise wrong(f"SRT has no option {unknown[0]!r} here; known: {', '.join(_KEYS)}")
    try:
        parts = urlsplit(place)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not port:
        raise wrong("an SRT URL needs a port: srt://host:port")
    mode = given.get("mode") or ("caller" if host else "listener")
    if mode not in _MODES:
        raise wrong("SRT mode is caller or listener; rendezvous is not supported")
    if not _MODES[mode] and not host:
        raise wrong("an SRT caller needs a host: srt://host:port")
    passphrase = given.get("passphrase") or None
    if passphrase is not None and not 10 <= len(passphrase.encode()) <= 79:
        raise wrong("an SRT passphrase has 10 to 79 characters", SourceCode.AUTH)
    numbers: dict[str, int | None] = {}
    for key in ("pbkeylen", "latency", "rcvlatency", "peerlatency"):
        value = given.get(key)
        if value is not None and not value.isdecimal():
            raise wrong(f"{key} is a whole number")
        numbers[key] = None if value is None else int(value)
        if key != "pbkeylen" and (numbers[key] or 0) > _LONGEST_LATENCY_MS:
            raise wrong(f"{key} is in milliseconds here, as in SRT's own programs, and at most {_LONGEST_LATENCY_MS}")
    if numbers["pbkeylen"] not in (None, 0, 16, 24, 32):
        raise wrong("pbkeylen is 16, 24 or 32")
    latency = numbers["latency"]
    receiving = numbers["rcvlatency"] if numbers["rcvlatency"] is not None else latency
    return SrtFeed(
        host,
        port,
        _MODES[mode],
        passphrase,
        numbers["pbkeylen"] or None,
        given.get("streamid") or None,
        DEFAULT_LATENCY_MS if receiving is None else receiving,
        numbers["peerlatency"] if numbers["peerlatency"] is not None else latency,
    )
