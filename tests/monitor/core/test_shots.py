from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from monitor.core.shots import ShotCounter
from monitor.types import F64
from tests.monitor.core.test_detectors import luma, scene, shifted


def shots(pictures: Iterable[F64]) -> list[int]:
    counter = ShotCounter()
    return [counter.push(luma(picture)) for picture in pictures]


def panned(seed: int, count: int = 10, pixels: float = 1.5) -> list[F64]:
    return [shifted(scene(seed), t * pixels) for t in range(count)]


def test_a_shot_begins_with_the_third_picture_behind_a_cut() -> None:
    assert shots([*panned(0), *panned(1), *panned(2)]) == [0] * 12 + [1] * 10 + [2] * 8


def test_a_pan_stays_in_its_shot() -> None:
    assert set(shots(panned(0, count=100, pixels=5))) == {0}


@pytest.mark.parametrize("seed", range(4))
def test_brightness_and_contrast_make_no_shot(seed: int) -> None:
    pictures = [picture * gain + lift for picture in panned(seed) for gain, lift in [(1, 0), (0.6, 60), (0.8, -20)]]
    assert set(shots(pictures)) == {0}


def test_noise_makes_no_shot() -> None:
    rng = np.random.default_rng(0)
    assert set(shots(picture + rng.normal(0, 40, picture.shape) for picture in panned(0, 50))) == {0}


@pytest.mark.parametrize("broken", [1, 2])
def test_broken_pictures_make_no_shot(broken: int) -> None:
    pictures = panned(0, 30)
    pictures[10 : 10 + broken] = [scene(90 + i) for i in range(broken)]
    assert set(shots(pictures)) == {0}


def test_a_burst_of_unlike_pictures_is_no_shot_until_it_rests() -> None:
    numbers = shots([*panned(0), *(scene(50 + t) for t in range(20)), *panned(1)])
    assert numbers == [0] * 32 + [1] * 8


def test_black_between_two_shots_is_none_and_hides_no_cut() -> None:
    black = [np.full((88, 160), 16.0)] * 25
    assert set(shots([*panned(0), *black, *panned(0)[::-1]])) == {0}
    assert shots([*panned(0), *black, *panned(1)]) == [0] * 37 + [1] * 8


def test_a_dissolve_goes_on_with_its_shot() -> None:
    mix = [(1 - a) * scene(0) + a * scene(1) for a in np.linspace(0, 1, 25)]
    assert set(shots([scene(0), *mix, *([scene(1)] * 10)])) == {0}


@pytest.mark.parametrize("narrow", [False, True])
def test_bars_beside_the_picture_hide_no_cut(narrow: bool) -> None:
    def barred(picture: F64) -> F64:
        out = np.full_like(picture, 16.0)
        inner = np.s_[:, 20:-20] if narrow else np.s_[11:-11]
        out[inner] = picture[inner]
        return out

    numbers = shots(barred(p) for p in [*panned(3), *panned(4)])
    assert numbers[-1] == 1


def test_a_night_scene_has_cuts_only_where_its_light_parts_move() -> None:
    dark = [np.clip(p * 0.1 + 5, 0, 24) for p in [*panned(0), *panned(1)]]
    assert set(shots(dark)) == {0}


def test_another_shape_of_picture_starts_anew() -> None:
    counter = ShotCounter()
    for picture in (scene(0), scene(1, 88, 120), scene(1, 88, 120), scene(0), scene(0)):
        assert counter.push(luma(picture)) == 0
