from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from monitor.demo.scenes import SCENES, Loop, render
from monitor.types import U8

WIDTH, HEIGHT, FPS, SECONDS = 320, 180, 25.0, 2.0
FRAMES = 50


@pytest.fixture(scope="module", params=sorted(SCENES))
def scene(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def loop(scene: str) -> U8:
    return np.stack(list(render(scene, 3, WIDTH, HEIGHT, FPS, SECONDS)))


def luma(loop: U8) -> np.ndarray:
    return loop[:, :HEIGHT].astype(np.float32)


def test_a_loop_holds_fps_times_seconds_i420_pictures(loop: U8) -> None:
    assert loop.shape == (FRAMES, HEIGHT * 3 // 2, WIDTH)
    assert loop.dtype == np.uint8


def test_the_seed_decides_the_pictures(scene: str, loop: U8) -> None:
    again, other = (list(islice(render(scene, seed, WIDTH, HEIGHT, FPS, SECONDS), 2)) for seed in (3, 4))
    assert np.array_equal(loop[:2], again)
    assert np.abs(np.subtract(loop[:2], other, dtype=np.float32)).mean() > 4.0


def test_the_last_picture_leads_into_the_first(loop: U8) -> None:
    y = luma(loop)
    steps = np.abs(np.diff(y, axis=0)).mean(axis=(1, 2))
    seam = np.abs(y[0] - y[-1]).mean()
    assert seam < 1.35 * steps.max()
    assert seam > 0.65 * steps.min()


def test_every_picture_differs_visibly_from_the_one_before(loop: U8) -> None:
    # Camera noise alone gives about 1.3; the rest is motion.
    assert np.abs(np.diff(luma(loop), axis=0)).mean(axis=(1, 2)).min() > 2.2


def test_motion_is_smooth(loop: U8) -> None:
    steps = np.abs(np.diff(luma(loop), axis=0)).mean(axis=(1, 2))
    assert steps.max() < 1.6 * np.median(steps)


def test_luma_uses_its_range_and_stays_legal(loop: U8) -> None:
    y = loop[:, :HEIGHT]
    low, high = np.percentile(y, (2, 98))
    assert high - low > 70
    assert y.std() > 20
    assert y.min() >= 16
    assert y.max() <= 235
    histogram = np.bincount(y[0].ravel(), minlength=256) / y[0].size
    assert -(histogram[histogram > 0] * np.log2(histogram[histogram > 0])).sum() > 5.5  # bits


def test_the_spectrum_falls_like_a_camera_picture(loop: U8) -> None:
    picture = luma(loop)[7]
    window = np.hanning(HEIGHT)[:, None] * np.hanning(WIDTH)[None, :]
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(HEIGHT), np.fft.fftfreq(WIDTH), indexing="ij")
    radius = np.hypot(fy, fx)
    edges = np.geomspace(0.02, 0.4, 12)
    centre = np.sqrt(edges[:-1] * edges[1:])
    mean = [power[(radius >= a) & (radius < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(centre), np.log(mean), 1)[0]
    assert -3.6 < slope < -1.4  # natural pictures: about -2 in power


def test_colour_is_there_and_moderate(loop: U8) -> None:
    chroma = loop[:, HEIGHT:].astype(np.float32)
    assert 3.0 < np.abs(chroma - 128).mean() < 40.0


@pytest.mark.parametrize(("scene", "width", "height"), [("fog", 320, 180), ("coast", 321, 180), ("coast", 320, 90)])
def test_what_cannot_be_rendered_is_refused(scene: str, width: int, height: int) -> None:
    with pytest.raises(ValueError, match=r"no scene 'fog'|got 32[01]x"):
        next(render(scene, 1, width, height))


def test_a_loop_is_rendered_once_and_then_read_from_disk(tmp_path: Path) -> None:
    first = Loop("coast", 1, 128, 72, 25.0, 0.4, tmp_path)
    assert first.wait(10, 30.0)
    first.close()
    kept = list(tmp_path.iterdir())
    assert len(kept) == 1
    assert kept[0].stat().st_size == 10 * 128 * 108
    again = Loop("coast", 1, 128, 72, 25.0, 0.4, tmp_path)
    assert again.done == 10
    assert np.array_equal(again.picture(13), first.picture(3))


def test_an_unfinished_loop_leaves_nothing_behind(tmp_path: Path) -> None:
    loop = Loop("mountains", 1, 320, 180, 25.0, 8.0, tmp_path)
    loop.close()
    assert list(tmp_path.iterdir()) == []
