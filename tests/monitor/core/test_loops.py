"""Pictures that come round again, and those that only look like it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.loops import LONGEST_LOOP_S, LoopDetector
from monitor.core.sampling import SampleGrid
from monitor.types import U8
from tests.fixtures.transport import pictures

H, W = 88, 160
SCENE: list[U8] = list(pictures(700, (W, H), seed=3))


def watch(shown: Iterable[U8], fps: float = 25, **arguments: float) -> tuple[list[float], LoopDetector]:
    detector = LoopDetector(fps, **arguments)
    return [detector.push(picture) for picture in shown], detector


def repeat(period: int, times: int, start: int = 100) -> list[U8]:
    return SCENE[start : start + period] * times


def noisy(picture: U8, seed: int, sigma: float) -> U8:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("period", [2, 12, 25, 48, 100, 150])
def test_loop_counts_from_its_first_complete_round(period: int) -> None:
    before = SCENE[:100]
    shown = repeat(period, 2 + 400 // period)
    loops, detector = watch(before + shown, longest_s=6.0)
    assert max(loops[:100]) == 0
    assert detector.period_s == pytest.approx(period / 25)
    # Round one is new; from the second on each tick adds its own.
    beyond = len(shown) - period
    assert loops[-1] == pytest.approx(beyond / 25, abs=0.21)
    frozen_after = next(n for n, loop in enumerate(loops) if loop >= 3.0) - 100 - period
    assert frozen_after <= 3 * 25 + 5
    if period <= 3 * 25:
        assert max(loops[: 100 + 2 * period]) == 0  # shown twice is no loop


def test_no_loop_in_pictures_that_never_return() -> None:
    assert max(watch(SCENE)[0]) == 0


@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_still_picture_is_no_loop(sigma: float) -> None:
    assert max(watch(noisy(SCENE[5], n, sigma) for n in range(400))[0]) == 0


def test_spinner_and_clock_on_a_slate_are_no_loop() -> None:
    def slate(n: int) -> U8:
        picture = SCENE[5].copy()
        angle = 2 * np.pi * (n % 25) / 25
        y, x = int(44 + 8 * np.sin(angle)), int(80 + 8 * np.cos(angle))
        picture[y - 3 : y + 3, x - 3 : x + 3] = 250
        picture[4:12, 130:150] = 20 + 200 * (n // 25 % 2)
        return picture

    assert max(watch(slate(n) for n in range(500))[0]) == 0


def test_movement_to_and_fro_on_the_same_way_is_no_loop_unless_exact() -> None:
    """A swing returns to its place, but wind and light do not."""
    rng = np.random.default_rng(1)
    drift = np.cumsum(rng.normal(0, 0.6, 600))

    def swing(n: int) -> U8:
        shift = round(12 * np.sin(2 * np.pi * n / 40) + drift[n])
        return np.roll(SCENE[9], shift, axis=1)

    assert max(watch(swing(n) for n in range(600))[0]) < 3.0


def test_full_screen_animation_that_is_shown_over_and_over_is_a_loop() -> None:
    loops, detector = watch(np.roll(SCENE[9], 3 * (n % 50), axis=1) for n in range(400))
    assert loops[-1] > 10
    assert detector.period_s == pytest.approx(2.0)


def test_loop_encoded_anew_each_time_is_a_loop() -> None:
    loops, detector = watch(noisy(picture, n, 1.5) for n, picture in enumerate(repeat(50, 8)))
    assert detector.period_s == pytest.approx(2.0)
    assert loops[-1] == pytest.approx(14.0, abs=0.3)


def test_loop_with_a_still_part_is_a_loop() -> None:
    round_ = SCENE[100:130] + [SCENE[130]] * 40
    loops, detector = watch(round_ * 6)
    assert detector.period_s == pytest.approx(70 / 25)
    assert loops[-1] > 9


def test_return_to_a_still_picture_after_a_cut_is_no_loop() -> None:
    shown = [SCENE[5]] * 150 + SCENE[200:230] + [SCENE[5]] * 150
    assert max(watch(shown)[0]) == 0


def test_damaged_picture_at_each_join_does_not_hide_a_loop() -> None:
    rng = np.random.default_rng(2)
    shown = repeat(25, 16)
    for n in range(0, len(shown), 25):
        shown[n] = rng.integers(0, 255, (H, W), dtype=np.uint8)
    loops, detector = watch(shown)
    assert detector.period_s == pytest.approx(1.0)
    assert loops[-1] > 10


@pytest.mark.parametrize(
    ("rate", "frames"),
    [(Fraction(24000, 1001), 48), (Fraction(24), 24), (Fraction(30000, 1001), 30), (Fraction(50), 25),
     (Fraction(60000, 1001), 60), (Fraction(30), 15)],
)  # fmt: skip
def test_loop_of_any_rate_is_found_on_the_grid(rate: Fraction, frames: int) -> None:
    grid: SampleGrid[int] = SampleGrid(25)
    detector = LoopDetector(25)
    loops = [
        detector.push(SCENE[tick.payload])
        for n in range(int(20 * rate))
        for tick in grid.push(round(n * 90_000 / rate), 100 + n % frames)
    ]
    assert loops[-1] >= 6.0
    assert any(loop >= 3.0 for loop in loops[: 25 * 9])


def test_end_of_a_loop_is_noticed_within_a_quarter_of_a_second() -> None:
    loops, _ = watch(repeat(25, 10) + SCENE[300:330])
    assert loops[249] > 6
    assert loops[250 + 6] == 0


def test_longer_loops_are_programme_and_zero_looks_for_none() -> None:
    longer = int(LONGEST_LOOP_S * 25) + 10
    assert max(watch(repeat(longer, 4))[0]) == 0
    assert max(watch(repeat(25, 10), longest_s=0.0)[0]) == 0


def test_memory_is_bounded() -> None:
    detector = LoopDetector(25)
    for picture in SCENE[:400]:
        detector.push(picture)
    held = sum(value.nbytes for value in vars(detector).values() if isinstance(value, np.ndarray))
    assert held < 72_000


def test_new_shape_starts_anew() -> None:
    detector = LoopDetector(25)
    for picture in repeat(25, 8):
        last = detector.push(picture)
    assert last > 3
    assert detector.push(np.zeros((64, 64), np.uint8)) == 0
    assert detector.period_s is None


@settings(max_examples=10)
@given(period=st.integers(2, 60), start=st.integers(0, 500), lead=st.integers(0, 99))
def test_any_piece_of_moving_pictures_is_found_when_it_is_looped(period: int, start: int, lead: int) -> None:
    loops, detector = watch(SCENE[:lead] + repeat(period, 3 + 160 // period, start))
    assert detector.period_s is not None or period < 5  # two pictures may differ in too little of their area
    if detector.period_s is not None:
        ticks = detector.period_s * 25
        assert ticks == pytest.approx(period * round(ticks / period))
        assert loops[-1] > 0


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="fps"):
        LoopDetector(0)
    with pytest.raises(ValueError, match="longest_s"):
        LoopDetector(25, -1)
