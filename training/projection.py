"""Frame features cut to the subspace that holds most of them, so that a head trains in minutes.

The first layer of a head has no activation, so a head on projected features *is* a head on full features
whose first layer reads a subspace: `Projection.unfold` gives it back exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from training.feature_set import Features
from training.models import QualityHead

#: Frames that the subspace is taken from; 8192 determine a few hundred directions well.
_SAMPLE = 8192


@dataclass(frozen=True, slots=True)
class Projection:
    """Features on the strongest directions of the training frames.

    Three choices keep training as it is on full features, where Adam would notice a change of basis. The mean
    stays in: it is the strongest direction, and without it a head overfits in a few epochs. The basis of the
    subspace is a random one: on principal axes weak directions would be learned as fast as strong ones. One
    factor for all makes the root mean square 1, so that a learning rate fits any trunk.

    Attributes:
        basis: (F, K) orthonormal columns.
        scale: Factor after the projection.
    """

    basis: Tensor
    scale: float

    @classmethod
    def fit(cls, features: Sequence[Features], components: int) -> Projection:
        """Subspace of evenly spaced frames of the training clips; uses torch's global random state.

        Args:
            features: Arrays (T_i, F) of the training clips alone.
            components: K; less where F or the number of frames is less.
        """
        step = max(1, sum(len(array) for array in features) // _SAMPLE)
        frames = torch.from_numpy(np.concatenate([np.asarray(array[::step], np.float32) for array in features]))
        k = min(components, *frames.shape)
        _, _, axes = torch.pca_lowrank(frames, q=k, center=False, niter=2)
        turn, _ = torch.linalg.qr(torch.randn(k, k))
        basis = axes @ turn
        rms = float((frames @ basis).square().mean().sqrt())
        return cls(basis, 1 / rms if rms > 0 and math.isfinite(rms) else 1.0)

    def project(self, array: Features) -> Features:
        """(T, F) -> (T, K) float32."""
        projected: Features = (torch.from_numpy(np.array(array, np.float32)) @ self.basis * self.scale).numpy()
        return projected

    def fold(self, head: QualityHead) -> QualityHead:
        """A head for projected features that scores what lies in the subspace as ``head`` does."""
        return _with_first_layer(head, head.reduce.weight @ self.basis / self.scale)

    def unfold(self, head: QualityHead) -> QualityHead:
        """The head on full features that scores as ``head`` does on projected ones."""
        return _with_first_layer(head, head.reduce.weight @ self.basis.T * self.scale)


def _with_first_layer(head: QualityHead, weight: Tensor) -> QualityHead:
    """The same head with another first layer, (reduced, width)."""
    other = QualityHead(replace(head.config, features=weight.shape[1]))
    other.load_state_dict(head.state_dict() | {"reduce.weight": weight.detach()})
    return other
