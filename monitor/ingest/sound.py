"""Decoded sound of a connection, for its level alone."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
from av import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from monitor.core.audio_level import AudioFacts, AudioLevel
from monitor.types import F64

#: Zero and full scale of the integer formats, by their numpy code.
_SCALES = {"u1": (128.0, 128.0), "i2": (0.0, 32768.0), "i4": (0.0, 2147483648.0)}


class Sound:
    """Decodes one audio stream and measures it; damage is left out. One thread; ``facts`` may be read by others.

    Args:
        stream: The audio of an open container.
    """

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream
        stream.codec_context.thread_count = 1
        self._level = AudioLevel()

    @property
    def facts(self) -> AudioFacts | None:
        """Newest level and silence; None before the first 0.4 s."""
        return self._level.facts

    def push(self, packet: Packet[Stream], received_s: float) -> None:
        """Takes the next packet of the stream."""
        try:
            frames = self.stream.codec_context.decode(cast("Packet[AudioStream]", packet))
        except av.FFmpegError:
            return
        for frame in frames:
            if frame.samples and frame.sample_rate:
                self._level.push(samples_of(frame), frame.sample_rate, received_s)


def samples_of(frame: AudioFrame) -> F64:
    """Samples of a decoded frame, (channels, n), floating in [-1, 1] whatever its format."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    zero, full = _SCALES.get(data.dtype.str[1:], (0.0, 1.0))
    return (data.astype(np.float64) - zero) / full
