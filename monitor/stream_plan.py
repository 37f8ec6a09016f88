"""How each stream is read, as plain values: two plans that are equal need no new connection."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.config import Config, StreamSection
from monitor.config_checks import is_file
from monitor.core.progress import Limits
from monitor.ingest.feed import Feed
from monitor.ingest.hardware import Decoder
from monitor.ingest.programs import VideoChoice
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.stream_task import StreamSettings
from monitor.types import StreamId


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream.

    Attributes:
        settings: How it is watched.
        feed: What its connections are made of.
    """

    settings: StreamSettings
    feed: Feed

    @property
    def unseen(self) -> set[str]:
        """Metrics that it never has a value of: what a rule raised on one of them before would never clear."""
        unseen = set() if self.feed.audio else {"silence_s"}
        return unseen if self.settings.longest_loop_s else unseen | {"loop_s"}


def plan_of(config: Config, section: StreamSection) -> StreamPlan:
    """The plan of one of the configuration's streams."""
    ingest = config.ingest
    url = section.url.get_secret_value()
    stream, live = StreamId(section.id), not is_file(url)
    return StreamPlan(
        StreamSettings(
            stream,
            live=live,
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
        Feed(
            stream,
            live,
            url,
            tuple(section.source_options().items()),
            VideoChoice(section.program, section.video_pid, section.video_index),
            ingest.open_timeout,
            ingest.read_timeout,
            section.loop,
            ingest.audio if section.audio is None else section.audio,
            Decoder(ingest.decoder),
        ),
    )
