"""The five named bands of a score, as broadcast monitors name them."""

from __future__ import annotations

#: Lowest score of each band, best first.
BANDS = ((81.0, "excellent"), (61.0, "good"), (41.0, "fair"), (21.0, "poor"), (0.0, "bad"))
#: Number of each band, as on the five-point scale of ITU-R BT.500: excellent 5 to bad 1.
BAND_NUMBERS = {name: 5.0 - place for place, (_, name) in enumerate(BANDS)}


def band_of(score: float) -> str:
    """Band of a score in 0-100."""
    return next((name for lowest, name in BANDS if score >= lowest), "bad")


def band_number(score: float) -> float:
    """Number of a score's band, 5 (excellent) to 1 (bad)."""
    return BAND_NUMBERS[band_of(score)]
