"""VSFA's temporal pooling of frame quality, offline and as a stream."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from monitor.types import F64

#: The released setting: 12 samples, both terms alike.
TAU = 12
BETA = 0.5


def pool_offline(q: F64, tau: int = TAU, beta: float = BETA) -> F64:
    """Pools a whole clip: the definition that the stream is tested against.

    ``l[t] = min q[max(0, t-tau+1) .. t]``, ``m[t]`` = mean of ``q[t .. min(t+tau-1, T-1)]`` weighted by
    exp(-q), ``q'[t] = beta m[t] + (1-beta) l[t]``. The clip's score is the mean of q'.

    Args:
        q: (T,) frame quality. The weights depend on its scale: VSFA's lies in [0, 1]. Below 700, where
            exp(-q) still is a number.
        tau: Window length in samples, >= 1.
        beta: Weight of the look-ahead term, 0..1.

    Returns:
        (T,) float64 pooled quality, each value within the range of ``q``.

    Source: Li, Jiang, Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019; window bounds (both
    include
        the current sample) follow the released code.
    """
    q = np.asarray(q, dtype=np.float64)
    if q.ndim != 1:
        raise ValueError(f"q must be (T,), got {q.shape}")
    if q.size == 0:
        return q.copy()
    windows = np.lib.stride_tricks.sliding_window_view
    lowest = windows(np.concatenate([np.full(tau - 1, np.inf), q]), tau).min(axis=1)  # (T,)
    weight = np.exp(-q)
    tail = np.zeros(tau - 1)
    weight_sum = windows(np.concatenate([weight, tail]), tau).sum(axis=1)
    value_sum = windows(np.concatenate([weight * q, tail]), tau).sum(axis=1)
    pooled: F64 = beta * (value_sum / weight_sum) + (1 - beta) * lowest
    return pooled


@dataclass(frozen=True, slots=True)
class _SoftMin:
    """Sums over a window of exp(-d) and d exp(-d), where d is a sample's distance from the least one.

    All terms are non-negative and the first sum is at least 1, so nothing cancels or underflows at any scale.
    """

    least: float
    weight: float
    excess: float

    @staticmethod
    def of(q: float) -> _SoftMin:
        return _SoftMin(q, 1.0, 0.0)

    def join(self, other: _SoftMin) -> _SoftMin:
        low, high = (self, other) if self.least <= other.least else (other, self)
        shift = high.least - low.least
        scale = math.exp(-shift)
        return _SoftMin(
            low.least,
            low.weight + high.weight * scale,
            low.excess + (high.excess + shift * high.weight) * scale,
        )

    @property
    def mean(self) -> float:
        return self.least + self.excess / self.weight


@dataclass(frozen=True, slots=True)
class PoolingSnapshot:
    """All that a stream's pooling needs to go on elsewhere: below 3 tau numbers.

    Attributes:
        tau: Window length.
        beta: Weight of the look-ahead term.
        count: Samples pushed so far.
        recent: The newest of them, oldest first.
    """

    tau: int
    beta: float
    count: int
    recent: tuple[float, ...]


class HysteresisPooling:
    """Streaming form of VSFA's temporal pooling; equal to :func:`pool_offline` for any chunking.

    q'[t] is final once q[t + tau - 1] is known, so output trails input by tau - 1 samples: the n-th value
    returned belongs to the n-th sample pushed. Values are in the unit of the input.

    The least past value comes from a monotone deque. The look-ahead mean joins the tail of one block of tau
    samples with the head of the next (van Herk's scheme), so no sum ever has a term taken out again and
    nothing drifts; both cost O(1) amortised. Results depend on the samples and their numbers alone, hence are
    the same to the bit after a restore.

    Args:
        tau: Window length in samples, >= 1 (paper: 12).
        beta: Weight of the look-ahead term, 0..1 (paper: 0.5).
    """

    def __init__(self, tau: int = TAU, beta: float = BETA) -> None:
        if tau < 1 or not 0 <= beta <= 1:
            raise ValueError(f"tau must be >= 1 and beta in 0..1, got {tau} and {beta}")
        self._tau = tau
        self._beta = beta
        self._clear(0)

    def _clear(self, count: int) -> None:
        self._count = count  # samples so far
        self._recent: deque[tuple[int, float]] = deque(maxlen=3 * self._tau)
        self._minima: deque[tuple[int, float]] = deque()
        self._lowest: deque[float] = deque()  # causal minimum of every sample not yet answered
        self._block: list[float] = []  # the block being filled
        self._head: _SoftMin | None = None  # all of it
        self._tails: list[_SoftMin] = []  # [i]: samples i.. of the block before it

    @property
    def pending(self) -> int:
        """Samples pushed whose pooled value is not final yet."""
        return len(self._lowest)

    def push(self, q: float) -> float | None:
        """Adds the next sample and returns the pooled value of the sample tau - 1 before it, if there is one.

        Raises:
            ValueError: ``q`` is not finite.
        """
        if not math.isfinite(q):
            raise ValueError(f"q must be finite, got {q}")
        index = self._count
        self._count += 1
        self._recent.append((index, q))
        while self._minima and self._minima[-1][1] >= q:
            self._minima.pop()
        self._minima.append((index, q))
        if self._minima[0][0] <= index - self._tau:
            self._minima.popleft()
        self._lowest.append(self._minima[0][1])

        single = _SoftMin.of(q)
        self._head = single if self._head is None else self._head.join(single)
        self._block.append(q)
        ahead = self._head
        offset = (index + 1) % self._tau  # of the answered sample in its block
        if offset == 0:
            self._tails = _tails(self._block)
            self._block, self._head = [], None
            ahead = self._tails[0]
        elif self._tails:
            ahead = self._tails[offset].join(ahead)
        if len(self._lowest) < self._tau:
            return None
        return self._blend(ahead)

    def flush(self) -> list[float]:
        """Ends the clip: the values still due, with windows that shrink at its end; then starts afresh."""
        due = len(self._lowest)
        last = [q for _, q in self._recent][len(self._recent) - due :]
        values = [self._blend(ahead) for ahead in _tails(last)]
        self._clear(0)
        return values

    def snapshot(self) -> PoolingSnapshot:
        """State as plain numbers; later pushes do not change it."""
        start = self._replay_start(self._count)
        recent = tuple(q for index, q in self._recent if index >= start)
        return PoolingSnapshot(self._tau, self._beta, self._count, recent)

    @classmethod
    def restore(cls, snapshot: PoolingSnapshot) -> HysteresisPooling:
        """A pooling that goes on exactly where the snapshot was taken.

        Raises:
            ValueError: The snapshot does not hold as many samples as its count asks for.
        """
        pooling = cls(snapshot.tau, snapshot.beta)
        start = pooling._replay_start(snapshot.count)
        if len(snapshot.recent) != snapshot.count - start:
            raise ValueError(
                f"a snapshot after {snapshot.count} samples must hold the last {snapshot.count - start}, "
                f"got {len(snapshot.recent)}"
            )
        pooling._clear(start)
        for q in snapshot.recent:
            pooling.push(q)
        return pooling

    def _replay_start(self, count: int) -> int:
        """First sample to push again: a block's start, tau or more before the first sample not answered."""
        unanswered = max(0, count - self._tau + 1)
        return max(0, (unanswered // self._tau - 1) * self._tau)

    def _blend(self, ahead: _SoftMin) -> float:
        return self._beta * ahead.mean + (1 - self._beta) * self._lowest.popleft()


def _tails(block: list[float]) -> list[_SoftMin]:
    """Softmin sums of ``block[i:]`` for every i."""
    tails: list[_SoftMin] = []
    for q in reversed(block):
        single = _SoftMin.of(q)
        tails.append(single.join(tails[-1]) if tails else single)
    tails.reverse()
    return tails
