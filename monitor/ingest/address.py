"""Where a feed is: from what the user wrote to what FFmpeg is given."""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import psutil

from monitor.errors import SourceCode, SourceError
from monitor.ingest.failure import source_error
from monitor.ingest.redact import redact, redact_path
from monitor.ingest.srt_address import SrtFeed, parse_srt

#: Schemes that FFmpeg may be given. Others (pipe, concat, lavfi, ...) either cannot be interrupted or open
#: things that are no feed. For srt see ``srt_bridge``.
NETWORK_SCHEMES = frozenset(
    {"http", "https", "udp", "tcp", "rtsp", "rtsps", "rtmp", "rtmps", "rtmpt", "rtmpts", "rtp", "srt"}
)

#: Longest wait for the next packet over HTTP. At the live edge of HLS a whole segment duration passes between
#: packets, and the target durations in use go to 10 s and a little over; stalled sockets are seen earlier, by
#: rw_timeout, and playlists that no longer change by max_reload.
HTTP_READ_LIMIT_S = 20.0

# Reloads of an unchanged playlist before HLS ends: it then waits 1.5 target durations for a new segment,
# which is what RFC 8216 6.2.1 allows a server, and as long again once or twice (measured: 5.5 s for
# segments of 1 s).
_HLS_MAX_RELOAD = 2

# Play begins at the last segment but one: the next one is there by the time both were shown. FFmpeg begins one earlier,
# which would tell of every fault a segment later.
_HLS_START = -2

# Datagram queue of 9.4 MB (packets of 188 bytes): 4 s at 20 Mb/s while the decoder is busy; losing some is no
# reason to end. 2 MiB of socket buffer, of which the kernel gives what net.core.rmem_max allows.
_UDP_QUERY = {"fifo_size": "50000", "overrun_nonfatal": "1", "buffer_size": "2097152"}

# RTP has no thread that empties its socket: the kernel's buffer is all there is. FFmpeg puts packets in order again
# within 500 of them.
_RTP_OPTIONS = {"buffer_size": "4194304"}

# Where distributions keep the certificates that they trust. The GnuTLS inside PyAV's wheel looks in Red Hat's place
# only, and FFmpeg verifies nothing unless told to.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)
_TLS_SCHEMES = frozenset({"https", "rtsps", "rtmps", "rtmpts"})

# A second of media finds size, format and rate of a 25 fps feed (measured: 0.9 to 1.4 s to open RTSP, UDP,
# TCP and RTMP; RTMP takes 4.3 s by default). What it does not find, the first decoded picture tells.
_LIVE_OPTIONS = {"analyzeduration": "1000000"}


@dataclass(frozen=True, slots=True)
class Address:
    """One feed's place.

    Attributes:
        url: What FFmpeg opens; holds credentials, so it is not in the repr.
        shown: The user's URL without credentials.
        protocol: Its scheme, "file" for files.
        options: FFmpeg's options; may hold credentials too.
        silence_limit_s: Longest silence of the sender.
        read_limit_s: Longest wait for the next packet: the same, but for HTTP.
        srt: What an ``srt://`` URL asks for; then ``url`` is not used.
    """

    url: str = field(repr=False)
    shown: str
    protocol: str
    options: dict[str, str] = field(repr=False)
    silence_limit_s: float
    read_limit_s: float
    srt: SrtFeed | None = None

    @property
    def network(self) -> bool:
        """Whether it is reached over the network."""
        return self.protocol != "file"

    @property
    def in_pieces(self) -> bool:
        """Whether it may come a piece at a time, much faster than it plays: segments of HLS, or a file over HTTP."""
        return self.protocol in ("http", "https")

    @property
    def rtsp(self) -> bool:
        """Whether it is an RTSP session, whatever its transport."""
        return self.protocol in ("rtsp", "rtsps")


