"""What reads a stream's connections and makes its samples; in a thread of this process. See ``reader_process``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from engines.preprocess import InputSpec
from monitor.core.audio_level import AudioFacts
from monitor.core.detectors import Detectors
from monitor.core.evidence import Still
from monitor.core.loops import LONGEST_LOOP_S
from monitor.core.shedding import reference_only
from monitor.ingest.source_thread import Source, SourceThread
from monitor.pipeline.connection import SampledSource
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.sampler import SamplerCounts, StreamSampler
from monitor.pipeline.stills import StillCamera
from monitor.types import DropCause, PictureFacts, PictureFormat, Sample, StreamId, StreamInfo

#: Pictures between two looks at the frame rate, which takes a tenth of a millisecond.
_FPS_EVERY = 12


@dataclass(frozen=True, slots=True)
class ReaderSetup:
    """How the pictures of one stream become samples; plain values, which another process can be given.

    Attributes:
        stream: Whose they are.
        input: The trunk's input.
        rates: Samples a second, by rung: the full rate, then lower ones. A rung of the rate of the one before it is
            decoded in part: see ``reference_only``.
        with_side_channel: Whether the bundle's head takes the side channel.
        longest_loop_s: Pictures that repeat with a period up to this are a loop; 0 looks for none.
        still_width: Of the pictures kept as evidence, pixels; 0 keeps none.
        deinterlace: Which pictures are deinterlaced before they are cut.
    """

    stream: StreamId
    input: InputSpec
    rates: tuple[Fraction, ...]
    with_side_channel: bool
    longest_loop_s: float = LONGEST_LOOP_S
    still_width: int = 0
    deinterlace: Deinterlace = Deinterlace.AUTO

    def reference_only(self, rung: int) -> bool:
        """Whether pictures that no other one needs are skipped at this rung."""
        return reference_only(self.rates, rung)


@dataclass(frozen=True, slots=True)
class Readings:
    """What one connection gave so far.

    Attributes:
        pictures: Pictures decoded.
        advanced: Those whose time went on from the one before.
        heard_s: When bytes last arrived (monotonic); None before the first.
        received: Bytes that have arrived.
        latest: The detectors' newest results and the arrival of their picture (monotonic).
        format: What kind of pictures the newest ones are.
        fps: The source's frame rate by its time stamps, Hz; None while it is not known.
        fps_settled: Whether that rate has been measured for long enough to be told.
        sound: Level and silence of the audio; None where that is unknown.
        behind_s: How far the reader has fallen behind the feed; see ``ReaderLag``.
        spare: Share of its time that the reader waits for the feed, 0-1.
    """

    pictures: int = 0
    advanced: int = 0
    heard_s: float | None = None
    received: int = 0
    latest: tuple[PictureFacts, float] | None = None
    format: PictureFormat | None = None
    fps: float | None = None
    fps_settled: bool = False
    sound: AudioFacts | None = None
    behind_s: float = 0.0
    spare: float = 1.0


@dataclass(frozen=True, slots=True)
class ReaderEvents:
    """Where a connection's reader tells what happens.

    ``sample``, ``dropped`` and ``still`` are called in a thread of the reader's, in order; ``MailboxClosed`` out of
    ``sample`` ends the connection quietly. ``opened`` and ``ended`` are called on the event loop; ``ended`` once, last,
    unless the reader was abandoned.

    Attributes:
        sample: Takes each sample.
        dropped: Takes a number of ticks that never became samples, and why.
        still: Takes each picture kept for evidence.
        opened: Takes what the stream is.
        ended: Takes None after ``stop`` and at the end of a recording, else the error.
    """

    sample: Callable[[Sample], None]
    dropped: Callable[[int, DropCause], None]
    still: Callable[[Still], object]
    opened: Callable[[StreamInfo], object]
    ended: Callable[[Exception | None], object]


class Reader(Protocol):
    """One connection being read. For the event loop's thread."""

    @property
    def readings(self) -> Readings:
        """What it gave so far; of a process, as of a fifth of a second ago."""

    def start(self) -> None:
        """Connects; once."""

    def stop(self) -> None:
        """Asks it to end, and returns at once."""

    def abandon(self) -> None:
        """Gives up on it: it is not heard of again, whether it ends or hangs."""

    def set_rung(self, rung: int) -> None:
        """Samples at another of the setup's rates from the next picture on."""


