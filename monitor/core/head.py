"""Temporal heads: features of one sample in, frame quality and causes out, state carried by the caller.

A head has two halves. ``reduce`` is stateless: it may be batched over anything. ``step`` advances the recurrent
state of as many streams as there are rows, one sample each. Everything behind the features is float64: it costs
microseconds, and makes the result independent of how samples were batched to far below 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from monitor.types import CAUSES, F64

Arrays = Mapping[str, npt.NDArray[np.floating]]

#: Inputs are standardised and cut at this many standard deviations, so that an odd picture cannot throw the state.
_CLAMP = 6.0

#: Arrays of a bagged head: ``member0.w_ih``.
_MEMBER = "member"


class HeadOutput(NamedTuple):
    """One step of B streams.

    Attributes:
        state: (B, state_size) new states.
        q: (B,) frame quality in [0, 1] units (unbounded heads may leave the interval).
        causes: (B, len(CAUSES)) probabilities, or (B, 0) where the head names no causes.
    """

    state: F64
    q: F64
    causes: F64


class Head(Protocol):
    """What the pipeline needs of a head. Immutable after construction; safe to share between threads."""

    feature_size: int
    side_size: int
    input_size: int
    state_size: int
    names_causes: bool

    def reduce(self, features: npt.NDArray[np.floating], side: npt.NDArray[np.floating] | None) -> F64:
        """(B, feature_size), (B, side_size or more) side channel -> (B, input_size) inputs of the recurrence."""
        ...

    def step(self, reduced: F64, state: F64) -> HeadOutput:
        """Advances B states by one sample each: (B, input_size), (B, state_size)."""
        ...


class VsfaHead:
    """VSFA's head: Linear, GRU, Linear; or the same with an LSTM, or with nothing that remembers.

    Source: Li, Jiang, Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019, and its released code: no
    activation after the first Linear, h0 = 0, output unbounded.

    Args:
        arrays: ``fc_w (D, F), fc_b (D), w_ih (3H, D), w_hh (3H, H), b_ih, b_hh (3H)`` with gates in the order r, z, n,
            ``q_w (H), q_b ()``. An LSTM has 4H rows, its gates in the order i, f, g, o; without a cell the four
            arrays are not there and ``q_w`` is (D).
        bounded: Put a sigmoid behind the last Linear: behind every sample's quality, before pooling.
        cell: ``gru``, ``lstm`` or ``none``.

    Raises:
        ValueError: An array is missing or its shape does not fit the others.
    """

    side_size = 0
    names_causes = False

    def __init__(self, arrays: Arrays, *, bounded: bool = False, cell: str = "gru") -> None:
        self._fc_w, self._fc_b = _take(arrays, "fc_w", 2), _take(arrays, "fc_b", 1)
        self._q_w, self._q_b = _take(arrays, "q_w", 1), _take(arrays, "q_b", 0)
        self._bounded = bounded
        reduced, self.feature_size = self._fc_w.shape
        self.input_size = reduced
        self._cell: _Gru | _Lstm | None = None
        if cell != "none":
            self._cell = _Gru(arrays) if cell == "gru" else _Lstm(arrays)
            _same("fc_w rows and w_ih columns", reduced, self._cell.inputs)
        self.state_size = self._cell.state_size if self._cell else 0
        _same("q_w and what it reads", self._q_w.shape[0], self._cell.hidden if self._cell else reduced)

    def reduce(self, features: npt.NDArray[np.floating], side: npt.NDArray[np.floating] | None) -> F64:
        """(B, F) -> (B, 128)."""
        return features.astype(np.float64) @ self._fc_w.T + self._fc_b

    def step(self, reduced: F64, state: F64) -> HeadOutput:
        """One step of the cell and the quality it gives."""
        read = reduced
        if self._cell is not None:
            state = self._cell.step(reduced, state)
            read = state[:, : self._cell.hidden]
        q = read @ self._q_w + self._q_b
        return HeadOutput(state, _sigmoid(q) if self._bounded else q, np.empty((len(q), 0)))


class TrunkHead:
    """The bundled model's head: what the trunk gives beside the side channel, then GRU, quality and causes.

    What the trunk gives are the outputs that it was trained for itself (impairment class, level, full-reference
    value), a bottleneck of a few numbers, and in a wide head, before them, all of its features. Through a wide opening
    a small training set is memorised by content; behind a trunk that knows enough, it tells more.

    Causes are read from slow averages of the recurrence and its input, and from the leaky peak of the hidden state,
    so that a repeat every fifth picture is seen as one thing. State is ``hidden | mean hidden | peak hidden | mean
    input | age``.

    Several heads can be one, a bag: the mean of what heads say that began differently is steadier than any of them.
    Inputs and states of its members lie side by side. They are computed together, with the member as leading axis:
    for a few streams a step costs what its calls cost, not its arithmetic.

    Args:
        members: One or more of ``bottleneck_w (K, F), bottleneck_b (K), trunk_mean, trunk_sd (L), side_mean, side_sd
            (S), trunk_in_w (D, L), trunk_in_b, side_in_w (E, S), side_in_b``, the GRU on D + E inputs, ``q_w, q_b``,
            ``cause_w (C, 3H + D + E), cause_b (C)`` and ``decay ()``, the averages' forgetting per sample. L is K, or
            F + K in a wide head. All members have arrays of the same shapes.
        wide: The trunk's features are read, too.

    Raises:
        ValueError: An array is missing or its shape does not fit the others.
    """

    names_causes = True

    def __init__(self, *members: Arrays, wide: bool = False) -> None:
        if not members:
            raise ValueError("a bagged head needs members")
        self._wide = wide
        self._bottleneck_w, self._bottleneck_b = _stack(members, "bottleneck_w", 2), _stack(members, "bottleneck_b", 1)
        same = all(
            np.array_equal(m[name], members[0][name]) for m in members for name in ("bottleneck_w", "bottleneck_b")
        )
        if same:
            # One trunk, one bottleneck: computed once for all.
            self._bottleneck_w, self._bottleneck_b = self._bottleneck_w[:1], self._bottleneck_b[:1]
        self._trunk_mean, self._trunk_sd = _stack(members, "trunk_mean", 1), _stack(members, "trunk_sd", 1)
        self._side_mean, self._side_sd = _stack(members, "side_mean", 1), _stack(members, "side_sd", 1)
        self._trunk_w, self._trunk_b = _stack(members, "trunk_in_w", 2), _stack(members, "trunk_in_b", 1)
        self._side_w, self._side_b = _stack(members, "side_in_w", 2), _stack(members, "side_in_b", 1)
        self._w_ih, self._b_ih = _stack(members, "w_ih", 2), _stack(members, "b_ih", 1)
        self._w_hh, self._b_hh = _stack(members, "w_hh", 2), _stack(members, "b_hh", 1)
        self._q_w, self._q_b = _stack(members, "q_w", 1), _stack(members, "q_b", 0)
        self._cause_w, self._cause_b = _stack(members, "cause_w", 2), _stack(members, "cause_b", 1)
        self._decay = _stack(members, "decay", 0)[..., None]
        self._count = len(members)
        self._hidden = hidden = self._w_hh.shape[1]
        self._inputs = inputs = self._w_ih.shape[1]
        for array, weights in (("w_ih", self._w_ih), ("w_hh", self._w_hh)):
            _same(f"{array} rows and 3 x GRU size", weights.shape[2], 3 * hidden)
        for array, bias in (("b_ih", self._b_ih), ("b_hh", self._b_hh)):
            _same(f"{array} rows and 3 x GRU size", bias.shape[2], 3 * hidden)
        outputs, features = self._bottleneck_w.shape[2], self._bottleneck_w.shape[1]
        read = "features and bottleneck rows" if wide else "bottleneck rows"
        for array, width in (("trunk_mean", self._trunk_mean.shape[2]), ("trunk_in_w", self._trunk_w.shape[1])):
            _same(f"{array} columns and {read}", width, outputs + features * wide)
        _same(
            "trunk_in and side_in rows and w_ih columns",
            self._trunk_w.shape[2] + self._side_w.shape[2],
            inputs,
        )
        _same("cause_w columns", self._cause_w.shape[1], 3 * hidden + inputs)
        _same("causes", self._cause_w.shape[2], len(CAUSES))
        self.feature_size = features
        self.side_size = self._side_w.shape[1]
        self.input_size = self._count * inputs
        self.state_size = self._count * (3 * hidden + inputs + 1)

    def _given(self, features: F64) -> F64:
        """What is read of the trunk, (B, F) -> (M or 1, B, L); 1 where all members have the same bottleneck."""
        outputs: F64 = np.matmul(features, self._bottleneck_w) + self._bottleneck_b
        if not self._wide:
            return outputs
        return np.concatenate([np.broadcast_to(features, (len(outputs), *features.shape)), outputs], axis=2)

    def reduce(self, features: npt.NDArray[np.floating], side: npt.NDArray[np.floating] | None) -> F64:
        """(B, F), (B, S or more) -> (B, M (D + E)); what newer side channels have more, at the end, is not read."""
        if side is None:
            raise ValueError("this head needs the side channel")
        side = side[:, : self.side_size].astype(np.float64)
        trunk = _clamp((self._given(features.astype(np.float64)) - self._trunk_mean) / self._trunk_sd)
        beside = _clamp((side - self._side_mean) / self._side_sd)
        left = np.maximum(np.matmul(trunk, self._trunk_w) + self._trunk_b, 0.0)
        right = np.maximum(np.matmul(beside, self._side_w) + self._side_b, 0.0)
        return self._side_by_side(np.concatenate([left, right], axis=2))

    def step(self, reduced: F64, state: F64) -> HeadOutput:
        """One GRU step; averages start from the first sample, not from zero. Quality and causes are members' means."""
        n, d = self._hidden, self._decay
        x = reduced.reshape(len(reduced), self._count, -1).swapaxes(0, 1)
        old = state.reshape(len(state), self._count, -1).swapaxes(0, 1)
        hidden = self._cell(x, old[..., :n])
        age = old[..., -1:] + 1
        # The weight of the newest sample: 1/age until the average is as old as it is long.
        weight = np.maximum(1 / age, d)
        mean_hidden = old[..., n : 2 * n] + weight * (hidden - old[..., n : 2 * n])
        mean_input = old[..., 3 * n : -1] + weight * (x - old[..., 3 * n : -1])
        leaked = old[..., 2 * n : 3 * n] + d * (mean_hidden - old[..., 2 * n : 3 * n])
        peak = np.maximum(hidden, np.where(age > 1, leaked, hidden))
        seen = np.concatenate([mean_hidden, peak, hidden, mean_input], axis=2)
        causes = _softmax(np.matmul(seen, self._cause_w) + self._cause_b)
        q = _sigmoid((hidden * self._q_w).sum(axis=2) + self._q_b)
        new_state = np.concatenate([hidden, mean_hidden, peak, mean_input, age], axis=2)
        return HeadOutput(self._side_by_side(new_state), q.mean(axis=0), causes.mean(axis=0))

    def _cell(self, x: F64, h: F64) -> F64:
        """A GRU layer with torch's equations, (M, B, D + E), (M, B, H) -> (M, B, H)."""
        n = self._hidden
        gates_x = np.matmul(x, self._w_ih) + self._b_ih
        gates_h = np.matmul(h, self._w_hh) + self._b_hh
        update = _sigmoid(gates_x[..., : 2 * n] + gates_h[..., : 2 * n])
        candidate = np.tanh(gates_x[..., 2 * n :] + update[..., :n] * gates_h[..., 2 * n :])
        new: F64 = candidate + update[..., n:] * (h - candidate)
        return new

    def _side_by_side(self, values: F64) -> F64:
        """(M, B, W) -> (B, M W)."""
        return values.swapaxes(0, 1).reshape(values.shape[1], -1)


