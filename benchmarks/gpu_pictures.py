"""From packets to samples by each decoder: the CPU, NVDEC with its pictures copied, and NVDEC with its pictures kept.

Part of ``benchmarks.gpu``. A sample is what the engine and the head are given: fragments, side channel, facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import numpy as np

from monitor.ingest.hardware import Decoder, device_for, device_that_decoded
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.capacity import looped, rate, sampler_of
from monitor.types import Sample

#: Feeds side by side, each in a thread.
FEEDS = (1, 8, 32)
_SECONDS = 3.0
#: Samples that are compared.
_COMPARED = 50


@dataclass(frozen=True, slots=True)
class Way:
    """One decoder with so many feeds.

    Attributes:
        decoder: Asked for.
        decoded_by: What the pictures say that they came from.
        feeds: Side by side.
        pictures_per_s: Of all of them.
        core_ms: Of the CPU, a picture.
        other_pixels: Share of the trunk's input that differs from the CPU's.
        side_difference: Largest difference of a number of the side channel from the CPU's.
    """

    decoder: str
    decoded_by: str
    feeds: int
    pictures_per_s: float
    core_ms: float
    other_pixels: float
    side_difference: float


def measure_ways(
    clip: Path, scoring: BundleScoring, *, feeds: tuple[int, ...] = FEEDS, seconds: float = _SECONDS
) -> list[Way]:
    """Every decoder that works here, the CPU first."""
    exact = list(islice(samples(clip, scoring, Decoder.CPU), _COMPARED))
    found = []
    for decoder in Decoder:
        try:
            device_for(decoder)
        except OSError:
            continue
        ours = list(islice(samples(clip, scoring, decoder), _COMPARED))
        other = np.mean([np.mean(a.pixels != b.pixels) for a, b in zip(ours, exact, strict=True)])
        side = max(_side_difference(a, b) for a, b in zip(ours, exact, strict=True))
        by, player = decoded_by(clip, decoder), partial(_player, clip, scoring, decoder)
        for count in feeds:
            part = rate(count, player, seconds)
            found.append(Way(str(decoder), by, count, part.per_s, part.cpu_s * 1000, float(other), side))
    return found


def samples(clip: Path, scoring: BundleScoring, decoder: Decoder) -> Iterator[Sample]:
    """Samples of a clip that is played over and over as one feed, as fast as they come."""
    made: list[Sample] = []
    sampler, time_base = sampler_of(scoring, made.append), 1 / Fraction(scoring.scoring.fps)
    for position, picture in enumerate(looped(clip, decoder)):
        sampler.push(Decoded(picture, position, time_base, 0.0, False))
        yield from made
        made.clear()


def decoded_by(clip: Path, decoder: Decoder) -> str:
    """What the first picture of a clip came from."""
    with av.open(str(clip), hwaccel=device_for(decoder)) as container:
        picture = next(container.decode(video=0))
        return device_that_decoded(container.streams.video[0].codec_context, picture) or "cpu"


def ways_table(ways: list[Way]) -> str:
    """Markdown; the last column is each rate over the CPU's with as many feeds."""
    lines = [
        "| decoder | by | feeds | pictures/s | core-ms a picture | other pixels | side channel off by | over the CPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    of_cpu = {way.feeds: way.pictures_per_s for way in ways if way.decoder == Decoder.CPU}
    lines += (
        f"| {way.decoder} | {way.decoded_by} | {way.feeds} | {way.pictures_per_s:,.0f} | {way.core_ms:.2f} "
        f"| {way.other_pixels:.4f} | {way.side_difference:.3f} | {way.pictures_per_s / of_cpu[way.feeds]:.2f} |"
        for way in ways
    )
    return "\n".join(lines)


def _side_difference(ours: Sample, exact: Sample) -> float:
    if ours.side is None or exact.side is None:
        return 0.0
    return float(np.abs(ours.side - exact.side).max())


def _player(clip: Path, scoring: BundleScoring, decoder: Decoder) -> Callable[[], int]:
    feed = samples(clip, scoring, decoder)

    def step() -> int:
        next(feed)
        return 1

    return step
