"""A bundle's own scores of synthesised clips: its engine, head, pooling and calibration, as the monitor runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from engines.base import FeatureEngine
from engines.bundle import Bundle
from monitor.core.domain import DomainWatch, FeatureDomain
from monitor.core.head import Head, make_head
from monitor.core.scorer import ScorerSnapshot, ScoringSpec, StreamScorer
from monitor.core.shots import TOLD_AFTER
from monitor.core.stream_head import StatePolicy, step_streams
from monitor.core.strips import flat_share
from monitor.types import CAUSES, F64, PictureFacts
from training.errors import UsageError
from training.synthesis import ClipFacts

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Group:
    """One group file: versions of one content, ready for a head.

    Attributes:
        name: Of the file.
        facts: V records.
        inputs: V arrays (T, D) float64: what the head's recurrence takes.
        foreign: V: the model says that it does not know such pictures, for most of the clip.
    """

    name: str
    facts: list[ClipFacts]
    inputs: list[F64]
    foreign: list[bool]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a monitor shows at the end of a piece of video.

    Attributes:
        score: Mean score after the warm-up, 0-100.
        seconds: Scores of the last whole seconds, oldest first.
        causes: (C,) mean probabilities of the last second.
    """

    score: float
    seconds: tuple[float, ...]
    causes: F64

    @property
    def cause(self) -> str:
        """The most probable one."""
        return CAUSES[int(self.causes.argmax())]


