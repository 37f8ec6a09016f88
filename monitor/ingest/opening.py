"""From an address to an open container: by FFmpeg alone, through a bridge, or over a connection of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from monitor.errors import SourceCode, SourceError
from monitor.ingest.address import Address
from monitor.ingest.byte_reader import ByteReader
from monitor.ingest.failure import failure_of, source_error
from monitor.ingest.ffmpeg_log import FFmpegLog
from monitor.ingest.srt_address import SrtFeed
from monitor.ingest.srt_bridge import SrtBridge, ffmpeg_speaks_srt
from monitor.ingest.tcp_reader import TcpReader, is_plain_tcp
from monitor.ingest.udp_reader import UdpReader

#: Opens what stands at a place, with FFmpeg's options.
_Container = Callable[[str | ByteReader, dict[str, str]], InputContainer]


class Opened(NamedTuple):
    """An open container, and what brings its bytes where FFmpeg does not fetch them itself.

    Attributes:
        container: Opened and probed.
        bridge: The child that receives SRT.
        reader: Reads the bytes of TCP and UDP.
    """

    container: InputContainer
    bridge: SrtBridge | None = None
    reader: ByteReader | None = None

    def close(self) -> None:
        """Frees all, the container first."""
        self.container.close()
        for carrier in (self.bridge, self.reader):
            if carrier is not None:
                carrier.close()


def open_container(
    address: Address,
    log: FFmpegLog,
    *,
    open_timeout_s: float,
    stop: threading.Event,
    on_reader: Callable[[ByteReader], None],
    device: HWAccel | None = None,
) -> Opened:
    """Opens a feed; the caller closes it.

    Args:
        address: Where it is.
        log: Collects FFmpeg's lines.
        open_timeout_s: Longest silence in each phase of opening.
        stop: Gives up when set, where FFmpeg is not yet at it.
        on_reader: Told of a reader of our own as soon as there is one.
        device: What decodes its video; the CPU where none is given.

    Raises:
        SourceError: It cannot be opened; nothing is left behind.
    """

    def container(place: str | ByteReader, options: dict[str, str]) -> InputContainer:
        return _open(address, place, options, log, open_timeout_s, device)

    if address.srt is not None:
        return _open_srt(address, address.srt, container, open_timeout_s, stop)
    if is_plain_tcp(address.url):
        return _open_read(
            address,
            log,
            container,
            open_timeout_s,
            on_reader,
            lambda: TcpReader(address.url, timeout_s=open_timeout_s, stop=stop),
        )
    if address.protocol == "udp":
        return _open_read(
            address,
            log,
            container,
            open_timeout_s,
            on_reader,
            lambda: UdpReader(
                address.url,
                address.options,
                timeout_s=open_timeout_s,
                silence_s=address.silence_limit_s,
                stop=stop,
            ),
        )
    return Opened(container(address.url, address.options))


def _open_srt(
    address: Address, feed: SrtFeed, container: _Container, open_timeout_s: float, stop: threading.Event
) -> Opened:
    bridge = SrtBridge(feed, address.shown)
    try:
        url, options = bridge.open(open_timeout_s, stop)
        try:
            return Opened(container(url, address.options | options), bridge=bridge)
        except SourceError as error:
            # FFmpeg only knows that its socket fell silent or was closed.
            said = bridge.failure()
            raise said or error.with_traceback(None) from None
    except SourceError as error:
        bridge.close()
        # FFmpeg's own SRT, where it has it, comes second: it calls a wrong passphrase an input/output error.
        if error.code is not SourceCode.PROTOCOL_MISSING or not ffmpeg_speaks_srt():
            raise
    except BaseException:
        bridge.close()
        raise
    url, options = feed.ffmpeg_input(open_timeout_s)
    return Opened(container(url, address.options | options))


def _open_read(
    address: Address,
    log: FFmpegLog,
    container: _Container,
    open_timeout_s: float,
    on_reader: Callable[[ByteReader], None],
    connect: Callable[[], ByteReader],
) -> Opened:
    asked_s = time.monotonic()
    try:
        with log:
            reader = connect()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise failure_of(
            error.with_traceback(None),
            log.lines(),
            shown=address.shown,
            network=True,
            waited_s=time.monotonic() - asked_s,
            limit_s=open_timeout_s,
        ) from None
    on_reader(reader)
    # FFmpeg opens in two phases, to each of which the limit applies elsewhere.
    reader.begin(2 * open_timeout_s, open_timeout_s)
    try:
        return Opened(container(reader, address.options), reader=reader)
    except SourceError:
        reader.close()
        if reader.trouble is not None:
            raise source_error(address.shown, *reader.trouble, transient=True) from None
        if not reader.received:
            raise source_error(address.shown, "ended before anything came", SourceCode.ENDED, transient=True) from None
        raise
    except BaseException:
        reader.close()
        raise


def _open(
    address: Address,
    place: str | ByteReader,
    options: dict[str, str],
    log: FFmpegLog,
    open_timeout_s: float,
    device: HWAccel | None,
) -> InputContainer:
    error: Exception | None = None
    asked_s = time.monotonic()
    with log:
        try:
            limits = (open_timeout_s, address.read_limit_s)
            return av.open(place, "r", options=options, timeout=limits, hwaccel=device)
        except (av.FFmpegError, OSError, ValueError) as caught:
            error = caught.with_traceback(None)  # which would refer back to this frame
    raise failure_of(
        error,
        log.lines(),
        shown=address.shown,
        network=address.network,
        waited_s=time.monotonic() - asked_s,
        limit_s=open_timeout_s,
    )
