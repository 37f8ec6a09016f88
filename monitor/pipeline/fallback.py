"""An engine that is replaced by a slower one while it does not work, and comes back by itself."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engines.base import EngineInfo, FeatureEngine
from engines.errors import EngineError

log = logging.getLogger("vqwatch.engine")

#: Pause before the first attempt to open the better engine again; each that fails doubles it, up to the longest.
RETRY_S = 30.0
LONGEST_RETRY_S = 600.0


class FallbackEngine:
    """The better engine where it works, else the other one; attempts to go back run in a thread of their own.

    ``infer`` and ``close`` belong to the engine thread, as with any engine; the attempts' thread only opens. ``info``
    and ``degraded`` may be read from anywhere.

    Args:
        better: Opens the better engine.
        other: Opens the one that always works.
        clock: Monotonic seconds.

    Raises:
        EngineError: Neither can be opened.
    """

    def __init__(
        self,
        better: Callable[[], FeatureEngine],
        other: Callable[[], FeatureEngine],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_better, self._open_other = better, other
        self._clock = clock
        #: Why the better engine is not used; None while it is.
        self.degraded: str | None = None
        self._retry_s = RETRY_S
        self._due_s = 0.0
        self._attempt: threading.Thread | None = None
        self._lock = threading.Lock()
        self._opened: FeatureEngine | None = None
        self._error: EngineError | None = None
        self._closed = False
        try:
            self._engine = better()
        except EngineError as error:
            self._degrade(error)

    @property
    def info(self) -> EngineInfo:
        """Of the engine in use."""
        return self._engine.info

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``FeatureEngine.infer``; a batch on which the better engine fails is done by the other one."""
        self._go_back()
        try:
            features = self._engine.infer(pixels)
        except EngineError as error:
            if self.degraded is not None:
                raise
            with contextlib.suppress(EngineError):
                self._engine.close()
            self._degrade(error)
            return self._engine.infer(pixels)
        if self.degraded is None:
            self._retry_s = RETRY_S
        return features

    def close(self) -> None:
        """See ``FeatureEngine.close``. An attempt that is still under way closes what it opens."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
        self._engine.close()

    def _degrade(self, error: EngineError) -> None:
        self.degraded = str(error)
        self._engine = self._open_other()
        self._due_s = self._clock() + self._retry_s
        log.warning("event=engine_degraded engine=%s retry_s=%.0f %s", self.info.name, self._retry_s, error)
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def _go_back(self) -> None:
        if self.degraded is None:
            return
        if self._attempt is None:
            if self._clock() >= self._due_s:
                self._attempt = threading.Thread(target=self._try, name="vqwatch-engine-retry", daemon=True)
                self._attempt.start()
            return
        if self._attempt.is_alive():
            return
        self._attempt = None
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is None:
            self.degraded = str(self._error)
            self._due_s = self._clock() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
            return
        self._engine.close()
        self._engine, self.degraded = opened, None
        log.warning("event=engine_restored engine=%s", self.info.name)

    def _try(self) -> None:
        try:
            opened = self._open_better()
        except EngineError as error:
            self._error = error
            return
        with self._lock:
            if not self._closed:
                self._opened = opened
                return
        opened.close()
