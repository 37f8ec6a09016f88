"""From head outputs to rolling scores: one stream's ordered state within one epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from monitor.core.hysteresis import HysteresisPooling, PoolingSnapshot
from monitor.core.rolling import RollingScores, RollingSnapshot
from monitor.core.stream_head import StatePolicy, StreamHead, StreamHeadSnapshot
from monitor.types import CAUSES, F64, PooledQuality, ScoreView


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """What a bundle says about everything behind its head; see ``engines.bundle.Manifest``.

    Attributes:
        state_size: Of the head's recurrent state.
        fps: Samples a second.
        policy: Life of the recurrent state.
        period: Samples between restarts (staggered), even.
        tau: Pooling window in samples.
        beta: Weight of pooling's look-ahead term.
        warmup: Samples at an epoch's start that no score counts.
        calibrate: Pooled quality to 0-100.
        settle: Samples behind a cut from which on a state speaks that has seen the new shot alone; None: no cut is one.
    """

    state_size: int
    fps: Fraction
    policy: StatePolicy
    period: int
    tau: int
    beta: float
    warmup: int
    calibrate: Callable[[float], float]
    settle: int | None = None


@dataclass(frozen=True, slots=True)
class ScorerSnapshot:
    """All of a StreamScorer; a few kilobytes."""

    head: StreamHeadSnapshot
    pooling: PoolingSnapshot
    rolling: RollingSnapshot
    waiting: tuple[tuple[int, float], ...]
    causes: tuple[F64, ...]
    newest_received_s: float | None


class StreamScorer:
    """Pools, windows and summarises one epoch's frame qualities. Owned by one task; no clock of its own.

    Args:
        spec: From the bundle.
    """

    def __init__(self, spec: ScoringSpec) -> None:
        self._spec = spec
        self.head = StreamHead(spec.state_size, spec.policy, spec.period, spec.settle)
        self._pooling = HysteresisPooling(spec.tau, spec.beta)
        self._rolling = RollingScores(spec.fps, spec.warmup)
        #: (tick, received_s) of samples whose pooled quality is not final yet.
        self._waiting: deque[tuple[int, float]] = deque()
        #: Cause probabilities of the last second.
        self._causes: deque[F64] = deque(maxlen=max(1, round(spec.fps)))
        self._newest_received_s: float | None = None

    def push(self, tick: int, received_s: float, q: float, causes: F64) -> list[PooledQuality]:
        """Adds one sample's head output, in tick order; returns the qualities that became final (none or one)."""
        self._waiting.append((tick, received_s))
        if causes.size:
            self._causes.append(causes)
        pooled = self._pooling.push(q)
        return [] if pooled is None else [self._final(pooled)]

    def flush(self) -> list[PooledQuality]:
        """Ends the epoch: the last tau - 1 qualities, over a shrinking look-ahead."""
        return [self._final(value) for value in self._pooling.flush()]

    @property
    def newest_received_s(self) -> float | None:
        """When the newest sample in the score arrived, monotonic seconds; None before the first."""
        return self._newest_received_s

    def view(self) -> ScoreView:
        """Rolling scores and cause at the newest pooled tick."""
        rolled = self._rolling.view()
        cause, probability = self._cause()
        return ScoreView(
            score=self._calibrated(rolled.score),
            score_10s=self._calibrated(rolled.score_10s),
            score_60s=self._calibrated(rolled.score_60s),
            # Before the first whole second, what there is of it is the lowest.
            score_min_60s=self._calibrated(rolled.score if rolled.score_min_60s is None else rolled.score_min_60s),
            coverage=rolled.coverage,
            cause=cause,
            cause_p=probability,
            newest_tick=rolled.newest_tick,
            newest_received_s=self._newest_received_s,
        )

    def advance(self, tick: int) -> None:
        """Tells that ticks up to this one are due, so that coverage falls while samples are lost."""
        self._rolling.advance(tick)

    def at_rate(self, spec: ScoringSpec) -> StreamScorer:
        """A scorer for the same pictures at another rate, to follow a flushed one: its windows and cause go on.

        The recurrent state begins anew, since it counts samples: until the new head's warm-up is over the score stands.
        """
        scorer = StreamScorer(spec)
        scorer._rolling = self._rolling.at_rate(spec.fps, spec.warmup)
        scorer._causes.extend(self._causes)
        scorer._newest_received_s = self._newest_received_s
        return scorer

    def snapshot(self) -> ScorerSnapshot:
        """A copy that later pushes do not change."""
        return ScorerSnapshot(
            self.head.snapshot(),
            self._pooling.snapshot(),
            self._rolling.snapshot(),
            tuple(self._waiting),
            tuple(self._causes),
            self._newest_received_s,
        )

    @classmethod
    def restore(cls, spec: ScoringSpec, snapshot: ScorerSnapshot) -> StreamScorer:
        """A scorer that goes on where the snapshot was taken."""
        scorer = cls(spec)
        scorer.head.restore(snapshot.head)
        scorer._pooling = HysteresisPooling.restore(snapshot.pooling)
        scorer._rolling = RollingScores.restore(snapshot.rolling)
        scorer._waiting.extend(snapshot.waiting)
        scorer._causes.extend(snapshot.causes)
        scorer._newest_received_s = snapshot.newest_received_s
        return scorer

    def _final(self, value: float) -> PooledQuality:
        tick, received_s = self._waiting.popleft()
        self._rolling.push(tick, value)
        self._newest_received_s = received_s
        return PooledQuality(tick, value)

    def _calibrated(self, quality: float | None) -> float | None:
        return None if quality is None else self._spec.calibrate(quality)

    def _cause(self) -> tuple[str | None, float | None]:
        if not self._causes:
            return None, None
        mean = np.mean(self._causes, axis=0)
        best = int(mean.argmax())
        return CAUSES[best], float(mean[best])
