from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from monitor.demo.impairments import LOOK_AHEAD, Impairment, effect
from monitor.demo.scenes import render
from monitor.types import U8

WIDTH, HEIGHT = 256, 144


@pytest.fixture(scope="module")
def clean() -> U8:
    return np.stack(list(islice(render("city", 2, WIDTH, HEIGHT, 25.0, 2.6), 64)))


def played(clean: U8, impairment: Impairment, first: int = 4, count: int = 50) -> list[U8]:
    done = effect(impairment, 25.0)
    sent = [done.picture(lambda number: clean[number], number) for number in range(first, first + count)]
    return [picture for picture in sent if picture is not None]


def luma(pictures: list[U8] | U8) -> np.ndarray:
    return np.asarray(pictures)[:, :HEIGHT].astype(np.float32)


def comb(pictures: np.ndarray) -> float:
    """Energy between neighbouring lines over that between lines of one field."""
    return float(np.abs(np.diff(pictures, axis=1)).mean() / np.abs(pictures[:, 2:] - pictures[:, :-2]).mean())


def shown_for(pictures: list[U8]) -> list[int]:
    """For how many picture times each picture stands."""
    runs = [1]
    for before, after in pairwise(pictures):
        if np.array_equal(before, after):
            runs[-1] += 1
        else:
            runs.append(1)
    return runs


def test_interlacing_combs_moving_edges_of_luma_and_chroma(clean: U8) -> None:
    woven = played(clean, Impairment.INTERLACING, count=10)
    assert comb(luma(woven)) > 1.3 * comb(luma(clean[4:14]))
    u = slice(HEIGHT, HEIGHT * 5 // 4)
    lines, early, late = (p[u].reshape(HEIGHT // 2, WIDTH // 2) for p in (woven[0], clean[4], clean[6]))
    assert np.array_equal(lines[0::2], early[0::2])
    assert np.array_equal(lines[1::2], late[1::2])


def test_interlacing_keeps_what_does_not_move() -> None:
    still = np.random.default_rng(1).integers(16, 235, (HEIGHT * 3 // 2, WIDTH)).astype(np.uint8)
    assert np.array_equal(effect(Impairment.INTERLACING, 25.0).picture(lambda _: still, 0), still)


def test_frame_drop_holds_in_bursts_and_then_jumps(clean: U8) -> None:
    sent = played(clean, Impairment.FRAME_DROP)
    runs = shown_for(sent)
    long = [run for run in runs if run > 1]
    assert len(long) >= 2
    assert min(long[:-1]) >= 7  # the last may be cut short
    assert len(runs) < 40
    assert np.array_equal(sent[20], clean[24])  # back on the content's own clock, not late


def test_judder_repeats_regularly(clean: U8) -> None:
    assert shown_for(played(clean, Impairment.JUDDER, count=48)) == [2, 4] * 8


def test_freeze_repeats_the_last_good_picture_exactly(clean: U8) -> None:
    sent = played(clean, Impairment.FREEZE)
    assert len(sent) == 50
    assert all(np.array_equal(picture, clean[3]) for picture in sent)


def test_black_is_legal_black(clean: U8) -> None:
    for picture in played(clean, Impairment.BLACK, count=2):
        assert np.unique(picture[:HEIGHT]).tolist() == [16]
        assert np.unique(picture[HEIGHT:]).tolist() == [128]


def test_loss_sends_nothing(clean: U8) -> None:
    assert played(clean, Impairment.LOSS) == []


def test_blur_takes_fine_detail_and_leaves_the_mean(clean: U8) -> None:
    blurred, sharp = luma(played(clean, Impairment.BLUR, count=2)), luma(clean[4:6])
    assert np.abs(np.diff(blurred, axis=2)).mean() < 0.35 * np.abs(np.diff(sharp, axis=2)).mean()
    assert abs(blurred.mean() - sharp.mean()) < 1.0


def test_noise_adds_its_variance_anew_to_every_picture(clean: U8) -> None:
    added = luma(played(clean, Impairment.NOISE, count=3)) - luma(clean[4:7])
    assert 9.0 < added.std() < 13.0
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.05


def test_only_the_collapse_starves_the_encoder(clean: U8) -> None:
    starved = [kind for kind in Impairment if effect(kind, 25.0).bits_per_pixel is not None]
    assert starved == [Impairment.BITRATE_COLLAPSE]
    assert np.array_equal(played(clean, Impairment.BITRATE_COLLAPSE, count=1)[0], clean[4])


@pytest.mark.parametrize("impairment", list(Impairment))
def test_effects_leave_the_clean_feed_alone_and_look_no_farther_than_promised(
    clean: U8, impairment: Impairment
) -> None:
    kept = clean.copy()
    done, farthest = effect(impairment, 25.0), 0

    def pictures(number: int) -> U8:
        nonlocal farthest
        farthest = max(farthest, number - now)
        return np.asarray(clean[number])

    for now in range(5, 35):
        done.picture(pictures, now)
    assert np.array_equal(clean, kept)
    assert farthest <= LOOK_AHEAD
