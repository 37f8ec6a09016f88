"""Level and silence of sound."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.audio_level import FLOOR_DBFS, AudioFacts, AudioLevel, silence_s

RATE = 48_000


def sine(seconds: float, amplitude: float, channels: int = 2) -> np.ndarray:
    wave = amplitude * np.sin(2 * np.pi * 997 * np.arange(round(seconds * RATE)) / RATE)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def listened(*parts: np.ndarray, block: int = 1024) -> AudioLevel:
    meter = AudioLevel()
    for part in parts:
        for at in range(0, part.shape[1], block):
            meter.push(part[:, at : at + block], RATE, at / RATE)
    return meter


def facts_of(*parts: np.ndarray) -> AudioFacts:
    facts = listened(*parts).facts
    assert facts is not None
    return facts


def test_full_scale_sine_is_minus_three_decibels_and_a_square_none() -> None:
    assert facts_of(sine(1, 1.0)).levels_dbfs == (pytest.approx(-3.01, abs=0.02),)
    assert facts_of(np.sign(sine(1, 1.0)) + 0.0).levels_dbfs == (pytest.approx(0.0, abs=0.02),)
    assert facts_of(sine(1, 0.1)).levels_dbfs == (pytest.approx(-23.01, abs=0.02),)


def test_pairs_have_levels_of_their_own() -> None:
    sound = np.concatenate([sine(1, 0.5, 2), np.zeros((2, RATE), np.float32), sine(1, 0.1, 1)])
    levels = facts_of(sound).levels_dbfs
    assert levels == (pytest.approx(-9.03, abs=0.05), FLOOR_DBFS, pytest.approx(-23.01, abs=0.05))


def test_silence_lasts_while_every_pair_is_silent_and_ends_with_the_first_sound() -> None:
    silence = np.zeros((4, 5 * RATE), np.float32)
    assert facts_of(sine(1, 0.5, 4), silence).silence_s == pytest.approx(5.0, abs=0.85)
    one_pair = silence.copy()
    one_pair[3] = 0.01
    assert facts_of(one_pair).silence_s == 0
    assert facts_of(silence, sine(1, 0.01, 4)).silence_s == 0


def test_quiet_room_is_no_silence_and_the_noise_of_a_dead_line_is() -> None:
    rng = np.random.default_rng(0)
    room = rng.normal(0, 10 ** (-55 / 20), (2, 3 * RATE))
    dead = rng.normal(0, 10 ** (-75 / 20), (2, 3 * RATE))
    assert facts_of(room).silence_s == 0
    assert facts_of(dead).silence_s == pytest.approx(3.0, abs=0.5)


def test_pauses_between_words_are_no_silence() -> None:
    word, pause = sine(0.4, 0.2), np.zeros((2, round(0.3 * RATE)), np.float32)
    assert facts_of(*[word, pause] * 10).silence_s == 0


def test_sound_that_stops_coming_is_silence_and_no_sound_is_unknown() -> None:
    facts = AudioFacts((-20.0,), 0.0, received_s=10.0)
    assert silence_s(facts, 10.5) == 0
    assert silence_s(facts, 22.0) == 12.0
    assert silence_s(None, 100.0) is None


def test_new_layout_starts_a_new_piece() -> None:
    meter = listened(sine(1.3, 0.5, 2))
    meter.push(sine(0.5, 0.1, 1), RATE, 2.0)
    assert meter.facts is not None
    assert meter.facts.levels_dbfs == (pytest.approx(-23.01, abs=0.05),)


def test_misuse_is_refused() -> None:
    for samples, rate in ((np.zeros(10), RATE), (np.zeros((2, 10)), 0)):
        with pytest.raises(ValueError, match="samples must be"):
            AudioLevel().push(samples, rate, 0.0)
