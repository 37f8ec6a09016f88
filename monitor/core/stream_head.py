"""One stream's recurrent state, for hours: which hidden states there are, when they restart, which one speaks.

The GRU was trained on clips of about ten seconds. ``continuous`` keeps one state from zero, as VSFA was released;
``staggered`` keeps two, each restarted every ``period`` samples, half a period apart, and lets the older one speak:
after start-up the speaking state's age stays between a half and a whole period, for ever.
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
    """All of a StreamHead: (lanes, state_size) states and the number of samples seen."""

    lanes: F64
    samples: int


class StreamHead:
    """The recurrent state of one stream's epoch; owned by one task.

    Args:
        state_size: Of the head.
        policy: State policy.
        period: Samples between two restarts of one lane, even (staggered).
    """

    def __init__(self, state_size: int, policy: StatePolicy, period: int = 250) -> None:
        if period < 2 or period % 2:
            raise ValueError(f"the period must be an even number of samples, got {period}")
        self._policy = policy
        self._period = period
        self._lanes = np.zeros((1 if policy is StatePolicy.CONTINUOUS else 2, state_size))
        self._samples = 0

    def due_lanes(self) -> F64:
        """States to step with the next sample, (lanes, state_size); a lane whose restart is due is zero."""
        if self._policy is StatePolicy.STAGGERED and self._samples:
            half = self._period // 2
            if self._samples % self._period == 0:
                self._lanes[0] = 0.0
            elif self._samples % self._period == half:
                self._lanes[1] = 0.0
        return self._lanes

    def advance(self, lanes: F64) -> int:
        """Takes the stepped lanes and returns the index of the one that speaks for this sample."""
        phase = self._samples % self._period
        self._lanes = lanes
        self._samples += 1
        if self._policy is StatePolicy.CONTINUOUS:
            return 0
        return 1 if phase < self._period // 2 else 0

    def snapshot(self) -> StreamHeadSnapshot:
        """A copy that later steps do not change."""
        return StreamHeadSnapshot(self._lanes.copy(), self._samples)

    def restore(self, snapshot: StreamHeadSnapshot) -> None:
        """Goes on from a snapshot of a head of the same size and policy."""
        if snapshot.lanes.shape != self._lanes.shape:
            raise ValueError(f"snapshot has states {snapshot.lanes.shape}, this head {self._lanes.shape}")
        self._lanes = snapshot.lanes.copy()
        self._samples = snapshot.samples


def step_streams(head: Head, streams: Sequence[StreamHead], reduced: F64) -> tuple[F64, F64]:
    """Advances several streams by one sample each, in one batched step.

    Args:
        head: The head they share.
        streams: B distinct streams.
        reduced: (B, D), row i belongs to streams[i].

    Returns:
        q (B,) and cause probabilities (B, C), each from the stream's speaking lane.
    """
    lanes = [stream.due_lanes() for stream in streams]
    counts = [len(lane) for lane in lanes]
    output = head.step(np.repeat(reduced, counts, axis=0), np.concatenate(lanes))
    rows = []
    start = 0
    for stream, count in zip(streams, counts, strict=True):
        rows.append(start + stream.advance(output.state[start : start + count]))
        start += count
    return output.q[rows], output.causes[rows]
