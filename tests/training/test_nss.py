"""Scene statistics against plain numpy and scipy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
ndimage = pytest.importorskip("scipy.ndimage", reason="needs the train extra (scipy)")

from scipy import special, stats  # noqa: E402

from training import nss  # noqa: E402

pytestmark = pytest.mark.train

F64 = npt.NDArray[np.float64]


def picture(seed: int = 0, height: int = 41, width: int = 58) -> F64:
    return np.asarray(np.random.default_rng(seed).integers(0, 256, (height, width)), dtype=np.float64)


def as_map(array: F64) -> Any:
    return torch.from_numpy(array)[None]


def test_mscn_is_scipys_gaussian_window_with_zero_borders() -> None:
    x = picture()
    window = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window /= window.sum()

    def blur(a: F64) -> F64:
        rows = ndimage.correlate1d(a, window, axis=0, mode="constant")
        return np.asarray(ndimage.correlate1d(rows, window, axis=1, mode="constant"))

    sigma = np.sqrt(np.abs(blur(x * x) - blur(x) ** 2))
    found, found_sigma = nss.mscn(as_map(x), 1.0)
    np.testing.assert_allclose(found_sigma[0], sigma, atol=1e-9)
    np.testing.assert_allclose(found[0], (x - blur(x)) / (sigma + 1), atol=1e-9)


def test_mscn_in_float32_is_close_enough_to_float64() -> None:
    x = as_map(200 + 0.1 * picture())
    exact, _ = nss.mscn(x)
    single, _ = nss.mscn(x.float())
    assert (exact - single.double()).abs().max() < 1e-3


def test_gradient_is_scipys_sobel() -> None:
    x = picture()
    gx, gy = (ndimage.sobel(x, axis=axis, mode="mirror") for axis in (1, 0))
    np.testing.assert_allclose(nss.gradient_magnitude(as_map(x))[0], np.hypot(gx, gy), atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(40, 58), (41, 57)])
def test_half_size_weighs_four_neighbours_as_bicubic_does(height: int, width: int) -> None:
    x = picture(1, height, width)[: height // 2 * 2, : width // 2 * 2]
    taps = np.array([-0.09375, 0.59375, 0.59375, -0.09375])  # cubic with a = -3/4 at distances 3/2 and 1/2

    def halve(a: F64) -> F64:
        padded = np.pad(a, ((1, 1), (0, 0)), mode="edge")
        return np.asarray(sum(tap * padded[k : k + len(a) : 2] for k, tap in enumerate(taps)))

    expected = halve(halve(x).T).T
    np.testing.assert_allclose(nss.half_size(as_map(picture(1, height, width)))[0], expected, atol=1e-9)


def test_paired_products_are_those_of_neighbours() -> None:
    x = picture(2, 4, 5)
    right, below, diagonal, other = (product[0].numpy() for product in nss.paired_products(as_map(x)))
    assert (right.size, below.size, diagonal.size, other.size) == (16, 15, 12, 12)
    assert right[0] == x[0, 0] * x[0, 1]
    assert below[0] == x[0, 0] * x[1, 0]
    assert diagonal[0] == x[0, 0] * x[1, 1]
    assert other[0] == x[0, 1] * x[1, 0]


SHAPES = np.arange(0.2, 10.0005, 0.001)


def ggd_by_search(x: F64) -> tuple[float, float]:
    ratio = special.gamma(2 / SHAPES) ** 2 / (special.gamma(1 / SHAPES) * special.gamma(3 / SHAPES))
    wanted = np.mean(np.abs(x)) ** 2 / np.mean(x**2)
    return float(SHAPES[np.argmin(np.abs(ratio - wanted))]), float(np.sqrt(np.mean(x**2)))


def aggd_by_search(x: F64) -> tuple[float, float, float, float]:
    left, right = (math.sqrt(np.mean(side**2)) for side in (x[x < 0], x[x > 0]))
    g = left / right
    wanted = np.mean(np.abs(x)) ** 2 / np.mean(x**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    ratio = special.gamma(2 / SHAPES) ** 2 / (special.gamma(1 / SHAPES) * special.gamma(3 / SHAPES))
    a = float(SHAPES[np.argmin(np.abs(ratio - wanted))])
    scale = math.sqrt(special.gamma(1 / a) / special.gamma(3 / a))
    mean = (right - left) * scale * special.gamma(2 / a) / special.gamma(1 / a)
    return a, float(mean), left, right


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_ggd_is_the_search_over_shapes_and_finds_the_true_one(shape: float) -> None:
    x = stats.gennorm.rvs(shape, scale=3.0, size=200_000, random_state=1)
    found = nss.ggd(torch.from_numpy(x)[None])[0].tolist()
    assert found == pytest.approx(ggd_by_search(x), abs=1e-9)
    assert found[0] == pytest.approx(shape, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_aggd_is_the_search_over_shapes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([-np.abs(rng.normal(0, 1, 900)), np.abs(rng.normal(0, 1 + seed, 1100))]) ** (1 + 2 * (seed % 2))
    fit = nss.fit_aggd(torch.from_numpy(x)[None])
    found = [float(part) for part in (fit.shape, fit.mean, fit.left, fit.right)]
    assert found == pytest.approx(aggd_by_search(x), abs=1e-9)


def test_aggd_finds_what_made_the_sample() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-np.abs(rng.normal(0, 1, 100_000)), np.abs(rng.normal(0, 3, 300_000))])
    fit = nss.fit_aggd(torch.from_numpy(x)[None])
    assert float(fit.shape) == pytest.approx(2.0, abs=0.05)
    assert float(fit.left) == pytest.approx(1.0, rel=0.02)
    assert float(fit.right) == pytest.approx(3.0, rel=0.02)
    assert float(fit.mean) == pytest.approx(x.mean(), rel=0.02)


def test_pair_statistics_hold_shape_mean_and_variances_per_direction() -> None:
    m = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 30, 40)))
    found = nss.pair_statistics(m)
    assert found.shape == (2, 16)
    for b in range(2):
        for k, product in enumerate(nss.paired_products(m[b : b + 1])):
            a, mean, left, right = aggd_by_search(product[0].numpy())
            assert found[b, 4 * k : 4 * k + 4].tolist() == pytest.approx([a, mean, left**2, right**2], abs=1e-9)
    assert nss.brisque18(m).shape == (2, 18)


def test_moments_are_scipys() -> None:
    m = np.random.default_rng(4).gamma(2.0, size=(1, 20, 30))
    found = nss.four_moments(torch.from_numpy(m))[0].tolist()
    flat = m.ravel()
    expected = [*ggd_by_search(flat), stats.skew(flat), stats.kurtosis(flat, fisher=False)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_flat_maps_give_finite_figures() -> None:
    flat = torch.zeros(1, 32, 32)
    assert nss.four_moments(flat)[0].tolist() == [2.0, 0.0, 0.0, 3.0]
    assert torch.isfinite(nss.brisque18(flat)).all()
    assert nss.brisque18(flat)[0, 0] == 2.0
    one_sided = nss.fit_aggd(torch.rand(1, 100) + 0.5)
    assert float(one_sided.left) == 0.0
    assert math.isfinite(float(one_sided.shape))


def test_kurtosis_is_scipys_and_infinite_for_a_constant() -> None:
    x = np.random.default_rng(5).normal(size=(6, 25))
    found = nss.kurtosis(torch.from_numpy(x), 1)
    np.testing.assert_allclose(found, stats.kurtosis(x, axis=1, fisher=False), atol=1e-12)
    assert torch.isinf(nss.kurtosis(torch.ones(2, 25), 1)).all()
