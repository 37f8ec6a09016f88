"""Losses of the study: VSFA's L1, and MDTVSFA's three-part loss for labels of several scales.

MDTVSFA: Li, Jiang, Jiang, "Unified Quality Assessment of In-the-Wild Videos with Mixed Datasets Training",
IJCV 2021. A *domain* is a source of labels with a scale of its own: a data set, or one kind of pseudo-label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def plcc_loss(predicted: Tensor, label: Tensor) -> Tensor:
    """(1 - Pearson correlation) / 2 of two (B,) vectors: 0 at best, 1 if reversed, 1/2 if one is constant."""
    x, y = predicted - predicted.mean(), label - label.mean()
    # The floor under the norms keeps the gradient finite for a constant batch.
    correlation: Tensor = (x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-8)
    return (1 - correlation) / 2


def monotonicity_loss(predicted: Tensor, label: Tensor, margin: float = 0.0) -> Tensor:
    """Pairwise hinge: how far pairs stand in the wrong order, averaged over pairs with different labels.

    Args:
        predicted: (B,).
        label: (B,), only its order counts.
        margin: Distance that the better one of a pair is asked to keep.

    Returns:
        A scalar, 0 where no two labels differ.
    """
    better = torch.sign(label[:, None] - label[None, :])
    gap = (predicted[:, None] - predicted[None, :]) * better
    differ = better != 0
    return (F.relu(margin - gap) * differ).sum() / differ.sum().clamp_min(1)


class ScaledL1Loss(nn.Module):
    """VSFA's loss: mean absolute error to labels that are divided by the largest label of the data set.

    Args:
        ranges: Lowest and highest label of every domain; the lowest is not used.
    """

    def __init__(self, ranges: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        if any(high <= 0 for _, high in ranges):
            raise ValueError(f"labels are divided by the largest, which must be positive, got {list(ranges)}")
        self.register_buffer("scale", torch.tensor([high for _, high in ranges]))
        self.scale: Tensor

    def align(self, score: Tensor, domain: Tensor) -> Tensor:
        """Scores in label units: (B,) head output and (B,) int64 domain -> (B,)."""
        return score * self.scale[domain]

    def forward(self, score: Tensor, label: Tensor, domain: Tensor) -> Tensor:
        """Loss of a batch of (B,) head outputs, labels in their domain's units, and int64 domains."""
        return F.l1_loss(score, label / self.scale[domain])


class MixedDomainsLoss(nn.Module):
    """MDTVSFA's loss: one relative score for all domains, and a line per domain onto its labels.

    The relative score r in 0..1 is mapped by a logistic that all domains share, then by each domain's line. A
    domain's loss is the sum of `plcc_loss` on the mapped score, `monotonicity_loss` on r, and L1 on the
    aligned score over the label range. The losses l of the domains are combined as sum(e^l l) / sum(e^l), so
    that the worst one is not left behind.

    Args:
        ranges: Lowest and highest label of every domain.
    """

    def __init__(self, ranges: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        if any(high <= low for low, high in ranges):
            raise ValueError(f"every domain needs a range of labels, got {list(ranges)}")
        # 2 sqrt(3) r - sqrt(3) standardises a uniform r: MDTVSFA's start.
        self.slope = nn.Parameter(torch.tensor(2 * math.sqrt(3)))
        self.offset = nn.Parameter(torch.tensor(-math.sqrt(3)))
        self.scale = nn.Parameter(torch.tensor([high - low for low, high in ranges]))
        self.bias = nn.Parameter(torch.tensor([low for low, _ in ranges]))
        self.register_buffer("span", torch.tensor([high - low for low, high in ranges]))
        self.span: Tensor

    def align(self, relative: Tensor, domain: Tensor) -> Tensor:
        """Scores in the units of each clip's domain: (B,) relative and (B,) int64 domain -> (B,)."""
        return self.scale[domain] * self._map(relative) + self.bias[domain]

    def _map(self, relative: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * relative + self.offset)

    def forward(self, relative: Tensor, label: Tensor, domain: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            relative: (B,) bounded scores.
            label: (B,) labels, each in its domain's units.
            domain: (B,) int64 domain of every clip.

        Returns:
            A scalar.
        """
        losses = []
        for d in torch.unique(domain).tolist():
            of_domain = domain == d
            r, y = relative[of_domain], label[of_domain]
            absolute = F.l1_loss(self.align(r, domain[of_domain]), y) / self.span[d]
            losses.append(plcc_loss(self._map(r), y) + monotonicity_loss(r, y) + absolute)
        stacked = torch.stack(losses)
        return (torch.softmax(stacked, dim=0) * stacked).sum()
