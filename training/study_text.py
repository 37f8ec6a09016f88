"""Sentences of a study's report. Each is chosen by what the numbers hold, so none outlives the data it is about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from training.intervals import PairedDifference
from training.published import CITATION
from training.study_claims import Judged
from training.study_figures import Spread

_TRUNKS = {
    "imagenet": (
        "The trunk holds ImageNet weights, as in the paper. An ordering found here is evidence on the paper's own kind "
        "of features; what still differs is the data set and whatever the facts below name."
    ),
    "trained": (
        "The trunk was trained on impaired pictures for this project, not on ImageNet. Its features may already tell "
        "impairments apart, so a single frame can say more than in the paper and time modelling can have less to add; "
        "depth changes how well that training went, too. An ordering found here is evidence about heads, pooling and "
        "frame rate on these features; it neither confirms nor refutes figures that rest on ImageNet features. Whether "
        "the material of that training is related to this data set cannot be seen in these numbers: see the facts."
    ),
    "random": (
        "The trunk holds random weights: a control that has learnt nothing. An ordering that shows up here comes from "
        "the head, the frame rate, the labels or the statistics that any filters pass on, not from what a trunk has "
        "learnt. Its depths compare random filters and feature widths, not learning."
    ),
}


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number, or ``-`` where there is none."""
    if not math.isfinite(value):
        return "-"
    # A difference that rounds to nothing has no sign.
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def between(low: float, high: float, digits: int = 3, sign: bool = False) -> str:
    """An interval in brackets; empty where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, sign)}, {number(high, digits, sign)}]"


def mean_text(s: Spread) -> str:
    """Mean and standard deviation of a figure over runs."""
    return number(s.mean) + (f" ± {number(s.sd)}" if math.isfinite(s.sd) else "")


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and an empty line; bars and line breaks in cells cannot break it."""

    def row(texts: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(text.replace("|", "\\|").split()) for text in texts) + " |"

    return [row(header), "|" + "---|" * len(header), *(row(line) for line in lines), ""]


def picture(name: str, words: str, pictures: Sequence[str]) -> list[str]:
    """A picture and an empty line, where it was written."""
    return [f"![{words}]({name})", ""] if name in pictures else []


def labels_text(human: bool) -> str:
    """How far measured and published columns may be compared."""
    source = f"The published figures are those of {CITATION}, measured on LIVE-APV with opinion scores."
    if human:
        return (
            f"{source} The labels of this study are opinions of people. Levels may be compared with the published ones "
            "only where the data set is the same; orderings may be compared in any case."
        )
    return (
        f"{source} **The labels of this study are pseudo-labels, computed from what was done to each clip; they are "
        "never MOS.** So measured and published columns are not comparable in level, only in order, and a high figure "
        "here means agreement with the rule that made the labels, not with viewers."
    )


def trunk_text(kind: str) -> str:
    """What an ordering can mean with a kind of trunk."""
    return _TRUNKS[kind]


def kinds_text(kinds: Sequence[str]) -> str:
    """What the kinds of trunk at hand allow to be said together."""
    sentences = []
    if "imagenet" not in kinds:
        sentences.append("No run used ImageNet weights, so no claim of the paper is repeated on its own features.")
    if "random" not in kinds:
        sentences.append(
            "No run used a random trunk, so nothing here tells what the trunk has learnt from what any filters give."
        )
    return " ".join(sentences)


def tally_text(kind: str, judged: Sequence[Judged]) -> str:
    """How many claims came out how, and which the study is too small for."""
    counts = Counter(one.verdict for one in judged)
    tally = "; ".join(f"{count} × {verdict}" for verdict, count in counts.most_common())
    text = f"{kind} trunk, {len(judged)} claims: {tally}."
    judgeable = [one for one in judged if math.isfinite(one.difference.low)]
    small = [one for one in judgeable if abs(one.published) < (one.difference.high - one.difference.low) / 2]
    if small:
        text += (
            f" In {len(small)} of {len(judgeable)} the published difference is smaller than half the width of the "
            f"measured interval ({', '.join(one.claim.name for one in small)}): a study of this size cannot settle a "
            "difference of that size either way."
        )
    if judgeable:
        text += (
            f" With {len(judgeable)} intervals at 95 %, about {0.05 * len(judgeable):.1f} would exclude 0 by chance "
            "alone if there were no difference anywhere."
        )
    return text


def figures_text(judged: Mapping[str, Sequence[Judged]]) -> str:
    """Whether the other figures tell the same as SROCC."""
    kept = [
        (one, [judged[figure][position] for figure in ("krocc", "lcc")])
        for position, one in enumerate(judged["srocc"])
        if one.run
    ]
    if not kept:
        return ""
    odd = [one.claim.name for one, others in kept if any(_sign(o) != _sign(one) for o in others)]
    if not odd:
        return f"KROCC and LCC differ in the same direction as SROCC in all {len(kept)} claims that were run."
    return f"KROCC or LCC differs in another direction than SROCC in {len(odd)} of {len(kept)}: {', '.join(odd)}."


def _sign(one: Judged) -> int:
    return (one.difference.mean > 0) - (one.difference.mean < 0)


def control_text(
    kind: str, of_kind: Sequence[Judged], of_random: Sequence[Judged], gain: PairedDifference | None
) -> str:
    """What the random control says about the orderings found with another trunk.

    Args:
        kind: The other kind of trunk.
        of_kind: Its claims.
        of_random: The control's.
        gain: SROCC of the reference configuration with that trunk minus the control's, or None where
            either was not run.
    """
    sentences = []
    if gain is not None and gain.runs:
        interval = between(gain.low, gain.high, sign=True)
        found = f"{kind} − random, sub-GRU at the reference condition: SROCC {number(gain.mean, sign=True)} {interval}"
        if gain.low > 0:
            said = f"the {kind} trunk's features add to what random filters give"
        elif gain.high < 0:
            said = f"the {kind} trunk's features do worse than random filters, which asks for an explanation"
        elif math.isfinite(gain.low):
            said = f"these runs cannot tell the {kind} trunk from random filters"
        else:
            said = "one run in common, so no interval"
        sentences.append(f"{found.rstrip()}: {said}.")
    both = [(a, b) for a, b in zip(of_kind, of_random, strict=True) if a.run and b.run]
    if both:
        shared = [a.claim.name for a, b in both if _sign(a) == _sign(b) and _sign(a)]
        sentences.append(
            f"Of {len(both)} claims run with both trunks, {len(shared)} have the same sign with random weights"
            + (f" ({', '.join(shared)}): as far as means go, these need nothing a trunk has learnt." if shared else ".")
        )
    if not sentences:
        return f"The {kind} and random trunks have no run in common."
    return " ".join(sentences)


def order_text(measured: Sequence[tuple[str, float]], published: Sequence[tuple[str, float]]) -> str:
    """Order of a table's lines by measured and by published mean; empty for fewer than two."""
    known = [(label, value) for label, value in measured if math.isfinite(value)]
    if len(known) < 2:
        return ""
    kept = {label for label, _ in known}
    ranked = [_ranked(known), _ranked([(label, value) for label, value in published if label in kept])]
    same = "the same order" if ranked[0] == ranked[1] else "another order"
    return f"By mean SROCC: {ranked[0]}. Published: {ranked[1]}; {same}."


def _ranked(values: Sequence[tuple[str, float]]) -> str:
    return " > ".join(label for label, _ in sorted(values, key=lambda pair: -pair[1]))
