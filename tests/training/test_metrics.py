"""Agreement figures against scipy, plain definitions and known answers."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest

stats = pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")

from training import metrics  # noqa: E402

pytestmark = pytest.mark.train


def tied(seed: int, n: int = 60) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, n).astype(float)
    return x, np.round(x * 0.5 + rng.normal(0, 2, n))


@pytest.mark.parametrize("seed", range(20))
def test_correlations_agree_with_scipy_with_ties(seed: int) -> None:
    x, y = tied(seed, 5 + 7 * seed)
    assert metrics.srocc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert metrics.krocc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert metrics.lcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)


def test_krocc_is_tau_b_by_counting_pairs() -> None:
    x, y = tied(3, 40)
    dx, dy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    expected = (dx * dy).sum() / math.sqrt((dx != 0).sum() * (dy != 0).sum())
    assert metrics.krocc(x, y) == pytest.approx(expected, abs=1e-12)


def test_rmse_is_in_label_units() -> None:
    assert metrics.rmse([1.0, 2.0, 3.0], [4.0, 2.0, -1.0]) == pytest.approx(math.sqrt(25 / 3))


@pytest.mark.parametrize(
    "true",
    [
        metrics.Logistic4(high=80.0, low=20.0, centre=0.55, width=0.08),
        metrics.Logistic4(high=15.0, low=95.0, centre=-3.0, width=2.0),
        metrics.Logistic4(high=1e3, low=-1e3, centre=1e4, width=50.0),
    ],
)
def test_logistic_fit_recovers_known_parameters(true: metrics.Logistic4) -> None:
    x = true.centre + true.width * np.random.default_rng(1).uniform(-4, 4, 120)
    fit = metrics.fit_logistic(x, true(x))
    assert fit is not None
    span = abs(true.high - true.low)
    assert fit.high == pytest.approx(true.high, abs=1e-4 * span)
    assert fit.low == pytest.approx(true.low, abs=1e-4 * span)
    assert fit.centre == pytest.approx(true.centre, abs=1e-4 * true.width)
    assert fit.width == pytest.approx(true.width, rel=1e-4)


def curves() -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    rng = np.random.default_rng(5)
    x, noise = rng.normal(0.5, 0.1, 63), rng.normal(size=63)
    return {
        "straight": (x, 300 * x),
        "straight with noise": (x, 300 * x + 20 * noise),
        "falling": (x, -300 * x + 20 * noise),
        "one bend": (x, np.exp(20 * x)),
        "noise": (x, 50 + 10 * noise),
        "two labels": (x, np.where(noise > 0, 1.0, 5.0)),
        "step": (x, np.where(x > 0.53, 60.0, 40.0) + 0.1 * noise),
    }


@pytest.mark.parametrize("kind", list(curves()))
def test_logistic_fit_is_at_least_as_good_as_a_line(kind: str) -> None:
    x, y = curves()[kind]
    fit = metrics.fit_logistic(x, y)
    assert fit is not None
    line = np.polyval(np.polyfit(x, y, 1), x)
    # A line is the limit of ever wider curves, which the fit reaches to within this share of the spread.
    assert metrics.rmse(fit(x), y) <= metrics.rmse(line, y) + 0.005 * y.std()


def test_fitted_figures_undo_a_monotone_curve() -> None:
    curve = metrics.Logistic4(90.0, 10.0, 0.5, 0.05)
    x = np.linspace(0.2, 0.8, 50)
    found = metrics.agreement(x, curve(x))
    assert found.plcc_fitted == pytest.approx(1.0, abs=1e-6)
    assert found.rmse_fitted < 1e-3
    assert found.lcc < 0.98
    assert found.srocc == pytest.approx(1.0, abs=1e-12)
    assert found.n == 50


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1.0], [2.0]),
        ([1.0, 2.0], [2.0, 1.0]),
        ([1.0, math.nan, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, math.inf, 4.0]),
    ],
)
def test_too_few_or_non_finite_pairs_give_nan_everywhere(x: list[float], y: list[float]) -> None:
    found = metrics.agreement(x, y)
    values = (found.srocc, found.krocc, found.lcc, found.rmse, found.plcc_fitted, found.rmse_fitted)
    assert all(math.isnan(value) for value in values)


@pytest.mark.parametrize("constant", [0.0, 7.0, 1e9])
def test_a_constant_has_no_correlation_but_has_an_error(constant: float) -> None:
    x, y = np.full(9, constant), np.arange(9.0)
    for a, b in ((x, y), (y, x)):
        found = metrics.agreement(a, b)
        assert math.isnan(found.srocc)
        assert math.isnan(found.krocc)
        assert math.isnan(found.lcc)
        assert math.isnan(found.plcc_fitted)
        assert math.isfinite(found.rmse)


def test_a_constant_with_rounding_noise_is_a_constant() -> None:
    x = 0.1 * np.arange(1, 10) / np.arange(1, 10)
    assert np.ptp(x) > 0
    assert math.isnan(metrics.lcc(x, np.arange(9.0)))


def test_three_pairs_have_ranks_but_no_fit() -> None:
    found = metrics.agreement([1.0, 2.0, 3.0], [2.0, 4.0, 9.0])
    assert found.srocc == pytest.approx(1.0, abs=1e-12)
    assert math.isnan(found.plcc_fitted)


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.srocc([1.0, 2.0, 3.0], [1.0, 2.0])


def test_fitting_leaves_warning_filters_alone() -> None:
    before = list(warnings.filters)
    metrics.fit_logistic(np.arange(6.0), np.arange(6.0))
    assert list(warnings.filters) == before
