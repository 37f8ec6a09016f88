"""One connection's source with the sampler around it, as a source thread runs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from monitor.core.audio_level import AudioFacts
from monitor.ingest.pyav_source import Decoded
from monitor.ingest.source_thread import Source
from monitor.pipeline.sampler import StreamSampler
from monitor.types import StreamInfo


class SampledSource:
    """Passes a source through and closes the sampler's epoch when its pictures end, in the same thread."""

    def __init__(self, source: Source, sampler: StreamSampler) -> None:
        self._source = source
        self._sampler = sampler

    @property
    def reference_only(self) -> bool:
        """See ``Source.reference_only``."""
        return self._source.reference_only

    @reference_only.setter
    def reference_only(self, on: bool) -> None:
        self._source.reference_only = on

    @property
    def heard_s(self) -> float | None:
        """See ``Source.heard_s``."""
        return self._source.heard_s

    @property
    def received(self) -> int:
        """See ``Source.received``."""
        return self._source.received

    @property
    def sound(self) -> AudioFacts | None:
        """See ``Source.sound``."""
        return self._source.sound

    def open(self, stop: threading.Event | None = None) -> StreamInfo:
        """See ``Source.open``."""
        return self._source.open(stop)

    def frames(self, stop: threading.Event, epoch: int) -> Iterator[Decoded]:
        """See ``Source.frames``."""
        taken = True
        try:
            yield from self._source.frames(stop, epoch)
        except GeneratorExit:
            taken = False  # nobody takes what would still come
            raise
        finally:
            if taken and not stop.is_set():
                self._sampler.end_epoch()

    def close(self) -> None:
        """See ``Source.close``."""
        self._source.close()
