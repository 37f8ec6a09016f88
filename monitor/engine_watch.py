"""Whether the engine works: batches that fail or never come back, and when they go through again."""

from __future__ import annotations

import logging
import time

from engines.errors import EngineError
from monitor.core.repeats import RepeatLimit
from monitor.ingest.redact import redact
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.inference import InferenceThread
from monitor.types import Problem

log = logging.getLogger("vqwatch.app")

#: A batch takes milliseconds; one that takes this long will not come back.
_HANGS_S = 10.0
#: A failed engine that failed no more for this long works again.
_STEADY_S = 5.0


class EngineWatch:
    """Is told of each failure, and asked once a second. Event loop only.

    Args:
        inference: The engine's thread.
        batcher: Tells of failures from here on.
    """

    def __init__(self, inference: InferenceThread, batcher: Batcher) -> None:
        self._inference, self._batcher = inference, batcher
        self._repeats = RepeatLimit()
        #: The newest failure, and when; None once it has worked again for a while.
        self._error: EngineError | None = None
        self._failed_s = 0.0
        batcher.on_failure = self._failed

    def look(self) -> None:
        """Notices that it works again: an engine that fails now and then has not recovered in between."""
        quiet_s = time.monotonic() - self._failed_s
        if self._error is not None and self._batcher.trouble is None and quiet_s >= _STEADY_S:
            self._error = None
            log.warning("event=engine_recovered suppressed=%d", self._repeats.settle())

    def problem(self) -> Problem | None:
        """What is wrong with it now; None while it works."""
        running_s = self._inference.running_s
        if self._error is not None:
            return Problem("engine", "failed", redact(str(self._error)))
        if running_s > _HANGS_S:
            return Problem("engine", "hangs", f"it has been at one batch for {running_s:.0f} s")
        return None

    def _failed(self, error: EngineError) -> None:
        self._error, self._failed_s = error, time.monotonic()
        suppressed = self._repeats.tell("failed", self._failed_s)
        if suppressed is not None:
            log.error("event=engine_failed suppressed=%d %s", suppressed, error)
