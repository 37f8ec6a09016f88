"""Words and tables of ``python -m training report``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from training.clip_agreement import Estimate

_INTRODUCTION = """\
Every figure is agreement with our own pseudo-labels on impairments of our own generator, or with a full-reference
metric where it says so; no person rated anything. Intervals are 95 %, by resampling contents.
"""
_HEADS = {
    "clips": "Clips of 4 s, each a new epoch",
    "streams that turn bad": "Streams: a clean minute, then ten seconds of another version (drop, points)",
    "controls": "Negative controls: clean in other ways (fall from the plain clip, points)",
    "domain": "Whether the model says what it does not know (`out_of_domain`; shares)",
    "long running": "Over hours and over cuts (points)",
}


def report_text(about: Mapping[str, str], sections: Mapping[str, Mapping[str, Estimate]]) -> str:
    """The report as Markdown.

    Args:
        about: Facts of the run.
        sections: Figures by section.
    """
    lines = [f"# {about['bundle']} on held-out material", "", _INTRODUCTION]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    for name, section in sections.items():
        if not section:
            continue
        lines += ["", f"## {_HEADS[name]}", "", "| | | 95 % | n |", "|---|---|---|---|"]
        lines += [
            f"| {what} | {_number(e.value)} | {_interval(e)} | {e.count} |" for what, e in sorted(section.items())
        ]
    return "\n".join(lines) + "\n"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    return f"{_number(estimate.low)} to {_number(estimate.high)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"
