"""Features of a clip are those of the pictures that the monitor would have shown, tick by tick."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from engines import EngineInfo, Precision, find_bundle, load_bundle, open_engine
from engines.preprocess import InputMode, InputSpec
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.sampler import StreamSampler
from monitor.types import Sample, StreamId
from training.clip_writer import write_clip
from training.clips import Clip, read_frames
from training.errors import DataError, UsageError
from training.feature_extraction import NATIVE, RATES, extract_features, parse_rate
from training.pictures import Picture

FRAGMENTS = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32)
FULL = InputSpec(InputMode.FULL, colour="rgb")
NTSC = Fraction(30000, 1001)


class Fingerprints:
    """An engine whose features tell pictures apart exactly, whatever they are batched with."""

    info = EngineInfo("fingerprints", "0", "CPU", Precision.F32, 8, "fingerprints 0")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(pixels))
        digests = [hashlib.sha256(picture.tobytes()).digest()[:16] for picture in pixels]
        return np.array([np.frombuffer(digest, np.uint16) for digest in digests], np.float32)

    def close(self) -> None: ...


def pictures(count: int, size: tuple[int, int] = (192, 128), seed: int = 0) -> Iterator[Picture]:
    """Smooth pictures, no two of them alike."""
    width, height = size
    x, y = np.arange(width), np.arange(height)[:, None]
    for t in range(count):
        luma = 120 + 60 * np.sin((x + 5 * t + seed) / 17) * np.cos(y / 23) + 8 * ((x // 8 + y // 8 + t) % 2)
        chroma = np.full((height // 2, width // 2), 128 + t % 40, np.uint8)
        yield Picture(luma.astype(np.uint8), chroma, chroma)


def written(path: Path, fps: Fraction, seconds: float = 2.0, **how: object) -> Clip:
    write_clip(path, pictures(round(seconds * fps), **how), fps)  # type: ignore[arg-type]
    return Clip(path, "c", "c", 1.0)


def monitored(clip: Clip, spec: InputSpec, fps: Fraction = Fraction(25)) -> list[Sample]:
    """What the monitor's decode thread makes of the same file."""
    samples: list[Sample] = []

    def dropped(count: int, cause: object) -> None:
        pytest.fail(f"{count} ticks dropped: {cause}")

    sampler = StreamSampler(StreamId("s"), spec, fps, with_side_channel=False, emit=samples.append, on_drop=dropped)
    for frame in read_frames(clip):
        assert frame.time_base is not None
        sampler.push(Decoded(frame, frame.pts, frame.time_base, 0.0, False))
    sampler.end_epoch()
    return samples


def extracted(clip: Clip, rates: tuple[str, ...], spec: InputSpec = FRAGMENTS) -> dict[str, npt.NDArray[np.float32]]:
    return extract_features(read_frames(clip), rates, Fingerprints(), spec, clip.path.name)


# Matroska rounds time stamps to milliseconds, MPEG-TS to 1/90000 s.
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(50)], ids=str)
def test_ticks_show_what_the_monitor_shows(tmp_path: Path, fps: Fraction, suffix: str) -> None:
    clip = written(tmp_path / f"a{suffix}", fps)
    found = extracted(clip, RATES)
    for rate in ("25", "10"):
        samples = monitored(clip, FRAGMENTS, Fraction(rate))
        expected = Fingerprints().infer(np.stack([sample.pixels for sample in samples]))
        np.testing.assert_array_equal(found[rate], expected)
        assert abs(len(found[rate]) - 2 * int(rate)) <= 1
    assert len(found[NATIVE]) == round(2 * fps)


