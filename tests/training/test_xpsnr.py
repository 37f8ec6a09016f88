"""XPSNR through FFmpeg's filter."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra (scipy)")

from av.filter import filters_available

from tests.fixtures.counted import Counted
from training import xpsnr
from training.distortions import LEVELS, distort
from training.errors import TrainingError
from training.pictures import Picture
from training.xpsnr import XpsnrMeter, clip_db, xpsnr_db

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(xpsnr.FILTER not in filters_available, reason="needs an FFmpeg with the filter xpsnr"),
]

WIDTH, HEIGHT, LENGTH = 320, 192, 6
GREY = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)


def luma(y: np.ndarray) -> Picture:
    return Picture(np.clip(y, 16, 235).astype(np.uint8), GREY, GREY)


@pytest.fixture(scope="module")
def clip() -> list[Picture]:
    """Moving texture left, moving smooth shading right."""
    rng = np.random.default_rng(0)
    texture = rng.normal(120, 25, (HEIGHT, 4 * WIDTH))
    texture = (texture + np.roll(texture, 1, 1) + np.roll(texture, 1, 0)) / 2 - 60
    shading = 120 + 40 * np.sin(np.arange(4 * WIDTH) / 60)[None].repeat(HEIGHT, 0)
    pictures = []
    for t in range(LENGTH):
        left, right = texture[:, 2 * t : 2 * t + WIDTH // 2], shading[:, 2 * t : 2 * t + WIDTH // 2]
        pictures.append(luma(np.concatenate([left, right], axis=1)))
    return pictures


def noisy(pictures: list[Picture], columns: slice, sigma: float = 4.0) -> list[Picture]:
    """The same squared error wherever it is put."""
    rng = np.random.default_rng(1)
    out = []
    for picture in pictures:
        y = picture.y.astype(int)
        y[:, columns] += rng.choice([-1, 1], y[:, columns].shape) * round(sigma)
        out.append(luma(y))
    return out


def test_identical_pictures_are_infinite_and_a_clip_of_them_gets_the_cap(clip: list[Picture]) -> None:
    found = xpsnr_db(clip, clip, 25)
    for plane in found:
        assert plane.shape == (LENGTH,)
        assert np.isinf(plane).all()
    assert clip_db(found.y, 60.0) == 60.0


def test_one_damaged_picture_is_told_by_its_place(clip: list[Picture]) -> None:
    damaged = [*clip[:3], *noisy(clip, slice(None))[3:4], *clip[4:]]
    found = xpsnr_db(iter(clip), iter(damaged), 25)
    assert np.isfinite(found.y).tolist() == [False, False, False, True, False, False]
    assert np.isinf(found.u).all()


@pytest.mark.parametrize("kind", ["compression", "blur", "noise", "aliasing"])
def test_the_value_falls_with_every_level(clip: list[Picture], kind: str) -> None:
    found = [clip_db(xpsnr_db(clip, distort(iter(clip), kind, level, seed=3), 25).y, 60.0) for level in LEVELS]
    assert (np.diff(found) < 0).all()


def test_an_error_in_texture_costs_less_than_the_same_error_on_a_smooth_area(clip: list[Picture]) -> None:
    half = WIDTH // 2
    busy, smooth = (noisy(clip, columns) for columns in (slice(0, half), slice(half, WIDTH)))
    squared = [np.mean([(a.y.astype(int) - b.y) ** 2 for a, b in zip(clip, d, strict=True)]) for d in (busy, smooth)]
    assert squared[0] == pytest.approx(squared[1], rel=0.05)
    costs = [clip_db(xpsnr_db(clip, d, 25).y, 60.0) for d in (busy, smooth)]
    assert costs[0] > costs[1] + 3


def test_motion_hides_errors_and_the_weights_are_the_clean_clips(clip: list[Picture]) -> None:
    rng = np.random.default_rng(5)
    flat = 120 + 40 * np.sin(np.arange(WIDTH) / 60)[None].repeat(HEIGHT, 0)
    still, moving = [luma(flat)] * LENGTH, [luma(np.roll(flat, 25 * t, 1)) for t in range(LENGTH)]
    assert (
        xpsnr_db(moving, noisy(moving, slice(None)), 25).y[3] > xpsnr_db(still, noisy(still, slice(None)), 25).y[3] + 3
    )
    # Heavy noise on the impaired clip alone would hide itself if the weights were taken from there.
    loud = [luma(p.y + rng.normal(0, 30, p.y.shape)) for p in still]
    assert clip_db(xpsnr_db(still, loud, 25).y, 60.0) < clip_db(xpsnr_db(loud, still, 25).y, 60.0) - 5


@pytest.mark.parametrize("fps", [25, 50])
def test_the_first_pictures_are_judged_as_those_amid_a_clip(clip: list[Picture], fps: float) -> None:
    there_and_back = [clip[abs(t)] for t in range(-LENGTH + 1, LENGTH)]
    found = xpsnr_db(clip, noisy(clip, slice(None)), fps).y
    amid = xpsnr_db(there_and_back, noisy(there_and_back, slice(None)), fps).y[LENGTH - 1 :]
    np.testing.assert_allclose(found, amid, atol=0.05)
    assert np.ptp(found[2:]) < 0.5


def test_rates_differ_in_how_motion_is_taken(clip: list[Picture]) -> None:
    damaged = noisy(clip, slice(None))
    slow, fast = (xpsnr_db(clip, damaged, fps).y for fps in (25, 60000 / 1001))
    assert not np.allclose(slow[3:], fast[3:], atol=0.1)


@pytest.mark.parametrize("length", [1, 2])
def test_short_clips_have_values_too(clip: list[Picture], length: int) -> None:
    found = xpsnr_db(clip[:length], noisy(clip, slice(None))[:length], 25)
    assert found.y.shape == (length,)
    assert np.isfinite(found.y).all()


def test_no_pictures_have_no_value() -> None:
    found = xpsnr_db([], [], 25)
    assert found.y.shape == (0,)
    assert math.isnan(clip_db(found.y, 60.0))


def test_pictures_are_compared_as_they_come(clip: list[Picture]) -> None:
    source, meter, most = Counted(clip), XpsnrMeter(25), 0
    for reference, picture in zip(source, noisy(clip, slice(None)), strict=True):
        meter.push(reference, picture)
        most = max(most, len(meter._ahead))
    assert source.taken == LENGTH
    assert most <= 2
    np.testing.assert_array_equal(meter.values().y, xpsnr_db(clip, noisy(clip, slice(None)), 25).y)


def test_clips_of_different_length_or_size_are_refused(clip: list[Picture]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        xpsnr_db(clip, clip[:-1], 25)
    small = Picture(clip[0].y[:96], GREY[:48], GREY[:48])
    with pytest.raises(ValueError, match="one size"):
        xpsnr_db(clip, [*clip[:-1], small], 25)
    with pytest.raises(ValueError, match="one size"):
        xpsnr_db([*clip[:-1], small], [*clip[:-1], small], 25)


def test_a_build_without_the_filter_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xpsnr, "filters_available", frozenset())
    with pytest.raises(TrainingError, match=r"xpsnr \(FFmpeg 7\.1 or newer\)"):
        XpsnrMeter(25)
