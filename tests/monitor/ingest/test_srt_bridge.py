"""SRT through the receiver process, from real SRT senders on loopback."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest import srt_bridge, srt_receiver
from monitor.ingest.pyav_source import PyAvSource
from monitor.types import StreamId

CANARY = "cAnArY7cAnArY7"
SECRET = f"?passphrase={CANARY}"
#: Reconnections in a row; the longer suite asks for more.
ROUNDS = int(os.environ.get("VQWATCH_TEST_ROUNDS", "5"))
LIMIT_S = 10.0  # of a busy machine; an idle one needs a fifth of it

pytestmark = pytest.mark.servers


def _library_is_here() -> bool:
    for name in srt_receiver._LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


@pytest.fixture(autouse=True)
def _bridged() -> None:
    if not _library_is_here():
        pytest.skip("needs libsrt (Debian package srt-tools), which is not installed")


@pytest.fixture
def watch() -> Iterator[Callable[..., PyAvSource]]:
    """Opens a URL; closes what the test leaves open."""
    opened: list[PyAvSource] = []

    def start(url: str, *, open_timeout_s: float = LIMIT_S, read_timeout_s: float = 0.5) -> PyAvSource:
        opened.append(
            PyAvSource(
                url, stream=StreamId("cam"), live=True, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s
            )
        )
        opened[-1].open()
        return opened[-1]

    yield start
    for source in opened:
        source.close()


def receivers(parent: int | None = None) -> list[psutil.Process]:
    """Receiver processes of this (or another) process, zombies too."""
    found = [child for child in psutil.Process(parent).children() if child.name().startswith("python")]
    # A zombie has no command line any more.
    return [child for child in found if child.status() == "zombie" or "srt_receiver" in " ".join(child.cmdline())]


def failure(watch: Callable[..., PyAvSource], url: str, *, open_timeout_s: float = LIMIT_S) -> SourceError:
    with pytest.raises(SourceError) as raised:
        watch(url, open_timeout_s=open_timeout_s)
    assert receivers() == []
    assert CANARY not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("direction", ["srt", "srt_caller"])
def test_an_encrypted_feed_is_received_whoever_calls(transports, clip, watch, direction):
    feed = getattr(transports, direction)(clip, f"passphrase={CANARY}&pbkeylen=32")
    source = watch(f"{feed.url}{SECRET}&latency=80")
    pictures = list(islice(source.frames(threading.Event(), 1), 30))
    assert len(pictures) == 30
    assert not any(decoded.corrupt for decoded in pictures[5:])
    source.close()
    assert receivers() == []


def test_no_secret_is_in_the_process_list_the_environment_or_the_repr(transports, clip, watch):
    feed = transports.srt(clip, f"passphrase={CANARY}")
    source = watch(f"{feed.url}{SECRET}&streamid={CANARY}")
    (child,) = receivers()
    seen = subprocess.run(["ps", "auxeww"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in seen.splitlines() if "srt_receiver" in line]
    assert ours
    assert not any(CANARY in line for line in ours)
    assert CANARY not in " ".join(child.cmdline())
    assert CANARY not in str(child.environ())
    assert CANARY not in repr(source)


@pytest.mark.parametrize(
    ("asked", "says"), [("?passphrase=another-secret", "wrong passphrase"), ("", "on one side only")]
)
def test_a_wrong_passphrase_is_auth_for_good(transports, clip, watch, asked, says):
    error = failure(watch, transports.srt(clip, f"passphrase={CANARY}").url + asked)
    assert (error.code, error.transient) == (SourceCode.AUTH, False)
    assert says in str(error)


def test_a_caller_with_a_wrong_passphrase_is_auth_too(transports, clip, watch):
    feed = transports.srt_caller(clip, "passphrase=another-secret")
    error = failure(watch, f"{feed.url}{SECRET}", open_timeout_s=2.0)
    assert (error.code, error.transient) == (SourceCode.AUTH, False)
    assert "somebody called" in str(error)


def test_nobody_there_is_a_timeout(watch, free_port):
    port = free_port(socket.SOCK_DGRAM)
    for url, says in ((f"srt://127.0.0.1:{port}", "nothing answers"), (f"srt://127.0.0.1:{port}?mode=listener", "cal")):
        began_s = time.monotonic()
        error = failure(watch, url, open_timeout_s=0.5)
        assert (error.code, error.transient) == (SourceCode.TIMEOUT, True)
        assert says in str(error)
        assert time.monotonic() - began_s < LIMIT_S


def test_a_name_that_does_not_resolve_and_a_port_in_use_are_connection(watch, free_port):
    error = failure(watch, "srt://no-such-host.invalid:9000")
    assert (error.code, error.transient) == (SourceCode.CONNECTION, True)
    assert "cannot be resolved" in str(error)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(watch, f"srt://127.0.0.1:{taken.getsockname()[1]}?mode=listener")
    assert (error.code, error.transient) == (SourceCode.CONNECTION, True)


def test_stopping_while_nobody_calls_is_noticed_at_once(free_port):
    source = PyAvSource(f"srt://:{free_port(socket.SOCK_DGRAM)}", stream=StreamId("cam"), live=True, open_timeout_s=30)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(SourceError, match="stopped"):
        source.open(stop)
    assert time.monotonic() - began_s < LIMIT_S
    assert receivers() == []


@pytest.mark.parametrize(
    ("what", "code"), [("pause", SourceCode.TIMEOUT), ("kill", SourceCode.TIMEOUT), ("end", SourceCode.ENDED)]
)
def test_a_sender_that_stalls_dies_or_leaves_is_a_loss(transports, clip, watch, what, code):
    feed = transports.srt(clip)
    source = watch(feed.url)
    frames = source.frames(threading.Event(), 1)
    assert len(list(islice(frames, 5))) == 5
    if what == "end":
        feed.processes["sender"].terminate()
    else:
        getattr(feed, what)()
    began_s = time.monotonic()
    with pytest.raises(SourceError) as raised:
        list(frames)
    assert (raised.value.code, raised.value.transient) == (code, True)
    assert time.monotonic() - began_s < LIMIT_S
    assert receivers() == []


def test_a_receiver_that_hangs_is_a_timeout_and_is_killed(transports, clip, watch):
    source = watch(transports.srt(clip).url)
    frames = source.frames(threading.Event(), 1)
    next(frames)
    (child,) = receivers()
    child.suspend()
    with pytest.raises(SourceError) as raised:
        list(frames)
    assert raised.value.code is SourceCode.TIMEOUT
    assert receivers() == []
    assert not psutil.pid_exists(child.pid)


def test_a_receiver_that_is_killed_is_a_loss(transports, clip, watch):
    source = watch(transports.srt(clip).url)
    frames = source.frames(threading.Event(), 1)
    next(frames)
    receivers()[0].kill()
    with pytest.raises(SourceError) as raised:
        list(frames)
    assert raised.value.transient
    assert receivers() == []


def test_reconnecting_leaves_no_process_and_no_descriptor_behind(transports, clip, watch):
    me = psutil.Process()
    before: int | None = None
    for _ in range(ROUNDS):
        feed = transports.srt(clip)
        source = watch(feed.url)
        assert len(receivers()) == 1
        source.close()
        feed.kill()
        assert receivers() == []
        # The first round opens what stays open: FFmpeg's and libc's own files.
        before = before or me.num_fds()
    assert me.num_fds() <= (before or 0) + ROUNDS  # one pipe of each sender that the fixture keeps


_WATCHER = """
import sys, threading, time
from monitor.ingest.pyav_source import PyAvSource
source = PyAvSource(sys.argv[1], stream="cam", live=True, open_timeout_s=10)
source.open()
print("open", flush=True)
time.sleep(60)
"""


def test_the_receiver_dies_with_a_monitor_that_is_killed(transports, clip):
    command = [sys.executable, "-c", _WATCHER, transports.srt(clip).url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "open\n"
        (child,) = receivers(watcher.pid)
        # Also where it cannot see that its stdin was closed.
        child.suspend()
        watcher.send_signal(signal.SIGKILL)
    child.wait(LIMIT_S)
    assert not psutil.pid_exists(child.pid)


def test_without_libsrt_the_error_says_what_to_install(watch, tmp_path, monkeypatch):
    if srt_bridge.ffmpeg_speaks_srt():
        pytest.skip("this FFmpeg speaks SRT itself and takes over")
    lacking = tmp_path / "srt_receiver.py"
    source = Path(srt_receiver.__file__).read_text()
    lacking.write_text(source.replace('"libsrt', '"libnothing'))
    monkeypatch.setattr(srt_bridge, "_RECEIVER", lacking)
    error = failure(watch, "srt://127.0.0.1:9")
    assert (error.code, error.transient) == (SourceCode.PROTOCOL_MISSING, False)
    assert "apt-get install srt-tools" in str(error)
