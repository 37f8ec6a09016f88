"""Each distortion does what its name says, more so at each level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training needs scipy")

import itertools

from training.distortions import DISTORTIONS, distort
from training.pictures import Picture
from training.ssim import fragment_ssim_db

pytestmark = pytest.mark.timeout(120)
LENGTH, SPARE = 50, 64


def scene(count: int = LENGTH + SPARE, width: int = 256, height: int = 128) -> list[Picture]:
    """A textured plane panning three pixels a picture: edges, gradients and steady motion."""
    rng = np.random.default_rng(1)
    wide = rng.normal(0, 1, (height, width + 3 * count + 8))
    for axis in (0, 1):  # smooth to a natural falloff, keep some fine grain
        wide = wide + 4 * sum(np.roll(wide, s, axis) for s in range(-6, 7)) / 13
    wide = (wide - wide.min()) / (wide.max() - wide.min()) * 180 + 30
    u, v = np.full((height // 2, width // 2), 120, np.uint8), np.full((height // 2, width // 2), 134, np.uint8)
    return [Picture(wide[:, 3 * t : 3 * t + width].astype(np.uint8), u, v) for t in range(count)]


CLEAN = scene()


def spoiled(kind: str, level: float, seed: int = 3) -> list[Picture]:
    return list(distort(iter(CLEAN), kind, level, seed=seed))


def ssim_loss(pictures: list[Picture]) -> float:
    return -float(np.mean([fragment_ssim_db(c.y, p.y) for c, p in zip(CLEAN, pictures[:LENGTH], strict=False)]))


def comb_energy(pictures: list[Picture]) -> float:
    ratios = []
    for picture in pictures[:LENGTH]:
        y = picture.y.astype(int)
        ratios.append(np.abs(y[1:] - y[:-1]).mean() / (np.abs(y[2:] - y[:-2]).mean() + 1))
    return float(np.mean(ratios))


def cadence_irregularity(pictures: list[Picture]) -> float:
    steps = [np.abs(b.y.astype(int) - a.y).mean() for a, b in itertools.pairwise(pictures)]
    return float(np.std(steps) / np.mean(steps))


def luma_unrest(pictures: list[Picture]) -> float:
    """Spread over time of brightness or of fine detail, against the clean clip."""
    means = [p.y.mean() - c.y.mean() for c, p in zip(CLEAN, pictures[:LENGTH], strict=False)]
    detail = [
        np.abs(np.diff(p.y.astype(int), axis=1)).mean() / np.abs(np.diff(c.y.astype(int), axis=1)).mean()
        for c, p in zip(CLEAN, pictures[:LENGTH], strict=False)
    ]
    return float(np.std(means) + 20 * np.std(detail))


def repeats(pictures: list[Picture]) -> float:
    return float(sum(a is b for a, b in itertools.pairwise(pictures)))


def displaced(pictures: list[Picture]) -> float:
    """Pictures that do not stand at their time: held or jumped over."""
    return float(
        np.mean([np.abs(p.y.astype(int) - c.y).mean() for c, p in zip(CLEAN, pictures[:LENGTH], strict=False)])
    )


def blackness(pictures: list[Picture]) -> float:
    return float(sum(p.y.max() <= 16 for p in pictures))


PROPERTY: dict[str, Callable[[list[Picture]], float]] = {
    "compression": ssim_loss,
    "aliasing": ssim_loss,
    "blur": ssim_loss,
    "noise": ssim_loss,
    "banding": ssim_loss,
    "macroblocks": ssim_loss,
    "interlacing": comb_energy,
    "judder": cadence_irregularity,
    "flicker": luma_unrest,
    "frame_drop": displaced,
    "freeze": repeats,
    "black": blackness,
}


@pytest.mark.parametrize("kind", sorted(DISTORTIONS))
def test_as_many_pictures_of_the_same_size_come_out(kind: str) -> None:
    pictures = spoiled(kind, 3)
    assert len(pictures) == len(CLEAN)
    assert {p.y.shape for p in pictures} == {CLEAN[0].y.shape}
    assert {p.u.shape for p in pictures} == {CLEAN[0].u.shape}


@pytest.mark.parametrize("kind", sorted(PROPERTY))
def test_each_level_is_worse_in_a_property_of_its_own(kind: str) -> None:
    seeds = (3, 4, 5)
    values = [float(np.mean([PROPERTY[kind](spoiled(kind, level, s)) for s in seeds])) for level in (1, 2, 3, 4, 5)]
    assert values == sorted(values), values
    assert values[-1] > values[0]
    assert values[0] >= PROPERTY[kind](CLEAN) - 1e-9


@pytest.mark.parametrize("kind", sorted(DISTORTIONS))
def test_the_same_seed_gives_the_same_pictures(kind: str) -> None:
    for a, b in zip(spoiled(kind, 2.5), spoiled(kind, 2.5), strict=True):
        for first, second in zip(a, b, strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("level", [0.9, 5.1, -1])
def test_levels_outside_one_to_five_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="levels are 1 to 5"):
        list(distort(iter(CLEAN), "blur", level, seed=1))


def test_an_unknown_distortion_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"smear.*compression"):
        list(distort(iter(CLEAN), "smear", 1, seed=1))


def test_pictures_stream_through_with_a_bounded_number_held() -> None:
    taken = 0

    def counted() -> object:
        nonlocal taken
        for picture in CLEAN:
            taken += 1
            yield picture

    for kind in ("interlacing", "judder", "frame_drop", "blur", "macroblocks"):
        taken = 0
        stream = distort(counted(), kind, 3, seed=1)  # type: ignore[arg-type]
        for given in range(1, 30):
            next(stream)
            assert taken - given <= 40
