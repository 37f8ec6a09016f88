"""``python -m training rated``: how a bundle agrees with a rated set, as it is and with its scale fitted to it.

As it is (zero-shot), nothing of the set was seen: the order of clips counts, their scale does not. Fitted means a
rising logistic on contents other than the clip's own, as ``calibrate`` would keep it. A head trained on the ratings is
``study`` or ``train``.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engines.bundle import BUNDLED, find_bundle, load_bundle
from monitor.types import F64
from training.calibration_fit import figures, held_out
from training.clips import Clip, read_raw_planes
from training.datasets import DATASETS
from training.errors import DataError, UsageError
from training.export_run import parse_scale
from training.metrics import srocc
from training.pooled_quality import Found, pooled_quality

#: Raw clips are wrapped up to this many bytes at a time, or one by one where one has more.
_WRAPPED_BYTES = 4e9
_METRICS = ("srocc", "lcc", "rmse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--model", default=BUNDLED, metavar="NAME|DIR", help=f"bundle (default {BUNDLED})")
    parser.add_argument("--dataset", choices=sorted(DATASETS), required=True)
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE", help="the set's CSV")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="rated.md, .json and .csv go here")
    parser.add_argument(
        "--scale", type=parse_scale, metavar="MIN,MAX", help="ratings that count as 0 and 100 (default: 0,100)"
    )
    parser.add_argument("--precision", choices=("auto", "f32", "bf16", "int8"), default="auto", help="of inference")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads of inference (default: all)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap by stem")


def run(args: argparse.Namespace) -> int:
    """Scores every clip with the monitor and writes how that agrees with the ratings."""
    bundle = load_bundle(find_bundle(args.model, []))
    clips = DATASETS[args.dataset](args.scores, args.videos)
    low, high = args.scale or (0.0, 100.0)
    rating = (np.array([clip.label for clip in clips]) - low) / (high - low) * 100
    if len(set(rating.tolist())) < 2:
        raise UsageError(f"{args.scores.name}: all clips have the same rating")
    found = _score(clips, lambda files: pooled_quality(bundle, files, _options(args)))
    shown = np.array([bundle.calibrate(value) for value in found.quality])
    # By stem: versions of a content, and contents of one recording, are no independent draws.
    stems = [clip.stem for clip in clips]
    held = held_out(found.quality, rating, stems)
    table = {"as it is": figures(shown, rating, stems, args.resamples)}
    if held is not None:
        table[f"scale fitted, {held.how}"] = figures(held.shown, rating, stems, args.resamples)
    report = {
        "model": bundle.model_id,
        "dataset": args.dataset,
        "clips": len(clips),
        "contents": len({clip.content for clip in clips}),
        "stems": len(set(stems)),
        "agreement": {
            name: {metric: [_plain(v) for v in (i.estimate, i.low, i.high)] for metric, i in row.items()}
            for name, row in table.items()
        },
        "versions of one content in the right order": _pairs(shown, rating, clips),
        "distortions": _distortions(shown, rating, found.causes, clips),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rated.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lines = ["clip,content,distortion,rating,score,cause"]
    for clip, mine, theirs, cause in zip(clips, shown, rating, found.causes, strict=True):
        lines.append(f"{clip.name},{clip.content},{clip.distortion or ''},{theirs:.2f},{mine:.2f},{cause}")
    (args.out / "rated.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = _text(report)
    (args.out / "rated.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def _options(args: argparse.Namespace) -> tuple[str, ...]:
    return ("--precision", args.precision, "--threads", str(args.threads))


def _score(clips: Sequence[Clip], score: Callable[[Sequence[Path]], Found]) -> Found:
    """Files as they are; raw ones, which say nothing of their size, wrapped a few at a time."""
    quality, causes = np.full(len(clips), math.nan), [""] * len(clips)
    plain = [i for i, clip in enumerate(clips) if not clip.raw]
    raw = [i for i, clip in enumerate(clips) if clip.raw]
    batches = [plain] if plain else []
    room = 0.0
    for i in raw:
        size = clips[i].path.stat().st_size
        if size > room:
            batches.append([])
            room = _WRAPPED_BYTES
        batches[-1].append(i)
        room -= size
    for batch in batches:
        with ExitStack() as stack:
            files = [clips[i].path for i in batch]
            if clips[batch[0]].raw:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vqwatch-rated-")))
                files = [wrap_raw(clips[i], folder) for i in batch]
            found = score(files)
        quality[batch] = found.quality
        for i, cause in zip(batch, found.causes, strict=True):
            causes[i] = cause
    return Found(quality, tuple(causes))


def wrap_raw(clip: Clip, folder: Path) -> Path:
    """A raw clip as YUV4MPEG2: the same bytes, with what a reader must know of them in front.

    Raises:
        DataError: The record lacks size or rate, or the file ends within a frame.
    """
    file = folder / f"{clip.name}.y4m"
    if clip.fps is None:
        raise DataError(clip.path.name, ["raw video needs width, height and fps"])
    with file.open("wb") as out:
        rate = f"F{clip.fps.numerator}:{clip.fps.denominator}"
        out.write(f"YUV4MPEG2 W{clip.width} H{clip.height} {rate} Ip A1:1 C420mpeg2 XYSCSS=420MPEG2\n".encode())
        for planes in read_raw_planes(clip):
            out.write(b"FRAME\n")
            for plane in planes:
                out.write(plane.tobytes())
    return file


def _pairs(shown: F64, rating: F64, clips: Sequence[Clip]) -> dict[str, float | int | None]:
    """Pairs of versions of one content whose ratings differ by at least 5 points, and the share in the right order."""
    contents = np.array([clip.content for clip in clips])
    right = []
    for content in sorted(set(contents)):
        rows = np.flatnonzero(contents == content)
        gap = rating[rows][:, None] - rating[rows][None]
        mine = shown[rows][:, None] - shown[rows][None]
        right += (mine[gap >= 5] > 0).tolist()
    return {"pairs": len(right), "share": _plain(float(np.mean(right)) if right else math.nan)}


def _distortions(
    shown: F64, rating: F64, causes: Sequence[str], clips: Sequence[Clip]
) -> dict[str, dict[str, float | int | str | None]]:
    found: dict[str, dict[str, float | int | str | None]] = {}
    for kind in sorted({clip.distortion for clip in clips if clip.distortion}):
        rows = [i for i, clip in enumerate(clips) if clip.distortion == kind]
        said = [causes[i] for i in rows]
        found[kind] = {
            "clips": len(rows),
            "mean rating": _plain(float(rating[rows].mean())),
            "mean score": _plain(float(shown[rows].mean())),
            "srocc": _plain(srocc(shown[rows], rating[rows])),
            "named so": _plain(said.count(kind) / len(said)),
            "most named": max(sorted(set(said)), key=said.count),
        }
    return found


def _plain(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _text(report: dict[str, object]) -> str:
    agreement, kinds = report["agreement"], report["distortions"]
    assert isinstance(agreement, dict)
    assert isinstance(kinds, dict)
    lines = [
        f"{report['model']} on {report['dataset']}: {report['clips']} clips of {report['contents']} contents, "
        f"{report['stems']} stems",
        "",
        "| | SROCC | LCC | RMSE, points |",
        "|---|---|---|---|",
    ]
    for name, row in agreement.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row[metric]) for metric in _METRICS) + " |")
    pairs = report["versions of one content in the right order"]
    assert isinstance(pairs, dict)
    lines += ["", f"Versions of one content in the right order: {pairs['share']} of {pairs['pairs']} pairs that differ"]
    lines[-1] += " by 5 points or more."
    if kinds:
        columns = list(next(iter(kinds.values())))
        lines += ["", "| distortion | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        lines += [
            f"| {kind} | " + " | ".join("-" if v is None else str(v) for v in row.values()) + " |"
            for kind, row in kinds.items()
        ]
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
    estimate, low, high = ("-" if v is None else f"{v:.3f}" for v in values)
    return f"{estimate} [{low}, {high}]"
