"""Which video of a feed is looked at, and what probe is told of its programs."""

from __future__ import annotations

import subprocess
import threading
from itertools import islice
from pathlib import Path

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.programs import VideoChoice
from monitor.ingest.pyav_source import PyAvSource
from monitor.types import StreamId, StreamInfo
from tests.fixtures.streams import FFMPEG

CAM = StreamId("cam")


def opened(url: str | Path, choice: VideoChoice | None = None, *, live: bool = False) -> PyAvSource:
    source = PyAvSource(str(url), stream=CAM, live=live, video=choice)
    source.open()
    return source


def width(path: Path, choice: VideoChoice) -> int:
    source = PyAvSource(str(path), stream=CAM, live=False, video=choice)
    info: StreamInfo = source.open()
    pictures = list(islice(source.frames(threading.Event(), 1), 5))
    source.close()
    assert {decoded.picture.width for decoded in pictures} == {info.width}
    return info.width


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        # Program 10 has no video, and 30 has a larger one than 20.
        (VideoChoice(), 320),
        (VideoChoice(program=20), 320),
        (VideoChoice(program=30), 640),
        (VideoChoice(program=30, index=0), 160),
        (VideoChoice(program=30, index=1), 640),
        (VideoChoice(program=30, pid=0x102), 160),
        (VideoChoice(pid=0x103), 640),
        (VideoChoice(index=1), 160),
    ],
)
def test_the_video_that_was_asked_for_is_read(multiplex, choice, expected):
    assert width(multiplex, choice) == expected


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (
            VideoChoice(program=99),
            "no program 99; programs: 10 'Radio' (0 video), 20 'Sport' (1 video), 30 'News' (2 v",
        ),
        (VideoChoice(program=10), "program 10 has no video; programs: 10 'Radio'"),
        (VideoChoice(program=20, pid=0x103), "program 20 has no video with PID 259; video PIDs: 257"),
        (VideoChoice(pid=7), "the feed has no video with PID 7; video PIDs: 257, 258, 259"),
        (VideoChoice(program=30, index=2), "program 30 has no video 2, counted from 0; it has 2 video streams"),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_what_is_not_there_is_told_with_what_is(multiplex, choice, says, live):
    with pytest.raises(SourceError) as raised:
        opened(multiplex, choice, live=live)
    # A multiplexer may put it back on air; a file stays as it is.
    assert (raised.value.code, raised.value.transient) == (SourceCode.NO_VIDEO, live)
    assert says in str(raised.value)


def test_the_audio_is_that_of_the_video_s_program(multiplex):
    assert PyAvSource(str(multiplex), stream=CAM, live=False).open().audio_codec == "aac"
    choice = VideoChoice(program=30)
    assert PyAvSource(str(multiplex), stream=CAM, live=False, video=choice).open().audio_codec is None


def test_programs_are_listed_with_their_streams(multiplex):
    programs = opened(multiplex, VideoChoice(program=30)).programs
    assert [(program.number, program.name) for program in programs] == [(10, "Radio"), (20, "Sport"), (30, "News")]
    videos = [
        (program.number, stream.pid, stream.codec, stream.width, stream.chosen)
        for program in programs
        for stream in program.streams
        if stream.kind == "video"
    ]
    assert videos == [
        (20, 0x101, "h264", 320, False),
        (30, 0x102, "h264", 160, False),
        (30, 0x103, "h264", 640, True),
    ]
    # It belongs to two of them.
    assert [stream.pid for program in programs for stream in program.streams if stream.kind == "audio"] == [256, 256]


def test_a_file_without_programs_is_one_program_without_a_number(tmp_path, clip_maker):
    (program,) = opened(clip_maker(tmp_path / "a.mp4", audio=True)).programs
    assert (program.number, [stream.kind for stream in program.streams]) == (None, ["video", "audio"])


def test_of_hls_the_best_variant_is_read_and_any_can_be_chosen(tmp_path, multiplex):
    variants = ["-map", "0:v:1", "-map", "0:v:2", "-map", "0:v:0", "-var_stream_map", "v:0 v:1 v:2"]
    rates = ["-b:v:0", "100k", "-b:v:1", "900k", "-b:v:2", "400k"]  # copied: they are only written down
    hls = ["-f", "hls", "-hls_list_size", "0", "-master_pl_name", "master.m3u8", str(tmp_path / "v%v.m3u8")]
    command = [FFMPEG, "-nostdin", "-v", "error", "-i", str(multiplex), *variants, "-c", "copy", *rates, *hls]
    subprocess.run(command, check=True)
    master = tmp_path / "master.m3u8"
    assert width(master, VideoChoice()) == 640
    assert [width(master, VideoChoice(program=number)) for number in range(3)] == [160, 640, 320]


@pytest.mark.servers
@pytest.mark.parametrize("rtp", [False, True])
def test_a_program_of_a_live_multiplex_is_read_whole(multiplex, datagrams, rtp):
    url = datagrams(multiplex.read_bytes(), 4.0, rtp=rtp).url
    source = opened(url, VideoChoice(program=30, index=0), live=True)
    assert [program.number for program in source.programs] == [10, 20, 30]
    pictures = list(islice(source.frames(threading.Event(), 1), 30))
    assert {decoded.picture.width for decoded in pictures} == {160}
    assert sum(decoded.corrupt for decoded in pictures) == 0
    source.close()
