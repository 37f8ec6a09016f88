"""One stream's recurrent state, for hours: which hidden states there are, when they restart, which one speaks.

The GRU was trained on clips of a few seconds. ``continuous`` keeps one state from zero, as VSFA was released;
``staggered`` keeps two, each restarted every ``period`` samples, half a period apart, and lets the older one speak:
after start-up the speaking state's age stays between a half and a whole period, for ever.

What was before a cut is no evidence on the pictures behind it. With ``settle``, a new shot restarts the state that is
silent; so many samples later it speaks, and has seen nothing of the shot before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from monitor.core.head import Head
from monitor.types import F64


class StatePolicy(StrEnum):
    """How the recurrent state lives through hours; part of a bundle."""

    CONTINUOUS = "continuous"
    STAGGERED = "staggered"


@dataclass(frozen=True, slots=True)
class StreamHeadSnapshot:
    """All of a StreamHead.

    Attributes:
        lanes: (lanes, state_size) states.
        ages: Samples that each has seen.
        speaks_at: Age from which the first lane speaks.
        shot: Number of the newest sample's shot; None before the first sample.
        samples: Seen since the beginning.
    """

    lanes: F64
    ages: tuple[int, ...]
    speaks_at: int
    shot: int | None
    samples: int


class StreamHead:
    """The recurrent state of one stream's epoch; owned by one task.

    Args:
        state_size: Of the head.
        policy: State policy.
        period: Samples between two restarts of one lane, even (staggered).
        settle: Samples of a new shot behind which a state that has seen it alone speaks (staggered), at most half a
            period; None: shots are all the same to it.
    """

    def __init__(self, state_size: int, policy: StatePolicy, period: int = 250, settle: int | None = None) -> None:
        if period < 2 or period % 2:
            raise ValueError(f"the period must be an even number of samples, got {period}")
        if settle is not None and not 0 < settle <= period // 2:
            raise ValueError(f"a shot settles within 1 to half a period of samples, {period // 2}, got {settle}")
        self._staggered = policy is StatePolicy.STAGGERED
        self._period = period
        self._settle = settle
        self._lanes = np.zeros((2 if self._staggered else 1, state_size))
        self._ages = [0] * len(self._lanes)
        self._speaks_at = period // 2 if self._staggered else 0
        self._shot: int | None = None
        self._samples = 0

    def due_lanes(self, shot: int = 0) -> F64:
        """States to step with the next sample, (lanes, state_size); a lane whose restart is due is zero.

        Args:
            shot: Number of the sample's shot.
        """
        cut = self._shot not in (None, shot)
        self._shot = shot
        if self._staggered:
            half = self._period // 2
            if self._ages[0] == self._period:
                self._restart(0)
            elif self._ages[0] == half:
                self._restart(1)
                self._speaks_at = half
            if cut and self._settle is not None:
                self._begin_shot(self._settle)
        return self._lanes

    def advance(self, lanes: F64) -> int:
        """Takes the stepped lanes and returns the index of the one that speaks for this sample."""
        speaker = 0 if self._ages[0] >= self._speaks_at else 1
        self._lanes = lanes
        self._samples += 1
        self._ages = [age + 1 for age in self._ages]
        return speaker

    def _begin_shot(self, settle: int) -> None:
        if self._ages[0] >= self._speaks_at:
            # The first lane speaks: the other becomes the first.
            self._lanes, self._ages = self._lanes[::-1], self._ages[::-1]
        elif self._ages[1] >= self._period:
            # Cut upon cut, none of which settled: what speaks must not grow old.
            return
        self._restart(0)
        self._speaks_at = settle

    def _restart(self, lane: int) -> None:
        self._lanes[lane] = 0.0
        self._ages[lane] = 0

    def snapshot(self) -> StreamHeadSnapshot:
        """A copy that later steps do not change."""
        return StreamHeadSnapshot(self._lanes.copy(), tuple(self._ages), self._speaks_at, self._shot, self._samples)

    def restore(self, snapshot: StreamHeadSnapshot) -> None:
        """Goes on from a snapshot of a head of the same size and policy."""
        if snapshot.lanes.shape != self._lanes.shape:
            raise ValueError(f"snapshot has states {snapshot.lanes.shape}, this head {self._lanes.shape}")
        self._lanes = snapshot.lanes.copy()
        self._ages = list(snapshot.ages)
        self._speaks_at, self._shot, self._samples = snapshot.speaks_at, snapshot.shot, snapshot.samples


def step_streams(
    head: Head, streams: Sequence[StreamHead], reduced: F64, shots: Sequence[int] | None = None
) -> tuple[F64, F64]:
    """Advances several streams by one sample each, in one batched step.

    Args:
        head: The head they share.
        streams: B distinct streams.
        reduced: (B, D), row i belongs to streams[i].
        shots: Numbers of the samples' shots, in each stream; none: each stream is one shot.

    Returns:
        q (B,) and cause probabilities (B, C), each from the stream's speaking lane.
    """
    numbers = [0] * len(streams) if shots is None else shots
    lanes = [stream.due_lanes(shot) for stream, shot in zip(streams, numbers, strict=True)]
    counts = [len(lane) for lane in lanes]
    output = head.step(np.repeat(reduced, counts, axis=0), np.concatenate(lanes))
    rows = []
    start = 0
    for stream, count in zip(streams, counts, strict=True):
        rows.append(start + stream.advance(output.state[start : start + count]))
        start += count
    return output.q[rows], output.causes[rows]
