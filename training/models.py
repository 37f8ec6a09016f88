"""The four heads of the study's Table 1: cached frame features (T, F) -> one score per clip.

| row | per frame | over time | pooling |
|---|---|---|---|
| no-time | Linear(F, 128) -> Linear(128, 1) | nothing | mean |
| avg-GRU | Linear(F, 128) -> GRU(32) -> Linear(32, 1) | GRU | mean |
| sub-LSTM | Linear(F, 128) -> LSTM(32) -> Linear(32, 1) | LSTM | hysteresis, then mean |
| sub-GRU | Linear(F, 128) -> GRU(32) -> Linear(32, 1) | GRU | hysteresis, then mean |

sub-GRU is VSFA (Li, Jiang, Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019). The study does
not say what "no-time" keeps of it; the row above is our reading: the same reduction, scored frame by frame.
Outputs are in label units divided by the largest label, about 0..1: the hysteresis weighs by exp(-q), so its
strength depends on that scale.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.vsfa_weights import head_arrays, vsfa_state
from training.errors import DataError

#: Quality beyond the end of a clip: exp(-1e4) is exactly 0, so it weighs nothing (VSFA's constant).
_BEYOND_END = 1e4


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What a head is made of.

    Attributes:
        features: Width F of a frame's feature vector (ResNet-50 mean and std: 4096).
        reduced: Width after the first linear layer.
        hidden: Width of the recurrent state.
        cell: ``gru``, ``lstm`` or ``none``.
        pooling: ``hysteresis`` or ``mean``.
        tau: Window of the hysteresis, in frames (not seconds: 12 are 0.48 s at 25 fps, 2.4 s at 5 fps).
        beta: Weight of the look-ahead term of the hysteresis, 0..1.
        bounded: Pass the clip's score through a sigmoid, as MDTVSFA does.
    """

    features: int = 4096
    reduced: int = 128
    hidden: int = 32
    cell: str = "gru"
    pooling: str = "hysteresis"
    tau: int = 12
    beta: float = 0.5
    bounded: bool = False


#: Table 1, by the paper's names.
ROWS = {
    "no-time": HeadConfig(cell="none", pooling="mean"),
    "avg-GRU": HeadConfig(cell="gru", pooling="mean"),
    "sub-LSTM": HeadConfig(cell="lstm", pooling="hysteresis"),
    "sub-GRU": HeadConfig(cell="gru", pooling="hysteresis"),
}


def hysteresis_pool(quality: Tensor, tau: int = 12, beta: float = 0.5) -> Tensor:
    """VSFA's temporal pooling layer, differentiable.

    q'[t] = (1 - beta) * min(q[t-tau+1 .. t]) + beta * mean of q[t .. t+tau-1] weighted by exp(-q), both
    windows cut at the ends of the clip. The weights are normalised by softmax, which is the same and does
    not underflow.

    Args:
        quality: (..., T) frame quality; frames beyond a clip's end hold a large number such as 1e4.
        tau: Window in frames, >= 1.
        beta: Weight of the look-ahead mean, 0..1.

    Returns:
        (..., T).

    Source: VSFA, ACM MM 2019, section 3.2; the windows are those of the released code and hold frame t.
    """
    rows = quality.reshape(-1, 1, quality.shape[-1])  # (..., T) -> (N, 1, T)
    worst = -F.max_pool1d(F.pad(-rows, (tau - 1, 0), value=-torch.inf), tau, stride=1)
    ahead = F.pad(rows, (0, tau - 1), value=_BEYOND_END).unfold(-1, tau, 1)  # (N, 1, T, tau)
    softmin = (ahead * torch.softmax(-ahead, dim=-1)).sum(dim=-1)
    return ((1 - beta) * worst + beta * softmin).reshape(quality.shape)


