"""The sound of real containers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.core.audio_level import AudioFacts
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.sound import samples_of
from monitor.types import StreamId
from tests.fixtures.transport import make_programme


def heard(path: Path, *, audio: bool = True) -> tuple[AudioFacts | None, int]:
    source = PyAvSource(str(path), stream=StreamId("cam"), live=False, audio=audio)
    source.open()
    pictures = len(list(source.frames(threading.Event(), 1)))
    return source.sound, pictures


def test_noise_has_its_level_and_silence_its_length(tmp_path: Path, clip: Path) -> None:
    make_programme(tmp_path / "noise.ts", seconds=2, size=(64, 48))
    loud, pictures = heard(tmp_path / "noise.ts")
    assert pictures == 50
    assert loud is not None
    assert loud.levels_dbfs == (pytest.approx(-26.0, abs=1.5),)
    assert loud.silence_s == 0
    quiet, pictures = heard(clip)
    assert pictures == 50
    assert quiet is not None
    assert quiet.silence_s == pytest.approx(2.0, abs=0.5)


def test_feed_without_sound_or_without_the_wish_for_it_is_as_before(
    tmp_path: Path, clip_maker: Callable[..., Path], clip: Path
) -> None:
    assert heard(clip_maker(tmp_path / "mute.ts", seconds=1.0)) == (None, 25)
    assert heard(clip, audio=False) == (None, 50)


@pytest.mark.parametrize("name", ["u8", "u8p", "s16", "s16p", "s32", "flt", "fltp", "dbl", "dblp"])
def test_every_sample_format_gives_the_same_sound(name: str) -> None:
    wave = np.stack([0.5 * np.sin(np.arange(480) / 10), 0.25 * np.cos(np.arange(480) / 7)]).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    (converted,) = av.AudioResampler(format=name, layout="stereo", rate=48_000).resample(frame)
    np.testing.assert_allclose(samples_of(converted), wave, atol=0.01)
