"""``python -m training calibrate``: a user's own ratings become the scale of a bundle."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from engines.bundle import BUNDLED, Bundle, Manifest, find_bundle, load_bundle
from training.calibration_fit import (
    INTERVAL_CLIPS,
    INTERVAL_CONTENTS,
    HeldOut,
    calibrated,
    calibration_of,
    figures,
    fit_ratings,
    held_out,
    intervals_of,
    is_step,
)
from training.errors import DataError, UsageError
from training.export_run import parse_scale
from training.intervals import Interval
from training.pooled_quality import pooled_quality, write_calibrated
from training.ratings import Ratings, read_ratings

#: What the bundle's own record of its calibration is called.
RECORD = "calibration.json"
#: A percentile interval over fewer contents is too narrow.
_FEW_CONTENTS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "labels", type=Path, metavar="LABELS.csv", help="file, score and, where wanted, content, predicted"
    )
    parser.add_argument(
        "--model", default=BUNDLED, metavar="NAME|DIR", help=f"bundle to begin from (default {BUNDLED})"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new bundle")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of the files (default: that of LABELS.csv)")
    parser.add_argument(
        "--scale", type=parse_scale, metavar="MIN,MAX", help="ratings that are shown as 0 and 100 (default: 0,100)"
    )
    parser.add_argument("--name", help="of the bundle (default: the folder's)")
    parser.add_argument("--precision", choices=("auto", "f32", "bf16", "int8"), default="auto", help="of inference")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads of inference (default: all)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap by content")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Fits, writes the new bundle, and prints how scores agree with the ratings before and after."""
    bundle = load_bundle(find_bundle(args.model, []))
    if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
        raise UsageError(f"{args.out} is there already; give another --out")
    name = _checked(bundle, args.name or args.out.name.lower())
    ratings = read_ratings(args.labels, args.videos or args.labels.parent, args.scale)
    quality, causes = ratings.predicted, None
    if quality is None:
        options = ("--precision", args.precision, "--threads", str(args.threads))
        quality, causes = pooled_quality(bundle, ratings.files, options)
    elif bundle.manifest.head.bounded and not np.all((quality >= 0) & (quality <= 1)):
        raise DataError(ratings.name, ["predicted is a quality from 0 to 1 with this model, before calibration"])
    curve = fit_ratings(quality, ratings.shown)
    held = held_out(quality, ratings.shown, ratings.contents)
    uncertainty = intervals_of(held, ratings.shown, ratings.contents, causes)
    written = write_calibrated(
        bundle,
        args.out,
        name=name,
        description=_description(bundle, ratings, with_intervals=bool(uncertainty)),
        calibration=calibration_of(curve),
        uncertainty=uncertainty,
    )
    before = np.array([bundle.calibrate(value) for value in quality])
    after = calibrated(curve, quality)
    report: dict[str, object] = {
        "model": written.model_id,
        "from": bundle.model_id,
        "ratings": ratings.name,
        "n": len(ratings.files),
        "contents": len(set(ratings.contents)),
        "scale": ratings.scale,
        "logistic": asdict(curve),
        "before": _rounded(figures(before, ratings.shown, ratings.contents, args.resamples)),
        "after_in_sample": _rounded(figures(after, ratings.shown, ratings.contents, args.resamples)),
        "after_held_out": None,
        "held_out": None,
        "uncertainty": uncertainty,
        "notes": _notes(ratings, held, uncertainty, step=is_step(curve, quality)),
    }
    if held is not None:
        report["after_held_out"] = _rounded(figures(held.shown, ratings.shown, ratings.contents, args.resamples))
        report["held_out"] = held.how
    text = json.dumps(report, allow_nan=False, indent=1)
    (args.out / RECORD).write_text(text + "\n", encoding="utf-8")
    print(text if args.json else _table(report))
    return 0


def _checked(bundle: Bundle, name: str) -> str:
    """The name, before anything long is started.

    Raises:
        UsageError: A bundle cannot be called so.
    """
    try:
        return Manifest.model_validate(bundle.manifest.model_dump() | {"name": name}).name
    except ValidationError as error:
        raise UsageError(f"name {name!r}: {error.errors()[0]['msg']}") from error


def _description(bundle: Bundle, ratings: Ratings, *, with_intervals: bool) -> str:
    low, high = ratings.scale
    told = (
        f"Calibrated from {bundle.model_id} on {len(ratings.files)} ratings of {len(set(ratings.contents))} contents "
        f"({ratings.name}): {low:g} is shown as 0 and {high:g} as 100"
        f"{'; intervals are against these ratings' if with_intervals else ''}."
    )
    before = bundle.manifest.description.rstrip(". ")
    return f"{before}. {told}" if before else told


def _notes(ratings: Ratings, held: HeldOut | None, uncertainty: dict[str, float], *, step: bool) -> list[str]:
    """What a reader of the figures must know."""
    contents = len(set(ratings.contents))
    notes = ["RMSE is in points of 0-100; intervals are of 95 % and draw whole contents"]
    if contents == len(ratings.files):
        notes.append("every file counts as a content of its own; versions of one content need a column `content`")
    if contents < _FEW_CONTENTS:
        notes.append(f"{contents} contents are few: their intervals are too narrow")
    if held is None:
        notes.append("figures on contents left out need three contents at least")
    elif held.flat:
        notes.append(f"{held.flat} fits to the other contents did not rise; their clips got the mean rating")
    if step:
        notes.append("the fit is a step: ratings between its two ends are missing")
    if uncertainty:
        notes.append("the bundle's 90 % intervals are now against these ratings, from contents left out")
    else:
        notes.append(
            f"the bundle states no 90 % intervals any more: against ratings they need {INTERVAL_CLIPS} clips of "
            f"{INTERVAL_CONTENTS} contents"
        )
    return notes


def _rounded(found: dict[str, Interval]) -> dict[str, list[float | None]]:
    """Estimate, low and high by metric; None where there is none."""

    def plain(value: float) -> float | None:
        return round(value, 4) if math.isfinite(value) else None

    return {name: [plain(v) for v in (i.estimate, i.low, i.high)] for name, i in found.items()}


def _table(report: dict[str, object]) -> str:
    lines = [
        f"{report['model']}: {report['n']} ratings of {report['contents']} contents",
        f"{'':32}{'SROCC':<24}{'LCC':<24}RMSE",
    ]
    for key, title in (
        ("before", "before"),
        ("after_in_sample", "after, on the fitted clips"),
        ("after_held_out", f"after, {report['held_out']}"),
    ):
        row = report[key]
        if isinstance(row, dict):
            cells = [_cell(row["srocc"], 3), _cell(row["lcc"], 3), _cell(row["rmse"], 1)]
            lines.append(f"{title:<32}{cells[0]:<24}{cells[1]:<24}{cells[2]}")
    uncertainty = report["uncertainty"]
    if isinstance(uncertainty, dict) and uncertainty:
        lines.append("90 % interval: " + ", ".join(f"{name} ±{half:g}" for name, half in uncertainty.items()))
    notes = report["notes"]
    assert isinstance(notes, list)
    return "\n".join([*lines, *notes])


def _cell(values: list[float | None], digits: int) -> str:
    estimate, low, high = ("-" if v is None else f"{v:.{digits}f}" for v in values)
    return f"{estimate} [{low}, {high}]"
