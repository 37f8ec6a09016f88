"""Pseudo-labels: what a clip is worth, from what was done to it. Never opinions of people; their provenance is here.

Clean material is 0.95. Temporal impairments get the published group mean of their type (a loose anchor at level 3),
a factor of the level, and a factor of the motion that makes them visible. Spatial impairments get a full-reference
value, scaled for each type so that the mean of its level 3 meets the anchor of the type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.types import F64
from training.synthesis import ClipFacts

CLEAN = 0.95
#: Damage at level 3: DMOS of the LIVE-APV group means (4K and 1080p averaged) over 50. Blur and noise are not in that
#: set; their values are ours. Source: Shang et al., LIVE-APV, group means computed from the published scores.
ANCHORS = {
    "compression": 0.29,
    "aliasing": 0.40,
    "interlacing": 0.35,
    "judder": 0.44,
    "flicker": 0.24,
    "frame_drop": 0.28,
    "blur": 0.40,
    "noise": 0.30,
}
TEMPORAL = ("interlacing", "judder", "flicker", "frame_drop")
_LEVEL_FACTORS = (0.35, 0.68, 1.0, 1.3, 1.6)
#: Full-reference value taken as undamaged, and the span to worthless, in dB.
_SSIM_CLEAN_DB, _SSIM_SPAN_DB = 21.0, 18.0


def spatial_scales(facts: Sequence[ClipFacts]) -> dict[str, float]:
    """For each spatial type, the factor that brings the mean damage of its level 3 to the anchor."""
    scales = {}
    for kind, anchor in ANCHORS.items():
        if kind in TEMPORAL:
            continue
        at_three = [_ssim_damage(f) for f in facts if f.kind == kind and f.level == 3]
        scales[kind] = anchor / max(0.05, float(np.mean(at_three))) if at_three else 1.0
    return scales


def label(facts: ClipFacts, scales: dict[str, float]) -> float:
    """The clip's pseudo-label in [0.02, 0.95]."""
    if facts.level == 0:
        return CLEAN
    anchor = ANCHORS[facts.kind]
    by_level = anchor * _LEVEL_FACTORS[facts.level - 1]
    if facts.kind in TEMPORAL:
        # Flicker, judder, drops and combs hide in stillness; exponent and limits as in the first experiment.
        damage = by_level * float(np.clip((facts.motion / 6) ** 0.35, 0.5, 1.25))
    else:
        damage = scales[facts.kind] * _ssim_damage(facts)
        if facts.kind in ("aliasing", "noise"):
            # SSIM over-punishes both in flat areas: half of the value is the level's.
            damage = (damage + by_level) / 2
    return float(np.clip(CLEAN - damage, 0.02, CLEAN))


def labels(facts: Sequence[ClipFacts], scales: dict[str, float]) -> F64:
    """Labels of many clips."""
    return np.array([label(f, scales) for f in facts])


def _ssim_damage(facts: ClipFacts) -> float:
    return max(0.0, (_SSIM_CLEAN_DB - facts.ssim_db) / _SSIM_SPAN_DB)
