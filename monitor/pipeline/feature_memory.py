"""A picture that a stream shows again is not computed again: its features are those that it had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.types import F32, U8, Sample, StreamId


@dataclass(slots=True, eq=False)
class _Seen:
    pixels: U8
    features: F32 | None = None  # (F,); None until the engine has told


class FeatureMemory:
    """The newest picture of each stream and its features.

    A held picture, a frozen feed, black, a slate, and drawn pictures shown twice are the same input to the bit, of
    which an engine knows nothing new to say. Used by the engine's thread; ``forget`` by any.
    """

    def __init__(self) -> None:
        self._newest: dict[StreamId, _Seen] = {}
        #: Samples that needed no computing.
        self.reused = 0

    def features(self, samples: Sequence[Sample], infer: Callable[[U8], F32]) -> F32:
        """Features of samples of one input shape.

        Args:
            samples: B; those of one stream in its order.
            infer: Features (N, F) of pictures (N, C, H, W) that are not known yet; not called where all are.

        Returns:
            (B, F).

        Raises:
            EngineError: ``infer`` failed.
        """
        shown: list[_Seen] = []
        new: list[_Seen] = []
        for sample in samples:
            seen = self._newest.get(sample.stream)
            if seen is None or not np.array_equal(seen.pixels, sample.pixels):
                seen = self._newest[sample.stream] = _Seen(sample.pixels)
                new.append(seen)
            shown.append(seen)
        if new:
            try:
                told = infer(np.stack([seen.pixels for seen in new]))
            except BaseException:
                # What was not told must not be taken for known.
                for sample in samples:
                    self.forget(sample.stream)
                raise
            for seen, row in zip(new, told, strict=True):
                seen.features = row
            if len(new) == len(samples):
                return told
        self.reused += len(samples) - len(new)
        return np.stack([seen.features for seen in shown if seen.features is not None])

    def forget(self, stream: StreamId) -> None:
        """Keeps nothing of a stream any more."""
        self._newest.pop(stream, None)
