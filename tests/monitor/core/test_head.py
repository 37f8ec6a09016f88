from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.head import Head, TrunkHead, VsfaHead, bag_arrays, make_head
from monitor.core.stream_head import StatePolicy, StreamHead, step_streams
from monitor.types import CAUSES

F, S, D, E, H, K = 12, 5, 6, 4, 8, 3


def gru(rng: np.random.Generator, inputs: int, gates: int = 3) -> dict[str, np.ndarray]:
    return {
        "w_ih": rng.standard_normal((gates * H, inputs)) * 0.4,
        "w_hh": rng.standard_normal((gates * H, H)) * 0.4,
        "b_ih": rng.standard_normal(gates * H) * 0.2,
        "b_hh": rng.standard_normal(gates * H) * 0.2,
        "q_w": rng.standard_normal(H),
        "q_b": np.array(0.3),
    }


def vsfa(seed: int = 0) -> VsfaHead:
    rng = np.random.default_rng(seed)
    return VsfaHead({"fc_w": rng.standard_normal((D, F)), "fc_b": rng.standard_normal(D), **gru(rng, D)})


def lstm(seed: int = 0) -> Head:
    rng = np.random.default_rng(seed)
    first = {"fc_w": rng.standard_normal((D, F)), "fc_b": rng.standard_normal(D)}
    return make_head("vsfa-lstm", first | gru(rng, D, gates=4))


def frame(seed: int = 0) -> Head:
    rng = np.random.default_rng(seed)
    first = {"fc_w": rng.standard_normal((D, F)), "fc_b": rng.standard_normal(D)}
    return make_head("vsfa-frame", first | {"q_w": rng.standard_normal(D), "q_b": np.array(0.3)})


def bottleneck_arrays(seed: int = 0, read: int = K) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "bottleneck_w": rng.standard_normal((K, F)),
        "bottleneck_b": rng.standard_normal(K),
        "trunk_mean": rng.standard_normal(read),
        "trunk_sd": rng.uniform(0.5, 2, read),
        "side_mean": rng.standard_normal(S),
        "side_sd": rng.uniform(0.5, 2, S),
        "trunk_in_w": rng.standard_normal((D, read)),
        "trunk_in_b": rng.standard_normal(D),
        "side_in_w": rng.standard_normal((E, S)),
        "side_in_b": rng.standard_normal(E),
        "cause_w": rng.standard_normal((len(CAUSES), 3 * H + D + E)),
        "cause_b": rng.standard_normal(len(CAUSES)),
        "decay": np.array(0.02),
        **gru(rng, D + E),
    }


def bottleneck(seed: int = 0) -> TrunkHead:
    return TrunkHead(bottleneck_arrays(seed))


def bagged(seed: int = 0) -> Head:
    return make_head("bagged-bottleneck", bag_arrays([bottleneck_arrays(seed), bottleneck_arrays(seed + 1)]))


def wide(seed: int = 0) -> Head:
    return make_head("bagged-wide", bag_arrays([bottleneck_arrays(seed, F + K), bottleneck_arrays(seed + 1, F + K)]))


