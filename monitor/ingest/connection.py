"""One open container: its streams, its packets, and what its end means."""

from __future__ import annotations

import time
from fractions import Fraction

import av
from av import VideoFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from engines.on_device import layout_of
from monitor.errors import SourceCode, SourceError
from monitor.ingest.address import Address
from monitor.ingest.byte_reader import ByteReader
from monitor.ingest.damage import DamageCount
from monitor.ingest.failure import failure_of, source_error, timed_out
from monitor.ingest.ffmpeg_log import FFmpegLog
from monitor.ingest.hardware import device_that_decoded
from monitor.ingest.picture_format import format_of
from monitor.ingest.programs import NoSuchVideo, Program, VideoChoice, choose_video, describe_programs
from monitor.ingest.srt_bridge import SrtBridge
from monitor.types import StreamInfo

# Text that FFmpeg draws as ANSI art: any text file "is" a video.
_NO_FEED_FORMATS = frozenset({"tty"})


class Connection:
    """An open container, its one video stream, and what FFmpeg says while it is read.

    One thread. Closes nothing when it refuses the container: its maker does.

    Args:
        container: As opened.
        address: Where it was opened.
        log: Collects FFmpeg's lines for error messages.
        live: Its end is a loss.
        choice: Which of its videos.
        bridge: What brings it, ended with it.
        listen: The audio is wanted.
        reader: Reads the bytes, where FFmpeg does not do so itself; closed with the container.

    Raises:
        SourceError: There is no video in it, not the one chosen, or no decoder for it.
    """

    def __init__(
        self,
        container: InputContainer,
        address: Address,
        log: FFmpegLog,
        *,
        live: bool,
        choice: VideoChoice | None = None,
        bridge: SrtBridge | None = None,
        listen: bool = False,
        reader: ByteReader | None = None,
    ) -> None:
        self.address = address
        self.log = log
        self._container = container
        self._live = live
        self._choice = choice or VideoChoice()
        self._bridge = bridge
        self._reader = reader
        self.video = video = self._choose_video()
        self.time_base = Fraction(video.time_base or Fraction(1, 90_000))
        rate = _sane_rate(video.guessed_rate) or _sane_rate(video.average_rate)
        self.fps = rate
        self.period_s = 1.0 / rate if rate else 0.04
        self._audio = container.streams.best("audio", related=video)
        # Many streams, few cores: one decoder thread each costs least memory and as little time.
        video.codec_context.thread_count = 1
        video.codec_context.thread_type = "NONE"
        wanted: list[Stream] = [video]
        if self._audio is not None and (listen or not self.hls):
            # Not decoded here: tells "the video stopped" from "everything stopped", and wakes us for the stop
            # event.
            wanted.append(self._audio)
        _discard_others(container, wanted)
        self._packets = container.demux(*wanted)
        #: Pictures that were damaged on their way.
        self.damage = DamageCount(reader.continuity if reader is not None else None, video.id)

    @property
    def audio(self) -> AudioStream | None:
        """The audio, where there is any and a decoder for it."""
        found = self._audio
        return found if isinstance(found, AudioStream) and found.codec_context is not None else None

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width to height of a pixel as the decoder knows it by now; it may change with any key frame."""
        aspect = self.video.codec_context.sample_aspect_ratio or self.video.sample_aspect_ratio
        return aspect or None

    @property
    def single_fields(self) -> bool:
        """Whether a picture flagged as interlaced is one field: FFmpeg weaves those of HEVC into no picture."""
        return self.video.codec_context.name == "hevc"

    @property
    def hls(self) -> bool:
        """Whether it is a playlist of segments."""
        return "hls" in self._container.format.name.split(",")

    def read(self) -> tuple[Packet[Stream] | None, float, SourceError | None]:
        """The next packet, the seconds it took, and why the source is lost when there is none."""
        self.log.clear()
        packet: Packet[Stream] | None = None
        error: Exception | None = None
        asked_s = time.monotonic()
        if self._reader is not None:
            self._reader.begin(self.address.read_limit_s, self.address.silence_limit_s)
        with self.log:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as caught:
                error = caught.with_traceback(None)  # which would refer back to this frame
        waited_s = time.monotonic() - asked_s
        if error is not None:
            return None, waited_s, self._failure(error, waited_s)
        if packet is not None and (packet.size > 0 or packet.dts is not None):
            return packet, waited_s, None
        # None, or PyAV's empty packet that asks for a flush: FFmpeg says "end" for most ways to lose a feed.
        return None, waited_s, self._end(waited_s)

    def _failure(self, error: Exception, waited_s: float) -> SourceError:
        if self._bridge is not None and (said := self._bridge.failure()):
            return said
        return failure_of(
            error,
            self.log.lines(),
            shown=self.address.shown,
            network=self.address.network,
            waited_s=waited_s,
            limit_s=self.address.read_limit_s,
        )

    def _end(self, waited_s: float) -> SourceError | None:
        if not self._live:
            return None
        if self._bridge is not None and (said := self._bridge.failure()):
            return said
        if self._reader is not None and self._reader.trouble is not None:
            return self.error(*self._reader.trouble)
        # HLS ends at once when its server is gone, and after some waiting when its playlist no longer
        # changes.
        if timed_out(waited_s, self.address.silence_limit_s):
            return self.error(f"no data for {waited_s:.1f} s", SourceCode.TIMEOUT)
        return self.error("the feed ended", SourceCode.ENDED)

    def error(self, reason: str, code: SourceCode, *, transient: bool = True) -> SourceError:
        """An error about this feed, with FFmpeg's last words."""
        return source_error(self.address.shown, reason, code, transient=transient, lines=self.log.lines())

    def describe(self, picture: VideoFrame) -> StreamInfo:
        """What the feed is; size, format and scan from the first picture, which knows best."""
        codec = self.video.codec_context.codec
        info = StreamInfo(
            url=self.address.shown,
            protocol="hls" if self.hls else self.address.protocol,
            codec=codec.canonical_name,
            width=picture.width,
            height=picture.height,
            pixel_format=layout_of(picture),
            fps=self.fps,
            audio_codec=self._audio.codec_context.codec.canonical_name if self._audio else None,
            decoder=device_that_decoded(self.video.codec_context, picture),
        )
        return info.showing(format_of(picture, self.pixel_aspect))

    def programs(self) -> tuple[Program, ...]:
        """Programs of the feed with their streams, the one that is read marked."""
        return describe_programs(self._container, self.video)

    def close(self) -> None:
        """Free the container. Nothing may be read afterwards."""
        with self.log:
            self._container.close()
        if self._bridge is not None:
            self._bridge.close()
        if self._reader is not None:
            self._reader.close()

    def _choose_video(self) -> VideoStream:
        if self._container.format.name in _NO_FEED_FORMATS:
            raise self.error("this is a text file", SourceCode.INVALID_DATA, transient=False)
        try:
            best = choose_video(self._container, self._choice)
        except NoSuchVideo as missing:
            # A multiplexer may be at work on it; FFmpeg's log is about other things.
            raise source_error(self.address.shown, str(missing), SourceCode.NO_VIDEO, transient=self._live) from None
        if best is None:
            # In a live feed the video may only have stopped for now.
            raise self.error("has no video", SourceCode.NO_VIDEO, transient=self._live)
        if best.codec_context is None:
            raise self.error("no decoder for its codec", SourceCode.CODEC, transient=False)
        return best


def _discard_others(container: InputContainer, wanted: list[Stream]) -> None:
    """Have the demuxer skip what is not looked at; HLS then does not download the other variants."""
    discard = getattr(av.stream, "Discard", None)  # PyAV 17 lacks it
    if discard is not None:
        indexes = {stream.index for stream in wanted}
        for stream in container.streams:
            if stream.index not in indexes:
                stream.discard = discard.all


def _sane_rate(rate: Fraction | None) -> float | None:
    """A rate field of a container, where it can be believed at all."""
    return float(rate) if rate and 1 <= rate <= 240 else None
