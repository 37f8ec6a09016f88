"""``vqwatch probe`` as an operator calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.command_lines import Done

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def probe(command_line: Callable[..., Done]) -> Callable[..., Done]:
    return partial(command_line, "probe")


def test_the_programs_of_a_multiplex_are_listed_and_what_is_looked_at_is_stated(
    probe: Callable[..., Done], multiplex: Path
) -> None:
    done = probe(str(multiplex))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "h264 320x180 25.00 fps, progressive" in lines[0]
    assert lines[1:6] == [
        "audio: aac",
        "program 10 'Radio': audio aac (PID 256)",
        "program 20 'Sport': audio aac (PID 256), *video h264 320x180 (PID 257)",
        "program 30 'News': video h264 160x90 (PID 258), video h264 640x360 (PID 259)",
        "looking at the best video of the first program that has one (*); --program, --video-pid or --video-index "
        "choose another",
    ]
    assert lines[6].startswith("scan: flagged progressive, content ")
    assert lines[6].endswith("not deinterlaced before scoring")
    assert lines[7] == "pictures: matrix not told, limited range, SDR"
    assert [line.split(":")[0] for line in lines if line.startswith(("decodes", "score"))] == ["decodes", "score"]


def test_a_program_that_is_not_there_is_answered_with_those_that_are(
    probe: Callable[..., Done], multiplex: Path
) -> None:
    done = probe(str(multiplex), "--program", "7")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no program 7; programs: 10 'Radio' (0 video), 20 'Sport' (1 video), 30 'News' (2 video)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["udp://h:1", "--video-pid", "1", "--video-index", "1"], "not allowed with"),
        (["udp://h:1", "--program", "news"], "not a number: 'news'"),
        (["udp://h:1", "--program", "-3"], "less than 0"),
    ],
)
def test_a_wrong_choice_is_a_mistake_of_usage(probe: Callable[..., Done], arguments: list[str], says: str) -> None:
    done = probe(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize("arguments", [["--video-pid", "0x103"], ["--program", "30"]])
def test_json_holds_the_programs_and_the_chosen_video(
    probe: Callable[..., Done], multiplex: Path, arguments: list[str]
) -> None:
    done = probe(str(multiplex), *arguments, "--json")
    told = json.loads(done.stdout)
    assert (told["width"], told["height"], told["protocol"]) == (640, 360, "file")
    assert [program["number"] for program in told["programs"]] == [10, 20, 30]
    chosen = [stream["pid"] for program in told["programs"] for stream in program["streams"] if stream["chosen"]]
    assert chosen == [0x103]
    assert "audio_codec" not in told


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["srt", "multicast", "rtp", "rtsp", "rtmp", "hls", "tcp"])
def test_a_live_feed_is_told_soon_after_it_was_asked(
    probe: Callable[..., Done], kind: str, feeds: Any, transports: Any, clip: Path
) -> None:
    arguments = []
    if kind in ("srt", "multicast", "rtp"):
        url = getattr(transports, kind)(clip).url + ("?interface=lo" if kind == "multicast" else "")
    else:
        url = getattr(feeds, kind)().url
    if kind == "rtsp":
        arguments = ["--rtsp-transport", "udp"]
    done = probe(url, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["protocol"], told["codec"], told["width"]) == ("udp" if kind == "multicast" else kind, "h264", 320)
    # 0.9 to 1.7 s on an idle machine, beside 0.8 s of processor time to start.
    assert told["opened_s"] < 5.0
