"""One connection to one feed, from URL to decoded pictures, through PyAV."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

import av
from av import VideoFrame
from av.packet import Packet
from av.stream import Stream

from monitor.core.audio_level import AudioFacts
from monitor.errors import SourceCode, SourceError
from monitor.ingest.address import Address, parse_address
from monitor.ingest.byte_reader import ByteReader
from monitor.ingest.connection import Connection
from monitor.ingest.failure import timed_out
from monitor.ingest.ffmpeg_log import FFmpegLog
from monitor.ingest.hardware import Decoder, device_of
from monitor.ingest.opening import open_container
from monitor.ingest.pacing import Pacer
from monitor.ingest.programs import Program, VideoChoice
from monitor.ingest.sound import Sound
from monitor.types import StreamId, StreamInfo

#: How late a piece of HLS may come without what follows being played later for it.
_PATIENCE_S = 0.5
#: How long a live feed may deliver packets before its first picture: feeds joined in the middle are
#: undecodable up to the next key frame, and GOPs of 10 s exist.
FIRST_PICTURE_S = 10.0
#: Packets refused since the last picture after which a live feed is opened anew: its codec has changed, which FFmpeg's
#: demuxers do not tell. One to two seconds; a damaged feed gives pictures in between.
REFUSED_IN_A_ROW = 24


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as the decoder gave it.

    Attributes:
        picture: The planes; read-only by convention.
        pts: Presentation time in units of ``time_base``, not unwrapped, jumps kept; None where the feed has
            none.
        time_base: Seconds per unit of ``pts``.
        received_s: Monotonic time at which the decoder (or the pacer) let it go.
        corrupt: It lost something on its way, or the decoder concealed damage in it.
        epoch: Number of the connection, as given to ``frames``.
        damaged: Damaged pictures since the one before, this one included, those too that never came out of the decoder;
            None where nobody counted.
        lost_packets: Transport packets that were lost since the one before, of all programs and streams.
        pixel_aspect: Width to height of a pixel; None where the feed does not tell.
        single_fields: A picture flagged as interlaced is one field, not two woven into each other (HEVC).
        waited_s: How long the connection had waited for its feed by then, in all.
        reference_only: Pictures before it may have been skipped by the decoder.
    """

    picture: VideoFrame
    pts: int | None
    time_base: Fraction
    received_s: float
    corrupt: bool
    epoch: int = 0
    damaged: int | None = None
    lost_packets: int = 0
    pixel_aspect: Fraction | None = None
    single_fields: bool = False
    waited_s: float = 0.0
    reference_only: bool = False


class SourceCounters(NamedTuple):
    """What came in so far on this connection; ``last_*_s`` are monotonic times, None before the first.

    ``decode_errors`` counts packets that the decoder refused, from the first picture on: before it, a feed
    joined in the middle is expected to be undecodable. ``bytes`` is the payload of the packets looked at.
    ``undated`` counts those of the video that have no decoding time stamp.
    """

    packets: int = 0
    bytes: int = 0
    pictures: int = 0
    corrupt: int = 0
    decode_errors: int = 0
    undated: int = 0
    last_packet_s: float | None = None
    last_picture_s: float | None = None


