"""What a bundle means for the pipeline: input, head, and everything behind the head."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from engines.bundle import Bundle
from engines.errors import BundleError
from engines.preprocess import InputSpec
from monitor.core.domain import FeatureDomain
from monitor.core.head import Head, make_head
from monitor.core.scorer import ScoringSpec
from monitor.core.side_channel import SIDE_SIZES, SIDE_VERSION
from monitor.core.stream_head import StatePolicy


@dataclass(frozen=True, slots=True)
class BundleScoring:
    """A bundle, ready for streams.

    Attributes:
        bundle: As loaded.
        input: What the trunk takes.
        head: Shared by all streams.
        scoring: What each stream's scorer is made with.
        with_side_channel: Whether the head takes the side channel.
        domain: What pictures the model knows, where it says so.
    """

    bundle: Bundle
    input: InputSpec
    head: Head
    scoring: ScoringSpec
    with_side_channel: bool
    domain: FeatureDomain | None = None

    @property
    def domain_limit(self) -> float | None:
        """Distance beyond which the model does not know a picture; None where it says nothing of it."""
        return None if self.domain is None else self.domain.limit

    def lower(self, lowest_fps: float | None = None) -> list[BundleScoring]:
        """The same bundle at each rate of its ladder below this one, falling, down to ``lowest_fps``.

        Raises:
            BundleError: As ``of``.
        """
        below = (rung.fps for rung in self.bundle.manifest.ladder if rung.fps < self.scoring.fps)
        return [type(self).of(self.bundle, fps) for fps in below if lowest_fps is None or fps >= lowest_fps]

    @classmethod
    def of(cls, bundle: Bundle, fps: float | None = None) -> BundleScoring:
        """Builds head and scoring from the manifest.

        Args:
            bundle: As loaded.
            fps: Samples a second: the bundle's own, or one of its ladder; None is its own.

        Raises:
            BundleError: The bundle has no head for this rate, the head's arrays do not fit, or it was made for another
                side channel than this version's.
        """
        manifest = bundle.manifest
        part, arrays, rate, pooling = manifest.head, bundle.head_arrays, manifest.sample_fps, manifest.pooling
        if fps is not None and fps != rate:
            rungs = zip(manifest.ladder, bundle.rung_arrays, strict=True)
            rung = next(((r, a) for r, a in rungs if r.fps == fps), None)
            if rung is None:
                rates = ", ".join(f"{r:g}" for r in (rate, *(r.fps for r in manifest.ladder)))
                raise BundleError(f"{bundle.model_id} was made for {rates} samples a second, not for {fps:g}")
            part, arrays, rate, pooling = rung[0], rung[1], rung[0].fps, rung[0].pooling
        try:
            head = make_head(part.kind, arrays, bounded=part.bounded)
        except ValueError as error:
            raise BundleError(f"{bundle.path / part.file}: {error}") from error
        if head.feature_size != manifest.trunk.feature_size:
            raise BundleError(
                f"{bundle.path}: the head takes {head.feature_size} features, "
                f"the trunk gives {manifest.trunk.feature_size}"
            )
        if head.side_size and SIDE_SIZES.get(manifest.side_channel or 0) != head.side_size:
            raise BundleError(
                f"{bundle.path}: made for side channel {manifest.side_channel}, this version computes {SIDE_VERSION}"
            )
        exact = Fraction(rate).limit_denominator(1001)
        scoring = ScoringSpec(
            state_size=head.state_size,
            fps=exact,
            policy=StatePolicy(manifest.state.policy),
            period=manifest.state.period(exact),
            tau=pooling.tau,
            beta=pooling.beta,
            warmup=pooling.warmup,
            calibrate=bundle.calibrate,
            settle=manifest.state.settle(exact),
        )
        domain = None
        if manifest.domain is not None:
            try:
                known = bundle.domain_arrays
                domain = FeatureDomain(known["mean"], known["sd"], manifest.domain.limit)
            except (KeyError, ValueError) as error:
                raise BundleError(f"{bundle.path / manifest.domain.file}: {error}") from error
        return cls(bundle, manifest.input.spec(), head, scoring, bool(head.side_size), domain)
