"""From decoded pictures to samples: time, grid, cut, side channel, detectors. One stream, its decode thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from engines.errors import PictureError
from engines.preprocess import Cut, InputSpec, PictureCutter
from monitor.core.detectors import Detectors
from monitor.core.frame_rate import FrameRateMeter
from monitor.core.reader_lag import ReaderLag
from monitor.core.sampling import SampleGrid, Tick
from monitor.core.side_channel import SideChannel
from monitor.core.strips import StripFigures, flat_share, measure_strips
from monitor.core.timestamps import MediaClock, Verdict
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.stills import StillCamera
from monitor.pipeline.viewer import Viewer
from monitor.types import TIME_BASE_HZ, DropCause, Frame, PictureFacts, PictureFormat, Sample, StreamId


@dataclass(slots=True)
class SamplerCounts:
    """What a stream's decode thread has seen since the process started. Written by that thread alone.

    Attributes:
        frames: Pictures decoded.
        ticks: Ticks of the grid that fell due.
        corrupt: Pictures that lost something on their way or that the decoder found broken, shown or not.
        packets_lost: Transport packets that never came, by their continuity counters (MPEG-TS over UDP and TCP).
        repeated: Ticks at which the source itself showed its last picture again, or nothing new; never those at
            which the grid repeats a picture of a slower source.
        gaps: Gaps between the source's pictures of more than 1.5 of their usual durations.
        epochs: Epochs begun.
        unsupported: Ticks whose picture could not be cut.
    """

    frames: int = 0
    ticks: int = 0
    corrupt: int = 0
    packets_lost: int = 0
    repeated: int = 0
    gaps: int = 0
    epochs: int = 0
    unsupported: int = 0


@dataclass(slots=True)
class _Shown:
    """A picture on the grid: as decoded until a tick shows it, from then on what was cut of it.

    A picture of 1080p takes 3 MB of the decoder's, which has as many as were ever in use at once.

    Attributes:
        frame: None once it was cut, or could not be.
        cut: None before, and where it could not be cut.
        strips: Figures of its native strips, where the side channel wants them.
        flat_share: Of the native picture.
    """

    frame: Frame | None
    received_s: float
    corrupt: bool
    cut: Cut | None = None
    strips: StripFigures | None = None
    flat_share: float = 0.0


class StreamSampler:
    """Turns one connection's decoded pictures into samples; broken time begins another epoch.

    Belongs to one decode thread; counters may be read from elsewhere, and ``rung`` be set: with the next picture
    another grid begins, in the same epoch.

    Args:
        stream: Whose samples they are.
        spec: The trunk's input.
        fps: Samples a second.
        with_side_channel: Whether the bundle's head takes the side channel.
        emit: Called with each sample, in order, in the decode thread.
        on_drop: Called with the number of ticks dropped here and why.
        counts: Counters to go on with; the stream keeps them over its connections.
        detectors: Detectors to go on with, likewise.
        lower: Lower rates, by rung from 1.
        rung: The one to begin with; 0 is ``fps``.
        camera: Sees every picture, to keep some of them.
        deinterlace: Which pictures are deinterlaced before they are cut.
    """

    def __init__(
        self,
        stream: StreamId,
        spec: InputSpec,
        fps: Fraction,
        *,
        with_side_channel: bool,
        emit: Callable[[Sample], None],
        on_drop: Callable[[int, DropCause], None],
        counts: SamplerCounts | None = None,
        detectors: Detectors | None = None,
        lower: Sequence[Fraction] = (),
        rung: int = 0,
        camera: StillCamera | None = None,
        deinterlace: Deinterlace = Deinterlace.AUTO,
    ) -> None:
        self._camera = camera
        self._stream = stream
        self._rates = (fps, *lower)
        #: The rung wanted.
        self.rung = rung
        self._grid_rung = rung
        self._fps = self._rates[rung]
        self._grids = 0
        self._grid_began_90k: int | None = None
        self._epoch_began_90k: int | None = None
        self._cutter = PictureCutter(spec)
        self._with_side_channel = with_side_channel
        self._emit = emit
        self._on_drop = on_drop
        self.counts = counts or SamplerCounts()
        self._detectors = detectors or Detectors(fps)
        self._viewer = Viewer(deinterlace)
        #: Rate of the source's frames by their time stamps.
        self.frame_rate = FrameRateMeter()
        #: Pictures of this connection, and those among them whose time went on from the one before. The first
        #: picture of an epoch does not count: it says nothing about whether time goes on.
        self.pictures = 0
        self.advanced = 0
        #: The detectors' newest results and the arrival of their picture.
        self.latest: tuple[PictureFacts, float] | None = None
        self.picture_error: str | None = None
        #: How far this connection's reader has fallen behind.
        self.lag = ReaderLag()
        self._open = False
        self._end_90k = 0
        self.epoch = 0

    def push(self, decoded: Decoded) -> None:
        """Takes the next picture of the connection; a discontinuity in its time begins a new epoch."""
        self.pictures += 1
        self.counts.frames += 1
        self.counts.corrupt += decoded.corrupt if decoded.damaged is None else decoded.damaged
        self.counts.packets_lost += decoded.lost_packets
        if self._camera is not None:
            self._camera.see(decoded.picture, decoded.received_s, decoded.pixel_aspect)
        for shown in self._viewer.push(decoded):
            self._place(shown)

    @property
    def format(self) -> PictureFormat | None:
        """What kind of pictures the newest ones are; None before the first. Read from any thread."""
        return self._viewer.format

    @property
    def format_changes(self) -> int:
        """Times that size, layout, colour, shape of a pixel or rotation changed on this connection."""
        return self._viewer.changes

    def _place(self, decoded: Decoded) -> None:
        """Puts a picture in time, and makes the samples that are certain by it."""
        first = not self._open
        if first:
            self._begin()
        stamp = self._clock.place(decoded.pts, decoded.time_base)
        if stamp.verdict is Verdict.SKIP:
            return
        if stamp.verdict is Verdict.DISCONTINUITY:
            first = True
            self._end()
            self._begin()
            stamp = self._clock.place(decoded.pts, decoded.time_base)
        self.advanced += not first
        self.lag.push(decoded.received_s, stamp.time_90k / TIME_BASE_HZ, decoded.waited_s)
        # What the decoder skips is no property of the feed.
        whole = not decoded.reference_only
        if stamp.step_90k is not None and whole:
            self.frame_rate.push(stamp.step_90k)
        frame = Frame(decoded.picture, stamp.time_90k, decoded.received_s, self.epoch, decoded.corrupt)
        self._end_90k = stamp.time_90k + self._clock.step_90k
        if self.rung != self._grid_rung:
            for tick in self._grid.flush(stamp.time_90k):
                # Where the reader begins or ends to skip pictures, the step between them is its own.
                self._sample(replace(tick, gap=False))
            self._begin_grid()
        if self._grid_began_90k is None:
            self._grid_began_90k = stamp.time_90k
            if self._epoch_began_90k is None:
                self._epoch_began_90k = stamp.time_90k
        gaps = self._grid.counts.gaps
        for tick in self._grid.push(stamp.time_90k, _Shown(frame, frame.received_s, frame.corrupt)):
            self._sample(tick if whole else replace(tick, gap=False))
        if whole:
            self.counts.gaps += self._grid.counts.gaps - gaps

    def end_epoch(self) -> None:
        """The connection ended: the last picture counts for its own duration."""
        for shown in self._viewer.flush():
            self._place(shown)
        self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            for tick in self._grid.flush(self._end_90k):
                self._sample(tick)

    def _begin(self) -> None:
        self._open = True
        self.counts.epochs += 1
        self.epoch = self.counts.epochs
        self._clock = MediaClock()
        self.lag = ReaderLag()
        self._epoch_began_90k = None
        self._begin_grid()

    def _begin_grid(self) -> None:
        self._grids += 1
        self._grid_rung = self.rung
        self._fps = self._rates[self._grid_rung]
        self._grid: SampleGrid[_Shown] = SampleGrid(self._fps)
        self._grid_began_90k = None
        self._side = SideChannel()
        self._detectors.retime(self._fps)

    def _cut(self, shown: _Shown, frame: Frame) -> None:
        """Takes what is needed of a picture; the decoder has it back then."""
        shown.frame = None
        try:
            cut = shown.cut = self._cutter.cut(frame.picture)
        except PictureError as error:
            self.picture_error = str(error)
            return
        shown.flat_share = flat_share(cut.rows)
        if self._with_side_channel:
            shown.strips = measure_strips(cut.columns, cut.rows)

    def _sample(self, tick: Tick[_Shown]) -> None:
        shown = tick.payload
        self.counts.ticks += 1
        if shown.frame is not None:
            self._cut(shown, shown.frame)
        cut = shown.cut
        if cut is None:
            self.counts.unsupported += 1
            self._on_drop(1, DropCause.UNSUPPORTED_FORMAT)
            return
        # A tick held because the source is slower than the grid is no event; one held over a gap is a repeat.
        by_grid = tick.held and not tick.gap
        side = None
        if shown.strips is not None:
            step = tick.shown_step_90k * float(self._fps) / TIME_BASE_HZ or 1.0
            side = self._side.push(cut.luma, shown.strips, step=step, held=by_grid)
        facts = self._detectors.push(cut.luma, held_gap=tick.gap, held=tick.held, flat_share=shown.flat_share)
        self.counts.repeated += facts.repeated
        self.latest = (facts, shown.received_s)
        self._emit(
            Sample(
                stream=self._stream,
                epoch=self.epoch,
                tick=tick.index,
                pts_s=float(tick.index / self._fps) + self._before_grid_s(),
                received_s=shown.received_s,
                pixels=cut.pixels,
                side=side,
                facts=facts,
                held=tick.held,
                corrupt=shown.corrupt,
                rung=self._grid_rung,
                grid=self._grids,
            )
        )

    def _before_grid_s(self) -> float:
        if self._grid_began_90k is None or self._epoch_began_90k is None:
            return 0.0
        return (self._grid_began_90k - self._epoch_began_90k) / TIME_BASE_HZ
