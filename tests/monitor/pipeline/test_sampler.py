from __future__ import annotations

import gc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from av import VideoFrame

from engines.preprocess import InputMode, InputSpec
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.sampler import StreamSampler
from monitor.types import DropCause, Frame, Sample, StreamId

SPEC = InputSpec(InputMode.FRAGMENTS, grid=2, patch=16)


class Harness:
    def __init__(self, fps: int = 25, side: bool = True, lower: tuple[Fraction, ...] = ()) -> None:
        self.samples: list[Sample] = []
        self.dropped: Counter[DropCause] = Counter()
        self.sampler = StreamSampler(
            StreamId("cam"),
            SPEC,
            Fraction(fps),
            with_side_channel=side,
            lower=lower,
            emit=self.samples.append,
            on_drop=lambda n, cause: self.dropped.update({cause: n}),
        )

    def play(self, times_s: list[float], *, time_base: Fraction = Fraction(1, 90000), size: int = 64) -> None:
        for i, t in enumerate(times_s):
            pts = round(t / time_base)
            self.sampler.push(Decoded(picture(i, size), pts, time_base, received_s=float(i), corrupt=i % 5 == 4))


def picture(seed: int, size: int = 64) -> VideoFrame:
    values = np.random.default_rng(seed).integers(16, 236, (size * 3 // 2, size), dtype=np.uint8)
    return VideoFrame.from_ndarray(values, format="yuv420p")


def test_a_source_of_the_grids_rate_gives_one_sample_a_frame() -> None:
    run = Harness()
    run.play([i / 25 for i in range(50)])
    run.sampler.end_epoch()
    assert [s.tick for s in run.samples] == list(range(50))
    assert not any(s.held for s in run.samples)
    assert run.sampler.counts.frames == 50
    assert run.sampler.counts.corrupt == 10


def test_grid_repeats_keep_the_side_channel_and_are_no_events() -> None:
    run = Harness()
    run.play([i / 24 for i in range(48)])
    run.sampler.end_epoch()
    held = [i for i, s in enumerate(run.samples) if s.held]
    assert len(held) == 2
    for i in held:
        np.testing.assert_array_equal(run.samples[i].side, run.samples[i - 1].side)
    assert run.sampler.counts.repeated == 0


def test_a_gap_of_the_source_reads_as_still_pictures_and_is_counted() -> None:
    run = Harness()
    run.play([i / 25 for i in (*range(20), *range(28, 40))])
    run.sampler.end_epoch()
    assert [s.tick for s in run.samples] == list(range(40))
    assert run.sampler.counts.repeated == 8
    still = [s.side[1] for s in run.samples[21:28] if s.side is not None]
    assert min(still) == 1.0


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001)])
def test_no_rate_reads_as_repeats_of_the_source_and_each_is_measured(rate: Fraction) -> None:
    run = Harness(side=False)
    run.play([float(i / Fraction(rate)) for i in range(3 * round(rate))])
    run.sampler.end_epoch()
    assert run.sampler.counts.repeated == 0
    assert run.sampler.frame_rate.fps == pytest.approx(float(rate), rel=1e-6)


def test_what_the_decoder_skipped_is_no_gap_and_no_other_rate_of_the_source() -> None:
    run = Harness(side=False, lower=(Fraction(5),))
    times = [i / 25 for i in range(50)]
    for i, t in enumerate(times):
        run.sampler.push(Decoded(picture(i), round(t * 90_000), Fraction(1, 90_000), float(i), False))
    run.sampler.rung = 1
    # I, P and B pictures that others refer to, of a group of eight whose length the encoder chooses.
    for i in (52, 54, 62, 64, 72, 74, 82, 90, 92, 100):
        run.sampler.push(
            Decoded(picture(i), round(i / 25 * 90_000), Fraction(1, 90_000), float(i), False, reference_only=True)
        )
    run.sampler.end_epoch()
    assert run.sampler.frame_rate.fps == pytest.approx(25)
    assert run.sampler.counts.gaps == 0
    assert run.sampler.counts.repeated == 0
    assert len([s for s in run.samples if s.rung == 1]) >= 9


@pytest.mark.parametrize("rate", [24, 25, Fraction(30000, 1001)])
def test_pictures_that_the_source_shows_twice_are_counted(rate: Fraction) -> None:
    run = Harness(side=False)
    for i in range(3 * round(rate)):
        shown = i - (i % 10 == 9)  # every tenth picture is its predecessor
        run.sampler.push(
            Decoded(picture(shown), round(i / Fraction(rate) * 90_000), Fraction(1, 90_000), float(i), False)
        )
    run.sampler.end_epoch()
    # A faster source's repeat may fall on a picture that the grid leaves out.
    assert run.sampler.counts.repeated == pytest.approx(3 * round(rate) / 10, abs=3)


