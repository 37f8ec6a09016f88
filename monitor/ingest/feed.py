"""What a feed's connections are made of: plain values, which a reader's process can be given."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.ingest.hardware import Decoder
from monitor.ingest.programs import VideoChoice
from monitor.ingest.pyav_source import PyAvSource
from monitor.types import StreamId


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed.

    Attributes:
        stream: Whose it is.
        live: Its end is a loss; False for a file, which is played at its own pace.
        url: Where it is; may hold credentials.
        options: Of the source, as pairs; may hold credentials.
        video: Which of its videos.
        open_timeout_s: Longest silence while opening.
        read_timeout_s: Longest silence while reading.
        loop: Start a file over at its end.
        audio: Decode its audio too.
        decoder: What decodes its video.
    """

    stream: StreamId
    live: bool
    url: str = field(repr=False)
    options: tuple[tuple[str, str], ...] = field(repr=False)
    video: VideoChoice
    open_timeout_s: float
    read_timeout_s: float
    loop: bool
    audio: bool
    decoder: Decoder = Decoder.CPU

    def connect(self) -> PyAvSource:
        """A new source, not opened."""
        return PyAvSource(
            self.url,
            stream=self.stream,
            live=self.live,
            open_timeout_s=self.open_timeout_s,
            read_timeout_s=self.read_timeout_s,
            options=dict(self.options),
            video=self.video,
            paced=not self.live,
            loop=self.loop,
            audio=self.audio,
            decoder=self.decoder,
        )