class QualityHead(nn.Module):
    """One row of the table.

    Args:
        config: Which.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.reduce = nn.Linear(config.features, config.reduced)  # no activation follows, as in VSFA
        self.rnn: nn.Module
        if config.cell == "none":
            self.rnn = nn.Identity()
        elif config.cell in ("gru", "lstm"):
            cell = nn.GRU if config.cell == "gru" else nn.LSTM
            self.rnn = cell(config.reduced, config.hidden, batch_first=True)
        else:
            raise ValueError(f"cell must be gru, lstm or none, not {config.cell!r}")
        if config.pooling not in ("hysteresis", "mean"):
            raise ValueError(f"pooling must be hysteresis or mean, not {config.pooling!r}")
        self.q = nn.Linear(config.reduced if config.cell == "none" else config.hidden, 1)

    def frame_quality(self, reduced: Tensor) -> Tensor:
        """Frame quality q of reduced features, from a zero state: (B, T, reduced) -> (B, T)."""
        if self.config.cell == "none":
            state = reduced
        else:
            state, _ = self.rnn(reduced)  # (B, T, hidden)
        quality: Tensor = self.q(state).squeeze(-1)
        return quality

    def pool(self, quality: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Pool frame quality over each clip.

        Args:
            quality: (B, T), padded at the end.
            lengths: (B,) true lengths, >= 1.

        Returns:
            Pooled frame quality (B, T), of which only the first ``lengths`` count, and clip scores (B,).
        """
        inside = torch.arange(quality.shape[1], device=quality.device) < lengths[:, None]
        pooled = quality
        if self.config.pooling == "hysteresis":
            held = torch.where(inside, quality, _BEYOND_END)
            pooled = hysteresis_pool(held, self.config.tau, self.config.beta)
        score = torch.where(inside, pooled, 0.0).sum(dim=1) / lengths
        return pooled, torch.sigmoid(score) if self.config.bounded else score

    def forward(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Score whole clips.

        Frames of all clips are reduced in one product, before padding, so padding costs nothing there; the
        recurrent cell runs over the padding, which it cannot look back from, and pooling leaves it out.

        Args:
            frames: (sum of lengths, F) features, clip after clip.
            lengths: Frames of each of the B clips, >= 1.

        Returns:
            (B,) scores.
        """
        reduced = self.reduce(frames)  # (sum T, F) -> (sum T, reduced)
        padded = nn.utils.rnn.pad_sequence(list(reduced.split(list(lengths))), batch_first=True)  # (B, T, ·)
        return self.pool(self.frame_quality(padded), torch.tensor(lengths, device=padded.device))[1]


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Everything a head says about one clip.

    Attributes:
        q: (T,) frame quality.
        pooled: (T,) frame quality after pooling.
        score: Clip score.
    """

    q: Tensor
    pooled: Tensor
    score: float


@torch.no_grad()
def score_clip(head: QualityHead, features: Tensor) -> ClipScore:
    """Score one clip in the head's own precision.

    Args:
        head: Trained head.
        features: (T, F), T >= 1, of the head's dtype.
    """
    if features.ndim != 2 or features.shape[0] < 1 or features.shape[1] != head.config.features:
        raise ValueError(f"features must be (T, {head.config.features}), got {tuple(features.shape)}")
    q = head.frame_quality(head.reduce(features)[None])
    pooled, score = head.pool(q, torch.tensor([len(features)]))
    return ClipScore(q[0], pooled[0], float(score[0]))


def save_head(head: QualityHead, path: Path) -> None:
    """Write a head that `load_head` reads: its configuration and its weights."""
    torch.save({"config": asdict(head.config), "state": head.state_dict()}, path)


def load_head(path: Path) -> QualityHead:
    """A head on the CPU, ready to score: one of `save_head`, or the released ``VSFA.pt`` as a sub-GRU.

    Only tensors and plain values are read from the file; nothing in it is executed.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(saved, dict):
            raise TypeError(f"a {type(saved).__name__}")
        if "config" in saved:
            config, state = HeadConfig(**saved["config"]), saved["state"]
        else:
            state = vsfa_state(saved)
            reduced, features = state["reduce.weight"].shape
            config = HeadConfig(features, reduced, state["rnn.weight_hh_l0"].shape[1])
        head = QualityHead(config)
        head.load_state_dict(state)
    except OSError as error:
        raise DataError(path.name, [f"cannot be read: {error.strerror or error}"]) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise DataError(path.name, [f"holds no head: {' '.join(str(error).split())}"]) from error
    return head.eval()


#: Cell of a head -> kind of head in a bundle's manifest.
HEAD_KINDS = {"gru": "vsfa", "lstm": "vsfa-lstm", "none": "vsfa-frame"}


def to_arrays(head: QualityHead) -> dict[str, npt.NDArray[np.float32]]:
    """Weights under the names of ``monitor.core.head.VsfaHead``."""
    return head_arrays(head.state_dict())
