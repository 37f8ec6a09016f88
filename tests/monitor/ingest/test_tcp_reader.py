"""Bytes over TCP, and why they end."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from monitor.errors import SourceCode
from monitor.ingest.tcp_reader import TcpReader, is_plain_tcp


@pytest.fixture
def line() -> Iterator[Callable[..., tuple[TcpReader, socket.socket]]]:
    """``line(...)``: a reader and the other end of its connection."""
    open_ends: list[socket.socket | TcpReader] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect(timeout_s: float = 5.0, stop: threading.Event | None = None) -> tuple[TcpReader, socket.socket]:
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            reader = TcpReader(url, timeout_s=timeout_s, stop=stop or threading.Event())
            other, _ = server.accept()
            open_ends.extend((reader, other))
            return reader, other

        yield connect
        for end in open_ends:
            end.close()


def test_bytes_come_as_they_are_sent_and_the_end_is_no_trouble(line) -> None:
    reader, other = line()
    assert reader.heard_s is None
    other.sendall(b"abc")
    assert reader.read(100) == b"abc"
    assert reader.heard_s is not None
    other.sendall(b"defgh")
    assert reader.read(2) == b"de"
    assert reader.read(100) == b"fgh"
    assert reader.received == 8
    other.close()
    assert reader.read(100) == b""
    assert reader.trouble is None


def test_silence_is_a_timeout_and_the_reader_stays_at_its_end(line) -> None:
    reader, other = line(timeout_s=0.05)
    assert reader.read(100) == b""
    assert reader.trouble is not None
    assert reader.trouble.code is SourceCode.TIMEOUT
    other.sendall(b"late")
    assert reader.read(100) == b""


def test_bytes_that_never_make_a_packet_are_no_video(line) -> None:
    reader, other = line()
    reader.begin(limit_s=0.05, silence_s=5.0)
    while reader.trouble is None:
        other.sendall(b"x")
        reader.read(100)
    assert reader.trouble.code is SourceCode.NO_VIDEO
    assert "bytes come" in reader.trouble.reason


def test_each_packet_has_its_own_time(line) -> None:
    now = [0.0]
    reader, other = line()
    reader._clock = lambda: now[0]
    for _ in range(10):
        reader.begin(limit_s=1.0, silence_s=1.0)
        now[0] += 0.9
        other.sendall(b"x")
        assert reader.read(100) == b"x"
    assert reader.trouble is None


def test_stop_ends_a_wait(line) -> None:
    stop = threading.Event()
    reader, _ = line(timeout_s=60.0, stop=stop)
    threading.Timer(0.05, stop.set).start()
    assert reader.read(100) == b""
    assert reader.trouble is not None


def test_broken_connection_says_so(line) -> None:
    reader, other = line()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    assert reader.read(100) == b""
    assert reader.trouble is not None
    assert reader.trouble.code is SourceCode.CONNECTION
    assert "reset" in reader.trouble.reason


def test_refused_connection_raises(free_port: Callable[..., int]) -> None:
    with pytest.raises(ConnectionRefusedError):
        TcpReader(f"tcp://127.0.0.1:{free_port()}", timeout_s=1.0, stop=threading.Event())


def test_closing_twice_is_fine(line) -> None:
    reader, _ = line()
    with closing(reader):
        reader.close()


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("tcp://h:1", True),
        ("TCP://[::1]:1", True),
        ("tcp://h:1?listen=1", False),
        ("tcp://h", False),
        ("rtsp://h:1", False),
        ("file:a", False),
    ],
)
def test_only_urls_without_options_for_ffmpeg_are_ours(url: str, plain: bool) -> None:
    assert is_plain_tcp(url) is plain
