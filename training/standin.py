"""``python -m training standin``: a stand-in for a rated set, contents x types x levels of clean clips and stills.

Its labels are pseudo-labels by the policy of ``training.labels``: severity ranks for temporal types, graded
full-reference values (SSIM, or XPSNR) for spatial types, both placed by published group means. They are no opinions of
people, and nothing here calls them MOS; every row of the manifest says what its label is made of.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
from PIL import UnidentifiedImageError

from engines.preprocess import PictureCutter
from training import labels
from training.clip_writer import write_clip
from training.clips import require_unique
from training.distortions import DISTORTIONS, LEVELS, distort
from training.errors import DataError, UsageError
from training.pictures import Picture, from_frame, to_frame
from training.progress_bar import progress_bar
from training.sources import Content, StillShot, crop_16_9, find_contents, fits, manifest_of, scale
from training.ssim import fragment_ssim_db
from training.synthesis import SPEC, ClipFacts
from training.workers import parse_jobs, workers
from training.xpsnr import CAP_DB, XpsnrMeter, clip_db

#: Types of LIVE-APV, in its order.
LIVE_APV_TYPES = ("aliasing", "compression", "frame_drop", "flicker", "interlacing", "judder")
#: A source this many times longer than a clip gives two contents of one stem, as LIVE-APV's recordings do.
_HALVES = 2.0
#: Shorter sources are left out; those in between run there and back.
_MIN_SECONDS = 1.0
#: Rate of the synthetic camera that looks at stills.
_STILL_FPS = Fraction(25)
#: Sources at 50 and 60 a second are taken every second picture: 25 and 30 are LIVE-APV's rates.
_FAST_FPS = 47
#: Pictures behind a clip's end for jumps and woven fields to reach for.
_SPARE = 64
#: Fewest that 60, 20 and 20 per cent of leave none empty.
_MIN_CONTENTS = 5
#: Every clip, the clean ones too, ends in the same encode that loses nothing visible.
_CODEC, _CRF = "x264", 12.0


@dataclass(frozen=True, slots=True)
class StandinContent:
    """One content of the set.

    Attributes:
        source: Where its pictures come from.
        name: Of the content.
        stem: The recording; halves of one source share it.
        first: First picture taken, counted at the content's own rate.
        available: Pictures of the source from there on.
        fps: Its own rate, halved at 50 and 60.
        others: For a still, stills that an object in front may be cut from.
    """

    source: Content
    name: str
    stem: str
    first: int
    available: int
    fps: Fraction
    others: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the set; a folder holds one."""

    types: tuple[str, ...]
    levels: tuple[int, ...]
    seconds: float
    width: int
    height: int
    seed: int
    reference: labels.Reference = "ssim"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--sources", type=Path, nargs="+", required=True, metavar="DIR", help="folders of clean clips and stills"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="clips and manifest.csv go here")
    add_settings(parser)
    parser.add_argument("--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes")


