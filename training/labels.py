"""Pseudo-labels: what a clip is worth, from what was done to it. Never opinions of people; their provenance is here.

Clean material is 0.95. Temporal impairments get the published group mean of their type (a loose anchor at level 3),
a factor of the level, and a factor of the motion that makes them visible. Spatial impairments get a full-reference
value (SSIM, or XPSNR where that is asked for), scaled for each type so that the mean of its level 3 meets the anchor of
the type. A mixture of two gets the damage of both by their levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from monitor.types import F64
from training.synthesis import ClipFacts

#: What a spatial label is graded by.
Reference = Literal["ssim", "xpsnr"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
#: What grades the bundled model's material. Over 125 training clips a type, its rank agreement with the level is .90,
#: .69 and .88 for compression, aliasing and blur, SSIM's .84, .61 and .83; only for noise it is less, .88 and .93.
BASE_REFERENCE: Reference = "xpsnr"
CLEAN = 0.95
#: Damage at level 3: DMOS of the LIVE-APV group means (4K and 1080p averaged) over 50. The last six are not in that
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
    "banding": 0.20,
    "macroblocks": 0.45,
    "freeze": 0.40,
    "black": 0.50,
}
#: Types whose anchor is a published group mean; the other anchors are ours.
PUBLISHED = ("compression", "aliasing", "interlacing", "judder", "flicker", "frame_drop")
TEMPORAL = ("interlacing", "judder", "flicker", "frame_drop", "freeze", "black")
#: SSIM over-punishes both in flat areas: half of the value is the level's. XPSNR, which weighs what texture hides,
#: grades alone. While half of it was the level's, too, heads followed aliasing's XPSNR no better than the level does
#: (.56 held out; .78 since, where the level alone gives .61), and called white noise as weak as grain damaged.
_HALF_RANKED_BY_SSIM = ("aliasing", "noise")
_LEVEL_FACTORS = (0.35, 0.68, 1.0, 1.3, 1.6)
#: Full-reference value taken as undamaged, and the span to worthless, in dB.
_SSIM_CLEAN_DB, _SSIM_SPAN_DB = 21.0, 18.0
#: The same of XPSNR: where SSIM's two lie on the line through both values of 8 contents x 4 spatial types x 5 levels at
#: 640x360 (those with SSIM below 24 dB, r = .95), 36.9 and 20.3 by least squares, 37.4 and 21.5 by reduced major axis.
_XPSNR_CLEAN_DB, _XPSNR_SPAN_DB = 37.0, 21.0


def spatial_scales(facts: Sequence[ClipFacts], reference: Reference = "ssim") -> dict[str, float]:
    """For each spatial type, the factor that brings the mean damage of its level 3 to the anchor."""
    scales = {}
    for kind, anchor in ANCHORS.items():
        if kind in TEMPORAL:
            continue
        of_kind = [f for f in facts if f.kind == kind and not f.second and not f.look]
        # A set without level 3 is placed by the levels that it has.
        used = [f for f in of_kind if f.level == 3] or of_kind
        damage = [_damage(f, reference) for f in used]
        wanted = [anchor * _LEVEL_FACTORS[f.level - 1] for f in used]
        scales[kind] = float(np.mean(wanted)) / max(0.05, float(np.mean(damage))) if used else 1.0
    return scales


def label(facts: ClipFacts, scales: dict[str, float], reference: Reference = "ssim") -> float:
    """The clip's pseudo-label in [0.02, 0.95].

    Args:
        facts: What was done to the clip.
        scales: Of ``spatial_scales`` by the same reference.
        reference: What spatial damage is graded by.

    Raises:
        ValueError: The clip's XPSNR was not taken, and is needed.
    """
    if facts.level == 0:
        return CLEAN
    anchor = ANCHORS[facts.kind]
    by_level = anchor * _LEVEL_FACTORS[facts.level - 1]
    if facts.second:
        # What both do to the picture is not told apart by a full-reference value. The lesser one takes its share of
        # what the worse one leaves.
        lesser = ANCHORS[facts.second] * _LEVEL_FACTORS[facts.second_level - 1]
        damage = by_level + (1 - by_level) * lesser
    elif facts.kind == "black":
        damage = by_level
    elif facts.kind in TEMPORAL:
        # Flicker, judder, drops and combs hide in stillness; exponent and limits as in the first experiment.
        damage = by_level * float(np.clip((facts.motion / 6) ** 0.35, 0.5, 1.25))
    else:
        damage = scales[facts.kind] * _damage(facts, reference)
        if _half_ranked(facts, reference):
            damage = (damage + by_level) / 2
    return float(np.clip(CLEAN - damage, 0.02, CLEAN))


class Provenance(NamedTuple):
    """What a label is made of.

    Attributes:
        source: ``clean``; ``rank``: the level's order, spread by fixed factors (and by motion); ``full-reference``:
            SSIM on the monitor's fragments; ``full-reference (XPSNR)``: XPSNR of whole pictures; with ``+ rank``: the
            mean of both.
        anchor: Damage at level 3 that the type is placed by, as a share of the scale; None for clean clips.
        anchor_source: Where the anchor comes from.
    """

    source: str
    anchor: float | None
    anchor_source: str


def provenance(facts: ClipFacts, reference: Reference = "ssim") -> Provenance:
    """What `label` makes a clip's label of."""
    if facts.level == 0:
        return Provenance("clean", None, "")
    source = "full-reference" if reference == "ssim" else "full-reference (XPSNR)"
    if facts.kind in TEMPORAL or facts.second:
        source = "rank"
    elif _half_ranked(facts, reference):
        source += " + rank"
    published = "LIVE-APV group mean (Shang et al.)"
    return Provenance(source, ANCHORS[facts.kind], published if facts.kind in PUBLISHED else "ours")


def labels(facts: Sequence[ClipFacts], scales: dict[str, float], reference: Reference = "ssim") -> F64:
    """Labels of many clips."""
    return np.array([label(f, scales, reference) for f in facts])


def _half_ranked(facts: ClipFacts, reference: Reference) -> bool:
    # By night every error is smaller in grey levels, as the picture itself is: the value alone would call it clean.
    return bool(facts.look) or (reference == "ssim" and facts.kind in _HALF_RANKED_BY_SSIM)


def _damage(facts: ClipFacts, reference: Reference) -> float:
    if reference == "ssim":
        return max(0.0, (_SSIM_CLEAN_DB - facts.ssim_db) / _SSIM_SPAN_DB)
    if facts.xpsnr_db is None:
        raise ValueError(f"{facts.content}: XPSNR was not taken")
    return max(0.0, (_XPSNR_CLEAN_DB - facts.xpsnr_db) / _XPSNR_SPAN_DB)
