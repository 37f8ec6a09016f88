"""Every real recording beside the checkout is scored, or refused with the right reason, and its facts are told."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.offline import ClipResult
from monitor.types import StreamId
from tests.fixtures.clip_scoring import clip_scorer

#: Enough for every fact; whole recordings are in the table of docs/pictures.md.
PICTURES = 50


@pytest.fixture(scope="module")
def score() -> Iterator[Callable[..., ClipResult]]:
    with clip_scorer() as scorer:
        yield scorer


@pytest.mark.timeout(300)
def test_every_recording_is_scored_or_refused_rightly_and_its_facts_are_told(
    shared_dir: Path, score: Callable[..., ClipResult]
) -> None:
    folder = shared_dir / "media" / "streams"
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    for row in rows:
        name = row["file"]
        if row["frames"] == "0":
            with pytest.raises(SourceError, match="no picture could be decoded") as refused:
                score(folder / name)
            assert refused.value.code is SourceCode.INVALID_DATA
            continue
        result = score(folder / name, PICTURES)
        told = result.info
        assert told is not None
        assert (told.width, told.height, told.codec) == (int(row["w"]), int(row["h"]), row["codec"]), name
        assert told.pixel_format == row["pix"]
        assert told.interlaced is told.deinterlaced is (int(row["interlaced"]) > 0), name
        assert result.format_changes == 0
        if name == "tsduck026_1080i25_h264.ts":
            # It begins in the middle of a GOP: half of its eight pictures are undecodable without what came before, as
            # they are for a device that joins there.
            assert result.frames >= 4
        else:
            assert result.frames == min(PICTURES, int(row["frames"].rstrip("+"))), name
            assert told.fps == pytest.approx(float(row["fps"]), rel=0.001), name
        assert result.score is not None
        assert 0 <= result.score <= 100


def test_shapes_of_pixels_content_and_missing_stamps_of_the_recordings_are_told(
    shared_dir: Path, score: Callable[..., ClipResult]
) -> None:
    folder = shared_dir / "media" / "streams"
    wide = score(folder / "tsduck025_576i25_mpeg2.ts", 40).info
    assert wide is not None
    assert wide.pixel_aspect == str(Fraction(64, 45)).replace("/", ":")
    # A talk show in two fields of one moment, and news in two of different ones.
    assert wide.interlaced_content is False
    news = score(folder / "tsduck026_1080i25_h264.ts").info
    assert news is not None
    assert news.interlaced_content is True
    undated = PyAvSource(str(folder / "lpms_missing_dts_1080p60.ts"), stream=StreamId("clip"), live=False)
    undated.open()
    assert len(list(undated.frames(threading.Event(), 0))) == 120
    assert undated.counters.undated == 4
