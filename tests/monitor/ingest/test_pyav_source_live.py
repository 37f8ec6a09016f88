"""Live feeds from real servers on loopback: opening, ending, falling silent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.types import StreamId, StreamInfo

pytestmark = pytest.mark.realtime

CAM = StreamId("cam")

# Limits are for a machine that is busy with other things: when idle, opening takes 0.9 to 1.4 s, and silence is
# found after the read timeout.
OPEN_LIMIT_S = 10.0
LOSS_LIMIT_S = 8.0


@dataclass
class Watched:
    """A source that was opened, and its pictures."""

    source: PyAvSource
    info: StreamInfo
    frames: Iterator[Decoded]
    stop: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    """Opens a live URL; closes what the test leaves open."""
    opened: list[PyAvSource] = []

    def start(url: str, *, read_timeout_s: float = 0.5, **keywords: float) -> Watched:
        source = PyAvSource(
            url, stream=CAM, live=True, open_timeout_s=OPEN_LIMIT_S, read_timeout_s=read_timeout_s, **keywords
        )
        opened.append(source)
        began_s = time.monotonic()
        info = source.open()
        assert time.monotonic() - began_s < OPEN_LIMIT_S
        stop = threading.Event()
        return Watched(source, info, source.frames(stop, 1), stop)

    yield start
    for source in opened:
        source.close()


def lost(watched: Watched) -> tuple[SourceError, float]:
    """Read to the loss; the error, and how long it took from here."""
    began_s = time.monotonic()
    with pytest.raises(SourceError) as raised:
        for _ in watched.frames:
            pass
    assert raised.value.transient
    return raised.value, time.monotonic() - began_s


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["udp", "tcp", "rtmp", "rtsp"])
def test_a_feed_opens_quickly_is_described_and_its_silence_is_a_timeout(feeds, watch, kind):
    feed = getattr(feeds, kind)()
    watched = watch(feed.url)
    assert (watched.info.codec, watched.info.width, watched.info.height) == ("h264", 320, 180)
    assert watched.info.protocol == kind
    assert watched.info.fps == pytest.approx(25.0)
    assert len(list(islice(watched.frames, 20))) == 20
    feed.pause()
    error, took_s = lost(watched)
    assert error.code is SourceCode.TIMEOUT
    assert took_s < LOSS_LIMIT_S


@pytest.mark.servers
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("tcp", SourceCode.ENDED),
        ("rtsp", SourceCode.ENDED),
        ("rtmp", SourceCode.CONNECTION),
        ("udp", SourceCode.TIMEOUT),
    ],
)
def test_a_killed_sender_is_a_loss(feeds, watch, kind, code):
    feed = getattr(feeds, kind)()
    watched = watch(feed.url)
    assert len(list(islice(watched.frames, 5))) == 5
    feed.kill()
    error, took_s = lost(watched)
    assert error.code is code
    assert took_s < LOSS_LIMIT_S


@pytest.mark.servers
def test_hls_is_lost_with_its_server(feeds, watch):
    feed = feeds.hls()
    watched = watch(feed.url)
    assert len(list(islice(watched.frames, 5))) == 5
    feed.kill("server")
    error, took_s = lost(watched)
    assert error.code is SourceCode.ENDED
    assert took_s < LOSS_LIMIT_S


@pytest.mark.servers
@pytest.mark.slow
def test_a_playlist_that_no_longer_changes_is_a_timeout(feeds, watch):
    feed = feeds.hls()
    watched = watch(feed.url)
    assert len(list(islice(watched.frames, 5))) == 5
    feed.kill("sender")
    error, took_s = lost(watched)
    assert error.code is SourceCode.TIMEOUT
    assert took_s < 2 * LOSS_LIMIT_S


@pytest.mark.servers
def test_an_hls_server_that_no_longer_answers_is_a_timeout(feeds, watch):
    feed = feeds.hls()
    watched = watch(feed.url)
    assert len(list(islice(watched.frames, 5))) == 5
    feed.pause("server")
    error, took_s = lost(watched)
    assert error.code is SourceCode.TIMEOUT
    assert took_s < LOSS_LIMIT_S


@pytest.mark.servers
@pytest.mark.slow
def test_long_hls_segments_are_played_at_their_own_pace(feeds, watch):
    """Each is downloaded at once; pictures come one after the other, and nothing reads as a stall of the feed."""
    watched = watch(feeds.hls(segment_s=4).url, read_timeout_s=0.5)
    assert (watched.info.protocol, watched.info.codec, watched.info.width) == ("hls", "h264", 320)
    # The feed began with us: its second segment is a wait, behind which there is always one in hand.
    came_s = [time.monotonic() for _ in islice(watched.frames, 300)][110:]
    gaps_s = [b - a for a, b in pairwise(came_s)]
    assert max(gaps_s) < 1.0
    assert len(came_s) / (came_s[-1] - came_s[0]) == pytest.approx(25, rel=0.15)


@pytest.mark.servers
def test_rtsp_credentials_are_used_and_not_shown(feeds, watch):
    feed = feeds.rtsp("cam", "cAnArY7")
    host = feed.url.removeprefix("rtsp://")
    for url in (f"rtsp://{host}", f"rtsp://cam:wrong@{host}"):
        with pytest.raises(SourceError) as raised:
            watch(url)
        assert (raised.value.code, raised.value.transient) == (SourceCode.AUTH, False)
    watched = watch(f"rtsp://cam:cAnArY7@{host}")
    assert watched.info.url == f"rtsp://***@{host}"
    assert next(watched.frames).picture.width == 320
    with pytest.raises(SourceError) as raised:
        watch(f"rtsp://cam:cAnArY7@{host}/nothing")
    assert raised.value.code is SourceCode.NOT_FOUND
    assert "cAnArY7" not in str(raised.value)


@pytest.mark.servers
def test_nothing_of_a_udp_feed_is_lost_when_it_was_waited_for(feeds, watch, clip, free_port):
    port = free_port(socket.SOCK_DGRAM)
    sender = threading.Timer(0.3, lambda: feeds.udp(port, source=clip))
    sender.start()
    watched = watch(f"udp://127.0.0.1:{port}", read_timeout_s=1.0)
    error, _ = lost(watched)
    sender.join(5)
    assert error.code is SourceCode.TIMEOUT
    assert watched.source.counters.pictures == 50
    assert watched.source.counters.corrupt == 0


def test_a_scripted_tcp_feed_gives_every_picture_before_it_is_lost(clip, watch, tcp_sender):
    data = clip.read_bytes()
    cut = len(data) // 376 * 188
    watched = watch(tcp_sender([(0.0, data[:cut]), (0.2, data[cut:])]).url)
    error, _ = lost(watched)
    assert error.code is SourceCode.ENDED
    assert watched.source.counters.pictures == 50


def test_a_silent_tcp_feed_gives_every_picture_before_it_times_out(clip, watch, tcp_sender):
    watched = watch(tcp_sender([(0.0, clip.read_bytes())], hold=True).url, read_timeout_s=0.3)
    error, took_s = lost(watched)
    assert error.code is SourceCode.TIMEOUT
    assert watched.source.counters.pictures == 50
    assert took_s < LOSS_LIMIT_S


def test_video_that_stops_while_the_audio_goes_on_is_told_from_silence(clip, watch, tcp_sender):
    data = clip.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    # 0x101 is the second stream of FFmpeg's muxer: audio alone, over and over.
    audio = b"".join(p for p in packets if ((p[1] & 0x1F) << 8 | p[2]) == 0x101)
    watched = watch(tcp_sender([(0.0, data), *[(0.05, audio)] * 40]).url, read_timeout_s=0.4)
    error, took_s = lost(watched)
    assert error.code is SourceCode.NO_VIDEO
    assert took_s < LOSS_LIMIT_S


def test_a_feed_joined_in_the_middle_opens_at_its_next_key_frame(tmp_path, clip_maker, watch, tcp_sender):
    data = clip_maker(tmp_path / "gop.ts", seconds=4.0, gop=50).read_bytes()
    cut = len(data) // 8 // 188 * 188
    watched = watch(tcp_sender([(0.0, data[cut:])]).url)
    assert (watched.info.width, watched.info.height) == (320, 180)
    lost(watched)
    assert 45 <= watched.source.counters.pictures <= 90
    assert watched.source.decode_errors == 0


def test_a_read_that_waits_notices_the_stop_event_by_its_time_out(clip, watch, tcp_sender):
    watched = watch(tcp_sender([(0.0, clip.read_bytes())], hold=True).url, read_timeout_s=0.3)
    next(watched.frames)
    threading.Timer(0.1, watched.stop.set).start()
    began_s = time.monotonic()
    for _ in watched.frames:
        pass
    assert time.monotonic() - began_s < LOSS_LIMIT_S


def test_stopping_while_opening_is_noticed(tmp_path, clip_maker, tcp_sender):
    data = clip_maker(tmp_path / "a.ts").read_bytes()
    stop = threading.Event()
    stop.set()
    source = PyAvSource(tcp_sender([(0.0, data)], hold=True).url, stream=CAM, live=True, open_timeout_s=0.5)
    with pytest.raises(SourceError, match="stopped"):
        source.open(stop)


def test_another_codec_on_the_same_pid_ends_the_connection_soon(tmp_path, clip, clip_maker, watch, tcp_sender):
    other = clip_maker(tmp_path / "other.ts", codec="mpeg2video", seconds=2.0, audio=True)
    watched = watch(tcp_sender([(0.0, clip.read_bytes() + other.read_bytes())], hold=True).url, read_timeout_s=5.0)
    error, took_s = lost(watched)
    assert error.code is SourceCode.CODEC
    assert "another codec" in str(error)
    assert took_s < 4.0
