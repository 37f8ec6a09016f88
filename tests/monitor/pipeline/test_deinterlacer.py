from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest

from engines.planes import planes
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.pipeline.deinterlacer import Deinterlace, Deinterlacer
from monitor.pipeline.viewer import Viewer
from monitor.types import StreamId
from tests.fixtures.on_device import OnDevice
from tests.fixtures.pictures import progressive, woven, write

INTERLACED = {"preset": "ultrafast", "qp": "8", "x264-params": "tff=1:interlaced=1"}


def decoded(path: Path) -> list[Decoded]:
    with av.open(str(path)) as container:
        return [
            Decoded(picture, picture.pts, Fraction(1, 90_000), float(n), n % 3 == 0)
            for n, picture in enumerate(container.decode(video=0))
        ]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scans")
    fields, whole = [woven(n) for n in range(24)], [progressive(n) for n in range(24)]
    return {
        "interlaced": write(folder / "i.ts", fields, options=INTERLACED),
        "combed": write(folder / "c.ts", fields),
        "film": write(folder / "f.ts", whole, options=INTERLACED),
        "progressive": write(folder / "p.ts", whole),
    }


def combs(pictures: list[Decoded]) -> float:
    """Distance of neighbouring lines over that of every second line, moving pictures' mean."""
    ratios = []
    for shown in pictures[4:20]:
        y = planes(shown.picture).y.astype(int)
        ratios.append(np.abs(np.diff(y, axis=0)).mean() / np.abs(y[2:] - y[:-2]).mean())
    return float(np.mean(ratios))


@pytest.mark.parametrize(
    ("clip", "mode", "filtered"),
    [
        ("interlaced", Deinterlace.AUTO, True),
        ("interlaced", Deinterlace.NEVER, False),
        ("combed", Deinterlace.AUTO, False),
        ("combed", Deinterlace.ALWAYS, True),
        ("progressive", Deinterlace.AUTO, False),
    ],
)
def test_fields_are_made_into_pictures_where_a_device_would_and_none_is_lost(
    clips: dict[str, Path], clip: str, mode: Deinterlace, filtered: bool
) -> None:
    pictures = decoded(clips[clip])
    deinterlacer = Deinterlacer(mode)
    shown = [made for picture in pictures for made in deinterlacer.push(picture)]
    assert deinterlacer.active is filtered
    assert len(shown) == len(pictures) - filtered
    shown += deinterlacer.flush()
    assert not deinterlacer.active
    assert [(s.pts, s.received_s, s.corrupt) for s in shown] == [(p.pts, p.received_s, p.corrupt) for p in pictures]
    assert {s.picture.color_range for s in shown} == {p.picture.color_range for p in pictures}
    combed = clip in ("interlaced", "combed") and not filtered
    assert (combs(shown) > 1) is combed


def test_a_change_of_size_and_the_end_of_the_fields_lose_no_picture(clips: dict[str, Path]) -> None:
    fields, whole = decoded(clips["interlaced"]), decoded(clips["progressive"])
    small = [
        Decoded(d.picture.reformat(width=160, height=96), d.pts, d.time_base, d.received_s, d.corrupt) for d in fields
    ]
    deinterlacer = Deinterlacer()
    course = fields[:5] + small[:5] + fields[5:9] + whole * 3 + fields[:2]
    shown = [made for picture in course for made in deinterlacer.push(picture)] + deinterlacer.flush()
    assert [s.pts for s in shown] == [p.pts for p in course]
    assert [s.picture.width for s in shown] == [p.picture.width for p in course]


def test_pictures_that_are_single_fields_are_not_woven_any_further(clips: dict[str, Path]) -> None:
    fields = decoded(clips["interlaced"])
    single = [Decoded(d.picture, d.pts, d.time_base, d.received_s, d.corrupt, single_fields=True) for d in fields]
    deinterlacer = Deinterlacer()
    assert [deinterlacer.push(picture) for picture in single] == [[picture] for picture in single]


@pytest.mark.parametrize(
    ("clip", "flagged", "content"),
    [
        ("interlaced", True, True),
        ("combed", False, True),
        ("film", True, False),
        ("progressive", False, False),
    ],
)
def test_flags_and_content_are_told_apart(clips: dict[str, Path], clip: str, flagged: bool, content: bool) -> None:
    viewer = Viewer()
    for picture in decoded(clips[clip]):
        viewer.push(picture)
    assert viewer.format is not None
    assert (viewer.format.interlaced, viewer.format.interlaced_content) == (flagged, content)
    assert viewer.format.deinterlaced is flagged
    assert viewer.changes == 0


@pytest.mark.train
@pytest.mark.parametrize("clip", ["interlaced", "combed", "film", "progressive"])
def test_pictures_on_a_device_are_seen_as_those_on_the_host_and_copied_for_the_filter_alone(
    clips: dict[str, Path], clip: str
) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    here = [replace(d, picture=d.picture.reformat(format="nv12")) for d in decoded(clips[clip])]
    there = [OnDevice(d.picture) for d in here]
    shown_here, shown_there = [], []
    for_host, for_device = Viewer(), Viewer()
    for picture, held in zip(here, there, strict=True):
        shown_here += for_host.push(picture)
        shown_there += for_device.push(replace(picture, picture=cast(av.VideoFrame, held)))
    assert for_device.format == for_host.format
    assert for_device.format is not None
    assert for_device.format.pixel_format == "nv12"
    filtered = for_device.format.deinterlaced
    assert {held.copies for held in there} == {int(filtered)}
    for ours, theirs in zip(shown_there, shown_here, strict=True):
        assert isinstance(ours.picture, OnDevice) is not filtered
        np.testing.assert_array_equal(ours.picture.to_ndarray(), theirs.picture.to_ndarray())


def test_pictures_of_a_source_say_their_shape(tmp_path: Path) -> None:
    def narrow(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)

    path = write(tmp_path / "a.ts", [progressive(n) for n in range(3)], prepare=narrow)
    source = PyAvSource(str(path), stream=StreamId("cam"), live=False)
    source.open()
    viewer = Viewer()
    for picture in source.frames(threading.Event(), 0):
        viewer.push(picture)
    assert viewer.format is not None
    assert viewer.format.pixel_aspect == "64:45"
