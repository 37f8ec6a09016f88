"""The bundled model's head in torch.

It computes just what ``monitor.core.head.TrunkHead`` computes; a test holds the two together. Variants leave parts
out, for ablations; only the whole one can run in the monitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from monitor.types import CAUSES, F64
from training.head_data import Clips
from training.models import hysteresis_pool
from training.synthesis import SAMPLE_FPS

HIDDEN, TRUNK_IN, SIDE_IN = 32, 64, 64
#: Averages behind the causes forget over this time.
FORGET_S = 2.0
#: Pooling window and what an epoch's start hides, in samples at SAMPLE_FPS; other rates cover the same time.
TAU, WARMUP = 12, 12
_CLAMP = 6.0
_AT_ONCE = 256
#: Share of what is read of the trunk that is left out at random while a head learns, one draw for a whole clip: drawn
#: for each sample anew, the recurrence averages it away. Features tell contents apart as well as impairments: with half
#: of them left out sample by sample, a head called its own clean clips clean (.998) far more often than new ones (.81).
_TRUNK_DROPOUT = 0.8


@dataclass(frozen=True, slots=True)
class HeadVariant:
    """What of the head there is.

    Attributes:
        cell: ``gru``, or ``none``: every sample by itself.
        pooling: ``hysteresis``, or ``mean``: the plain mean over the clip.
        trunk: Reads the trunk.
        side: Reads the side channel.
    """

    cell: Literal["gru", "none"] = "gru"
    pooling: Literal["hysteresis", "mean"] = "hysteresis"
    trunk: bool = True
    side: bool = True


class State(NamedTuple):
    """All that a head carries from sample to sample.

    Attributes:
        hidden: (B, H) of the recurrence.
        mean_hidden: (B, H) slow average of it.
        peak: (B, H) leaky peak of it.
        mean_input: (B, D) slow average of the recurrence's input.
        age: Samples so far.
    """

    hidden: Tensor
    mean_hidden: Tensor
    peak: Tensor
    mean_input: Tensor
    age: int


def samples_at(count: int, fps: float, least: int = 1) -> int:
    """A time that is given in samples at SAMPLE_FPS, in samples at another rate."""
    return max(least, round(count * fps / SAMPLE_FPS))


class HeadModel(nn.Module):
    """The head over whole sequences.

    Args:
        clips: What inputs are standardised by; also gives the rate.
        variant: What of it there is.
    """

    def __init__(self, clips: Clips, variant: HeadVariant | None = None) -> None:
        super().__init__()
        self.variant = variant or HeadVariant()
        self.fps = clips.fps
        self.tau, self.warmup = samples_at(TAU, clips.fps, 2), samples_at(WARMUP, clips.fps)
        self.decay = 1 / (FORGET_S * clips.fps)
        for name, values in (("trunk", clips.trunk), ("side", clips.side)):
            flat = torch.from_numpy(values.reshape(-1, values.shape[-1]))
            self.register_buffer(f"{name}_mean", flat.mean(0))
            self.register_buffer(f"{name}_sd", flat.std(0).clamp_min(1e-3))
        self.trunk_in = nn.Linear(clips.trunk.shape[-1], TRUNK_IN)
        self.side_in = nn.Linear(clips.side.shape[-1], SIDE_IN)
        inputs = TRUNK_IN + SIDE_IN
        self.gru = nn.GRU(inputs, HIDDEN, batch_first=True)
        self.alone = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh())
        self.q = nn.Linear(HIDDEN, 1)
        self.cause = nn.Linear(3 * HIDDEN + inputs, len(CAUSES))

    def forward(
        self, trunk: Tensor, side: Tensor, read_at: Sequence[int], state: State | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Runs over a stretch of samples.

        Args:
            trunk: (B, T, K).
            side: (B, T, S).
            read_at: Samples of this stretch at which causes are read, rising.
            state: What an earlier stretch left; None is a new epoch.

        Returns:
            q (B, T) in [0, 1], cause logits (B, len(read_at), C), and the state after the stretch.
        """
        x = self._inputs(trunk, side)
        before = None if state is None else state.hidden.unsqueeze(0)
        hidden = self.gru(x, before)[0] if self.variant.cell == "gru" else self.alone(x)
        logits, state = self._causes(hidden, x, read_at, state)
        q = torch.sigmoid(self.q(hidden)).squeeze(2)
        none = q.new_empty(len(q), 0, len(CAUSES))
        return q, torch.stack(logits, dim=1) if logits else none, state

    def _inputs(self, trunk: Tensor, side: Tensor) -> Tensor:
        trunk = ((trunk - self.trunk_mean) / self.trunk_sd).clamp(-_CLAMP, _CLAMP)
        side = ((side - self.side_mean) / self.side_sd).clamp(-_CLAMP, _CLAMP)
        if self.training:
            trunk = trunk * nn.functional.dropout(trunk.new_ones(len(trunk), 1, trunk.shape[2]), _TRUNK_DROPOUT)
        left, right = torch.relu(self.trunk_in(trunk)), torch.relu(self.side_in(side))
        if self.training and self.variant.side:
            # At times without the trunk: what the side channel can tell is not left to it.
            left = left * (torch.rand(len(left), 1, 1) > 0.2)
        x = torch.cat([left * self.variant.trunk, right * self.variant.side], dim=2)
        return nn.functional.dropout(x, 0.2) if self.training else x

    def _causes(
        self, hidden: Tensor, x: Tensor, read_at: Sequence[int], state: State | None
    ) -> tuple[list[Tensor], State]:
        """Logits at ``read_at`` and the state after the stretch, for all samples at once.

        The monitor steps averages and peaks sample by sample. Unrolled, an average is a weighted sum of what came, and
        the leaky peak, ``p = max(h, (1 - d) p + d m)``, is ``a + max over s of (1 - d)^(t - s) (h_s - a_s)``, where
        ``a = (1 - d) a + d m`` is the leak without any peak.
        """
        age, length = (0 if state is None else state.age), hidden.shape[1]
        mean_hidden, mean_input = hidden[:, 0], x[:, 0]
        if state is not None:
            mean_hidden, mean_input = state.mean_hidden, state.mean_input
        average, first = _average_weights(age, length, self.decay)
        leak, fade = _leak_weights(length, self.decay)
        means = torch.einsum("ts,bsh->bth", average, hidden) + first[:, None] * mean_hidden[:, None]
        leaked = torch.einsum("ts,bsh->bth", leak, means)
        above = hidden - leaked
        logits = []
        last = length - 1
        for t in sorted({*read_at, last}):
            peak = leaked[:, t] + (fade[last - t :, None] * above[:, : t + 1]).amax(dim=1)
            if state is not None:
                peak = torch.maximum(peak, leaked[:, t] + (1 - self.decay) ** (t + 1) * state.peak)
            mean = means[:, t]
            mean_of_input = torch.einsum("s,bsd->bd", average[t], x) + first[t] * mean_input
            if t in read_at:
                read = torch.cat([mean, peak, hidden[:, t], mean_of_input], dim=1)
                if self.variant.cell == "none":
                    # Without a memory: peaks and means of a clip would be one.
                    read = torch.cat([mean, mean, mean, mean_of_input], dim=1)
                logits.append(self.cause(read))
        return logits, State(hidden[:, -1], mean, peak, mean_of_input, age + length)

    def pooled(self, q: Tensor) -> Tensor:
        """Clip scores (B,) of the quality of whole clips, (B, T)."""
        if self.variant.pooling == "mean":
            return q[:, self.warmup :].mean(dim=1)
        return hysteresis_pool(q, self.tau)[:, self.warmup :].mean(dim=1)

    def arrays(self, outputs: nn.Linear) -> dict[str, npt.NDArray[np.floating]]:
        """The arrays of ``monitor.core.head.TrunkHead``; ``outputs`` is the trunk's own last layer."""
        if self.variant != HeadVariant():
            raise ValueError("only the whole head runs in the monitor")
        gru = self.gru
        named: dict[str, Tensor] = {
            "bottleneck_w": outputs.weight,
            "bottleneck_b": outputs.bias,
            "trunk_mean": self.trunk_mean,
            "trunk_sd": self.trunk_sd,
            "side_mean": self.side_mean,
            "side_sd": self.side_sd,
            "trunk_in_w": self.trunk_in.weight,
            "trunk_in_b": self.trunk_in.bias,
            "side_in_w": self.side_in.weight,
            "side_in_b": self.side_in.bias,
            "w_ih": gru.weight_ih_l0,
            "w_hh": gru.weight_hh_l0,
            "b_ih": gru.bias_ih_l0,
            "b_hh": gru.bias_hh_l0,
            "q_w": self.q.weight[0],
            "q_b": self.q.bias[0],
            "cause_w": self.cause.weight,
            "cause_b": self.cause.bias,
            "decay": torch.tensor(self.decay, dtype=torch.float64),
        }
        return {name: value.detach().cpu().numpy() for name, value in named.items()}


