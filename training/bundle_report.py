"""``python -m training report``: what a bundle shows on held-out material, by its own engine, head and pooling.

Everything is agreement with our own pseudo-labels, or with a full-reference metric; no person rated anything.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engines.base import Precision
from engines.bundle import Bundle, load_bundle
from engines.openvino import OpenVinoEngine
from monitor.core.baseline import Baseline
from monitor.core.stream_head import StatePolicy
from monitor.types import F64
from training import conformal
from training.bundle_clips import BundleScorer, Group, Shown
from training.bundle_report_text import report_text
from training.bundle_streams import score_streams, streams_text
from training.clip_agreement import STRONG, Estimate, auc, by_content, cause_outcomes, kind_of, pair_outcomes, shares
from training.labels import BASE_REFERENCE, TEMPORAL, labels, spatial_scales
from training.metrics import lcc, srocc
from training.slates import write_slates
from training.synthesis import SHUFFLED, ClipFacts, facts_of

#: Stream that turns bad: a minute of a clean clip, looped, then ten seconds of another version.
_BEFORE_S, _AFTER_S = 60, 10
#: Clips that are looped, and for how long.
_LOOPED = 3
_LOOP_S = 7200
#: Seconds at first that a loop's scores are not compared, and seconds of which the mean is.
_SETTLING_S, _MEAN_S = 10, 10
#: What a cut may still be felt, in seconds.
_AFTER_CUT_S = 2
_SIDE_BY_SIDE = 128

_SLATE_HEIGHTS = (360, 720, 1080)

Section = dict[str, Estimate]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="report.md and report.json go here")
    parser.add_argument("--loop-seconds", type=int, default=_LOOP_S, metavar="S", help="length of the looped clips")
    parser.add_argument(
        "--slate-heights", type=int, nargs="+", default=_SLATE_HEIGHTS, metavar="H", help="sizes of the drawn slates"
    )
    parser.add_argument("--streams", type=Path, metavar="DIR", help="recordings nobody labelled, to list")
    parser.add_argument("--precision", choices=["f32", "bf16", "int8"], default="f32")


def run(args: argparse.Namespace) -> int:
    """Writes the report and prints its path."""
    bundle = load_bundle(args.bundle)
    engine = OpenVinoEngine(bundle, Precision(args.precision))
    scorer = BundleScorer(bundle, engine, StatePolicy.CONTINUOUS)
    live = BundleScorer(bundle, engine)
    groups = list(scorer.read(args.data / "clips-holdout"))
    trained = [f for file in sorted((args.data / "clips").glob("*.npz")) for f in facts_of(file)]
    scales = spatial_scales(trained, BASE_REFERENCE)
    controls = args.data / "controls-holdout"
    sections: dict[str, Section] = {
        "clips": clip_section(scorer, groups, scales, bundle),
        "streams that turn bad": turn_section(live, groups),
        "controls": control_section(scorer, list(scorer.read(controls))) if controls.is_dir() else {},
        "long running": loop_section(live, groups, args.loop_seconds) | cut_section(live, groups),
    }
    with tempfile.TemporaryDirectory(prefix="vqwatch-slates-") as folder:
        sections["domain"] = domain_section(bundle, groups, Path(folder), args.slate_heights)
    about = {"bundle": bundle.model_id, "precision": args.precision, "groups": str(len(groups))}
    about["contents"] = str(len({f.content for g in groups for f in g.facts}))
    args.out.mkdir(parents=True, exist_ok=True)
    plain = {name: {k: v._asdict() for k, v in section.items()} for name, section in sections.items()}
    (args.out / "report.json").write_text(json.dumps({"about": about, **plain}, indent=1) + "\n")
    text = report_text(about, sections)
    if args.streams is not None:
        rows = score_streams(bundle, args.streams)
        text += f"\n## Recordings nobody labelled\n\n{streams_text(bundle, rows)}"
    (args.out / "report.md").write_text(text)
    print(args.out / "report.md")
    print(f"{sum(len(g.facts) for g in groups)} clips", file=sys.stderr)
    return 0


def show_all(scorer: BundleScorer, clips: Sequence[F64], *, cut: int | None = None) -> list[Shown]:
    """Scores of many clips of one length, each a new epoch; ``cut`` as of `BundleScorer.show`."""
    shown: list[Shown] = []
    for start in range(0, len(clips), _SIDE_BY_SIDE):
        shown += scorer.show(clips[start : start + _SIDE_BY_SIDE], cut=cut)[0]
    return shown


def clip_section(scorer: BundleScorer, groups: Sequence[Group], scales: dict[str, float], bundle: Bundle) -> Section:
    """Severity, causes, clean against impaired, and agreement with labels and with the full-reference value."""
    facts = [fact for group in groups for fact in group.facts]
    number = [i for i, group in enumerate(groups) for _ in group.facts]
    shown = show_all(scorer, [clip for group in groups for clip in group.inputs])
    score = np.array([s.score for s in shown])
    causes = np.array([s.causes for s in shown])
    contents, level = [f.content for f in facts], np.array([f.level for f in facts])
    result: Section = dict(shares([*pair_outcomes(score, facts, number), *cause_outcomes(causes, facts)]))

    def clean_over_strong(rows: Sequence[int]) -> float:
        at = np.asarray(rows)
        return auc(score[at[level[at] == 0]], score[at[level[at] >= STRONG]])

    label = labels(facts, scales, BASE_REFERENCE)
    result["AUC clean against 3+"] = by_content(clean_over_strong, contents)
    result["SROCC label"] = by_content(lambda rows: srocc(score[list(rows)], label[list(rows)]), contents)
    result["LCC label"] = by_content(lambda rows: lcc(score[list(rows)], label[list(rows)]), contents)
    for kind in sorted({kind_of(f) for f in facts if f.level} - {*TEMPORAL, "mixed", "flicker"}):
        result[f"SROCC SSIM {kind}"] = _within(kind, facts, score, [f.ssim_db for f in facts])
        xpsnr = [math.nan if f.xpsnr_db is None else f.xpsnr_db for f in facts]
        if any(map(math.isfinite, xpsnr)):
            result[f"SROCC XPSNR {kind}"] = _within(kind, facts, score, xpsnr)
    result |= _coverage(bundle, facts, shown, label)
    return result


def _within(kind: str, facts: Sequence[ClipFacts], score: F64, reference_db: Sequence[float]) -> Estimate:
    """Agreement with a full-reference value over all contents and levels of one type."""
    rows = [i for i, f in enumerate(facts) if f.level and kind_of(f) == kind and math.isfinite(reference_db[i])]
    reference, of_kind = np.array([reference_db[i] for i in rows]), score[rows]
    return by_content(lambda at: srocc(of_kind[list(at)], reference[list(at)]), [facts[i].content for i in rows])


def _coverage(bundle: Bundle, facts: Sequence[ClipFacts], shown: Sequence[Shown], label: F64) -> Section:
    """How many labels lie within 90 % intervals: each content's within those that the other contents give.

    The bundle's own are fitted on all of them, in the same way.
    """
    contents = [f.content for f in facts]
    if not bundle.manifest.uncertainty or len(set(contents)) < 2:
        return {}
    error = conformal.errors(np.array([s.score for s in shown]), label)
    inside = conformal.covered(error, np.array([int(s.causes.argmax()) for s in shown]), contents)
    return {"label within 90 % interval": by_content(lambda rows: float(np.mean(inside[list(rows)])), contents)}


def domain_section(bundle: Bundle, groups: Sequence[Group], folder: Path, heights: Sequence[int]) -> Section:
    """How often footage is known, impaired or not, and drawn pictures are not, these through the monitor itself."""
    foreign = np.array([flag for group in groups for flag in group.foreign])
    contents = [f.content for group in groups for f in group.facts]
    known = by_content(lambda rows: float(1 - foreign[list(rows)].mean()), contents)
    told = []
    for height in heights:
        write_slates(folder, round(height * 8 / 9) * 2, height)
    for row in score_streams(bundle, folder):
        flagged = sum(row.result.get("out_of_domain", {}).values())
        told.append(2 * flagged > row.result.get("duration_s", 0.0) > 0)
    share = float(np.mean(told))
    return {
        "flag down on footage": known,
        "flag up on slates, cards and plain colours": Estimate(share, float("nan"), float("nan"), len(told)),
    }


def turn_section(scorer: BundleScorer, groups: Sequence[Group]) -> Section:
    """Streams that are clean for a minute and then turn: the drop of impaired ones against that of clean ones."""
    plain = [next(i for i, f in enumerate(g.facts) if f.level == 0) for g in groups]
    beginnings = [_looped(g.inputs[i], _BEFORE_S * round(scorer.fps)) for g, i in zip(groups, plain, strict=True)]
    states, baselines = [], []
    for start in range(0, len(beginnings), _SIDE_BY_SIDE):
        shown, after = scorer.show(beginnings[start : start + _SIDE_BY_SIDE])
        states += after
        for one in shown:
            baseline = Baseline()
            for second in one.seconds:
                baseline.push(second, True)
            baselines.append(baseline.value)
    drops: list[float] = []
    facts: list[ClipFacts] = []
    for group, state, baseline_value in zip(groups, states, baselines, strict=True):
        assert baseline_value is not None
        pieces = [_looped(clip, _AFTER_S * round(scorer.fps)) for clip in group.inputs]
        for fact, shown_after in zip(group.facts, scorer.show(pieces, [state] * len(pieces))[0], strict=True):
            facts.append(fact)
            # The last five seconds: a rule that waits ten seconds has seen them.
            drops.append(max(0.0, baseline_value - float(np.mean(shown_after.seconds[-5:]))))
    drop, level = np.array(drops), np.array([f.level for f in facts])

    def turned(rows: Sequence[int]) -> float:
        at = np.asarray(rows)
        return auc(drop[at[level[at] >= STRONG]], drop[at[level[at] == 0]])

    return {
        "AUC drop 3+": by_content(turned, [f.content for f in facts]),
        **{
            f"mean drop level {n}": by_content(
                lambda rows, n=n: _mean_where(drop, level == n, rows), [f.content for f in facts]
            )
            for n in range(6)
        },
    }


def _mean_where(values: F64, chosen: np.ndarray, rows: Sequence[int]) -> float:
    at = np.asarray(rows)
    of = values[at[chosen[at]]]
    return float(of.mean()) if len(of) else float("nan")


def _looped(clip: F64, samples: int) -> F64:
    """A clip over and over; its first sample, which has nothing before it, comes once."""
    rounds = -(-samples // (len(clip) - 1))
    return np.concatenate([clip[:1], *[clip[1:]] * rounds])[:samples]


def control_section(scorer: BundleScorer, groups: Sequence[Group]) -> Section:
    """Fall of the score from the plain clip, by benign variant, and how often it is called clean."""
    facts = [fact for group in groups for fact in group.facts]
    shown = show_all(scorer, [clip for group in groups for clip in group.inputs])
    plain = {f.content: s.score for f, s in zip(facts, shown, strict=True) if f.variant == "plain"}
    section: Section = {}
    for variant in dict.fromkeys(f.variant for f in facts):
        rows = [i for i, f in enumerate(facts) if f.variant == variant]
        contents = [facts[i].content for i in rows]
        fall = np.array([plain[facts[i].content] - shown[i].score for i in rows])
        named = np.array([shown[i].cause == "clean" for i in rows])
        if variant != "plain":
            section[f"mean fall {variant}"] = by_content(lambda at, f=fall: float(f[list(at)].mean()), contents)
            section[f"p90 fall {variant}"] = by_content(
                lambda at, f=fall: float(np.quantile(f[list(at)], 0.9)), contents
            )
        if variant != SHUFFLED:
            section[f"called clean {variant}"] = by_content(lambda at, n=named: float(n[list(at)].mean()), contents)
    return section


def loop_section(scorer: BundleScorer, groups: Sequence[Group], seconds: int) -> Section:
    """Clips looped for hours: the largest distance of any ten seconds from the first ones' of the same pictures."""
    clips = [group.inputs[i] for group in groups[:_LOOPED] for i in (0, len(group.inputs) - 1)]
    per_second = round(scorer.fps)
    shown = scorer.show_looped(clips, seconds * per_second)
    # After so many seconds a loop begins at the beginning of a second again, and each second shows what it showed.
    round_s = math.lcm(len(clips[0]) - 1, per_second) // per_second
    far = [looped_change(np.array(one.seconds), round_s) for one in shown]
    return {f"largest change in {seconds} s of a looped clip": Estimate(max(far), min(far), max(far), len(far))}


