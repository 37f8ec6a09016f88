"""Head and pooling pushed sample by sample equal the computation over the whole clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.head import VsfaHead
from monitor.core.hysteresis import pool_offline
from monitor.core.scorer import ScoringSpec, StreamScorer
from monitor.core.stream_head import StatePolicy, step_streams

TOLERANCE = 1e-6  # the contract; what is reached is near 1e-14


def random_head(seed: int, features: int = 16, reduced: int = 12, hidden: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "fc_w": rng.standard_normal((reduced, features)) / 4,
        "fc_b": rng.standard_normal(reduced),
        "w_ih": rng.standard_normal((3 * hidden, reduced)) / 2,
        "w_hh": rng.standard_normal((3 * hidden, hidden)) / 2,
        "b_ih": rng.standard_normal(3 * hidden),
        "b_hh": rng.standard_normal(3 * hidden),
        "q_w": rng.standard_normal(hidden),
        "q_b": np.array(0.2),
    }


def gru_offline(arrays: dict[str, np.ndarray], x: np.ndarray, restarts: list[int] | None = None) -> np.ndarray:
    """Plain loop over torch's GRU equations, written apart from the code under test; (T, D) -> (T, H)."""
    w_ir, w_iz, w_in = np.split(arrays["w_ih"].astype(np.float64), 3)
    w_hr, w_hz, w_hn = np.split(arrays["w_hh"].astype(np.float64), 3)
    b_ir, b_iz, b_in = np.split(arrays["b_ih"].astype(np.float64), 3)
    b_hr, b_hz, b_hn = np.split(arrays["b_hh"].astype(np.float64), 3)
    h = np.zeros(w_hr.shape[1])
    out = []
    for t, row in enumerate(x):
        if restarts and t in restarts:
            h = np.zeros_like(h)
        r = 1 / (1 + np.exp(-(w_ir @ row + b_ir + w_hr @ h + b_hr)))
        z = 1 / (1 + np.exp(-(w_iz @ row + b_iz + w_hz @ h + b_hz)))
        n = np.tanh(w_in @ row + b_in + r * (w_hn @ h + b_hn))
        h = (1 - z) * n + z * h
        out.append(h)
    return np.array(out)


def offline(
    arrays: dict[str, np.ndarray], features: np.ndarray, policy: StatePolicy, period: int
) -> tuple[np.ndarray, np.ndarray]:
    """q and pooled q of a whole clip."""
    x = features.astype(np.float64) @ arrays["fc_w"].astype(np.float64).T + arrays["fc_b"]
    length = len(x)
    if policy is StatePolicy.CONTINUOUS:
        h = gru_offline(arrays, x)
    else:
        half = period // 2
        first = gru_offline(arrays, x, list(range(0, length, period)))
        second = gru_offline(arrays, x, list(range(half, length, period)))
        speaks_second = (np.arange(length) % period < half)[:, None]
        h = np.where(speaks_second, second, first)
    q = h @ arrays["q_w"].astype(np.float64) + float(arrays["q_b"])
    return q, pool_offline(q)


def stream(
    head: VsfaHead, features: np.ndarray, spec: ScoringSpec, chunks: list[int], snapshot_at: int | None = None
) -> np.ndarray:
    """Pooled q of a clip that arrives in chunks: features are reduced chunk by chunk, steps go one by one."""
    scorer = StreamScorer(spec)
    pooled: list[float] = []
    tick = 0
    for start, stop in zip([0, *chunks], [*chunks, len(features)], strict=True):
        if start == stop:
            continue
        for row in head.reduce(features[start:stop], None):
            if tick == snapshot_at:
                scorer = StreamScorer.restore(spec, scorer.snapshot())
            q, causes = step_streams(head, [scorer.head], row[None])
            pooled += [p.value for p in scorer.push(tick, 0.0, float(q[0]), causes[0])]
            tick += 1
    pooled += [p.value for p in scorer.flush()]
    return np.array(pooled)


def spec_of(head: VsfaHead, policy: StatePolicy, period: int = 250) -> ScoringSpec:
    return ScoringSpec(head.state_size, Fraction(25), policy, period, 12, 0.5, 0, lambda q: 100 * q)


@pytest.mark.parametrize("policy", list(StatePolicy))
@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 240, 5000])
def test_streaming_equals_offline_for_every_length(length: int, policy: StatePolicy) -> None:
    arrays = random_head(length)
    head = VsfaHead(arrays)
    features = np.random.default_rng(length).standard_normal((length, 16)).astype(np.float32)
    _, expected = offline(arrays, features, policy, 250)
    actual = stream(head, features, spec_of(head, policy), chunks=list(range(7, length, 7)))
    assert len(actual) == length
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 90),
    seed=st.integers(0, 10_000),
    policy=st.sampled_from(list(StatePolicy)),
    data=st.data(),
)
def test_any_chunking_and_any_snapshot_change_nothing(
    length: int, seed: int, policy: StatePolicy, data: st.DataObject
) -> None:
    chunks = sorted(data.draw(st.lists(st.integers(0, length), max_size=8)))
    at = data.draw(st.integers(0, length - 1))
    arrays = random_head(seed)
    head = VsfaHead(arrays)
    features = np.random.default_rng(seed).standard_normal((length, 16)).astype(np.float32)
    _, expected = offline(arrays, features, policy, 20)
    actual = stream(head, features, spec_of(head, policy, 20), chunks, snapshot_at=at)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.train
@pytest.mark.parametrize("length", [1, 5, 12, 13, 100, 240])
def test_the_released_head_gives_its_golden_outputs(shared_dir: Path, length: int) -> None:
    pytest.importorskip("torch", reason="reading VSFA.pt needs torch")
    from training.models import load_head, to_arrays

    golden = np.load(shared_dir / "reference" / "golden_head.npz")
    x = np.abs(np.random.default_rng(1000 + length).standard_normal((length, 4096), dtype=np.float32)) * np.float32(0.5)
    assert float(x.astype(np.float64).sum()) == pytest.approx(float(golden[f"x_sum_{length}"]))
    head = VsfaHead(to_arrays(load_head(shared_dir / "reference" / "VSFA.pt")))
    pooled = stream(head, x, spec_of(head, StatePolicy.CONTINUOUS), chunks=[])
    np.testing.assert_allclose(pooled, golden[f"tp_{length}"], atol=1e-5)
    assert float(pooled.mean()) == pytest.approx(float(golden[f"score_{length}"]), abs=1e-5)
