"""How late the event loop runs its timers: the one number that tells whether something blocks it."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class LoopLag:
    """Samples the loop's lag; percentiles over the last minutes. Event loop only.

    Args:
        interval_s: Between two samples.
        window: Samples remembered.
    """

    def __init__(self, interval_s: float = 0.1, window: int = 3000) -> None:
        self._interval_s = interval_s
        self._lags: deque[float] = deque(maxlen=window)

    async def run(self) -> None:
        """Samples until cancelled."""
        while True:
            due = time.monotonic() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self._lags.append(max(0.0, time.monotonic() - due))

    def percentile_ms(self, share: float) -> float:
        """A percentile of the lag in milliseconds, 0 before the first sample."""
        if not self._lags:
            return 0.0
        ordered = sorted(self._lags)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000
