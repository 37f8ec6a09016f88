"""What a model knows."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.domain import WINDOW_S, DomainWatch, FeatureDomain, Foreign
from monitor.types import PictureFacts

LIT, DARK = PictureFacts(luma_mean=110.0), PictureFacts(luma_mean=18.0)


def test_the_training_material_lies_about_one_deviation_away_and_other_pictures_further() -> None:
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=64), rng.uniform(0.1, 3, 64)
    known = mean + sd * rng.normal(size=(200, 64))
    domain = FeatureDomain(mean, sd, 2.0)
    assert domain.distance(known).mean() == pytest.approx(1.0, abs=0.05)
    assert (domain.distance(mean + 4 * sd[None]) > 3.9).all()


def test_one_dead_channel_that_wakes_up_does_not_speak_for_all() -> None:
    features = np.zeros((1, 256))
    features[0, 7] = 1e6
    assert FeatureDomain(np.zeros(256), np.full(256, 0.1), 2.0).distance(features)[0] < 1.0


@pytest.mark.parametrize("sd", [np.zeros(3), np.ones(4), np.ones((3, 1))])
def test_a_domain_without_width_is_refused(sd: np.ndarray) -> None:
    with pytest.raises(ValueError, match="sd"):
        FeatureDomain(np.zeros(3), sd, 1.0)


def test_a_stream_is_out_while_most_of_its_last_two_seconds_are() -> None:
    watch = DomainWatch(25, 2.0)
    window = round(25 * WINDOW_S)
    seen = []
    for distance in [1.0] * window + [5.0] * window + [1.0] * window:
        watch.push(distance, LIT)
        seen.append(watch.foreign)
    assert seen[: window + window // 2] == [None] * (window + window // 2)
    assert seen[window + window // 2] is Foreign.UNLIKE
    assert seen[2 * window + window // 2] is None


def test_a_dark_scene_is_out_by_its_light_whatever_the_model_says() -> None:
    for limit in (None, 2.0):
        watch = DomainWatch(25, limit)
        watch.push(1.0, DARK)
        assert watch.foreign is Foreign.DARK


def test_a_model_without_a_domain_knows_every_lit_picture() -> None:
    watch = DomainWatch(25, None)
    watch.push(None, LIT)
    assert watch.foreign is None


def test_drawn_pictures_are_told_by_their_flat_blocks() -> None:
    watch = DomainWatch(25, None)
    for _ in range(50):
        watch.push(None, PictureFacts(luma_mean=110.0, flat_share=0.9))
    assert watch.foreign is Foreign.GRAPHICS
    for _ in range(50):
        watch.push(None, PictureFacts(luma_mean=110.0, flat_share=0.7))
    assert watch.foreign is None
    for _ in range(50):
        watch.push(None, PictureFacts(luma_mean=110.0, flat_share=0.7, still_s=1.0))
    assert watch.foreign is Foreign.GRAPHICS