class Readers(Protocol):
    """The readers of one stream, one after the other; what they count and detect goes on from one to the next."""

    @property
    def counts(self) -> SamplerCounts:
        """What they have seen."""

    @property
    def deaths(self) -> int:
        """Times that a reader took its process along."""

    @property
    def memory_bytes(self) -> int:
        """What they take outside this process and share with nobody."""

    def connect(self, connect: Callable[[], Source], events: ReaderEvents, rung: int) -> Reader:
        """A reader of another connection; the one before has ended or was abandoned.

        Args:
            connect: Makes the source.
            events: Told what happens.
            rung: Which of the rates to begin with.
        """

    def change(self, setup: ReaderSetup) -> None:
        """Another feed, or the same in another way: detectors begin anew, counters go on."""

    def close(self) -> None:
        """Frees what they hold, soon. The last reader was stopped."""


class ThreadReaders:
    """Readers in threads of this process: see ``Readers``. A decoder that crashes takes the process along.

    Args:
        setup: How pictures become samples.
        counts: Counters to go on with.
    """

    deaths = memory_bytes = 0

    def __init__(self, setup: ReaderSetup, counts: SamplerCounts | None = None) -> None:
        self._counts = counts or SamplerCounts()
        self.change(setup)

    @property
    def counts(self) -> SamplerCounts:
        """See ``Readers.counts``."""
        return self._counts

    def change(self, setup: ReaderSetup) -> None:
        """See ``Readers.change``."""
        self._setup = setup
        self._detectors = Detectors(setup.rates[0], setup.longest_loop_s)

    def connect(self, connect: Callable[[], Source], events: ReaderEvents, rung: int) -> ThreadReader:
        """See ``Readers.connect``."""
        return ThreadReader(self._setup, connect(), events, rung, self._counts, self._detectors)

    def close(self) -> None:
        """See ``Readers.close``: its threads end by themselves."""


class ThreadReader:
    """One connection, read by a thread of this process: see ``Reader``.

    Args:
        setup: How pictures become samples.
        source: The connection, not opened.
        events: Told what happens.
        rung: Which of the rates to begin with.
        counts: Counters to go on with.
        detectors: Detectors to go on with.
    """

    def __init__(
        self,
        setup: ReaderSetup,
        source: Source,
        events: ReaderEvents,
        rung: int,
        counts: SamplerCounts,
        detectors: Detectors,
    ) -> None:
        self._sampler = sampler = StreamSampler(
            setup.stream,
            setup.input,
            setup.rates[0],
            with_side_channel=setup.with_side_channel,
            emit=events.sample,
            on_drop=events.dropped,
            counts=counts,
            detectors=detectors,
            lower=setup.rates[1:],
            rung=rung,
            camera=StillCamera(events.still, setup.still_width) if setup.still_width else None,
            deinterlace=setup.deinterlace,
        )
        self._setup = setup
        self._source = SampledSource(source, sampler)
        if setup.reference_only(rung):
            self._source.reference_only = True
        self._thread = SourceThread(
            self._source,
            name=f"vqwatch-source[{setup.stream}]",
            epoch=counts.epochs + 1,
            loop=asyncio.get_running_loop(),
            on_frame=sampler.push,
            on_opened=events.opened,
            on_ended=events.ended,
        )
        self._fps: float | None = None
        self._fps_at = 0

    @property
    def readings(self) -> Readings:
        """See ``Reader.readings``."""
        sampler, source = self._sampler, self._source
        rate = sampler.frame_rate
        if self._fps is None or sampler.advanced - self._fps_at >= _FPS_EVERY:
            self._fps, self._fps_at = rate.fps, sampler.advanced
        return Readings(
            # Pictures last: whoever sees one sees the rest of what it brought.
            advanced=sampler.advanced,
            pictures=sampler.pictures,
            heard_s=source.heard_s,
            received=source.received,
            latest=sampler.latest,
            format=sampler.format,
            fps=self._fps,
            fps_settled=rate.settled,
            sound=source.sound,
            behind_s=sampler.lag.behind_s,
            # Told in tenths: readings that say nothing new are not sent.
            spare=round(sampler.lag.spare, 1),
        )

    def start(self) -> None:
        """See ``Reader.start``."""
        self._thread.start()

    def stop(self) -> None:
        """See ``Reader.stop``."""
        self._thread.stop()

    def abandon(self) -> None:
        """See ``Reader.abandon``."""
        # It ends by itself at its next packet or time-out, or hangs on; either way it is not waited for.
        self._thread.abandon()

    def set_rung(self, rung: int) -> None:
        """See ``Reader.set_rung``."""
        self._sampler.rung = rung
        self._source.reference_only = self._setup.reference_only(rung)
