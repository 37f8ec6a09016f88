"""Decoders on a GPU: NVDEC by FFmpeg's CUDA, its pictures copied to the CPU; the CPU decodes where there is none.

A device is tried each time that a feed is opened, so that one that comes back is used again. Codecs and profiles that
it does not decode are decoded by the CPU, each feed by itself.
"""

from __future__ import annotations

import logging
from enum import StrEnum

import av
from av import VideoFrame
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.codeccontext import VideoCodecContext

log = logging.getLogger("vqwatch.ingest")

#: Any codec that each device decodes; what it is asked for is the device.
_ASKED = "h264"
#: One CUDA context a process, not one for each video of a multiplex.
_OPTIONS: dict[str, object] = {"primary_ctx": "1"}
#: What was said of each feed whose wish was not met, in this process.
_told: dict[str, str] = {}


class Decoder(StrEnum):
    """What decodes a feed's video."""

    CPU = "cpu"
    CUDA = "cuda"


def device_for(decoder: Decoder) -> HWAccel | None:
    """What ``av.open`` takes to decode on a device; None where the CPU decodes.

    Raises:
        OSError: There is no such device here, or it does not work; in words.
    """
    if decoder is Decoder.CPU:
        return None
    if decoder.value not in hwdevices_available():
        raise OSError(f"FFmpeg in this PyAV knows no {decoder}")
    device = HWAccel(decoder.value, allow_software_fallback=True, options=_OPTIONS)
    try:
        # A context of its own, let go at once: ``av.open`` tells a missing device as if the feed were at fault.
        device.create(av.Codec(_ASKED, "r"))
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise OSError(f"no working {decoder} device: {getattr(error, 'strerror', None) or error}") from None
    return device


def device_that_decoded(codec: VideoCodecContext, picture: VideoFrame) -> str | None:
    """The device that gave a picture; None for the CPU.

    A context keeps its device where the device does not know the codec's profile and the CPU decodes. What comes from
    NVDEC has its two chroma planes in one (but for 4:4:4, which is taken for the CPU's here), and what comes from
    FFmpeg's own decoders has not.
    """
    interleaved = picture.format.name.startswith(("nv", "p0", "p2"))
    return Decoder.CUDA.value if codec.is_hwaccel and interleaved else None


def device_of(stream: str, decoder: Decoder) -> HWAccel | None:
    """As `device_for`, for a feed's next connection; the CPU decodes where there is no device, which is logged once."""
    try:
        device = device_for(decoder)
    except OSError as error:
        if _told.get(stream) != str(error):
            _told[stream] = str(error)
            log.warning("stream=%s event=decoder_fallback decoder=cpu %s", stream, error)
        return None
    if _told.pop(stream, None) is not None:
        log.info("stream=%s event=decoder_restored decoder=%s", stream, decoder)
    return device
