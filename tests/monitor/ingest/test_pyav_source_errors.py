from __future__ import annotations

import http.server
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.types import StreamId

CAM = StreamId("cam")
CANARY = "cAnArY7"


def failure(url: str, *, live: bool = True, **keywords: float) -> SourceError:
    source = PyAvSource(url, stream=CAM, live=live, **keywords)
    with pytest.raises(SourceError) as raised:
        source.open()
    error = raised.value
    assert "\n" not in str(error)
    assert len(str(error)) <= 300
    return error


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers /404/... with status 404 and so on."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections (the kernel does) and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.mp4", b"", SourceCode.INVALID_DATA),
        ("zeros.mp4", bytes(100_000), SourceCode.INVALID_DATA),
        ("zeros.ts", bytes(100_000), SourceCode.INVALID_DATA),
        ("zeros.yuv", bytes(100_000), SourceCode.INVALID_DATA),
        ("zeros.png", bytes(100_000), SourceCode.INVALID_DATA),
        ("zeros.h264", bytes(100_000), SourceCode.INVALID_DATA),
        ("random.mp4", os.urandom(100_000), SourceCode.INVALID_DATA),
        ("text.txt", b"a line of text\n" * 1000, SourceCode.INVALID_DATA),
        ("half.ts", b"\x47" + bytes(187), SourceCode.INVALID_DATA),
    ],
)
def test_a_file_that_is_no_video_is_invalid_data(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    error = failure(str(path), live=False)
    assert (error.code, error.transient) == (code, False)
    assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["missing.mp4", "no/such/folder.mp4", "x" * 300])
def test_a_missing_file_is_not_found(tmp_path, name):
    error = failure(str(tmp_path / name), live=False)
    assert (error.code, error.transient) == (SourceCode.NOT_FOUND, False)


def test_no_path_at_all_is_not_found():
    assert failure("", live=False).code is SourceCode.NOT_FOUND


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_directory_is_invalid_data(tmp_path, url):
    error = failure(url.format(tmp_path), live=False)
    assert (error.code, error.transient) == (SourceCode.INVALID_DATA, False)
    assert "is a directory" in str(error)


def test_a_file_with_audio_alone_has_no_video(tmp_path, clip_maker):
    path = clip_maker(tmp_path / "a.ts", video=False, audio=True)
    error = failure(str(path), live=False)
    assert (error.code, error.transient) == (SourceCode.NO_VIDEO, False)


def test_a_live_feed_with_audio_alone_may_get_its_video_back(tmp_path, clip_maker, tcp_sender):
    data = clip_maker(tmp_path / "a.ts", video=False, audio=True, seconds=4.0).read_bytes()
    error = failure(tcp_sender([(0.0, data)]).url)
    assert (error.code, error.transient) == (SourceCode.NO_VIDEO, True)


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, SourceCode.CONNECTION, False),
        (401, SourceCode.AUTH, False),
        (403, SourceCode.AUTH, False),
        (404, SourceCode.NOT_FOUND, True),
        (429, SourceCode.CONNECTION, True),
        (500, SourceCode.CONNECTION, True),
        (503, SourceCode.CONNECTION, True),
    ],
)
def test_http_answers_have_their_codes(http_port, status, code, transient):
    error = failure(f"http://user:{CANARY}@127.0.0.1:{http_port}/{status}/live.m3u8?token={CANARY}")
    assert (error.code, error.transient) == (code, transient)


@pytest.mark.parametrize("scheme", ["tcp", "rtsp", "rtmp", "http", "https"])
def test_a_refused_connection_is_worth_another_try(free_port, scheme):
    error = failure(f"{scheme}://127.0.0.1:{free_port()}/live")
    assert (error.code, error.transient) == (SourceCode.CONNECTION, True)
    assert "refused" in str(error)


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_name_that_does_not_resolve_says_so(scheme):
    error = failure(f"{scheme}://no-such-host.invalid/live")
    assert (error.code, error.transient) == (SourceCode.CONNECTION, True)
    assert "cannot be resolved" in str(error)


def test_a_server_without_tls_is_a_tls_failure(http_port):
    error = failure(f"https://127.0.0.1:{http_port}/200/x")
    assert error.code is SourceCode.TLS


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtmp", "tcp"])
def test_a_server_that_never_answers_is_a_timeout_whatever_ffmpeg_calls_it(silent_port, scheme):
    began_s = time.monotonic()
    error = failure(f"{scheme}://127.0.0.1:{silent_port}/live", open_timeout_s=0.3, read_timeout_s=0.3)
    assert (error.code, error.transient) == (SourceCode.TIMEOUT, True)
    assert time.monotonic() - began_s < 3.5  # the default would be 4 s


def test_a_udp_port_without_a_sender_is_a_timeout(free_port):
    error = failure(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", open_timeout_s=0.3)
    assert (error.code, error.transient) == (SourceCode.TIMEOUT, True)


@pytest.mark.parametrize("url", ["gopher+x://h/1", "pipe://0", "concat://a|b", "lavfi://testsrc", "nonsense://x"])
def test_an_unknown_protocol_is_missing_for_good(url):
    error = failure(url)
    assert (error.code, error.transient) == (SourceCode.PROTOCOL_MISSING, False)


@pytest.mark.parametrize("url", ["http:///x", "rtsp://", "tcp://127.0.0.1:99999", "rtsp://u:p/w@h/x"])
def test_a_url_without_a_usable_host_fails_for_good(url):
    error = failure(url)
    assert (error.code, error.transient) == (SourceCode.CONNECTION, False)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:{c}@127.0.0.1:1/live",
        "rtsp://user:{c}@no-such-host.invalid/live",
        "rtmp://user:{c}@127.0.0.1:1/live/x?token={c}",
        "http://user:p%40{c}@127.0.0.1:1/live.m3u8?key={c}",
        "nonsense://user:{c}@h/x",
        "http://user:{c}/x@h/x",
        "tcp://user:{c}@127.0.0.1:99999/",
        "/no/such/file?token={c}",
        "srt://127.0.0.1:9?passphrase={c}{c}&pbkeylen=7",
        "srt://no-such-host.invalid:9?streamid=#!::u={c}&passphrase={c}{c}",
        "srt://127.0.0.1:9?key={c}",
        "udp://user:{c}@239.1.1.1:5000",
        "rtp://{c}@239.1.1.1:5000?interface=nosuch7",
        "https://user:p@ss%40{c}@127.0.0.1:1/live.m3u8?token={c}",
        "rtsps://user:p@%{c}@127.0.0.1:1/live",
        "rtmps://user:{c}@127.0.0.1:1/live/x?key={c}",
    ],
)
def test_credentials_are_in_no_error_and_no_traceback(url):
    source = PyAvSource(url.format(c=CANARY), stream=CAM, live=True)
    with pytest.raises(SourceError) as raised:
        source.open()
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert CANARY not in repr(raised.value)
    assert CANARY not in repr(source)
    assert raised.value.__context__ is None or CANARY not in str(raised.value.__context__)


def test_ffmpeg_writes_nothing_to_stderr(tmp_path, capfd, caplog):
    path = tmp_path / "random.mp4"
    path.write_bytes(os.urandom(10_000))
    failure(str(path), live=False)
    failure(f"rtsp://user:{CANARY}@127.0.0.1:1/live")
    assert capfd.readouterr().err == ""
    assert caplog.records == []
