"""Lines about one stream that are written when something has changed since the second before."""

from __future__ import annotations

import logging

from monitor.core.audio_level import AudioFacts
from monitor.core.cadence import CadenceWatch
from monitor.core.progress import Stall
from monitor.core.stream_state import Judgement, Observation
from monitor.pipeline.sampler import SamplerCounts
from monitor.types import StreamId

log = logging.getLogger("vqwatch.stream")


class StreamLog:
    """Is told each second how a stream is. Event loop only.

    Args:
        stream: Whose.
    """

    def __init__(self, stream: StreamId) -> None:
        self._stream = stream
        self._judgement: Judgement | None = None
        self._cadence = CadenceWatch()
        self._silent = False
        self._hears = False

    @property
    def silent(self) -> bool | None:
        """Whether its sound is; None where none is decoded."""
        return self._silent if self._hears else None

    def state(self, judged: Judgement, seen: Observation) -> None:
        """Status, condition, and which clock stands."""
        before, self._judgement = self._judgement, judged
        if before is not None and (before.status, before.condition, before.stall) == (
            judged.status, judged.condition, judged.stall
        ):  # fmt: skip
            return
        template = "stream=%s event=state status=%s condition=%s"
        values: list[object] = [self._stream, judged.status, judged.condition]
        if judged.stall is not None:
            template += " stall=%s"
            values.append(judged.stall)
        if judged.stall is Stall.LOOP and seen.facts.loop_period_s is not None:
            template += " period=%.2fs"
            values.append(seen.facts.loop_period_s)
        log.info(template, *values)

    def sound(self, sound: AudioFacts | None, *, silent: bool) -> None:
        """Its sound; None where none is decoded."""
        self._hears = sound is not None
        if sound is not None and silent != self._silent:
            levels = ",".join(f"{level:.1f}" for level in sound.levels_dbfs)
            log.info("stream=%s event=%s levels_dbfs=%s", self._stream, "silent" if silent else "sounding", levels)
            self._silent = silent

    def cadence(self, counts: SamplerCounts) -> None:
        """How evenly its pictures come."""
        change = self._cadence.second(counts.ticks, counts.repeated, counts.gaps)
        if change is None:
            return
        event = "even" if change.even else "uneven"
        log.info("stream=%s event=%s repeated=%d gaps=%d", self._stream, event, change.repeats, change.gaps)