def add_settings(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds the arguments that `settings_of` reads."""
    parser.add_argument("--types", nargs="+", choices=list(DISTORTIONS), default=list(LIVE_APV_TYPES), metavar="TYPE")
    parser.add_argument("--levels", nargs="+", type=int, choices=LEVELS, default=[2, 4], metavar="1-5")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a clip")
    parser.add_argument("--height", type=int, default=360, help="of the clips, 16:9; sources must be larger")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", choices=labels.REFERENCES, default="ssim", help="what grades spatial types")


def run(args: argparse.Namespace) -> int:
    """Makes what is not there yet, and prints the manifest's path."""
    print(make_standin(args.sources, args.out, settings_of(args), args.jobs))
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from this command's arguments.

    Raises:
        UsageError: A length or size that cannot be.
    """
    if not 1 <= args.seconds <= 60:
        raise UsageError(f"--seconds must be 1 to 60, got {args.seconds:g}")
    if args.height < 144 or args.height % 2:
        raise UsageError(f"--height must be even and at least 144, got {args.height}")
    width = round(args.height * 16 / 9 / 2) * 2
    types, levels = tuple(dict.fromkeys(args.types)), tuple(sorted(set(args.levels)))
    return Settings(types, levels, args.seconds, width, args.height, args.seed, args.reference)


def make_standin(sources: Sequence[Path], out: Path, settings: Settings, jobs: int) -> Path:
    """Makes the set, content by content; contents that are there are kept.

    Args:
        sources: Folders of clean clips.
        out: Folder of the set.
        settings: What to make.
        jobs: Processes.

    Returns:
        The manifest, as ``training.datasets.manifest`` reads it beside ``out/clips``.

    Raises:
        UsageError: The folder holds a set of other settings.
        DataError: There is no usable source, or one cannot be read.
    """
    record = out / "standin.json"
    wanted = json.loads(json.dumps(asdict(settings)))
    # Sets that were made before there was a choice are graded by SSIM.
    if record.is_file() and {"reference": "ssim"} | json.loads(record.read_text(encoding="utf-8")) != wanted:
        raise UsageError(f"{out} holds a set of other settings ({record.name}); take another folder")
    contents = find_standin_contents(sources, settings)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    (out / "facts").mkdir(exist_ok=True)
    record.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    todo = [content for content in contents if not _facts_file(out, content).is_file()]
    with progress_bar() as bar, workers(max(1, min(jobs, len(todo)))) as pool:
        task = bar.add_task("contents", total=len(contents), completed=len(contents) - len(todo))
        for done in as_completed([pool.submit(make_content, content, out, settings) for content in todo]):
            done.result()
            bar.advance(task)
    return _write_manifest(out, contents, settings.reference)


def find_standin_contents(sources: Sequence[Path], settings: Settings) -> list[StandinContent]:
    """Contents of the clips below the folders that are long and large enough, by name.

    Raises:
        DataError: A folder is missing, a source cannot be read, two share a name, or there are fewer than five
            contents (a split into 60, 20 and 20 per cent needs as many).
    """
    found: list[StandinContent] = []
    try:
        candidates = [c for c in find_contents(list(sources)) if fits(c, (settings.width, settings.height))]
        measured = [(c, *_rate_and_length(c)) for c in candidates if c.is_video]
    except (FileNotFoundError, av.FFmpegError, UnidentifiedImageError) as error:
        raise DataError("sources", [str(error)]) from error
    for source, fps, pictures in measured:
        length = round(settings.seconds * fps)
        if pictures < _MIN_SECONDS * fps:
            continue
        halves = ("_p1", "_p2") if pictures >= _HALVES * length else ("",)
        for number, suffix in enumerate(halves):
            part = pictures // len(halves)
            # From the middle: beginnings and ends are titles and fades.
            spare = max(0, part - length - _SPARE) // 2
            first = number * part + spare
            found.append(StandinContent(source, source.name + suffix, source.stem, first, part - spare, fps))
    stills = tuple(c for c in candidates if not c.is_video)
    found += [StandinContent(c, c.name, c.stem, 0, 0, _STILL_FPS, stills) for c in stills]
    require_unique("sources", (content.name for content in found))
    if len(found) < _MIN_CONTENTS:
        raise DataError("sources", [f"{len(found)} usable contents; a split needs {_MIN_CONTENTS} at least"])
    return found


def _stride(source_fps: Fraction) -> int:
    return 2 if source_fps >= _FAST_FPS else 1


def _rate_and_length(source: Content) -> tuple[Fraction, int]:
    """The content's rate, and how many pictures its source has at that rate."""
    with av.open(str(source.path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
        packets = sum(1 for packet in container.demux(stream) if packet.size)
    return rate / _stride(rate), packets // _stride(rate)


def read_content(content: StandinContent, size: tuple[int, int], count: int) -> list[Picture]:
    """Its clean pictures, scaled; a clip that ends too soon runs back and forth, a still is seen by a moving camera.

    Raises:
        DataError: The source cannot be decoded.
    """
    if not content.source.is_video:
        rng = np.random.default_rng(_number(content.name))
        shot = StillShot.draw(content.source, list(content.others), size, rng)
        return list(shot.pictures(range(count)))
    pictures: list[Picture] = []
    wanted = min(count, content.available)
    try:
        with av.open(str(content.source.path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stride = _stride(Fraction(stream.average_rate or 25))
            shown = islice(container.decode(stream), content.first * stride, None, stride)
            for frame in islice(shown, wanted):
                picture = from_frame(frame)
                pictures.append(scale(picture, crop_16_9(picture.y.shape), size))
    except av.FFmpegError as error:
        raise DataError(content.source.path.name, [f"cannot be decoded: {error}"]) from error
    if len(pictures) < 2:
        raise DataError(content.source.path.name, [f"holds {len(pictures)} pictures where {wanted} were announced"])
    period = 2 * len(pictures) - 2
    turn = (position % period for position in range(count))
    return [pictures[min(position, period - position)] for position in turn]


def make_content(content: StandinContent, out: Path, settings: Settings) -> None:
    """Every version of one content; its facts are written last, so an interrupted content is made again."""
    length = round(settings.seconds * content.fps)
    clean = read_content(content, (settings.width, settings.height), length + _SPARE)
    motion = float(np.mean([np.abs(b.y[::4, ::4].astype(int) - a.y[::4, ::4]).mean() for a, b in pairwise(clean)]))
    fps = float(content.fps)
    rows = []
    for number, (kind, level) in enumerate([("clean", 0), *((k, v) for k in settings.types for v in settings.levels)]):
        # One seed a type: its levels share the draws (which codec, which parity), so that level is what differs.
        seed = [settings.seed, _number(content.name), _number(kind)]
        if kind == "clean":
            pictures: Iterator[Picture] = iter(clean)
        else:
            pictures = distort(iter(clean), kind, level, seed=np.random.default_rng(seed), fps=fps)
        ssim: list[float] = []
        graded = settings.reference == "xpsnr" and kind != "clean" and kind not in labels.TEMPORAL
        meter = XpsnrMeter(fps) if graded else None
        seen = _compared(islice(pictures, length), clean, ssim, meter)
        name = f"{content.name}_{settings.height}_{kind}{level or ''}.mp4"
        written = write_clip(out / "clips" / name, seen, content.fps, codec=_CODEC, quality=_CRF)
        if written != length:
            raise DataError(name, [f"{written} pictures came out of {length}"])
        xpsnr = clip_db(meter.values().y, CAP_DB) if meter is not None else None
        # Motion per 1/25 s, whatever the rate.
        facts = ClipFacts(
            content.name, content.stem, kind, level, "", settings.width, settings.height,
            motion * fps / 25, float(np.mean(ssim)), xpsnr,
        )  # fmt: skip
        rows.append({"file": name, "number": number, "fps": str(content.fps), "pictures": written} | asdict(facts))
    file = _facts_file(out, content)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def _number(name: str) -> int:
    """A stable number of a name (Python's own hash changes with every process)."""
    return int.from_bytes(name.encode(), "big") % (2**61 - 1)


def _compared(
    pictures: Iterator[Picture], clean: Sequence[Picture], ssim: list[float], meter: XpsnrMeter | None
) -> Iterator[Picture]:
    """The same pictures; on the way every fifth is compared with its clean one by SSIM, and all by a meter."""
    cutter = PictureCutter(SPEC)
    for t, picture in enumerate(pictures):
        if t % 5 == 0:
            y, reference = (cutter.pixels(to_frame(p))[0] for p in (picture, clean[t]))
            ssim.append(fragment_ssim_db(reference, y))
        if meter is not None:
            meter.push(clean[t], picture)
        yield picture


def _facts_file(out: Path, content: StandinContent) -> Path:
    return out / "facts" / f"{content.name}.json"


COLUMNS = (
    "file", "score", "content", "stem", "distortion", "level", "label_source", "anchor", "anchor_source", "ssim_db",
    "xpsnr_db", "motion", "fps", "pictures", "source", "licence",
)  # fmt: skip


def _write_manifest(out: Path, contents: Sequence[StandinContent], reference: labels.Reference) -> Path:
    """Labels of all clips together: the scale of a full-reference value is the set's."""
    found: list[tuple[StandinContent, dict[str, object], ClipFacts]] = []
    for content in contents:
        for row in json.loads(_facts_file(out, content).read_text(encoding="utf-8")):
            facts = ClipFacts(**{name: row[name] for name in ClipFacts.__dataclass_fields__ if name in row})
            found.append((content, row, facts))
    scales = labels.spatial_scales([facts for _, _, facts in found], reference)
    target = out / "manifest.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for content, row, facts in found:
            told = manifest_of(content.source.path.parent).get(content.source.path.name, {})
            origin = labels.provenance(facts, reference)
            writer.writerow(
                {
                    "file": row["file"],
                    "score": f"{100 * labels.label(facts, scales, reference):.3f}",
                    "content": facts.content,
                    "stem": facts.stem,
                    "distortion": facts.kind,
                    "level": facts.level,
                    "label_source": origin.source,
                    "anchor": "" if origin.anchor is None else f"{100 * origin.anchor:g}",
                    "anchor_source": origin.anchor_source,
                    "ssim_db": f"{facts.ssim_db:.2f}",
                    "xpsnr_db": "" if facts.xpsnr_db is None else f"{facts.xpsnr_db:.2f}",
                    "motion": f"{facts.motion:.2f}",
                    "fps": row["fps"],
                    "pictures": row["pictures"],
                    "source": content.source.path.name,
                    "licence": told.get("licence", ""),
                }
            )
    print(f"{len(found)} clips of {len(contents)} contents", file=sys.stderr)
    return target