def parse_address(url: str, *, live: bool, read_timeout_s: float, options: Mapping[str, str]) -> Address:
    """Check the user's URL or path and add what its protocol needs.

    Args:
        url: A path, ``file://`` or a URL of ``NETWORK_SCHEMES``.
        live: It is a live feed: opens with a bounded probe.
        read_timeout_s: Longest silence of the sender, seconds.
        options: The user's FFmpeg options; they win over the defaults.

    Raises:
        SourceError: It can never be opened (no such file, unknown scheme, no host, no such interface).
    """
    shown = redact(url)
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme == "file":
        path = unquote(urlsplit(url).path) if separator else url.removeprefix("file:")
        _check_file(path, shown)
        # The prefix keeps FFmpeg from reading a protocol out of a name with a colon.
        return Address(f"file:{path}", shown, "file", dict(options), read_timeout_s, read_timeout_s)
    if scheme not in NETWORK_SCHEMES:
        raise source_error(shown, "unknown protocol", SourceCode.PROTOCOL_MISSING, transient=False)
    defaults = dict(_LIVE_OPTIONS) if live else {}
    if scheme == "srt":
        feed = parse_srt(url, shown, options)
        return Address("", shown, scheme, defaults, read_timeout_s, read_timeout_s, feed)
    _check_host(url, shown)
    read_limit_s = read_timeout_s
    if scheme in _TLS_SCHEMES:
        defaults |= {"tls_verify": "1", **({"ca_file": file} if (file := trusted_certificates()) else {})}
    if scheme in ("http", "https"):
        read_limit_s = max(read_timeout_s, HTTP_READ_LIMIT_S)
        defaults |= {
            "rw_timeout": str(round(read_timeout_s * 1e6)),
            "max_reload": str(_HLS_MAX_RELOAD),
            "live_start_index": str(_HLS_START),
        }
    elif scheme in ("rtsp", "rtsps"):
        defaults["rtsp_transport"] = "tcp"
    elif scheme in ("udp", "rtp"):
        url = _multicast(url, shown)
        if scheme == "udp":
            url = _with_query(url, {key: value for key, value in _UDP_QUERY.items() if key not in options})
        else:
            defaults |= _RTP_OPTIONS
    return Address(url, shown, scheme, defaults | dict(options), read_timeout_s, read_limit_s)


@functools.cache
def trusted_certificates() -> str | None:
    """The file of certificates that this machine trusts; None where there is none."""
    # Also what SSL_CERT_FILE names.
    wanted = (ssl.get_default_verify_paths().cafile, *_CERTIFICATES)
    return next((file for file in wanted if file and Path(file).is_file()), None)


def _multicast(url: str, shown: str) -> str:
    """FFmpeg's form of ``interface=eth1`` (localaddr) and of ``udp://sender@group`` (sources)."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    added: dict[str, str] = {}
    interface = query.pop("interface", None)
    if interface is not None:
        url = urlunsplit(parts._replace(query="&".join(f"{key}={value}" for key, value in query.items())))
        added["localaddr"] = _address_of(interface, shown)
    sender = parts.username
    if sender:
        try:
            added["sources"] = str(ipaddress.ip_address(sender))
        except ValueError:
            reason = "what stands before @ is the sender's IP address, for source-specific multicast"
            raise source_error(shown, reason, SourceCode.CONNECTION, transient=False) from None
        url = url.replace(f"{sender}@", "@", 1)
    return _with_query(url, added) if added else url


def _address_of(interface: str, shown: str) -> str:
    """IPv4 address of a network interface, by which FFmpeg knows it."""
    places = psutil.net_if_addrs().get(interface)
    if places is None:
        reason = f"no network interface {interface!r}; there are: {', '.join(sorted(psutil.net_if_addrs()))}"
        raise source_error(shown, reason, SourceCode.CONNECTION, transient=False)
    for place in places:
        if place.family == socket.AF_INET:
            return place.address
    # One that is down now may get its address back.
    raise source_error(shown, f"interface {interface!r} has no IPv4 address", SourceCode.CONNECTION, transient=True)


def _check_file(path: str, shown: str) -> None:
    if not path:
        raise SourceError("no path or URL given", SourceCode.NOT_FOUND, transient=False)
    try:
        file = Path(path)
        if file.is_dir():
            raise source_error(shown, "is a directory", SourceCode.INVALID_DATA, transient=False)
        if not file.exists():
            raise source_error(redact_path(shown), "no such file", SourceCode.NOT_FOUND, transient=False)
        empty = file.is_file() and file.stat().st_size == 0
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise source_error(shown, reason, SourceCode.NOT_FOUND, transient=False) from None
    if empty:
        raise source_error(shown, "the file is empty", SourceCode.INVALID_DATA, transient=False)


def _check_host(url: str, shown: str) -> None:
    try:
        # A password with an unencoded / ? or # confuses urlsplit here and FFmpeg later, alike.
        parts = urlsplit(url)
        missing, port = not parts.hostname, parts.port
    except ValueError:
        missing, port = False, -1
    if missing and not url.lower().startswith(("udp://", "rtp://")):
        raise source_error(shown, "no host in the URL", SourceCode.CONNECTION, transient=False)
    if port == -1:
        reason = "host or port cannot be read; / ? # @ in a password must be percent-encoded"
        raise source_error(shown, reason, SourceCode.CONNECTION, transient=False)


def _with_query(url: str, wanted: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    given = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    added = [f"{name}={value}" for name, value in wanted.items() if name not in given]
    return urlunsplit(parts._replace(query="&".join([parts.query, *added] if parts.query else added)))
