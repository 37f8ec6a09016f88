"""Level and silence of a stream's sound, by its channel pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: A pair below this is silent. Rooms and quiet passages stay above -50; the floor of a 16-bit line lies at -96.
SILENT_DBFS = -60.0
#: What digital silence is told as: below any 24-bit signal, and a number.
FLOOR_DBFS = -150.0
#: Length of the pieces that are judged. Shorter ones call the pauses between words silence.
_PIECE_S = 0.4

_Samples = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What is known of a stream's sound.

    Attributes:
        levels_dbfs: RMS of each pair of channels (1+2, 3+4, ...; a last single one alone) over the last 0.4 s, dB
            relative to full scale: a full-scale square wave is 0, a sine -3.
        silence_s: Seconds of sound for which every pair has been silent.
        received_s: When its newest samples were decoded (monotonic).
    """

    levels_dbfs: tuple[float, ...]
    silence_s: float
    received_s: float


class AudioLevel:
    """RMS and silence of one stream's decoded sound; a few microseconds a block. Not for several threads.

    Args:
        silent_dbfs: Pairs below it are silent.
    """

    def __init__(self, silent_dbfs: float = SILENT_DBFS) -> None:
        self._silent_dbfs = silent_dbfs
        self._squares = np.zeros(0)
        self._count = 0
        self._silent_s = 0.0
        self.facts: AudioFacts | None = None

    def push(self, samples: _Samples, rate_hz: int, received_s: float) -> None:
        """Adds a block of sound.

        Args:
            samples: (channels, n) in [-1, 1].
            rate_hz: Samples a second.
            received_s: When it was decoded (monotonic).

        Raises:
            ValueError: The block is not two-dimensional, or the rate not positive.
        """
        if samples.ndim != 2 or rate_hz <= 0:
            raise ValueError(f"samples must be (channels, n) at a positive rate, got {samples.shape} at {rate_hz}")
        if samples.shape[0] != self._squares.size:
            # Another layout is another sound.
            self._squares, self._count = np.zeros(samples.shape[0]), 0
        self._squares += np.square(samples, dtype=np.float64).sum(axis=1)
        self._count += samples.shape[1]
        if self._count >= _PIECE_S * rate_hz:
            self._judge(self._count / rate_hz, received_s)

    def _judge(self, length_s: float, received_s: float) -> None:
        means = self._squares / self._count
        levels = tuple(_dbfs(float(means[n : n + 2].mean())) for n in range(0, means.size, 2))
        silent = all(level < self._silent_dbfs for level in levels)
        self._silent_s = self._silent_s + length_s if silent else 0.0
        self._squares, self._count = np.zeros(means.size), 0
        self.facts = AudioFacts(levels, self._silent_s, received_s)


def silence_s(facts: AudioFacts | None, now_s: float) -> float | None:
    """Seconds of silence at this moment; None where there is no sound to speak of.

    Sound that has stopped coming, while its stream is there, is silence to whoever listens.
    """
    if facts is None:
        return None
    missing_s = now_s - facts.received_s
    return facts.silence_s + (missing_s if missing_s > 2 * _PIECE_S else 0.0)


def _dbfs(mean_square: float) -> float:
    return max(FLOOR_DBFS, 10 * math.log10(mean_square)) if mean_square > 0 else FLOOR_DBFS
