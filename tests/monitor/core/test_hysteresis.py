"""Hysteresis pooling: the stream against the definition."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.hysteresis import HysteresisPooling, pool_offline
from monitor.types import F64

quality = st.floats(0, 1) | st.floats(0, 100)
series = st.lists(quality, min_size=1, max_size=90)


def pool_plainly(q: list[float], tau: int, beta: float) -> list[float]:
    """The definition once more, as two loops."""
    pooled = []
    for t in range(len(q)):
        lowest = min(q[max(0, t - tau + 1) : t + 1])
        ahead = q[t : t + tau]
        weights = [math.exp(-value) for value in ahead]
        mean = math.fsum(w * v for w, v in zip(weights, ahead, strict=True)) / math.fsum(weights)
        pooled.append(beta * mean + (1 - beta) * lowest)
    return pooled


def stream(pooling: HysteresisPooling, q: list[float] | F64) -> list[float]:
    pushed = [pooling.push(float(value)) for value in q]
    return [value for value in pushed if value is not None] + pooling.flush()


@given(series, st.integers(1, 20), st.floats(0, 1))
def test_stream_equals_the_definition(q: list[float], tau: int, beta: float) -> None:
    streamed = stream(HysteresisPooling(tau, beta), q)
    np.testing.assert_allclose(streamed, pool_plainly(q, tau, beta), rtol=0, atol=1e-9)
    np.testing.assert_allclose(pool_offline(np.array(q), tau, beta), streamed, rtol=0, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 240, 5000])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_stream_equals_offline_for_every_length(length: int, scale: float) -> None:
    q = np.random.default_rng(length).random(length) * scale
    np.testing.assert_allclose(stream(HysteresisPooling(), q), pool_offline(q), rtol=0, atol=1e-9)


@given(series, st.data())
def test_snapshot_goes_on_to_the_bit_wherever_it_is_taken(q: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(q)))
    pooling = HysteresisPooling()
    before = [value for value in map(pooling.push, q[:cut]) if value is not None]
    snapshot = pooling.snapshot()
    whole = before + stream(pooling, q[cut:])  # leaves the snapshot as it was
    assert before + stream(HysteresisPooling.restore(snapshot), q[cut:]) == whole
    assert len(snapshot.recent) < 3 * snapshot.tau


@settings(max_examples=30)
@given(series)
def test_value_trails_by_tau_less_one_and_all_come_out(q: list[float]) -> None:
    pooling = HysteresisPooling()
    for n, value in enumerate(q):
        assert (pooling.push(value) is not None) == (n >= 11)
        assert pooling.pending == min(n + 1, 11)
    assert len(pooling.flush()) == min(len(q), 11)


@settings(max_examples=50)
@given(series)
def test_pooled_lies_within_the_range_of_the_input(q: list[float]) -> None:
    pooled = stream(HysteresisPooling(), q)
    assert min(q) - 1e-9 <= min(pooled)
    assert max(pooled) <= max(q) + 1e-9


def test_long_runs_do_not_drift() -> None:
    """VQWATCH_SAMPLES sets their length."""
    count = int(os.environ.get("VQWATCH_SAMPLES", "100000"))
    rng = np.random.default_rng(5)
    # The upper half forgets weights that the lower half carries: where running sums would lose everything.
    q = np.where(np.arange(count) // 500 % 2, 100 - rng.random(count), rng.random(count))
    pooling = HysteresisPooling()
    streamed = np.fromiter((pooling.push(v) or 0.0 for v in q.tolist()), float, q.size)[11:]
    assert float(np.abs(streamed - pool_offline(q)[: streamed.size]).max()) <= 1e-9


def test_no_scale_underflows() -> None:
    assert stream(HysteresisPooling(), [5000.0] * 20) == [5000.0] * 20
    pooled = stream(HysteresisPooling(), [0.0, 5000.0])
    assert pooled == [0.0, 2500.0]


def test_flush_starts_afresh() -> None:
    pooling = HysteresisPooling()
    first = stream(pooling, [0.1] * 5 + [0.9] * 30)
    assert stream(pooling, [0.1] * 5 + [0.9] * 30) == first
    assert pooling.flush() == []


def test_drop_is_remembered_and_an_improvement_waits() -> None:
    q = [0.9] * 20 + [0.2] * 3 + [0.9] * 20
    pooled = stream(HysteresisPooling(), q)
    assert pooled[25] == pytest.approx(0.5 * 0.9 + 0.5 * 0.2)  # three samples after the dip has ended
    assert pooled[34] == pytest.approx(0.9)  # twelve after it
    assert pooled[10] < 0.9 == pytest.approx(pooled[5])  # the dip is seen coming


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="tau"):
        HysteresisPooling(tau=0)
    with pytest.raises(ValueError, match="finite"):
        HysteresisPooling().push(math.nan)
    with pytest.raises(ValueError, match=r"\(T,\)"):
        pool_offline(np.zeros((2, 2)))
    pooling = HysteresisPooling()
    for _ in range(30):
        pooling.push(0.5)
    cut = pooling.snapshot()
    with pytest.raises(ValueError, match="must hold the last"):
        HysteresisPooling.restore(type(cut)(cut.tau, cut.beta, cut.count, cut.recent[1:]))


@pytest.mark.parametrize("length", [1, 5, 12, 13, 100, 240])
def test_golden_values_of_the_released_code(shared_dir: Path, length: int) -> None:
    golden = np.load(shared_dir / "reference" / "golden_head.npz")
    q, pooled = golden[f"q64_{length}"], golden[f"tp64_{length}"]
    np.testing.assert_allclose(pool_offline(q), pooled, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stream(HysteresisPooling(), q), pooled, rtol=0, atol=1e-12)
    assert np.mean(pool_offline(q)) == pytest.approx(float(golden[f"score64_{length}"]), abs=1e-12)
