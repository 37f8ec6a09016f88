"""One file, three ways in: offline, replayed as live, and as network packets; one score."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.command_lines import Done

pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def score(command_line: Callable[..., Done]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str) -> dict[str, Any]:
        done = command_line("score", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run


@pytest.fixture(scope="module")
def clip_and_score(
    score: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]
) -> tuple[Path, dict[str, Any]]:
    clip = clip_maker(tmp_path_factory.mktemp("paths") / "clip.mp4", seconds=6.0, size=(640, 360))
    return clip, score(str(clip))


def test_the_json_has_every_field_of_the_contract(clip_and_score: tuple[Path, dict[str, Any]]) -> None:
    _, result = clip_and_score
    # `out_of_domain` stands beside them where the model does not know such pictures, as of a test card.
    assert set(result) - {"out_of_domain"} == {
        "file", "model", "score", "score_min_10s", "samples", "sample_fps", "frames", "duration_s", "elapsed_s",
        "causes", "conditions", "seconds",
    }  # fmt: skip
    assert result["samples"] == result["frames"] == 150
    assert 0 <= result["score"] <= 100
    assert [s["t"] for s in result["seconds"]] == [0, 1, 2, 3, 4, 5]
    assert sum(result["causes"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(result["conditions"].values()) == pytest.approx(6.0)


def test_replayed_as_live_it_scores_the_same(
    score: Callable[..., dict[str, Any]], clip_and_score: tuple[Path, dict[str, Any]]
) -> None:
    clip, offline = clip_and_score
    live = score("--realtime", str(clip))
    assert live["elapsed_s"] > 5.0
    assert live["samples"] == offline["samples"]
    assert live["score"] == pytest.approx(offline["score"], abs=1e-3)


def test_cut_into_udp_packets_it_scores_the_same(
    clip_and_score: tuple[Path, dict[str, Any]], udp_sender: Callable[..., Any], free_port: Callable[..., int]
) -> None:
    clip, offline = clip_and_score
    port = free_port(socket.SOCK_DGRAM)
    receiving = subprocess.Popen(
        [sys.executable, "-m", "monitor", "score", "--json", f"udp://127.0.0.1:{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not _bound(port):
            assert receiving.poll() is None, receiving.stderr.read() if receiving.stderr else ""
            assert time.monotonic() < until
            time.sleep(0.02)
        udp_sender(clip, port, loop=False)
        out, err = receiving.communicate(timeout=90)
    finally:
        receiving.kill()
        receiving.communicate()
    assert receiving.returncode == 0, err
    received = json.loads(out)
    assert received["frames"] == offline["frames"]
    assert received["samples"] == offline["samples"]
    assert received["score"] == pytest.approx(offline["score"], abs=1e-3)


def _bound(port: int) -> bool:
    """Whether somebody listens for datagrams on the port (looked up, so that nothing is sent into the feed)."""
    wanted = f":{port:04X}"
    return any(line.split()[1].endswith(wanted) for line in Path("/proc/net/udp").read_text().splitlines()[1:])
