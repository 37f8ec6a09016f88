"""Decoders on a GPU: NVDEC by FFmpeg's CUDA, its pictures copied to the CPU or left where they are.

A device is tried each time that a feed is opened, so that one that comes back is used again; where there is none the
CPU decodes. Codecs and profiles that it does not decode are decoded by the CPU, each feed by itself.
"""

from __future__ import annotations

import importlib
import logging
from enum import StrEnum

import av
from av import VideoFrame
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.codeccontext import VideoCodecContext

from engines.on_device import layout_on_device

log = logging.getLogger("vqwatch.ingest")

#: Any codec that each device decodes; what it is asked for is the device.
_ASKED = "h264"
_DEVICE = "cuda"
#: One CUDA context a process, not one for each video of a multiplex.
_OPTIONS: dict[str, object] = {"primary_ctx": "1"}
#: What was said of each feed whose wish was not met, in this process.
_told: dict[str, str] = {}


class Decoder(StrEnum):
    """What decodes a feed's video."""

    CPU = "cpu"
    #: NVDEC, each picture copied to the host.
    CUDA = "cuda"
    #: NVDEC, each picture left on the GPU, and cut there.
    CUDA_KEPT = "cuda-kept"


#: What takes over from a decoder that does not work here.
_NEXT = {Decoder.CUDA_KEPT: Decoder.CUDA, Decoder.CUDA: Decoder.CPU}


def device_for(decoder: Decoder) -> HWAccel | None:
    """What ``av.open`` takes to decode on a device; None where the CPU decodes.

    Raises:
        OSError: There is no such device here, it does not work, or pictures cannot be left on it; in words.
    """
    if decoder is Decoder.CPU:
        return None
    kept = decoder is Decoder.CUDA_KEPT
    if _DEVICE not in hwdevices_available():
        raise OSError(f"FFmpeg in this PyAV knows no {_DEVICE}")
    device = HWAccel(_DEVICE, allow_software_fallback=True, options=_OPTIONS, is_hw_owned=kept)
    try:
        # A context of its own, let go at once: ``av.open`` tells a missing device as if the feed were at fault.
        device.create(av.Codec(_ASKED, "r"))
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise OSError(f"no working {_DEVICE} device: {getattr(error, 'strerror', None) or error}") from None
    if kept:
        _require_torch()
    return device


def _require_torch() -> None:
    if not hasattr(VideoFrame, "sw_format"):
        raise OSError(f"{Decoder.CUDA_KEPT} needs PyAV 18")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise OSError(f"{Decoder.CUDA_KEPT} needs torch: pip install 'vqwatch[gpu]'") from None
    if not torch.cuda.is_available():
        raise OSError(f"{Decoder.CUDA_KEPT} needs a torch that can use the GPU")


def device_that_decoded(codec: VideoCodecContext, picture: VideoFrame) -> str | None:
    """The device that gave a picture; None for the CPU.

    A context keeps its device where the device does not know the codec's profile and the CPU decodes. What comes from
    NVDEC has its two chroma planes in one (but for 4:4:4, which is taken for the CPU's here), and what comes from
    FFmpeg's own decoders has not.
    """
    if layout_on_device(picture) is not None:
        return Decoder.CUDA_KEPT.value
    interleaved = picture.format.name.startswith(("nv", "p0", "p2"))
    return Decoder.CUDA.value if codec.is_hwaccel and interleaved else None


def device_of(stream: str, decoder: Decoder) -> HWAccel | None:
    """As `device_for`, for a feed's next connection, or of the decoder that takes over, which is logged once."""
    reasons: list[str] = []
    device = None
    while decoder is not Decoder.CPU and device is None:
        try:
            device = device_for(decoder)
        except OSError as error:
            reasons.append(str(error))
            decoder = _NEXT[decoder]
    if reasons:
        # What is missing for the one is often missing for the other.
        said = f"decoder={decoder} {'; '.join(dict.fromkeys(reasons))}"
        if _told.get(stream) != said:
            _told[stream] = said
            log.warning("stream=%s event=decoder_fallback %s", stream, said)
    elif _told.pop(stream, None) is not None:
        log.info("stream=%s event=decoder_restored decoder=%s", stream, decoder)
    return device
