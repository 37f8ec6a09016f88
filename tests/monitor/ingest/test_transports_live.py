"""Multicast, RTP, RTSP over UDP, TLS and HLS from real servers on loopback."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.types import StreamId, StreamInfo
from tests.fixtures.transports import GROUP

LIMIT_S = 10.0  # of a busy machine; when idle, opening takes 0.9 to 1.4 s
CANARY = "cAnArY7"

pytestmark = pytest.mark.servers


class Watched:
    """An open feed."""

    def __init__(self, url: str, *, read_timeout_s: float = 0.5, **options: str) -> None:
        self.source = PyAvSource(
            url,
            stream=StreamId("cam"),
            live=True,
            open_timeout_s=LIMIT_S,
            read_timeout_s=read_timeout_s,
            options=options,
        )
        self.info: StreamInfo = self.source.open()
        self.frames: Iterator[Decoded] = self.source.frames(threading.Event(), 1)

    def take(self, count: int) -> list[Decoded]:
        """The next pictures."""
        pictures = list(islice(self.frames, count))
        assert len(pictures) == count
        return pictures

    def lost(self) -> SourceError:
        """Read to the loss."""
        began_s = time.monotonic()
        with pytest.raises(SourceError) as raised:
            list(self.frames)
        assert raised.value.transient
        assert time.monotonic() - began_s < LIMIT_S
        return raised.value


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    """Opens a live URL; closes what the test leaves open."""
    opened: list[Watched] = []

    def start(url: str, **keywords: float | str) -> Watched:
        opened.append(Watched(url, **keywords))  # type: ignore[arg-type]
        return opened[-1]

    yield start
    for watched in opened:
        watched.source.close()


def failure(url: str, *, open_timeout_s: float = LIMIT_S, **options: str) -> SourceError:
    source = PyAvSource(url, stream=StreamId("cam"), live=True, open_timeout_s=open_timeout_s, options=options)
    with pytest.raises(SourceError) as raised:
        source.open()
    assert CANARY not in str(raised.value)
    return raised.value


def test_a_multicast_group_is_joined_on_an_interface_and_from_one_sender(transports, clip, watch):
    url = transports.multicast(clip).url
    assert watch(f"{url}?interface=lo").info.protocol == "udp"
    # Two readers of one group both get all of it.
    watched = watch(url.replace("udp://@", "udp://127.0.0.1@") + "?interface=lo&buffer_size=262144&fifo_size=1000")
    assert (watched.info.codec, watched.info.width) == ("h264", 320)
    assert not any(decoded.corrupt for decoded in watched.take(30)[5:])
    error = failure(url.replace("udp://@", "udp://192.0.2.99@") + "?interface=lo", open_timeout_s=1.0)
    assert error.code is SourceCode.TIMEOUT


@pytest.mark.parametrize("host", ["127.0.0.1", GROUP], ids=["unicast", "multicast"])  # GROUP is drawn per process
def test_mpeg_ts_in_rtp_is_read_and_its_silence_is_a_timeout(transports, clip, watch, host):
    feed = transports.rtp(clip, host)
    watched = watch(feed.url + ("?interface=lo" if host == GROUP else ""))
    assert (watched.info.protocol, watched.info.codec, watched.info.width) == ("rtp", "h264", 320)
    assert not any(decoded.corrupt for decoded in watched.take(30)[5:])
    feed.pause()
    assert watched.lost().code is SourceCode.TIMEOUT


def test_an_rtp_port_without_a_sender_is_a_timeout(free_port):
    error = failure(f"rtp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", open_timeout_s=0.3)
    assert (error.code, error.transient) == (SourceCode.TIMEOUT, True)


def test_rtsp_over_udp_is_read_and_its_silence_is_a_timeout(feeds, watch):
    feed = feeds.rtsp("cam", f"p@%{CANARY}")
    url = feed.url.replace("rtsp://", f"rtsp://cam:p%40%25{CANARY}@")
    watched = watch(url, rtsp_transport="udp")
    assert CANARY not in watched.info.url
    watched.take(30)
    feed.pause()
    assert watched.lost().code is SourceCode.TIMEOUT


def test_rtsp_with_tls_is_read_where_its_certificate_is_trusted(feeds, tls_front, certificate, watch):
    feed = feeds.rtsp("cam", CANARY)
    port = tls_front(int(feed.url.split(":")[2].split("/")[0]))
    url = f"rtsps://cam:{CANARY}@127.0.0.1:{port}/live"
    error = failure(url)
    assert (error.code, error.transient) == (SourceCode.TLS, False)
    assert "certificate is not trusted" in str(error)
    assert watch(url, ca_file=str(certificate)).take(5)
    assert watch(url, tls_verify="0").info.protocol == "rtsps"


@pytest.mark.parametrize(("options", "trusted"), [({}, False), ({"tls_verify": "0"}, True)])
def test_rtmps_is_read_where_its_certificate_is_trusted(feeds, tls_front, watch, options, trusted):
    feed = feeds.rtmp()
    port = tls_front(int(feed.url.split(":")[2].split("/")[0]))
    url = f"rtmps://127.0.0.1:{port}/live/a"
    if not trusted:
        error = failure(url, **options)
        assert (error.code, error.transient) == (SourceCode.TLS, False)
        assert "certificate" in str(error)
        return
    watched = watch(url, **options)
    assert watched.info.protocol == "rtmps"
    assert watched.take(5)


def test_hls_with_tls_is_read_where_its_certificate_is_trusted(feeds, tls_front, certificate, watch):
    feed = feeds.hls()
    url = f"https://127.0.0.1:{tls_front(int(feed.url.split(':')[2].split('/')[0]))}/live.m3u8?token={CANARY}"
    error = failure(url)
    assert (error.code, error.transient) == (SourceCode.TLS, False)
    watched = watch(url, ca_file=str(certificate))
    assert (watched.info.protocol, CANARY in watched.info.url) == ("hls", False)
    assert watched.take(5)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which it is served."""
    handler = partial(_Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_hls_goes_on_over_a_discontinuity_and_ends_as_a_timeout(web, clip_maker, watch):
    folder, url = web
    for name, size in (("a", (320, 180)), ("b", (640, 360)), ("c", (320, 180))):
        # Each begins at the same time stamp, as spliced-in material does.
        clip_maker(folder / f"{name}.ts", seconds=2.0, size=size)
    segments = "#EXT-X-DISCONTINUITY\n".join(f"#EXTINF:2.0,\n{name}.ts\n" for name in "abc")
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:1\n"
    (folder / "live.m3u8").write_text(head + segments)
    watched = watch(f"{url}/live.m3u8")
    # From the last segment but one, as a player begins.
    pictures = watched.take(100)
    assert [decoded.picture.width for decoded in pictures] == [640] * 50 + [320] * 50
    # The jump is there for the sampler, which begins a new epoch at it.
    back = sum(b.pts < a.pts for a, b in pairwise(pictures) if a.pts is not None and b.pts is not None)
    assert back == 1
    # Nothing new is published any more.
    assert watched.lost().code is SourceCode.TIMEOUT


def test_a_codec_without_a_decoder_is_codec_for_good(tmp_path, clip_maker, tcp_sender):
    data = _with_stream_type(clip_maker(tmp_path / "a.ts", seconds=2.0).read_bytes(), 0x1B, 0xD4)  # AVS3
    error = failure(tcp_sender([(0.0, data)]).url)
    assert (error.code, error.transient) == (SourceCode.CODEC, False)


def _with_stream_type(data: bytes, old: int, new: int) -> bytes:
    """The transport stream with another stream type in its PMT, which FFmpeg puts on PID 0x1000."""
    changed = bytearray(data)
    for at in range(0, len(changed), 188):
        if struct.unpack_from("!H", changed, at + 1)[0] & 0x1FFF != 0x1000:
            continue
        section = at + 5
        end = section + 3 + (struct.unpack_from("!H", changed, section + 1)[0] & 0xFFF) - 4
        entry = section + 12 + (struct.unpack_from("!H", changed, section + 10)[0] & 0xFFF)
        while entry < end:
            if changed[entry] == old:
                changed[entry] = new
            entry += 5 + (struct.unpack_from("!H", changed, entry + 3)[0] & 0xFFF)
        changed[end : end + 4] = _crc32_mpeg(changed[section:end]).to_bytes(4, "big")
    return bytes(changed)


def _crc32_mpeg(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
