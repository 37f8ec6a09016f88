"""The five named bands of a score, as broadcast monitors name them."""

from __future__ import annotations

#: Lowest score of each band, best first.
BANDS = ((81.0, "excellent"), (61.0, "good"), (41.0, "fair"), (21.0, "poor"), (0.0, "bad"))


def band_of(score: float) -> str:
    """Band of a score in 0-100."""
    return next((name for lowest, name in BANDS if score >= lowest), "bad")