def reduced(head: Head, count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    side = rng.standard_normal((count, S)).astype(np.float32) if head.side_size else None
    return head.reduce(rng.standard_normal((count, F)).astype(np.float32), side)


def run(head: Head, x: np.ndarray, policy: StatePolicy, period: int = 20) -> tuple[np.ndarray, np.ndarray]:
    stream = StreamHead(head.state_size, policy, period)
    steps = [step_streams(head, [stream], row[None]) for row in x]
    return np.array([q[0] for q, _ in steps]), np.array([c[0] for _, c in steps])


@pytest.mark.parametrize("make", [vsfa, lstm, frame, bottleneck, bagged, wide])
def test_streams_batched_together_get_what_they_get_alone(make: type) -> None:
    head: Head = make()
    inputs = [reduced(head, 30, seed) for seed in range(4)]
    together = [StreamHead(head.state_size, StatePolicy.STAGGERED, 10) for _ in inputs]
    q = np.stack([step_streams(head, together, np.stack([x[t] for x in inputs]))[0] for t in range(30)])
    for i, x in enumerate(inputs):
        np.testing.assert_allclose(q[:, i], run(head, x, StatePolicy.STAGGERED, 10)[0], atol=1e-12)


@pytest.mark.parametrize("make", [vsfa, lstm, frame, bottleneck, bagged, wide])
def test_a_staggered_state_is_between_half_a_period_and_a_period_old(make: type) -> None:
    """Each sample's output equals that of one continuous state started where the speaking lane restarted."""
    head: Head = make()
    period, length = 20, 95
    x = reduced(head, length)
    staggered, _ = run(head, x, StatePolicy.STAGGERED, period)
    for t in range(length):
        half = period // 2
        start = 0 if t < half else (t // half - 1) * half
        assert t < period // 2 or half <= t - start < period
        alone, _ = run(head, x[start : t + 1], StatePolicy.CONTINUOUS)
        assert staggered[t] == pytest.approx(alone[-1], abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 60),
    st.sampled_from(list(StatePolicy)),
    st.sampled_from([vsfa, lstm, frame, bottleneck, bagged, wide]),
)
def test_a_snapshot_goes_on_as_if_nothing_had_happened(at: int, policy: StatePolicy, make: Callable[[], Head]) -> None:
    head = make()
    x = reduced(head, 61)
    expected, expected_causes = run(head, x, policy)
    first = StreamHead(head.state_size, policy, 20)
    for row in x[:at]:
        step_streams(head, [first], row[None])
    second = StreamHead(head.state_size, policy, 20)
    second.restore(first.snapshot())
    for row in x[at:]:
        step_streams(head, [first], row[None])  # must not disturb the copy
    rest = [step_streams(head, [second], row[None]) for row in x[at:]]
    np.testing.assert_array_equal([q[0] for q, _ in rest], expected[at:])
    np.testing.assert_array_equal(np.array([c[0] for _, c in rest]), expected_causes[at:])


def spoken(head: Head, x: np.ndarray, shots: list[int], period: int = 40, settle: int | None = 5) -> np.ndarray:
    stream = StreamHead(head.state_size, StatePolicy.STAGGERED, period, settle)
    return np.array([step_streams(head, [stream], row[None], [shot])[0][0] for row, shot in zip(x, shots, strict=True)])


@pytest.mark.parametrize("cut", [1, 7, 20, 33, 40, 55, 60])
def test_once_a_new_shot_has_settled_what_speaks_has_seen_nothing_else(cut: int) -> None:
    head, period, settle = bagged(), 40, 5
    x = reduced(head, cut + 19)
    q = spoken(head, x, [0] * cut + [1] * 19, period, settle)
    alone, _ = run(head, x[cut:], StatePolicy.CONTINUOUS)
    np.testing.assert_allclose(q[cut + settle :], alone[settle:], atol=1e-12)
    # Until then it speaks as if nothing had been, unless its turn ended.
    before = spoken(head, x, [0] * len(x), period, settle)
    np.testing.assert_array_equal(q[: cut + settle], before[: cut + settle])


def test_behind_a_cut_states_take_turns_as_before() -> None:
    """Half a period behind the cut the other one restarts, and speaks another half later."""
    head, period = bagged(), 20
    x = reduced(head, 70)
    q = spoken(head, x, [0] * 13 + [1] * 57, period, 5)
    for t in range(13 + 10, 70):
        start = 13 + max(0, (t - 13) // 10 - 1) * 10
        assert q[t] == pytest.approx(run(head, x[start : t + 1], StatePolicy.CONTINUOUS)[0][-1], abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 10))
def test_however_often_it_is_cut_what_speaks_grows_no_older_than_a_period_and_a_shot(
    lengths: list[int], settle: int
) -> None:
    period = 20
    stream = StreamHead(1, StatePolicy.STAGGERED, period, settle)
    for shot, length in enumerate(lengths):
        for _ in range(length):
            ages = stream.due_lanes(shot)  # a state of one number, which counts its samples
            speaker = stream.advance(ages + 1)
            assert ages[speaker, 0] + 1 <= period + settle


def test_cuts_are_nothing_to_a_continuous_state_or_without_settling() -> None:
    head = bagged()
    x = reduced(head, 60)
    cut = [t // 7 for t in range(60)]
    np.testing.assert_array_equal(spoken(head, x, cut, settle=None), spoken(head, x, [0] * 60))
    stream = StreamHead(head.state_size, StatePolicy.CONTINUOUS, 40, 5)
    q = [step_streams(head, [stream], row[None], [shot])[0][0] for row, shot in zip(x, cut, strict=True)]
    np.testing.assert_array_equal(q, run(head, x, StatePolicy.CONTINUOUS)[0])


@given(at=st.integers(0, 60), settle=st.integers(1, 10), cuts=st.sets(st.integers(1, 59), max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_snapshot_goes_on_through_cuts(at: int, settle: int, cuts: set[int]) -> None:
    head = bottleneck()
    x = reduced(head, 60)
    shots = np.cumsum([t in cuts for t in range(60)]).tolist()
    expected = spoken(head, x, shots, 20, settle)
    first = StreamHead(head.state_size, StatePolicy.STAGGERED, 20, settle)
    for row, shot in zip(x[:at], shots[:at], strict=True):
        step_streams(head, [first], row[None], [shot])
    second = StreamHead(head.state_size, StatePolicy.STAGGERED, 20, settle)
    second.restore(first.snapshot())
    rest = [step_streams(head, [second], row[None], [shot])[0][0] for row, shot in zip(x[at:], shots[at:], strict=True)]
    np.testing.assert_array_equal(rest, expected[at:])


@pytest.mark.parametrize("settle", [0, -1, 11])
def test_a_shot_settles_within_half_a_period(settle: int) -> None:
    with pytest.raises(ValueError, match=rf"within 1 to half a period of samples, 10, got {settle}"):
        StreamHead(3, StatePolicy.STAGGERED, 20, settle)


def test_causes_are_probabilities_and_quality_is_bounded() -> None:
    head = bottleneck()
    q, causes = run(head, reduced(head, 200), StatePolicy.STAGGERED)
    assert np.all((q > 0) & (q < 1))
    np.testing.assert_allclose(causes.sum(axis=1), 1, atol=1e-12)


def test_an_absurd_picture_cannot_throw_the_state() -> None:
    head = bottleneck()
    features = np.full((1, F), 1e9, np.float32)
    assert np.abs(head.reduce(features, np.full((1, S), -1e9, np.float32))).max() < 1e3


def test_missing_and_misfitting_arrays_are_named() -> None:
    rng = np.random.default_rng(0)
    arrays = {"fc_w": rng.standard_normal((D, F)), "fc_b": rng.standard_normal(D), **gru(rng, D)}
    with pytest.raises(ValueError, match="q_w"):
        VsfaHead({k: v for k, v in arrays.items() if k != "q_w"})
    with pytest.raises(ValueError, match="fc_w"):
        VsfaHead(arrays | {"fc_w": rng.standard_normal((D + 1, F))})
    with pytest.raises(ValueError, match="4 x LSTM size"):
        make_head("vsfa-lstm", arrays)
    with pytest.raises(ValueError, match="q_w and what it reads"):
        make_head("vsfa-frame", arrays)


def test_a_wide_head_reads_the_features_as_they_are_before_the_bottleneck() -> None:
    """With an identity before it, a bottleneck head reads the same."""
    members = [bottleneck_arrays(seed, F + K) for seed in (0, 1)]
    widened = [
        member
        | {
            "bottleneck_w": np.concatenate([np.eye(F), member["bottleneck_w"]]),
            "bottleneck_b": np.concatenate([np.zeros(F), member["bottleneck_b"]]),
        }
        for member in members
    ]
    x, expected = reduced(wide(), 9), reduced(make_head("bagged-bottleneck", bag_arrays(widened)), 9)
    np.testing.assert_allclose(x, expected, atol=1e-12)


def test_a_head_of_the_other_width_is_refused() -> None:
    with pytest.raises(ValueError, match="trunk_mean columns and features and bottleneck rows: 3 and 15"):
        make_head("bagged-wide", bag_arrays([bottleneck_arrays()]))
    with pytest.raises(ValueError, match="trunk_mean columns and bottleneck rows: 15 and 3"):
        make_head("bagged-bottleneck", bag_arrays([bottleneck_arrays(0, F + K)]))


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(ValueError, match="vsfa, vsfa-lstm, vsfa-frame, bottleneck"):
        make_head("other", {})


def test_a_head_of_an_older_side_channel_reads_the_first_numbers_of_a_newer_one() -> None:
    head = bottleneck()
    rng = np.random.default_rng(2)
    features = rng.standard_normal((3, F)).astype(np.float32)
    side = rng.standard_normal((3, S + 4)).astype(np.float32)
    np.testing.assert_array_equal(head.reduce(features, side), head.reduce(features, side[:, :S]))


def test_a_bagged_head_says_the_mean_of_what_its_members_say() -> None:
    rng = np.random.default_rng(3)
    features, side = rng.standard_normal((12, F)).astype(np.float32), rng.standard_normal((12, S)).astype(np.float32)

    def said(head: Head) -> tuple[np.ndarray, np.ndarray]:
        return run(head, head.reduce(features, side), StatePolicy.CONTINUOUS)

    members = [said(bottleneck(0)), said(bottleneck(1))]
    together = said(bagged())
    for part in (0, 1):
        np.testing.assert_allclose(together[part], np.mean([m[part] for m in members], axis=0), atol=1e-12)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w_ih": np.zeros((1, 1))}, "belongs to no member"),
        ({"member1.w_ih": np.zeros((1, 1))}, r"numbered from 0, found \[1\]"),
        ({}, "needs members"),
    ],
)
def test_members_that_do_not_fit_are_named(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_head("bagged-bottleneck", arrays)
