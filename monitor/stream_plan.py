"""How each stream is read, as plain values: two plans that are equal need no new connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.config import Config, StreamSection
from monitor.config_checks import is_file
from monitor.core.progress import Limits
from monitor.ingest.programs import VideoChoice
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.stream_task import StreamSettings
from monitor.types import StreamId


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream.

    Attributes:
        settings: How it is watched.
        url: Where it is; may hold credentials.
        options: Of the source, as pairs; may hold credentials.
        video: Which of its videos.
        open_timeout_s: Longest silence while opening.
        read_timeout_s: Longest silence while reading.
        loop: Start a file over at its end.
        audio: Decode its audio too.
    """

    settings: StreamSettings
    url: str = field(repr=False)
    options: tuple[tuple[str, str], ...] = field(repr=False)
    video: VideoChoice
    open_timeout_s: float
    read_timeout_s: float
    loop: bool
    audio: bool

    def connect(self) -> PyAvSource:
        """A new source, not opened."""
        return PyAvSource(
            self.url,
            stream=self.settings.stream,
            live=self.settings.live,
            open_timeout_s=self.open_timeout_s,
            read_timeout_s=self.read_timeout_s,
            options=dict(self.options),
            video=self.video,
            paced=not self.settings.live,
            loop=self.loop,
            audio=self.audio,
        )

    @property
    def unseen(self) -> set[str]:
        """Metrics that it never has a value of: what a rule raised on one of them before would never clear."""
        unseen = set() if self.audio else {"silence_s"}
        return unseen if self.settings.longest_loop_s else unseen | {"loop_s"}


def plan_of(config: Config, section: StreamSection) -> StreamPlan:
    """The plan of one of the configuration's streams."""
    ingest = config.ingest
    url = section.url.get_secret_value()
    return StreamPlan(
        StreamSettings(
            StreamId(section.id),
            live=not is_file(url),
            limits=Limits(no_bytes_s=ingest.no_bytes, stall_s=ingest.stall, still_s=ingest.still),
            # Whoever plays a file over and over knows that it comes round.
            longest_loop_s=0.0 if section.loop else ingest.longest_loop,
            hang_s=2 * (ingest.open_timeout + ingest.read_timeout),
            mailbox=ingest.mailbox,
            max_staleness_s=ingest.max_staleness,
            max_backoff_s=ingest.max_backoff,
            stills_s=config.evidence.stills if config.evidence.enabled and config.data_dir is not None else 0.0,
            still_width=config.evidence.width,
            deinterlace=Deinterlace(section.deinterlace or config.sampling.deinterlace),
        ),
        url,
        tuple(section.source_options().items()),
        VideoChoice(section.program, section.video_pid, section.video_index),
        ingest.open_timeout,
        ingest.read_timeout,
        section.loop,
        ingest.audio if section.audio is None else section.audio,
    )