def test_time_that_stands_is_no_advance_and_a_new_epoch_alone_neither() -> None:
    run = Harness(side=False)
    run.play([i / 25 for i in range(10)])
    assert (run.sampler.pictures, run.sampler.advanced) == (10, 9)
    run.play([9 / 25] * 10)
    assert (run.sampler.pictures, run.sampler.advanced) == (20, 9)
    run.play([100.0, 200.0, 300.0])
    assert run.sampler.advanced == 9
    run.play([300.04])
    assert run.sampler.advanced == 10


def test_stillness_outlives_jumps_in_time() -> None:
    run = Harness(side=False)
    for second in range(4):
        for i in range(25):
            pts = round((1000 * second + i / 25) * 90_000)
            run.sampler.push(Decoded(picture(7), pts, Fraction(1, 90_000), 0.0, False))
    assert run.sampler.latest is not None
    assert run.sampler.latest[0].still_s > 3.5


def test_a_jump_in_time_begins_an_epoch_and_loses_no_frame() -> None:
    run = Harness()
    run.play([i / 25 for i in range(10)] + [100 + i / 25 for i in range(10)])
    run.sampler.end_epoch()
    assert [(s.epoch, s.tick) for s in run.samples] == [(e, t) for e in (1, 2) for t in range(10)]


@pytest.mark.parametrize("first", [1, 2])
def test_an_epoch_starts_its_side_channel_afresh(first: int) -> None:
    run = Harness()
    run.play([i / 25 for i in range(10 * first)])
    run.sampler.end_epoch()
    run.play([i / 25 for i in range(10)])
    run.sampler.end_epoch()
    fresh = Harness()
    fresh.play([i / 25 for i in range(10)])
    fresh.sampler.end_epoch()
    for ours, theirs in zip(run.samples[-10:], fresh.samples, strict=True):
        np.testing.assert_array_equal(ours.side, theirs.side)


def test_pictures_that_cannot_be_cut_are_dropped_by_cause() -> None:
    run = Harness()
    run.play([i / 25 for i in range(10)], size=8)
    run.sampler.end_epoch()
    assert run.samples == []
    assert run.dropped == {DropCause.UNSUPPORTED_FORMAT: 10}
    assert run.sampler.picture_error is not None


def test_a_change_of_resolution_goes_on() -> None:
    run = Harness()
    run.play([i / 25 for i in range(5)])
    run.play([0.2 + i / 25 for i in range(5)], size=128)
    run.sampler.end_epoch()
    assert len(run.samples) == 10
    assert {s.pixels.shape for s in run.samples} == {(3, 32, 32)}


def test_another_rate_goes_on_with_the_media_time_of_its_epoch_on_a_grid_of_its_own() -> None:
    run = Harness(lower=(Fraction(25, 2), Fraction(5)))
    frames = [i / 25 for i in range(100)]
    run.play(frames[:50])
    run.sampler.rung = 2
    for i, t in enumerate(frames[50:]):
        run.sampler.push(
            Decoded(picture(i), round(t * 90000), Fraction(1, 90000), received_s=2 + i / 25, corrupt=False)
        )
    run.sampler.end_epoch()
    full = [s for s in run.samples if s.rung == 0]
    low = [s for s in run.samples if s.rung == 2]
    assert [s.tick for s in full] == list(range(50))
    assert [s.tick for s in low] == list(range(10))
    assert [s.pts_s for s in low] == pytest.approx([2 + i / 5 for i in range(10)])
    assert {s.epoch for s in run.samples} == {1}
    assert {s.grid for s in full} != {s.grid for s in low}
    assert run.sampler.counts.epochs == 1
    assert not run.dropped


def test_a_still_picture_stays_still_over_a_change_of_rate() -> None:
    run = Harness(lower=(Fraction(5),))
    still = picture(1)
    for i in range(150):
        run.sampler.rung = int(i >= 75)
        run.sampler.push(Decoded(still, i * 3600, Fraction(1, 90000), received_s=i / 25, corrupt=False))
    assert run.samples[-1].facts.still_s == pytest.approx(5.8, abs=0.25)


def test_the_decoder_gets_its_pictures_back_once_they_are_cut() -> None:
    run = Harness()
    run.play([i / 25 for i in range(20)])
    gc.collect()
    # Frames of this stream's pictures alone: the newest, of which it is not yet known for which ticks it stands.
    waiting = [frame for frame in gc.get_objects() if type(frame) is Frame]
    assert [frame.received_s for frame in waiting] == [19.0]
    # What was cut of it still fills a gap.
    run.play([28 / 25])
    assert [s.received_s for s in run.samples[-8:]] == [19.0] * 8
    assert all(s.held for s in run.samples[-7:])


def test_a_picture_that_cannot_be_cut_fills_no_gap() -> None:
    run = Harness()
    run.play([0.0], size=8)
    run.play([0.2])
    run.sampler.end_epoch()
    assert run.dropped == {DropCause.UNSUPPORTED_FORMAT: 5}
    assert [s.tick for s in run.samples] == [5]
