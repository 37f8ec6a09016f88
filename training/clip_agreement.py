"""How far scores and causes of synthesised clips agree with what was done to them, with intervals by content."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from monitor.types import CAUSES, F64
from training.synthesis import ClipFacts

#: Levels that a viewer is bothered by; what is asked of causes and of clean against impaired.
STRONG = 3
_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A figure with its 95 % interval over contents.

    Attributes:
        value: On all clips.
        low: Lower end; nan where too few contents give the figure.
        high: Upper end.
        count: What it is made of: pairs, clips.
    """

    value: float
    low: float
    high: float
    count: int


class Outcome(NamedTuple):
    """One thing that was right (1) or wrong (0), under one name; several outcomes may come of one clip."""

    content: str
    measure: str
    right: float


def pair_outcomes(score: F64, facts: Sequence[ClipFacts], group: Sequence[int]) -> list[Outcome]:
    """Order of versions of one content under one impairment.

    Args:
        score: (n,) scores.
        facts: n records.
        group: n numbers; versions of one content under one kind of impairment share one.

    Returns:
        Outcomes ``pairs`` and ``pairs <kind>`` (both impaired), ``adjacent`` and ``adjacent <kind>`` (neighbours among
        the group's levels), ``clean above 2+`` (plain clean against level 2 and above).
    """
    outcomes = []
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(group):
        rows_of.setdefault(number, []).append(row)
    for rows in rows_of.values():
        rows.sort(key=lambda r: facts[r].level)
        impaired = [r for r in rows if facts[r].level > 0]
        clean = [r for r in rows if facts[r].level == 0 and facts[r].variant == "plain"]
        for a, b in itertools.combinations(impaired, 2):
            right, of = float(score[a] > score[b]), facts[a]
            name = kind_of(of)
            outcomes += [Outcome(of.content, "pairs", right), Outcome(of.content, f"pairs {name}", right)]
            if facts[b].level == of.level + 1:
                outcomes += [Outcome(of.content, "adjacent", right), Outcome(of.content, f"adjacent {name}", right)]
        outcomes += [
            Outcome(facts[a].content, "clean above 2+", float(score[a] > score[b]))
            for a in clean
            for b in impaired
            if facts[b].level >= 2
        ]
    return outcomes


def cause_outcomes(causes: F64, facts: Sequence[ClipFacts]) -> list[Outcome]:
    """Names of impairments.

    Args:
        causes: (n, C) probabilities.
        facts: n records.

    Returns:
        Outcomes ``cause`` and ``cause <kind>`` of clips at level 3 and above, ``clean`` and ``clean <variant>`` of
        clean ones; ``not called clean <kind>`` of impairments that are no cause.
    """
    outcomes = []
    for row, fact in zip(causes, facts, strict=True):
        right = float(CAUSES[int(row.argmax())] == fact.kind)
        if fact.level == 0:
            outcomes += [Outcome(fact.content, "clean", right), Outcome(fact.content, f"clean {fact.variant}", right)]
        elif fact.level >= STRONG and fact.kind not in CAUSES:
            outcomes.append(Outcome(fact.content, f"not called clean {fact.kind}", float(row.argmax() != 0)))
        elif fact.level >= STRONG:
            if not fact.second:
                outcomes.append(Outcome(fact.content, "cause", right))
            outcomes.append(Outcome(fact.content, f"cause {kind_of(fact)}", right))
    return outcomes


def kind_of(fact: ClipFacts) -> str:
    """Its impairment; mixtures are a kind of their own."""
    return "mixed" if fact.second else fact.kind


def shares(outcomes: Iterable[Outcome], seed: int = 0) -> dict[str, Estimate]:
    """Share of right outcomes of each measure; intervals resample whole contents."""
    by_measure: dict[str, dict[str, list[float]]] = {}
    for content, measure, right in outcomes:
        by_measure.setdefault(measure, {}).setdefault(content, []).append(right)
    result = {}
    for measure, by_content in by_measure.items():
        sums = np.array([sum(values) for values in by_content.values()])
        counts = np.array([len(values) for values in by_content.values()])
        low = high = math.nan
        if len(sums) > 1:
            drawn = np.random.default_rng(seed).integers(len(sums), size=(_RESAMPLES, len(sums)))
            low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975]).tolist()
        result[measure] = Estimate(float(sums.sum() / counts.sum()), low, high, int(counts.sum()))
    return result


def auc(positive: F64, negative: F64) -> float:
    """Probability that a positive lies above a negative, ties half; nan where either is empty."""
    if not len(positive) or not len(negative):
        return math.nan
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))


def by_content(
    figure: Callable[[Sequence[int]], float], contents: Sequence[str], resamples: int = 500, seed: int = 0
) -> Estimate:
    """A figure of clips, with an interval that resamples whole contents.

    Args:
        figure: Of rows, each of which may come up more than once.
        contents: Content of each row.
        resamples: How many.
        seed: Same seed, same interval.
    """
    rows_of: dict[str, list[int]] = {}
    for row, content in enumerate(contents):
        rows_of.setdefault(content, []).append(row)
    blocks = list(rows_of.values())
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(blocks), size=len(blocks)) for _ in range(resamples))
    values = np.array([figure([row for i in chosen for row in blocks[i]]) for chosen in drawn])
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]).tolist() if len(values) > resamples / 2 else (math.nan, math.nan)
    return Estimate(figure(range(len(contents))), low, high, len(contents))
