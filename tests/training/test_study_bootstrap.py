"""The bootstrap of all resamples at once against the one that resamples clip by clip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")

from training import metrics
from training.intervals import bootstrap_interval
from training.study_bootstrap import mean_interval

pytestmark = pytest.mark.train

F64 = npt.NDArray[np.float64]
Run = tuple[F64, F64, tuple[str, ...]]


def run(seed: int, contents: range, tied: bool) -> Run:
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=4 * len(contents))
    predicted = labels + rng.normal(size=labels.size)
    if tied:
        labels, predicted = np.round(labels), np.round(predicted)
    return predicted, labels, tuple(f"c{c}" for c in contents for _ in range(4))


def clip_by_clip(runs: list[Run], figure: str, resamples: int) -> tuple[float, float, float]:
    """The same through `bootstrap_interval`, whose metric is handed positions in place of predictions."""
    predicted = np.concatenate([r[0] for r in runs])
    labels = np.concatenate([r[1] for r in runs])
    groups = [g for r in runs for g in r[2]]
    owner = np.repeat(np.arange(len(runs)), [r[0].size for r in runs])

    def mean_over_runs(at: npt.ArrayLike, _labels: npt.ArrayLike) -> float:
        rows = np.asarray(at, dtype=int)
        each = [rows[owner[rows] == number] for number in range(len(runs))]
        values = [getattr(metrics, figure)(predicted[one], labels[one]) for one in each]
        kept = [v for v in values if np.isfinite(v)]
        return float(np.mean(kept)) if kept else float("nan")

    found = bootstrap_interval(np.arange(labels.size), labels, groups, mean_over_runs, resamples=resamples)
    return found.estimate, found.low, found.high


@pytest.mark.parametrize("figure", ["srocc", "krocc", "lcc"])
@pytest.mark.parametrize("tied", [False, True])
def test_it_equals_the_bootstrap_clip_by_clip(figure: str, tied: bool) -> None:
    runs = [run(1, range(0, 5), tied), run(2, range(3, 8), tied), run(3, range(6, 7), tied)]
    found = mean_interval(runs, figure, resamples=60)
    np.testing.assert_allclose((found.estimate, found.low, found.high), clip_by_clip(runs, figure, 60), atol=1e-12)
    assert found.low < found.estimate < found.high


def test_runs_that_test_the_same_contents_do_not_narrow_the_interval() -> None:
    one = run(1, range(9), False)
    single, repeated = (mean_interval([one] * count, "srocc", resamples=200) for count in (1, 5))
    assert (repeated.low, repeated.high) == pytest.approx((single.low, single.high), abs=1e-12)


@pytest.mark.parametrize("figure", ["srocc", "krocc", "lcc"])
def test_constant_or_missing_numbers_have_no_interval(figure: str) -> None:
    predicted, labels, groups = run(1, range(4), False)
    for broken in (np.full_like(predicted, 0.1), np.where(np.arange(16) == 3, np.nan, predicted)):
        found = mean_interval([(broken, labels, groups)], figure, resamples=20)
        assert np.isnan([found.estimate, found.low, found.high]).all()
        assert found.resamples == 0
