"""From an address to an open container, by FFmpeg alone or through a bridge."""

from __future__ import annotations

import threading
import time

import av
from av.container import InputContainer

from monitor.errors import SourceCode, SourceError
from monitor.ingest.address import Address
from monitor.ingest.failure import failure_of
from monitor.ingest.ffmpeg_log import FFmpegLog
from monitor.ingest.srt_bridge import SrtBridge, ffmpeg_speaks_srt


def open_container(
    address: Address, log: FFmpegLog, *, open_timeout_s: float, stop: threading.Event
) -> tuple[InputContainer, SrtBridge | None]:
    """Opens a feed; the caller closes both, the container first.

    Args:
        address: Where it is.
        log: Collects FFmpeg's lines.
        open_timeout_s: Longest silence in each phase of opening.
        stop: Gives up when set, where FFmpeg is not yet at it.

    Raises:
        SourceError: It cannot be opened; nothing is left behind.
    """
    if address.srt is None:
        return _open(address, address.url, address.options, log, open_timeout_s), None
    bridge = SrtBridge(address.srt, address.shown)
    try:
        url, options = bridge.open(open_timeout_s, stop)
        try:
            return _open(address, url, address.options | options, log, open_timeout_s), bridge
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
    url, options = address.srt.ffmpeg_input(open_timeout_s)
    return _open(address, url, address.options | options, log, open_timeout_s), None


def _open(address: Address, url: str, options: dict[str, str], log: FFmpegLog, open_timeout_s: float) -> InputContainer:
    error: Exception | None = None
    asked_s = time.monotonic()
    with log:
        try:
            return av.open(url, options=options, timeout=(open_timeout_s, address.read_limit_s))
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
