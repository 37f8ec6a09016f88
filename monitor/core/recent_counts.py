"""A stream's counters over its last seconds: shares and rates of what grows for ever."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Seconds over which bits a second and the share of corrupt pictures are taken.
WINDOW_S = 10
_FPS_WINDOW_S = 5


@dataclass(frozen=True, slots=True)
class _Counts:
    at_s: float
    frames: int
    damaged: int
    received: int


class RecentCounts:
    """Is given the counters once a second. Pure; O(1) memory."""

    def __init__(self) -> None:
        self._seconds: deque[_Counts] = deque(maxlen=WINDOW_S + 1)

    def push(self, at_s: float, *, frames: int, damaged: int, received: int) -> None:
        """Takes a second's readings.

        Args:
            at_s: Monotonic seconds.
            frames: Pictures decoded so far.
            damaged: Pictures that lost something, those included that never came out of the decoder.
            received: Bytes so far.
        """
        self._seconds.append(_Counts(at_s, frames, damaged, received))

    @property
    def bitrate_bps(self) -> float | None:
        """Bits a second that arrived; None before the second second."""
        if len(self._seconds) < 2:
            return None
        first, last = self._seconds[0], self._seconds[-1]
        elapsed_s = last.at_s - first.at_s
        return 8 * (last.received - first.received) / elapsed_s if elapsed_s > 0 else None

    @property
    def corrupt_share(self) -> float | None:
        """Share of damaged pictures, 0-1; None where none was decoded. At least one second was pushed."""
        first, last = self._seconds[0], self._seconds[-1]
        frames = last.frames - first.frames
        # Damaged pictures that never came out are no frames.
        return min(1.0, (last.damaged - first.damaged) / frames) if frames > 0 else None

    @property
    def arrival_fps(self) -> float | None:
        """Pictures a second as they came; None before the second second. At least one second was pushed."""
        last = self._seconds[-1]
        first = self._seconds[max(0, len(self._seconds) - 1 - _FPS_WINDOW_S)]
        elapsed_s = last.at_s - first.at_s
        return (last.frames - first.frames) / elapsed_s if elapsed_s > 0 else None
