"""Which repeats of a failure are worth another line in the log."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Told:
    """One failure: when it was told and when it was seen, how long repeats are only counted, and how many were."""

    at_s: float
    seen_s: float
    quiet_s: float
    suppressed: int = 0


class RepeatLimit:
    """Tells a failure at once, its repeats after growing pauses, and how many were left out in between.

    What fails every second for a week then takes a line an hour; what fails in another way is told at once. One of
    these belongs to one stream (or one part), so that none hides another's failure.

    Args:
        first_s: Pause after a failure was told for the first time.
        longest_s: Bound of the pauses, each twice the one before. What has not failed for this long starts over.
    """

    def __init__(self, first_s: float = 60.0, longest_s: float = 3600.0) -> None:
        if not 0 < first_s <= longest_s:
            raise ValueError(f"need 0 < first_s <= longest_s, got {first_s}, {longest_s}")
        self._first_s = first_s
        self._longest_s = longest_s
        self._told: dict[Hashable, _Told] = {}

    def tell(self, failure: Hashable, now_s: float) -> int | None:
        """A failure happened; whether to tell it.

        Args:
            failure: What kind it is: a few at most, so no text with numbers in it.
            now_s: Monotonic seconds.

        Returns:
            None: only count it. Else tell it, with this many repeats left out since it was last told.
        """
        told = self._told.get(failure)
        if told is None or now_s - told.seen_s > self._longest_s:
            self._told[failure] = _Told(now_s, now_s, self._first_s)
            return 0 if told is None else told.suppressed
        told.seen_s = now_s
        if now_s - told.at_s < told.quiet_s:
            told.suppressed += 1
            return None
        suppressed, told.suppressed = told.suppressed, 0
        told.at_s, told.quiet_s = now_s, min(self._longest_s, 2 * told.quiet_s)
        return suppressed

    def settle(self) -> int:
        """All is well again: repeats that were left out and never told. The pauses go on, for what flaps."""
        total = sum(told.suppressed for told in self._told.values())
        for told in self._told.values():
            told.suppressed = 0
        return total
