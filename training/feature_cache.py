"""Features on disk, found by what they were made of: the file's contents, the trunk, the precision and the sampling.

A file that is there is whole. Extraction goes on where it was stopped, and renamed or moved clips are not read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines import FeatureEngine, Precision, open_engine
from engines.errors import EngineError
from training.clips import Clip, read_frames
from training.errors import DataError
from training.feature_extraction import extract_features
from training.progress_bar import progress_bar
from training.trunk_graph import TrunkGraph
from training.workers import workers


@dataclass(frozen=True, slots=True)
class Extraction:
    """What features are made with.

    Attributes:
        trunk: Whose.
        rates: Of ``training.feature_extraction.parse_rate``.
        cache: Folder of all features, of any trunk.
        engine: As ``engines.open_engine`` takes it.
        precision: f32 unless asked otherwise, so that the same clip gives the same features everywhere.
    """

    trunk: TrunkGraph
    rates: tuple[str, ...]
    cache: Path
    engine: str = "openvino"
    precision: Precision = Precision.F32

    def file(self, digest: str, clip: Clip, rate: str) -> Path:
        """Where one clip's features at one rate are.

        Args:
            digest: Of the clip's file, `digest_of`.
            clip: Its record; size and rate of a raw clip change what is read from it.
            rate: One of ``rates``.
        """
        made_of = json.dumps([digest, geometry_of(clip), self.trunk.identity, self.engine, self.precision.value, rate])
        name = hashlib.sha256(made_of.encode()).hexdigest()[:32]
        folder = f"{self.trunk.name}-{self.trunk.identity}"
        return self.cache / folder / rate.replace("/", "_") / f"{name}.npy"


def geometry_of(clip: Clip) -> list[object]:
    """What else than its bytes decides what is read from a clip: size, rate and format of a raw one."""
    return [clip.width, clip.height, str(clip.fps), clip.pix_fmt] if clip.raw else []


def digest_of(path: Path, cache: Path) -> str:
    """SHA-256 of a file, hex; remembered by its path, size and time of change, since 2160p clips hold gigabytes."""
    status = path.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    record = cache / "digests" / name
    if record.is_file():
        known, _, digest = record.read_text(encoding="utf-8").rpartition(" ")
        if known == stamp:
            return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(record)
    part.write_text(f"{stamp} {digest}", encoding="utf-8")
    part.replace(record)
    return digest


def _part_of(file: Path) -> Path:
    # Two processes may be at the same work: clips of equal contents are kept as one.
    return file.with_suffix(f".{os.getpid()}.part")


def extract_clip(clip: Clip, work: Extraction, engine: FeatureEngine) -> dict[str, Path]:
    """Features of one clip, made where the cache has none.

    Returns:
        File of each rate.

    Raises:
        DataError: The clip cannot be read.
    """
    digest = digest_of(clip.path, work.cache)
    files = {rate: work.file(digest, clip, rate) for rate in work.rates}
    missing = [rate for rate, file in files.items() if not file.is_file()]
    if missing:
        found = extract_features(read_frames(clip), missing, engine, work.trunk.input, clip.path.name)
        for rate, features in found.items():
            files[rate].parent.mkdir(parents=True, exist_ok=True)
            part = _part_of(files[rate])
            with part.open("wb") as file:
                np.save(file, features)
            part.replace(files[rate])
    return files


# Of a worker process: what it was started with.
_work: tuple[Extraction, FeatureEngine] | None = None


def _start_worker(work: Extraction, threads: int) -> None:
    global _work
    _work = work, open_engine(work.trunk.bundle(), work.engine, work.precision, threads)


def _run_worker(clip: Clip) -> dict[str, Path]:
    assert _work is not None
    return extract_clip(clip, *_work)


def extract_all(clips: Sequence[Clip], work: Extraction, jobs: int = 1) -> list[dict[str, Path]]:
    """Features of all clips.

    Args:
        clips: Of a data set.
        work: What with.
        jobs: Processes, each with a decoder and a one-thread engine: more streams per second than one engine on all
            cores. 1 runs here, with the engine on all cores.

    Returns:
        By clip, in order: file of each rate.

    Raises:
        DataError: Names every clip that cannot be read; the others are in the cache by then.
        EngineError: The trunk cannot be run here.
    """
    found: dict[int, dict[str, Path]] = {}
    problems: list[str] = []
    with progress_bar() as bar:
        task = bar.add_task(f"{work.trunk.name} at {', '.join(work.rates)}", total=len(clips))
        if jobs == 1:
            engine = open_engine(work.trunk.bundle(), work.engine, work.precision)
            for index, clip in enumerate(clips):
                try:
                    found[index] = extract_clip(clip, work, engine)
                except (DataError, EngineError) as error:
                    problems += _told(clip, error)
                bar.advance(task)
        else:
            open_engine(work.trunk.bundle(), work.engine, work.precision).close()  # its fault is not a broken pool's
            with workers(jobs, _start_worker, (work, 1)) as pool:
                running: dict[Future[dict[str, Path]], int] = {
                    pool.submit(_run_worker, clip): index for index, clip in enumerate(clips)
                }
                for done in as_completed(running):
                    index = running[done]
                    try:
                        found[index] = done.result()
                    except (DataError, EngineError) as error:
                        problems += _told(clips[index], error)
                    bar.advance(task)
    if problems:
        raise DataError("features", sorted(problems))
    return [found[index] for index in range(len(clips))]


def _told(clip: Clip, error: Exception) -> list[str]:
    if isinstance(error, DataError):
        return [f"{error.subject}: {problem}" for problem in error.problems]
    return [f"{clip.path.name}: {error}"]