class PyAvSource:
    """Blocking reader of one connection: ``open``, then ``frames`` to its end; a new one for each attempt.

    Threads: ``open``, ``frames`` and ``close`` belong to one thread, which this class does not create;
    closing from another frees what FFmpeg is reading into. Other threads may read ``counters`` and
    ``interlaced_seen`` and set the stop event; a blocked read notices it when the next packet or its
    time-out comes.

    Args:
        url: Path, file://, http(s):// (also HLS), udp://, rtp://, tcp://, srt://, rtsp(s):// or rtmp(s)://.
        stream: Whose feed it is.
        live: Its end is a loss; opening is quick. False: a recording, whose end is its end.
        open_timeout_s: Longest silence while opening; FFmpeg applies it to each of its two phases.
        read_timeout_s: Longest silence afterwards. HTTP waits longer for the next segment of HLS, not for the
            server's answers.
        options: FFmpeg options, over the defaults.
        video: Which of the feed's videos; the best of the first program that has one where nothing is set.
        paced: Let pictures go at their presentation times (a file replayed as if live).
        loop: With ``paced``: start over at the end, presentation times going on.
        audio: Decode the audio too, for its level.
        decoder: What decodes the video; the CPU where that device is missing or does not know the codec.
        clock: Monotonic seconds.
        wait: How the pacer sleeps.
    """

    def __init__(
        self,
        url: str,
        *,
        stream: StreamId,
        live: bool,
        open_timeout_s: float = 4.0,
        read_timeout_s: float = 2.0,
        options: Mapping[str, str] | None = None,
        video: VideoChoice | None = None,
        paced: bool = False,
        loop: bool = False,
        audio: bool = False,
        decoder: Decoder = Decoder.CPU,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._url = url
        self._stream_id = stream
        self._live = live
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._options = dict(options or {})
        self._video = video
        self._paced = paced
        self._loop = loop and paced
        self._listen = audio
        self._decoder = decoder
        self._sound: Sound | None = None
        self._clock = clock
        self._wait = wait
        self._stop = threading.Event()
        self._counters = SourceCounters()
        self._refused = 0
        self._interlaced_seen = False
        #: Skip the pictures that no other one needs, where the machine is too small to decode all. May be set from any
        #: thread. What is interlaced is decoded whole: a field has its neighbours in the pictures between.
        self.reference_only = False
        self._skips = False
        self._waited_s = 0.0
        self._programs: tuple[Program, ...] = ()
        self._connection: Connection | None = None
        self._reader: ByteReader | None = None
        self._pending: Iterator[Decoded] = iter(())

    def __repr__(self) -> str:
        return f"PyAvSource(stream={self._stream_id!r}, live={self._live})"

    @property
    def counters(self) -> SourceCounters:
        """What came in so far; each value is right, the tuple is replaced as a whole."""
        return self._counters

    @property
    def heard_s(self) -> float | None:
        """When bytes last arrived (monotonic).

        Over plain TCP and UDP each byte counts; elsewhere, where FFmpeg reads, packets of the streams that are looked
        at.
        """
        reader = self._reader
        return self._counters.last_packet_s if reader is None else reader.heard_s

    @property
    def received(self) -> int:
        """Bytes that have arrived: over plain TCP and UDP all, elsewhere those of the packets looked at."""
        reader = self._reader
        return self._counters.bytes if reader is None else reader.received

    @property
    def sound(self) -> AudioFacts | None:
        """Level and silence of the audio; None where it is not decoded, or there is none."""
        sound = self._sound
        return None if sound is None else sound.facts

    @property
    def decode_errors(self) -> int:
        """Packets that the decoder refused."""
        return self._counters.decode_errors

    @property
    def interlaced_seen(self) -> bool:
        """Whether any picture so far was flagged as interlaced."""
        return self._interlaced_seen

    @property
    def programs(self) -> tuple[Program, ...]:
        """Programs of the feed as they were when it was opened, with their streams."""
        return self._programs

    def open(self, stop: threading.Event | None = None) -> StreamInfo:
        """Connect, and decode the first picture, which ``frames`` then yields first.

        Args:
            stop: Gives up when set, between packets.

        Raises:
            SourceError: It cannot be reached, read or decoded, or was stopped.
        """
        self._stop = stop or self._stop
        address = parse_address(self._url, live=self._live, read_timeout_s=self._read_timeout_s, options=self._options)
        try:
            self._connection = connection = self._connect(address)
            self._pending = self._pictures(connection)
            first = next(self._pending, None)
            if first is None:
                raise self._no_picture(connection)
            # An iterator lets go of what it gave; a list would keep this picture as long as the connection lasts.
            self._pending = chain(iter([first]), self._pending)
            self._programs = connection.programs()
        except BaseException:
            self.close()
            raise
        return connection.describe(first.picture)

    def frames(self, stop: threading.Event, epoch: int) -> Iterator[Decoded]:
        """Every picture, in presentation order, as it comes; closes the source when it ends.

        A live feed may begin with a burst of backlog (RTMP, RTSP); it is not held back. What comes in pieces, as HLS
        does, is: a segment is downloaded at once and played at its own pace, as a player does, or seconds without a
        picture would lie between bursts that are too fast to be scored.

        Args:
            stop: Ends the iteration.
            epoch: Copied into each picture.

        Raises:
            SourceError: A live feed ended (ENDED), fell silent (TIMEOUT) or lost its video (NO_VIDEO); the
                pictures still in the decoder came out before. A recording is damaged beyond reading on.
            RuntimeError: It is not open.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("open() must succeed before frames()")
        self._stop = stop
        pictures = self._looped(connection, self._pending) if self._loop else self._pending
        pacer = None
        if self._paced:
            pacer = Pacer(connection.period_s, self._clock, self._wait)
        elif self._live and connection.address.in_pieces:
            pacer = Pacer(connection.period_s, self._clock, self._wait, patience_s=_PATIENCE_S)
        try:
            for decoded in pictures:
                received_s = decoded.received_s
                if pacer is not None:
                    media_s = None if decoded.pts is None else float(decoded.pts * decoded.time_base)
                    pacer.hold(media_s, stop)
                    held_s = self._clock() - received_s
                    received_s += held_s
                    self._waited_s += held_s
                if stop.is_set():
                    return
                yield replace(decoded, received_s=received_s, waited_s=self._waited_s, epoch=epoch)
        finally:
            self.close()

    def close(self) -> None:
        """Free the connection; only in the thread that opened it. Idempotent."""
        connection, self._connection, self._pending = self._connection, None, iter(())
        if connection is not None:
            connection.close()

    def _connect(self, address: Address) -> Connection:
        log = FFmpegLog()
        self._reader = None

        def reads(reader: ByteReader) -> None:
            # While the feed opens, too, others ask when bytes were last heard.
            self._reader = reader

        opened = open_container(
            address,
            log,
            open_timeout_s=self._open_timeout_s,
            stop=self._stop,
            on_reader=reads,
            device=device_of(self._stream_id, self._decoder),
        )
        try:
            return Connection(
                opened.container,
                address,
                log,
                live=self._live and not self._loop,
                choice=self._video,
                bridge=opened.bridge,
                listen=self._listen,
                reader=opened.reader,
            )
        except BaseException:
            opened.close()
            raise

    def _looped(self, connection: Connection, pictures: Iterator[Decoded]) -> Iterator[Decoded]:
        """Pass after pass over a file, presentation times going on where the last pass ended."""
        shift, newest = 0, None
        while True:
            for decoded in pictures:
                if decoded.pts is None:
                    yield decoded
                    continue
                newest = max(newest if newest is not None else decoded.pts, decoded.pts)
                yield replace(decoded, pts=decoded.pts + shift)
            if self._stop.is_set():
                return
            connection.close()
            self._connection = connection = self._connect(connection.address)
            pictures = self._pictures(connection)
            first = next(pictures, None)
            if first is None:
                raise self._no_picture(connection)
            if newest is not None and first.pts is not None:
                shift += newest - first.pts + round(connection.period_s / connection.time_base)
            pictures = chain(iter([first]), pictures)
            del first

    def _pictures(self, connection: Connection) -> Iterator[Decoded]:
        """Every picture of one connection; gives up when a live feed has none for ``FIRST_PICTURE_S``."""
        address = connection.address
        began_s = last_video_s = time.monotonic()
        watched, seen = self._live and address.network, False
        lost: SourceError | None = None
        while not self._stop.is_set():
            packet, waited_s, lost = connection.read()
            self._waited_s += waited_s
            if packet is None:
                break
            now_s = time.monotonic()
            self._count_packet(packet)
            if packet.stream.index == connection.video.index:
                for decoded in self._decode(connection, packet):
                    seen = True
                    yield decoded
                # After the yield: the time that the consumer takes is not the feed's silence.
                last_video_s = time.monotonic()
            else:
                self._listen_to(connection, packet)
            if watched and self._refused >= REFUSED_IN_A_ROW:
                lost = connection.error("the decoder refuses what comes; is it another codec now?", SourceCode.CODEC)
                break
            if watched and timed_out(now_s - last_video_s, address.read_limit_s):
                lost = connection.error("video stopped, other data goes on", SourceCode.NO_VIDEO)
                break
            if watched and address.rtsp and timed_out(waited_s, address.read_limit_s):
                # The packet lay in the parser until the read was cut off. Other protocols give the rest of
                # what they hold and then fail at once; RTSP would wait as long again.
                lost = connection.error(f"no data for {waited_s:.1f} s", SourceCode.TIMEOUT)
                break
            if self._live and not seen and now_s - began_s > FIRST_PICTURE_S:
                return
        if self._stop.is_set():
            return
        yield from self._decode(connection, None)
        if lost is not None:
            try:
                raise lost
            finally:
                # Else the error's traceback and this frame keep each other, and the decoder, alive.
                del lost

    def _listen_to(self, connection: Connection, packet: Packet[Stream]) -> None:
        """Measures an audio packet where that is wanted."""
        audio = connection.audio
        if not self._listen or audio is None or packet.stream.index != audio.index:
            return
        if self._sound is None or self._sound.stream is not audio:
            self._sound = Sound(audio)
        with connection.log:
            self._sound.push(packet, self._clock())

    def _decode(self, connection: Connection, packet: Packet[Stream] | None) -> Iterator[Decoded]:
        """Pictures that one packet completes; None flushes what the decoder still holds."""
        pictures: list[VideoFrame] = []
        skips = self.reference_only and not self._interlaced_seen
        if skips != self._skips:
            self._skips = skips
            connection.video.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
        with connection.log:
            try:
                pictures = connection.video.codec_context.decode(packet)
            except av.error.EOFError:
                pass
            except av.FFmpegError:
                connection.damage.refused(packet.pts if packet is not None else None)
                if self._counters.pictures:
                    self._counters = self._counters._replace(decode_errors=self._counters.decode_errors + 1)
                    self._refused += 1
        for picture in pictures:
            self._refused = 0
            received_s = self._clock()
            corrupt, damaged, lost = connection.damage.take(picture.pts, bool(picture.is_corrupt))
            self._interlaced_seen = self._interlaced_seen or picture.interlaced_frame
            self._counters = self._counters._replace(
                pictures=self._counters.pictures + 1,
                corrupt=self._counters.corrupt + damaged,
                last_picture_s=received_s,
            )
            yield Decoded(
                picture,
                picture.pts,
                picture.time_base or connection.time_base,
                received_s,
                corrupt,
                damaged=damaged,
                lost_packets=lost,
                pixel_aspect=connection.pixel_aspect,
                single_fields=connection.single_fields,
                waited_s=self._waited_s,
                reference_only=skips,
            )

    def _count_packet(self, packet: Packet[Stream]) -> None:
        self._counters = self._counters._replace(
            packets=self._counters.packets + 1,
            undated=self._counters.undated + (packet.dts is None and packet.stream.type == "video"),
            bytes=self._counters.bytes + packet.size,
            last_packet_s=self._clock(),
        )

    def _no_picture(self, connection: Connection) -> SourceError:
        if self._stop.is_set():
            return connection.error("stopped while opening", SourceCode.ENDED)
        if self._live:
            return connection.error(f"no picture could be decoded in {FIRST_PICTURE_S:.0f} s", SourceCode.CODEC)
        return connection.error("no picture could be decoded", SourceCode.INVALID_DATA, transient=False)
