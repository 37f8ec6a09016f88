"""Losses against their plain definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from training.losses import MixedDomainsLoss, monotonicity_loss, plcc_loss  # noqa: E402

pytestmark = pytest.mark.train


def test_plcc_loss_is_the_correlation_turned_round() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    found = plcc_loss(torch.from_numpy(x), torch.from_numpy(y)).item()
    assert found == pytest.approx((1 - np.corrcoef(x, y)[0, 1]) / 2, abs=1e-12)
    rising = torch.arange(5.0)
    assert plcc_loss(rising, 3 * rising + 1).item() == pytest.approx(0, abs=1e-6)
    assert plcc_loss(rising, -rising).item() == pytest.approx(1, abs=1e-6)


def test_plcc_loss_of_a_constant_has_a_finite_gradient() -> None:
    x = torch.full((4,), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(plcc_loss(x, torch.arange(4.0)), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_monotonicity_counts_pairs_in_the_wrong_order(margin: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=9), rng.integers(0, 4, 9).astype(float)
    hinges = [
        max(0.0, margin - (x[i] - x[j]) * np.sign(y[i] - y[j]))
        for i, j in itertools.combinations(range(9), 2)
        if y[i] != y[j]
    ]
    found = monotonicity_loss(torch.from_numpy(x), torch.from_numpy(y), margin).item()
    assert found == pytest.approx(np.mean(hinges), abs=1e-12)


def test_monotonicity_of_the_right_order_is_zero() -> None:
    assert monotonicity_loss(torch.arange(4.0), torch.tensor([1.0, 3.0, 7.0, 9.0])).item() == 0
    assert monotonicity_loss(torch.arange(4.0), torch.ones(4)).item() == 0


def test_mixed_domains_start_on_each_label_range() -> None:
    loss = MixedDomainsLoss([(1.0, 5.0), (0.0, 100.0)])
    aligned = loss.align(torch.tensor([0.5, 0.5]), torch.tensor([0, 1]))
    assert aligned.tolist() == pytest.approx([3.0, 50.0])


def test_mixed_domains_weigh_the_worst_domain_most() -> None:
    loss = MixedDomainsLoss([(0.0, 1.0), (0.0, 1.0)])
    relative = torch.tensor([0.1, 0.5, 0.9, 0.1, 0.5, 0.9])
    label = torch.tensor([0.1, 0.5, 0.9, 0.9, 0.5, 0.1])
    domain = torch.tensor([0, 0, 0, 1, 1, 1])
    parts = [loss(relative[domain == d], label[domain == d], domain[domain == d]).item() for d in (0, 1)]
    expected = sum(math.exp(part) * part for part in parts) / sum(math.exp(part) for part in parts)
    assert parts[1] > parts[0]
    assert loss(relative, label, domain).item() == pytest.approx(expected, abs=1e-6)


def test_mixed_domains_can_be_trained_through() -> None:
    loss = MixedDomainsLoss([(0.0, 1.0), (10.0, 60.0)])
    relative = torch.rand(8, requires_grad=True)
    loss(relative, torch.rand(8) * 60, torch.tensor([0, 1] * 4)).backward()
    for tensor in (relative, *loss.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_a_domain_without_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        MixedDomainsLoss([(1.0, 1.0)])
