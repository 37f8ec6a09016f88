from __future__ import annotations

import numpy as np
import pytest

from monitor.core.scan import Look, ScanWatch, look
from tests.fixtures.pictures import HEIGHT, progressive, woven

STARTS = range(8, 312, 25)


def strips(picture: np.ndarray) -> np.ndarray:
    return np.stack([picture[:HEIGHT, x : x + 8] for x in STARTS])


@pytest.mark.parametrize("at", range(5))
def test_fields_taken_one_after_the_other_are_seen_and_whole_pictures_too(at: int) -> None:
    assert look(strips(woven(at)), strips(woven(at + 1))) is Look.INTERLACED
    assert look(strips(progressive(at)), strips(progressive(at + 1))) is Look.PROGRESSIVE


def test_a_picture_lost_in_between_changes_no_verdict() -> None:
    assert look(strips(woven(0)), strips(woven(2))) is Look.INTERLACED
    assert look(strips(progressive(0)), strips(progressive(2))) is Look.PROGRESSIVE


def test_what_stands_still_says_nothing_however_fine_its_lines_are() -> None:
    stripes = np.where(np.arange(HEIGHT)[:, None] % 2, 200, 50).astype(np.uint8).repeat(320, axis=1)
    assert look(strips(stripes), strips(stripes)) is Look.UNDECIDED
    assert look(strips(woven(3)), strips(woven(3))) is Look.UNDECIDED


def test_noise_and_a_change_of_size_say_nothing() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(16, 236, (2, 12, HEIGHT, 8), dtype=np.uint8)
    assert look(first, second) is Look.UNDECIDED
    assert look(first, second[:, :96]) is Look.UNDECIDED


def test_the_majority_decides_and_keeps_its_word_between_the_limits() -> None:
    watch = ScanWatch()
    for _ in range(3):
        assert watch.interlaced is None
        watch.push(Look.INTERLACED)
        watch.push(Look.UNDECIDED)
    assert watch.interlaced is True
    for _ in range(12):
        watch.push(Look.PROGRESSIVE)
        watch.push(Look.INTERLACED)
    assert watch.interlaced is True  # half of them: no reason to change
    for _ in range(20):
        watch.push(Look.PROGRESSIVE)
    assert watch.interlaced is False


def test_film_in_interlaced_video_gets_a_verdict_in_the_end() -> None:
    watch = ScanWatch()
    for _ in range(5):
        for combed in (False, False, True, True, False):
            watch.push(Look.INTERLACED if combed else Look.PROGRESSIVE)
    assert watch.interlaced is not None