@lru_cache(maxsize=256)
def _average_weights(age: int, length: int, decay: float) -> tuple[Tensor, Tensor]:
    """What each sample and the average before weigh in the running averages.

    Args:
        age: Samples before.
        length: T.
        decay: The weight of the newest sample is 1/age until the average is as old as it is long.

    Returns:
        (T, T), zero above the diagonal, and (T,).
    """
    weights, first = np.zeros((length, length)), np.zeros(length)
    row, before = np.zeros(length), 1.0
    for t in range(length):
        newest = max(1 / (age + t + 1), decay)
        row *= 1 - newest
        before *= 1 - newest
        row[t] = newest
        weights[t], first[t] = row, before
    return torch.from_numpy(weights).float(), torch.from_numpy(first).float()


@lru_cache(maxsize=64)
def _leak_weights(length: int, decay: float) -> tuple[Tensor, Tensor]:
    """(T, T) weights of a leak that starts at zero, and (T,) what is left of a peak after T-1, ..., 1, 0 samples."""
    apart = np.arange(length)[:, None] - np.arange(length)
    leak = np.where(apart >= 0, decay * (1 - decay) ** np.maximum(apart, 0), 0.0)
    return torch.from_numpy(leak).float(), torch.from_numpy((1 - decay) ** np.arange(length - 1, -1, -1)).float()


@torch.no_grad()
def predict(models: Sequence[HeadModel], clips: Clips) -> tuple[F64, F64]:
    """Clip scores (N,) in [0, 1] and cause probabilities (N, C) at the end of each clip: the means over models.

    Qualities are averaged before pooling, as the monitor's bagged head does.
    """
    scores, causes = [], []
    for start in range(0, len(clips.facts), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        trunk, side = torch.from_numpy(clips.trunk[part]), torch.from_numpy(clips.side[part])
        qualities, said = [], []
        for model in models:
            model.eval()
            q, logits, _ = model(trunk, side, [clips.length - 1])
            qualities.append(q)
            said.append(torch.softmax(logits[:, -1].double(), dim=1))
        scores.append(models[0].pooled(torch.stack(qualities).mean(dim=0)).double().numpy())
        causes.append(torch.stack(said).mean(dim=0).numpy())
    return np.concatenate(scores), np.concatenate(causes)
