"""How often a value fell into each of a few ranges: what monitoring systems make percentiles of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts values by range. One thread observes; others may read, and miss the value that is being added.

    Args:
        bounds: Upper bounds, rising; a value beyond the last is counted as such.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        if not bounds or list(bounds) != sorted(set(bounds)):
            raise ValueError(f"bounds must rise, got {list(bounds)}")
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Adds a value; one that equals a bound lies below it."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def counts(self) -> tuple[int, ...]:
        """Values in each range, the open one last."""
        return tuple(self._counts)
