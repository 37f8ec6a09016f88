"""What the pipeline makes of a bundle, at each of its rates."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from engines.bundle import BUNDLED, Bundle, PoolingPart, RungPart, bundles_folder, load_bundle, write_bundle
from engines.errors import BundleError
from monitor.pipeline.bundle_scoring import BundleScoring


@pytest.fixture
def ladder(tmp_path: Path) -> Bundle:
    base = load_bundle(bundles_folder() / BUNDLED)
    rung = RungPart(
        **base.manifest.head.model_dump(exclude={"file"}),
        file="head5.npz",
        fps=5.0,
        pooling=PoolingPart(tau=2, warmup=3),
    )
    manifest = base.manifest.model_copy(update={"ladder": (rung,)})
    return write_bundle(
        tmp_path / "ladder", manifest, base.head_arrays, base.trunk_path, [base.head_arrays], base.domain_arrays
    )


def test_a_bundle_scores_at_its_own_rate_where_none_is_asked_for(ladder: Bundle) -> None:
    scoring = BundleScoring.of(ladder)
    assert scoring.scoring.fps == 25
    assert scoring.scoring.tau == 12
    assert scoring.with_side_channel


def test_a_rung_brings_its_own_head_rate_pooling_and_period(ladder: Bundle) -> None:
    scoring = BundleScoring.of(ladder, 5.0).scoring
    assert scoring.fps == Fraction(5)
    assert (scoring.tau, scoring.warmup, scoring.period) == (2, 3, 50)


def test_a_rate_without_a_head_is_refused_with_those_there_are(ladder: Bundle) -> None:
    with pytest.raises(BundleError, match=r"was made for 25, 5 samples a second, not for 12\.5"):
        BundleScoring.of(ladder, 12.5)