class BundleScorer:
    """Runs one bundle over synthesised clips.

    Args:
        bundle: With the side channel that the clips were cut with, or an older one.
        engine: Made for the bundle.
        policy: Life of the recurrent state; None is the bundle's own.
    """

    def __init__(self, bundle: Bundle, engine: FeatureEngine, policy: StatePolicy | None = None) -> None:
        manifest = bundle.manifest
        self._engine = engine
        known = manifest.domain
        self._domain = None
        if known is not None:
            arrays = bundle.domain_arrays
            self._domain = FeatureDomain(arrays["mean"], arrays["sd"], known.limit)
        self.head: Head = make_head(manifest.head.kind, bundle.head_arrays, bounded=manifest.head.bounded)
        self.fps = Fraction(manifest.sample_fps).limit_denominator(1001)
        self.spec = ScoringSpec(
            state_size=self.head.state_size,
            fps=self.fps,
            policy=policy or StatePolicy(manifest.state.policy),
            period=manifest.state.period(self.fps),
            tau=manifest.pooling.tau,
            beta=manifest.pooling.beta,
            warmup=manifest.pooling.warmup,
            calibrate=bundle.calibrate,
            settle=manifest.state.settle(self.fps),
        )

    def read(self, folder: Path) -> Iterator[Group]:
        """Groups of a folder that `training.synthesise` filled, by name.

        Raises:
            UsageError: There is none.
        """
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise UsageError(f"{folder}: no clips; run `python -m training synthesise` first")
        for file in track(files, description=f"features of {folder.name}", console=Console(stderr=True)):
            with np.load(file) as data:
                facts = [ClipFacts(**one) for one in json.loads(str(data["facts"]))]
                features = [self.features(y, uv) for y, uv in zip(data["y"], data["uv"], strict=True)]
                inputs = [self._reduced(f, side) for f, side in zip(features, data["side"], strict=True)]
                foreign = [self._foreign(y, f) for y, f in zip(data["y"], features, strict=True)]
            yield Group(file.stem, facts, inputs, foreign)

    def reduce(self, y: npt.NDArray[np.uint8], uv: npt.NDArray[np.uint8], side: npt.NDArray[np.float32]) -> F64:
        """What the recurrence takes of a clip.

        Args:
            y: (T, 128, 128) luma fragments.
            uv: (T, 2, 64, 64) chroma fragments.
            side: (T, S).

        Returns:
            (T, D).
        """
        return self._reduced(self.features(y, uv), side)

    def _reduced(self, features: npt.NDArray[np.float32], side: npt.NDArray[np.float32]) -> F64:
        return self.head.reduce(features, side if self.head.side_size else None)

    def _foreign(self, y: npt.NDArray[np.uint8], features: npt.NDArray[np.float32]) -> bool:
        """The monitor's own verdict, light and flat blocks read from the fragments, which sample the same pictures."""
        domain = self._domain
        watch = DomainWatch(self.fps, None if domain is None else domain.limit)
        distances = None if domain is None else domain.distance(features)
        verdicts = []
        for t, luma in enumerate(y):
            mean = (float(luma.mean()) - 16) * 255 / 219
            facts = PictureFacts(luma_mean=mean, flat_share=flat_share(luma.reshape(-1, 8, luma.shape[1])))
            watch.push(None if distances is None else float(distances[t]), facts)
            verdicts.append(watch.foreign is not None)
        return 2 * sum(verdicts) > len(verdicts)

    def features(self, y: npt.NDArray[np.uint8], uv: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The trunk's features of a clip, (T, F) float32; arguments as of `reduce`."""
        features = []
        for start in range(0, len(y), _BATCH):
            part = slice(start, start + _BATCH)
            pixels = np.concatenate([y[part, None], uv[part].repeat(2, axis=2).repeat(2, axis=3)], axis=1)
            features.append(self._engine.infer(pixels))
        return np.concatenate(features).astype(np.float32)

    def show(
        self, clips: Sequence[F64], start: Sequence[ScorerSnapshot | None] | None = None, *, cut: int | None = None
    ) -> tuple[list[Shown], list[ScorerSnapshot]]:
        """Scores pieces of equal length, side by side.

        Args:
            clips: n arrays (T, D).
            start: State that each goes on from; nothing is a new epoch.
            cut: Sample at which another shot begins; it is told when `monitor.core.shots` tells it.

        Returns:
            What is shown at the end of each, and the states to go on from.
        """
        begun: Sequence[ScorerSnapshot | None] = start or [None] * len(clips)
        scorers = [StreamScorer.restore(self.spec, one) if one else StreamScorer(self.spec) for one in begun]
        first = [one.head.samples if one else 0 for one in begun]
        return self._run(np.stack(clips, axis=1), scorers, first, cut)

    def show_looped(self, clips: Sequence[F64], samples: int) -> list[Shown]:
        """Scores clips of equal length side by side, each over and over; hours of it take no more memory than a round.

        A clip's first sample, which has nothing before it, comes once.
        """
        together = np.stack(clips, axis=1)
        rounds = len(together) - 1
        sequence = (together[1 + (t - 1) % rounds if t else 0] for t in range(samples))
        return self._run(sequence, [StreamScorer(self.spec) for _ in clips], [0] * len(clips))[0]

    def _run(
        self, sequence: Iterable[F64], scorers: list[StreamScorer], first: list[int], cut: int | None = None
    ) -> tuple[list[Shown], list[ScorerSnapshot]]:
        pooled: list[list[float]] = [[] for _ in scorers]
        seconds: list[list[float]] = [[] for _ in scorers]
        recent: list[F64] = []
        per_second = round(self.fps)
        for t, rows in enumerate(sequence):
            shot = int(cut is not None and t >= cut + TOLD_AFTER)
            q, causes = step_streams(self.head, [s.head for s in scorers], rows, [shot] * len(scorers))
            recent = [*recent[-(per_second - 1) :], causes]
            for i, scorer in enumerate(scorers):
                tick = first[i] + t
                pooled[i] += [
                    p.value for p in scorer.push(tick, 0.0, float(q[i]), causes[i]) if p.tick >= self.spec.warmup
                ]
                if (t + 1) % per_second == 0:
                    score = scorer.view().score
                    if score is not None:
                        seconds[i].append(score)
        snapshots = [scorer.snapshot() for scorer in scorers]
        for i, scorer in enumerate(scorers):
            pooled[i] += [p.value for p in scorer.flush() if p.tick >= self.spec.warmup]
        shown = [
            Shown(
                float(self.spec.calibrate(float(np.mean(pooled[i])))),
                tuple(seconds[i]),
                np.mean([c[i] for c in recent], axis=0),
            )
            for i in range(len(scorers))
        ]
        return shown, snapshots