def test_the_engine_gives_what_it_gives_the_monitor(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.mkv", Fraction(30), 1.0, size=(480, 270))
    bundle = load_bundle(find_bundle("vqwatch-base", []))
    spec = bundle.manifest.input.spec()
    engine = open_engine(bundle, precision=Precision.F32, threads=1)
    found = extract_features(read_frames(clip), ("25",), engine, spec)["25"]
    samples = monitored(clip, spec)
    each = np.concatenate([engine.infer(sample.pixels[None]) for sample in samples])
    assert len(each) == 25
    # Sums of other batches end in other last digits.
    np.testing.assert_allclose(found, each, rtol=1e-4, atol=1e-5)


def test_slower_rates_are_rows_of_the_native_one(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.mp4", Fraction(25))
    found = extracted(clip, RATES)
    native = found[NATIVE]
    assert len(np.unique(native, axis=0)) == len(native) == 50
    np.testing.assert_array_equal(found["25"], native)
    np.testing.assert_array_equal(found["5"], native[::5])
    for rate in ("20", "10"):
        rows = [int(np.flatnonzero((native == row).all(axis=1))[0]) for row in found[rate]]
        assert rows == sorted(set(rows))
        assert np.abs(np.array(rows) - np.arange(len(rows)) * 25 / int(rate)).max() <= 1


def test_a_picture_that_several_rates_show_is_inferred_once(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.mp4", Fraction(30))
    for rates in (RATES, RATES[1:], ("5",), ("10", "5")):
        engine = Fingerprints()
        found = extract_features(read_frames(clip), rates, engine, FRAGMENTS)
        shown = np.unique(np.concatenate(list(found.values())), axis=0)
        assert sum(engine.batches) == len(shown)
        assert max(engine.batches) <= 16
    engine = Fingerprints()
    extract_features(read_frames(clip), RATES, engine, FRAGMENTS)
    assert sum(engine.batches) == 60


@pytest.mark.parametrize("spec", [FRAGMENTS, FULL], ids=["fragments", "full"])
def test_size_and_time_may_change_within_a_clip(
    tmp_path: Path, clip_maker: Callable[..., Path], spec: InputSpec
) -> None:
    parts = [
        clip_maker(tmp_path / f"{width}.ts", seconds=1.0, size=(width, height), gop=5)
        for width, height in ((320, 180), (192, 128))
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = Clip(tmp_path / "both.ts", "c", "c", 1.0)
    assert len({(frame.width, frame.height) for frame in read_frames(clip)}) == 2
    found = extracted(clip, ("25", NATIVE), spec)
    # Time begins anew with the second part, so the monitor begins an epoch: both are taken, nothing is held.
    expected = np.concatenate([Fingerprints().infer(sample.pixels[None]) for sample in monitored(clip, spec)])
    np.testing.assert_array_equal(found["25"], expected)
    assert len(found[NATIVE]) == 50


def test_whole_pictures_are_inferred_one_at_a_time(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.mp4", Fraction(25), 0.4)
    engine = Fingerprints()
    extract_features(read_frames(clip), (NATIVE,), engine, FULL)
    assert engine.batches == [1] * 10


def test_what_cannot_be_learned_from_is_named(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.mp4", Fraction(25), 0.4)

    class Constant(Fingerprints):
        value = np.float32(0.5)

        def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.full((len(pixels), 8), self.value, np.float32)

    class Endless(Constant):
        value = np.float32(np.inf)

    for engine, message in ((Constant(), "same features"), (Endless(), "not finite")):
        with pytest.raises(DataError, match=f"a.mp4: 1 problem: .*{message}"):
            extract_features(read_frames(clip), ("25",), engine, FRAGMENTS, "a.mp4")
    none: list[av.VideoFrame] = []
    with pytest.raises(DataError, match=r"a\.mp4: 1 problem: no pictures"):
        extract_features(none, RATES, Fingerprints(), FRAGMENTS, "a.mp4")


def test_rates_have_one_name_each() -> None:
    names = {text: parse_rate(text) for text in ("native", "25", "25.0", "30000/1001", "12.5")}
    assert list(names.values()) == ["native", "25", "25", "30000/1001", "25/2"]
    for text in ("", "fast", "0", "-5", "0.5", "121", "25/0", "nan", "inf"):
        with pytest.raises(UsageError):
            parse_rate(text)
