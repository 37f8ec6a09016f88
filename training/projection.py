"""Frame features turned and cut to their leading components, so that a head trains in minutes.

The first layer of a head has no activation, so a head on projected features *is* a head on full features
whose first layer reads a subspace: `Projection.unfold` gives it back exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from training.feature_set import Features
from training.models import QualityHead

#: Frames that the components are taken from; 8192 determine a few hundred of them well.
_SAMPLE = 8192


@dataclass(frozen=True, slots=True)
class Projection:
    """Rotation into the leading principal components, without whitening: lengths keep their meaning.

    Attributes:
        mean: (F,) mean of the training frames.
        basis: (F, K) orthonormal columns.
    """

    mean: Tensor
    basis: Tensor

    @classmethod
    def fit(cls, features: Sequence[Features], components: int) -> Projection:
        """Components of evenly spaced frames of the training clips; uses torch's global random state.

        Args:
            features: Arrays (T_i, F) of the training clips alone.
            components: K, at most F and at most the number of frames.
        """
        total = sum(len(array) for array in features)
        step = max(1, total // _SAMPLE)
        frames = torch.from_numpy(np.concatenate([np.asarray(array[::step], np.float32) for array in features]))
        mean = frames.mean(dim=0)
        k = min(components, *frames.shape)
        _, _, basis = torch.pca_lowrank(frames - mean, q=k, center=False, niter=2)
        return cls(mean, basis)

    def project(self, array: Features) -> Features:
        """(T, F) -> (T, K) float32."""
        frames = torch.from_numpy(np.array(array, dtype=np.float32))
        projected: Features = ((frames - self.mean) @ self.basis).numpy()
        return projected

    def fold(self, head: QualityHead) -> QualityHead:
        """A head for projected features that starts where ``head`` does on features less their mean.

        The mean is left out on purpose: features far from zero would saturate the recurrent cell from the start.
        """
        small = QualityHead(replace(head.config, features=self.basis.shape[1]))
        state = dict(head.state_dict())
        state["reduce.weight"] = state["reduce.weight"] @ self.basis  # (128, F) -> (128, K)
        small.load_state_dict(state)
        return small

    def unfold(self, head: QualityHead) -> QualityHead:
        """The head on full features that scores as ``head`` does on projected ones."""
        full = QualityHead(replace(head.config, features=self.basis.shape[0]))
        state = dict(head.state_dict())
        weight = state["reduce.weight"] @ self.basis.T  # (128, F)
        state["reduce.bias"] = state["reduce.bias"] - weight @ self.mean
        state["reduce.weight"] = weight
        full.load_state_dict(state)
        return full
