"""Published weights: the released VSFA head and ResNets in torchvision's format (torch; not needed at run time).

Only tensors and plain values are read from a file; nothing in it is executed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.backbone import Trunk, load_backbone_weights
from engines.errors import BundleError

#: Beginnings of names in the released checkpoint -> ours. Its ``ann.fc`` is a layer that the model never runs.
_NAMES = {"ann.fc0.": "reduce.", "rnn.": "rnn.", "q.": "q."}
#: Ours -> names of ``monitor.core.head.VsfaHead``; the cell's are absent where nothing remembers.
_ARRAYS = {
    "reduce.weight": "fc_w",
    "reduce.bias": "fc_b",
    "rnn.weight_ih_l0": "w_ih",
    "rnn.weight_hh_l0": "w_hh",
    "rnn.bias_ih_l0": "b_ih",
    "rnn.bias_hh_l0": "b_hh",
    "q.weight": "q_w",
    "q.bias": "q_b",
}


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict: tensors by name, on the CPU.

    Raises:
        BundleError: The file is missing, damaged or something else.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        # torch's own words advise to read it unsafely.
        raise BundleError(f"{path}: is damaged, or holds more than tensors") from error
    if not isinstance(saved, Mapping) or not saved or not all(isinstance(v, Tensor) for v in saved.values()):
        raise BundleError(f"{path}: is no state dict, which is tensors by name")
    return {str(name): value for name, value in saved.items()}


def read_resnet(path: Path, depth: int) -> dict[str, Tensor]:
    """A ResNet's state dict in torchvision's names, checked to be of that depth at full width.

    Raises:
        BundleError: It is not one; the message names up to three tensors.
    """
    state = read_state(path)
    try:
        load_backbone_weights(Trunk(depth), state)
    except ValueError as error:
        raise BundleError(f"{path}: not the weights of ResNet-{depth}: {error}") from error
    return state


def read_trunk(path: Path, depth: int) -> Trunk:
    """A trunk with a ResNet's published weights, RGB, in evaluation mode.

    Raises:
        BundleError: See `read_resnet`.
    """
    trunk = Trunk(depth)
    try:
        load_backbone_weights(trunk, read_state(path))
    except ValueError as error:
        raise BundleError(f"{path}: not the weights of ResNet-{depth}: {error}") from error
    return trunk.eval()


def vsfa_state(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a released VSFA checkpoint the layers that run, as ``reduce.*``, ``rnn.*`` and ``q.*``."""
    return {
        new + name.removeprefix(old): value
        for name, value in saved.items()
        for old, new in _NAMES.items()
        if name.startswith(old)
    }


def head_arrays(state: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    """Weights named as in `vsfa_state`, as ``monitor.core.head.VsfaHead`` takes them."""
    arrays = {new: state[old].detach().float().numpy() for old, new in _ARRAYS.items() if old in state}
    return arrays | {name: arrays[name][0] for name in ("q_w", "q_b") if name in arrays}


def read_vsfa_head(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of a released VSFA head (Li, Jiang, Jiang, ACM MM 2019), for ``monitor.core.head.VsfaHead``.

    Raises:
        BundleError: The file is not such a checkpoint; the message names the first tensor that is missing.
    """
    state = vsfa_state(read_state(path))
    for name in _ARRAYS:
        if name not in state:
            released = next((old + name.removeprefix(new) for old, new in _NAMES.items() if name.startswith(new)), name)
            raise BundleError(f"{path}: holds no VSFA head: {released} is missing")
    for name, dimensions in {"reduce.weight": 2, "q.weight": 2, "q.bias": 1}.items():
        if state[name].ndim != dimensions or (name != "reduce.weight" and len(state[name]) != 1):
            raise BundleError(f"{path}: holds no VSFA head: {name} has shape {tuple(state[name].shape)}")
    return head_arrays(state)