def looped_change(seconds: F64, round_s: int) -> float:
    """The largest distance of ten seconds' mean from that of the same pictures in the first round, in points.

    Args:
        seconds: (n,) scores; the first ten are left out.
        round_s: Seconds after which the same pictures are shown in a second.
    """
    settled = seconds[_SETTLING_S:]
    if len(settled) < round_s + _MEAN_S:
        return float("nan")
    first = settled[np.arange(len(settled)) % round_s]
    return float(np.abs(np.convolve(settled - first, np.full(_MEAN_S, 1 / _MEAN_S), mode="valid")).max())


def cut_section(scorer: BundleScorer, groups: Sequence[Group]) -> Section:
    """Clips behind another content's: distance from their score alone, from two seconds behind the cut, in points.

    Clean behind clean, the worst version behind clean, and clean behind the worst version.
    """
    clean = [group.inputs[next(i for i, f in enumerate(group.facts) if f.level == 0)] for group in groups]
    worst = [group.inputs[max(range(len(group.facts)), key=lambda i, g=group: g.facts[i].level)] for group in groups]
    length = len(clean[0])
    behind = slice(-(length // round(scorer.fps) - _AFTER_CUT_S), None)
    clean_alone, worst_alone = show_all(scorer, clean), show_all(scorer, worst)
    changes = []
    for before, clips, alone in ((clean, clean, clean_alone), (clean, worst, worst_alone), (worst, clean, clean_alone)):
        others = [*before[1:], before[0]]
        # A clip's first sample has nothing before it; behind a cut it has.
        joined = [np.concatenate([b, c[1:2], c[1:]]) for b, c in zip(others, clips, strict=True)]
        after = show_all(scorer, joined, cut=length)
        changes += [
            float(np.abs(np.subtract(a.seconds[behind], b.seconds[behind])).max())
            for a, b in zip(alone, after, strict=True)
        ]
    change, contents = np.array(changes), [g.facts[0].content for g in groups] * 3
    return {
        "p90 change 2 s behind a cut": by_content(lambda rows: float(np.quantile(change[list(rows)], 0.9)), contents),
        "largest change 2 s behind a cut": Estimate(float(change.max()), float("nan"), float("nan"), len(change)),
    }
