from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.side_channel import SIDE_NAMES, SIDE_SIZES, SIDE_VERSION, SideChannel, _quantile
from monitor.core.strips import StripFigures, _median, measure_strips

INDEX = {name: i for i, name in enumerate(SIDE_NAMES)}


def texture(seed: int = 0, height: int = 88, width: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(height, width))
    for axis in (0, 1):
        field = sum(np.roll(field, s, axis) for s in range(-4, 5))
    field = (field - field.min()) / np.ptp(field)
    return (field * 200 + 25).astype(np.uint8)


WIDE = texture()
NATIVE = texture(1, 180, 240)


def strips(picture: np.ndarray) -> StripFigures:
    columns = np.stack([picture[:, x : x + 8] for x in range(0, 192, 16)])
    rows = np.stack([picture[y : y + 8] for y in range(0, 128, 16)])
    return measure_strips(columns, rows)


STRIPS = strips(NATIVE)


def push(side: SideChannel, shift: int, **kwargs: object) -> np.ndarray:
    return side.push(np.ascontiguousarray(WIDE[:, shift : shift + 160]), STRIPS, **kwargs)  # type: ignore[arg-type]


def test_an_exact_repeat_is_still_and_motion_is_not() -> None:
    side = SideChannel()
    push(side, 0)
    moving = push(side, 3)
    still = push(side, 3)
    assert still[INDEX["still_blocks"]] == 1.0
    assert moving[INDEX["still_blocks"]] < 0.1
    assert still[INDEX["log_motion"]] < moving[INDEX["log_motion"]] - 2


def test_a_grid_repeat_changes_nothing_a_source_repeat_does() -> None:
    held, repeated = SideChannel(), SideChannel()
    for side in (held, repeated):
        push(side, 0)
        push(side, 3)
    before = push(held, 3, held=True)
    np.testing.assert_array_equal(before, push(held, 3, held=True))
    assert before[INDEX["still_blocks"]] < 0.1
    assert push(repeated, 3)[INDEX["still_blocks"]] == 1.0


def test_motion_is_normalised_by_the_step_of_a_skipped_picture() -> None:
    every, second = SideChannel(), SideChannel()
    push(every, 0)
    push(second, 0)
    one = push(every, 2)[INDEX["log_motion"]]
    two = push(second, 4, step=2.0)[INDEX["log_motion"]]
    assert two == pytest.approx(one, abs=0.35)


def test_regular_repeats_keep_their_period_irregular_ones_do_not() -> None:
    def run(pattern: list[bool]) -> np.ndarray:
        side, shift = SideChannel(), 0
        vector = push(side, 0)
        for repeat in pattern:
            shift += 0 if repeat else 2
            vector = push(side, shift % 200)
        return vector

    regular = run([t % 5 == 4 for t in range(40)])
    irregular = run([t in (3, 4, 5, 17, 29, 30, 31, 39) for t in range(40)])
    assert regular[INDEX["still_period_change"]] == 0.0
    assert irregular[INDEX["still_period_change"]] > 0.5
    assert regular[INDEX["regular_repeats"]] > np.log1p(5)
    assert irregular[INDEX["regular_repeats"]] == 0.0
    assert regular[INDEX["longest_still"]] == pytest.approx(np.log1p(1))
    assert irregular[INDEX["longest_still"]] == pytest.approx(np.log1p(3))
    assert regular[INDEX["still_share"]] == pytest.approx(8 / 50)


def test_a_jump_stands_out_from_the_usual_motion_and_the_hold_before_it_does_not_hide_it() -> None:
    side = SideChannel()
    for t in range(20):
        vector = push(side, t)
    assert abs(vector[INDEX["log_jump"]]) < 0.5
    for _ in range(5):
        push(side, 19)
    assert push(side, 40)[INDEX["log_jump"]] > 1.0


def test_each_version_is_the_beginning_of_the_next() -> None:
    assert list(SIDE_SIZES) == [1, 2, SIDE_VERSION]
    assert SIDE_SIZES[SIDE_VERSION] == len(SIDE_NAMES)
    assert [SIDE_NAMES[SIDE_SIZES[version] - 1] for version in (1, 2)] == ["still_period_change", "log_jump"]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=12))
def test_numbers_are_always_finite(pictures: list[tuple[int, bool]]) -> None:
    side = SideChannel()
    for level, held in pictures:
        luma = np.full((88, 160), level, np.uint8)
        columns = np.full((12, 40, 8), level, np.uint8)
        vector = side.push(luma, measure_strips(columns, np.full((8, 8, 64), level, np.uint8)), held=held)
        assert vector.shape == (len(SIDE_NAMES),)
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()


@given(st.lists(st.floats(0, 255), min_size=1, max_size=300), st.floats(0, 1))
def test_quantile_and_median_are_those_of_numpy(values: list[float], share: float) -> None:
    array = np.array(values)
    assert _quantile(array, share) == pytest.approx(np.quantile(array, share))
    assert _median(array) == pytest.approx(np.median(array))