class _Cell:
    """What one recurrent layer is made of, in torch's parameter layout; ``hidden`` leads its state."""

    def __init__(self, arrays: Arrays, gates: int, name: str) -> None:
        self._w_ih, self._w_hh = _take(arrays, "w_ih", 2), _take(arrays, "w_hh", 2)
        self._b_ih, self._b_hh = _take(arrays, "b_ih", 1), _take(arrays, "b_hh", 1)
        self.hidden = self._w_hh.shape[1]
        self.inputs = self._w_ih.shape[1]
        for array in ("w_ih", "w_hh", "b_ih", "b_hh"):
            _same(f"{array} rows and {gates} x {name} size", arrays[array].shape[0], gates * self.hidden)


class _Gru(_Cell):
    """One GRU layer with torch's equations; its state is ``hidden``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays, 3, "GRU")
        self.state_size = self.hidden

    def step(self, x: F64, h: F64) -> F64:
        n = self.hidden
        gates_x = x @ self._w_ih.T + self._b_ih  # (B, 3H)
        gates_h = h @ self._w_hh.T + self._b_hh  # (B, 3H)
        update = _sigmoid(gates_x[:, : 2 * n] + gates_h[:, : 2 * n])
        reset, keep = update[:, :n], update[:, n:]
        candidate = np.tanh(gates_x[:, 2 * n :] + reset * gates_h[:, 2 * n :])
        return candidate + keep * (h - candidate)


class _Lstm(_Cell):
    """One LSTM layer with torch's equations; its state is ``hidden | cell``."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays, 4, "LSTM")
        self.state_size = 2 * self.hidden

    def step(self, x: F64, state: F64) -> F64:
        n = self.hidden
        gates = x @ self._w_ih.T + self._b_ih + state[:, :n] @ self._w_hh.T + self._b_hh  # (B, 4H): i, f, g, o
        admit, forget, emit = (_sigmoid(gates[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
        cell = forget * state[:, n:] + admit * np.tanh(gates[:, 2 * n : 3 * n])
        return np.concatenate([emit * np.tanh(cell), cell], axis=1)


#: Kind of a VSFA head in a manifest -> its cell.
_VSFA_CELLS = {"vsfa": "gru", "vsfa-lstm": "lstm", "vsfa-frame": "none"}

#: Kind of a bagged head in a manifest -> whether it is wide.
_BAGGED = {"bagged-bottleneck": False, "bagged-wide": True}


def make_head(kind: str, arrays: Arrays, *, bounded: bool = False) -> Head:
    """The head of a bundle's manifest.

    Args:
        kind: ``vsfa``, ``vsfa-lstm``, ``vsfa-frame``, ``bottleneck``, or one of ``bagged-bottleneck`` and
            ``bagged-wide``, whose arrays are named ``member0.<array>`` and so on.
        arrays: Weights.
        bounded: A sigmoid bounds the quality (VSFA's heads).

    Raises:
        ValueError: Unknown kind, or arrays that do not fit.
    """
    if kind in _VSFA_CELLS:
        return VsfaHead(arrays, bounded=bounded, cell=_VSFA_CELLS[kind])
    if kind == "bottleneck":
        return TrunkHead(arrays)
    if kind in _BAGGED:
        return TrunkHead(*_members(arrays), wide=_BAGGED[kind])
    known = [*_VSFA_CELLS, "bottleneck", *_BAGGED]
    raise ValueError(f"unknown kind of head {kind!r}; known are {', '.join(known)}")


def bag_arrays(members: Sequence[Arrays]) -> dict[str, npt.NDArray[np.floating]]:
    """Arrays of several heads under the names that a bagged head's have."""
    return {f"{_MEMBER}{i}.{name}": array for i, arrays in enumerate(members) for name, array in arrays.items()}


def _members(arrays: Arrays) -> list[dict[str, npt.NDArray[np.floating]]]:
    found: dict[int, dict[str, npt.NDArray[np.floating]]] = {}
    for name, array in arrays.items():
        member, _, own = name.partition(".")
        number = member.removeprefix(_MEMBER)
        if not own or not number.isdecimal():
            raise ValueError(f"head array {name!r} belongs to no member of a bagged head")
        found.setdefault(int(number), {})[own] = array
    if sorted(found) != list(range(len(found))):
        raise ValueError(f"members of a bagged head are numbered from 0, found {sorted(found)}")
    return [found[i] for i in range(len(found))]


def _take(arrays: Arrays, name: str, dimensions: int) -> F64:
    if name not in arrays:
        raise ValueError(f"head array {name!r} is missing")
    array = np.asarray(arrays[name], np.float64)
    if array.ndim != dimensions:
        raise ValueError(f"head array {name!r} must have {dimensions} dimensions, got shape {array.shape}")
    return array


def _stack(members: Sequence[Arrays], name: str, dimensions: int) -> F64:
    """One array of all members: matrices (M, columns, rows), so that rows of inputs multiply them; others (M, 1, ...).

    Raises:
        ValueError: It is missing, or shapes differ.
    """
    arrays = [_take(member, name, dimensions) for member in members]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"members of a bagged head must have the same shapes: {name!r} differs")
    stacked = np.stack(arrays)
    return np.ascontiguousarray(stacked.swapaxes(1, 2)) if dimensions == 2 else stacked[:, None]


def _clamp(values: F64) -> F64:
    # np.clip costs several times as much on small arrays.
    clamped: F64 = np.minimum(np.maximum(values, -_CLAMP), _CLAMP)
    return clamped


def _same(what: str, a: int, b: int) -> None:
    if a != b:
        raise ValueError(f"head arrays do not fit: {what}: {a} and {b}")


def _sigmoid(x: F64) -> F64:
    # tanh does not overflow where exp would.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _softmax(x: F64) -> F64:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out: F64 = e / e.sum(axis=-1, keepdims=True)
    return out
