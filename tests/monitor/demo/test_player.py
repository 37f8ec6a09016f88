from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.demo.feeds import DemoFeeds
from monitor.demo.impairments import Impairment
from monitor.demo.player import free_ports, main
from monitor.demo.script import Fault
from monitor.errors import UsageError

pytestmark = pytest.mark.realtime

SMALL = ("--scene=coast", "--size=192x108", "--loop=1.2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


def player(cache: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "monitor.demo.player", "--parent", *SMALL, f"--cache={cache}", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Receiver(threading.Thread):
    """Takes datagrams off a port and notes when they came."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self.parts: list[tuple[float, bytes]] = []
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                self.parts.append((time.monotonic(), self._socket.recv(2048)))
            except TimeoutError:
                continue

    def frames(self) -> list[av.VideoFrame]:
        self._done.set()
        self.join()
        self._socket.close()
        with av.open(io.BytesIO(b"".join(part for _, part in self.parts)), format="mpegts") as container:
            return list(container.decode(video=0))


@pytest.fixture(scope="module")
def show(cache: Path) -> tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]]:
    """Some seconds of a feed with four faults: events, datagrams and decoded frames."""
    script = cache / "show.yaml"
    script.write_text(
        "faults:\n"
        "  - {at: 1s, duration: 800ms, feed: coast, impairment: bitrate_collapse}\n"
        "  - {at: 2200ms, duration: 600ms, feed: coast, impairment: freeze}\n"
        "  - {at: 3200ms, duration: 600ms, feed: coast, impairment: black}\n"
        "  - {at: 4200ms, duration: 600ms, feed: coast, impairment: loss}\n"
    )
    receiver = Receiver()
    with player(cache, f"--script={script}", f"--port={receiver.port}") as process:
        assert process.stdout is not None
        events: list[dict[str, object]] = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "impairment_ended" and events[-1]["impairment"] == "loss":
                time.sleep(0.3)  # a few pictures after the gap
                break
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    return events, receiver, receiver.frames()


def test_it_announces_feeds_then_the_start_then_each_fault(
    show: tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]],
) -> None:
    events, receiver, _ = show
    assert events[0]["feeds"] == [{"id": "coast", "url": f"udp://127.0.0.1:{receiver.port}", "title": "Sunset coast"}]
    assert events[1]["event"] == "started"
    kinds = ["bitrate_collapse", "freeze", "black", "loss"]
    assert [(e["event"], e["impairment"]) for e in events[2:]] == [
        (f"impairment_{word}", kind) for kind in kinds for word in ("started", "ended")
    ]
    times = [float(str(event["at"])) for event in events[1:]]
    due = [0.0, 1.0, 1.8, 2.2, 2.8, 3.2, 3.8, 4.2, 4.8]
    assert np.allclose(np.subtract(times, times[0]), due, atol=0.25)


def test_datagrams_hold_whole_transport_packets(
    show: tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]],
) -> None:
    parts = [part for _, part in show[1].parts]
    assert all(len(part) % 188 == 0 and part[0] == 0x47 for part in parts)
    assert max(len(part) for part in parts) == 1316


def test_time_stamps_go_on_over_every_fault_but_the_loss(
    show: tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]],
) -> None:
    steps = np.diff([frame.pts for frame in show[2] if frame.pts is not None])
    gaps = [int(step) for step in steps if step != 3600]
    assert len(gaps) == 1
    assert abs(gaps[0] / 3600 - 16) <= 1
    assert not any(frame.is_corrupt for frame in show[2])


def test_it_plays_in_real_time(show: tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]]) -> None:
    _, receiver, frames = show
    assert frames[-1].time is not None
    assert frames[0].time is not None
    played, took = frames[-1].time - frames[0].time, receiver.parts[-1][0] - receiver.parts[0][0]
    assert abs(played - took) < 0.3


def test_faults_are_seen_when_they_are_told(
    show: tuple[list[dict[str, object]], Receiver, list[av.VideoFrame]],
) -> None:
    lumas = [frame.to_ndarray()[:108].astype(np.float32) for frame in show[2]]
    black = [number for number, luma in enumerate(lumas) if luma.mean() < 20]
    assert abs(len(black) - 15) <= 1
    assert black == list(range(black[0], black[-1] + 1))
    changes = [float(np.abs(b - a).mean()) for a, b in pairwise(lumas)]
    before_black = changes[black[0] - 25 : black[0] - 9]
    assert min(changes[:15]) > 1.0
    assert sorted(before_black)[7] < 0.5  # frozen: only the encoder's own polish moves


def test_it_ends_when_its_parent_closes_stdin(cache: Path) -> None:
    with player(cache) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "feeds"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_ends_on_sigterm(cache: Path) -> None:
    with player(cache) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source=/nowhere/a.ts"], "vqwatch demo: cannot read /nowhere/a.ts: No such file or directory\n"),
        (["--script=/nowhere/a.yaml"], "vqwatch demo: cannot read /nowhere/a.yaml: No such file or directory\n"),
        (["--size=tall"], "vqwatch demo: --size needs an even width and a height divisible by 4, from 64, got tall\n"),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert capsys.readouterr().err == message


def test_free_ports_differ() -> None:
    assert len(set(free_ports(3))) == 3


async def test_demo_feeds_tell_urls_script_and_events_and_leave_no_process(cache: Path) -> None:
    script = cache / "short.yaml"
    script.write_text("faults: [{at: 200ms, duration: 200ms, feed: coast, impairment: blur}]")
    async with DemoFeeds(script=script, cache=cache, options=SMALL) as demo:
        assert [(feed.id, feed.title) for feed in demo.feeds] == [("coast", "Sunset coast")]
        assert demo.feeds[0].url.startswith("udp://127.0.0.1:")
        assert demo.script.faults == (Fault(0.2, 0.2, "coast", Impairment.BLUR),)
        seen = []
        async for event in demo.events():
            seen.append((event.kind, event.feed, event.impairment))
            if len(seen) == 3:
                break
        assert demo.started_at is not None
        process = demo._process
    assert seen == [
        ("started", None, None),
        ("impairment_started", "coast", Impairment.BLUR),
        ("impairment_ended", "coast", Impairment.BLUR),
    ]
    assert process is not None
    assert process.returncode == 0


async def test_demo_feeds_pass_on_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^cannot read .*none\.mp4: No such file or directory$"):
        async with DemoFeeds(sources=[tmp_path / "none.mp4"]):
            pytest.fail("there is nothing to play")
