"""Black and freeze on synthetic pictures."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest

from monitor.core.detectors import Detectors
from monitor.types import F64, U8, PictureFacts

H, W = 88, 160


@cache
def _scene(seed: int, height: int, width: int, mean: float, sd: float) -> F64:
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    radius[0, 0] = 1
    picture = np.fft.irfft2(spectrum / radius**1.1, s=(height, width))
    return np.clip((picture - picture.mean()) / picture.std() * sd + mean, 0, 255)


def scene(seed: int = 0, height: int = H, width: int = W, mean: float = 110, sd: float = 40) -> F64:
    """A picture with the 1/f spectrum of natural scenes, (height, width)."""
    return _scene(seed, height, width, mean, sd).copy()


def luma(picture: F64) -> U8:
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def watch(pictures: Iterable[F64], fps: float = 25) -> list[PictureFacts]:
    detectors = Detectors(fps)
    return [detectors.push(luma(picture)) for picture in pictures]


def shifted(picture: F64, pixels: float) -> F64:
    """Moved to the left by a fraction of a pixel, linearly interpolated, wrapping round."""
    whole = int(np.floor(pixels))
    part = pixels - whole
    return (1 - part) * np.roll(picture, -whole, axis=1) + part * np.roll(picture, -whole - 1, axis=1)


def downscaled(picture: U8) -> F64:
    rows = np.linspace(0, picture.shape[0], H + 1).astype(int)
    columns = np.linspace(0, picture.shape[1], W + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(float), rows[:-1], 0), columns[:-1], 1)
    return (sums / np.outer(np.diff(rows), np.diff(columns)) - 16) * 255 / 219


def coded_freeze(codec: str, options: dict[str, str], bit_rate: int | None, count: int = 38) -> list[F64]:
    """The same picture with fresh grain each time, encoded at 640x360 and decoded again."""
    rng = np.random.default_rng(1)
    picture = scene(3, 360, 640, mean=120, sd=45)
    grainy = [np.clip(picture + rng.normal(size=picture.shape) * 2, 16, 235) for _ in range(5)]
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.options = Fraction(1, 25), Fraction(25), options
    if bit_rate is not None:
        encoder.bit_rate = bit_rate
    decoder = av.CodecContext.create("h264" if codec == "libx264" else codec, "r")
    planes = np.full((540, 640), 128, np.uint8)
    packets = []
    for n in range(count):
        planes[:360] = grainy[n % 5]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = n
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [downscaled(frame.to_ndarray()[:360]) for frame in frames]


def test_unchanged_picture_is_still_for_as_long_as_it_lasts() -> None:
    facts = watch([scene(9)] * 3 + [scene()] * 76)
    assert facts[3].still_s == 0
    assert facts[-1].still_s == pytest.approx(3.0)


def test_seconds_are_media_seconds() -> None:
    assert watch([scene()] * 26, fps=12.5)[-1].still_s == pytest.approx(2.0)
    assert watch([np.zeros((H, W))] * 25, fps=12.5)[-1].black_s == pytest.approx(2.0)


def test_sensor_noise_does_not_hide_a_freeze() -> None:
    rng = np.random.default_rng(0)
    facts = watch(scene() + rng.normal(size=(H, W)) for _ in range(100))
    assert facts[-1].still_s == pytest.approx(99 / 25)


def test_one_dithering_bit_does_not_hide_a_freeze() -> None:
    facts = watch(scene() + n % 2 for n in range(100))
    assert facts[-1].still_s == pytest.approx(99 / 25)


@pytest.mark.parametrize(
    ("codec", "options", "bit_rate"),
    [
        ("libx264", {"crf": "23", "preset": "veryfast", "g": "12"}, None),
        ("libx264", {"crf": "36", "preset": "veryfast", "g": "12"}, None),
        ("mpeg2video", {"g": "12"}, 1_000_000),
    ],
)
def test_pulsing_of_an_encoder_does_not_hide_a_freeze(
    codec: str, options: dict[str, str], bit_rate: int | None
) -> None:
    facts = watch(coded_freeze(codec, options, bit_rate))
    assert len(facts) == 38
    assert facts[-1].still_s >= 1.4  # three GOPs and a bit, less a picture or two at the start


@pytest.mark.parametrize("speed", [0.02, 0.1, 1.0])
def test_slow_pan_is_no_freeze(speed: float) -> None:
    picture = scene(4)
    facts = watch(shifted(picture, n * speed) for n in range(250))
    assert max(fact.still_s for fact in facts) < 3


def test_slow_fade_is_no_freeze() -> None:
    # Ten seconds from full to a tenth.
    facts = watch(scene(5) * (1 - 0.9 * n / 250) for n in range(250))
    assert max(fact.still_s for fact in facts) < 1


def test_ticking_clock_keeps_a_still_picture_alive() -> None:
    rng = np.random.default_rng(2)
    digits = [luma(np.kron(rng.integers(0, 2, (4, 3)), np.ones((1, 1))) * 180.0 + 30) for _ in range(10)]
    pictures = []
    for n in range(250):
        picture = scene(6, sd=20)
        picture[4:12, 130:156] = 30  # the clock's plate
        picture[6:10, 150:153] = digits[n // 25 % 10]
        pictures.append(picture)
    facts = watch(pictures)
    assert max(fact.still_s for fact in facts) <= 1.0


def test_crawl_keeps_a_still_picture_alive() -> None:
    text = np.kron(np.random.default_rng(3).integers(0, 2, (1, 200)), np.ones((4, 2))) * 200.0 + 20
    pictures = []
    for n in range(100):
        picture = scene(7, sd=20)
        picture[80:84] = text[:, n : n + W]
        pictures.append(picture)
    assert max(fact.still_s for fact in watch(pictures)) < 0.2


def test_picture_that_moves_on_after_a_freeze_is_live_at_once() -> None:
    facts = watch([scene()] * 50 + [shifted(scene(), n) for n in range(1, 10)])
    assert facts[49].still_s == pytest.approx(49 / 25)
    assert [fact.still_s for fact in facts[50:]] == [0.0] * 9


def test_held_picture_of_a_gap_counts_without_being_looked_at() -> None:
    detectors = Detectors(25)
    detectors.push(luma(scene()))
    assert detectors.push(luma(scene(1)), held_gap=True).still_s == pytest.approx(1 / 25)
    assert detectors.push(luma(scene()), held_gap=False).still_s == pytest.approx(2 / 25)
    first = Detectors(25).push(luma(scene()), held_gap=True)  # nothing to hold yet: looked at
    assert first.luma_mean == pytest.approx(110, abs=2)


@pytest.mark.parametrize("level", [0, 3, 16])
def test_black_counts_from_its_first_picture(level: int) -> None:
    facts = watch([scene()] * 5 + [np.full((H, W), float(level))] * 50)
    assert facts[4].black_s == 0
    assert facts[5].black_s == pytest.approx(1 / 25)
    assert facts[-1].black_s == pytest.approx(2.0)
    assert not facts[-1].logo


def test_noise_in_black_is_black() -> None:
    rng = np.random.default_rng(4)
    assert watch(np.abs(rng.normal(size=(H, W))) * 4 for _ in range(25))[-1].black_s == 1.0


def test_fade_to_black_becomes_black_when_it_is() -> None:
    facts = watch(scene() * max(0.0, 1 - n / 50) for n in range(100))
    assert facts[40].black_s == 0
    assert facts[50].black_s > 0
    assert facts[-1].black_s >= 2.0


@pytest.mark.parametrize("place", [(6, 136), (6, 8), (70, 70)])
@pytest.mark.parametrize("background", [0.0, 16.0])
def test_black_with_a_logo_is_black(place: tuple[int, int], background: float) -> None:
    picture = np.full((H, W), background)
    row, column = place
    picture[row : row + 7, column : column + 16] = scene(8, 7, 16, mean=180)
    rng = np.random.default_rng(5)
    facts = watch(picture + rng.normal(size=(H, W)) for _ in range(50))
    assert facts[-1].black_s == pytest.approx(2.0)
    assert facts[-1].logo


def test_two_small_logos_are_allowed() -> None:
    picture = np.zeros((H, W))
    picture[5:11, 6:18] = picture[5:12, 140:155] = 200
    assert watch([picture])[-1].logo


def test_picture_in_a_corner_is_no_logo() -> None:
    picture = np.zeros((H, W))
    picture[:22, :40] = scene(8, 22, 40)  # 1/16 of the area
    assert watch([picture])[-1] == PictureFacts(luma_mean=pytest.approx(float(luma(picture).mean())))


def test_dark_scene_is_not_black() -> None:
    rng = np.random.default_rng(6)
    street = scene(9, mean=14, sd=6)
    for row, column in rng.integers(4, 80, (12, 2)):  # lamps, 0.7 % of the picture
        street[row : row + 3, column : column + 3] = 220
    candle = 6 + 30 * np.exp(-np.hypot(*(np.indices((H, W)) - np.array([44, 80])[:, None, None])) / 20)
    candle[40:48, 76:82] = 230
    for picture in (street, candle):
        facts = watch(shifted(picture, n * 0.5) for n in range(50))
        assert facts[-1].black_s == 0
        assert not facts[-1].logo
        assert max(fact.still_s for fact in facts) < 2


def test_dim_motion_is_not_still() -> None:
    facts = watch(shifted(scene(10, mean=12, sd=4), n * 1.0) for n in range(75))
    assert max(fact.still_s for fact in facts) < 0.5


def test_new_shape_starts_anew() -> None:
    detectors = Detectors(25)
    detectors.push(luma(scene()))
    assert detectors.push(luma(scene())).still_s > 0
    assert detectors.push(luma(scene(0, 96, 160))).still_s == 0


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="fps"):
        Detectors(0)
    for bad in (
        np.zeros((88, 160, 3), np.uint8),
        np.zeros((88, 160), np.float32),
        np.zeros((4, 4), np.uint8),
    ):
        with pytest.raises(ValueError, match="luma must be"):
            Detectors(25).push(bad)


def test_repeats_of_the_source_are_told_from_the_grids_own_and_from_a_locked_camera() -> None:
    detectors = Detectors(25)
    first, second = luma(scene(1)), luma(scene(2))
    assert not detectors.push(first).repeated
    assert detectors.push(first.copy()).repeated
    assert not detectors.push(first.copy(), held=True).repeated
    assert not detectors.push(second).repeated
    assert detectors.push(second, held_gap=True, held=True).repeated
    rng = np.random.default_rng(3)
    camera = [detectors.push(luma(scene(4) + rng.normal(size=(H, W)) * 0.7)).repeated for _ in range(20)]
    assert not any(camera)


def test_loop_is_a_fact_with_its_period() -> None:
    facts = watch([shifted(scene(), 4.0 * (n % 25)) for n in range(150)])
    assert facts[-1].loop_s == pytest.approx(5.0, abs=0.2)
    assert facts[-1].loop_period_s == pytest.approx(1.0)
    assert facts[-1].still_s < 0.2


def test_shots_are_counted_by_pictures_that_are_shown_for_the_first_time() -> None:
    detectors = Detectors(25)
    for _ in range(5):
        assert detectors.push(luma(scene(0))).shot == 0
    # One strange picture that the grid holds, or that stands over a gap, is still one.
    assert [detectors.push(luma(scene(1)), **how).shot for how in ({}, {"held": True}, {"held_gap": True})] == [0] * 3
    assert [detectors.push(luma(scene(2))).shot for _ in range(4)] == [0, 0, 1, 1]
