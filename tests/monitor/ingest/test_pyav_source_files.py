from __future__ import annotations

import gc
import threading
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.types import StreamId

CAM = StreamId("cam")


def read_all(source: PyAvSource, epoch: int = 0) -> list[Decoded]:
    return list(source.frames(threading.Event(), epoch))


class FakeTime:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> None:
        self.now += seconds


def test_a_file_gives_every_picture_in_order_and_just_ends(clip):
    source = PyAvSource(str(clip), stream=CAM, live=False)
    info = source.open()
    decoded = read_all(source, epoch=7)
    times = [d.pts * d.time_base for d in decoded]
    assert len(decoded) == 50
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 25)}
    assert {d.epoch for d in decoded} == {7}
    assert not any(d.corrupt for d in decoded)
    assert (info.width, info.height, info.codec, info.pixel_format) == (320, 180, "h264", "yuv420p")
    assert (info.fps, info.audio_codec, info.protocol, info.interlaced) == (25.0, "aac", "file", False)
    counters = source.counters
    assert (counters.pictures, counters.decode_errors, counters.corrupt) == (50, 0, 0)
    assert counters.packets > 50
    assert 1000 < counters.bytes < clip.stat().st_size


@pytest.mark.parametrize("loop", [False, True])
def test_a_connection_keeps_none_of_the_pictures_that_it_gave(clip, loop):
    source = PyAvSource(str(clip), stream=CAM, live=False, paced=loop, loop=loop)
    source.open()
    pictures = source.frames(threading.Event(), 0)
    for _ in range(10):
        newest = next(pictures)
    gc.collect()
    kept = {id(o.picture) for o in gc.get_objects() if type(o) is Decoded and o.picture is not newest.picture}
    pictures.close()
    assert not kept


def test_pictures_that_the_decoder_holds_back_come_out_at_the_end(tmp_path, clip_maker):
    path = clip_maker(tmp_path / "b.mp4", options={"preset": "medium", "tune": "animation", "bf": "4"})
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    pts = [d.pts for d in read_all(source)]
    assert len(pts) == 25
    assert pts == sorted(pts)


def test_of_a_reader_that_is_too_slow_only_what_others_refer_to_is_decoded(tmp_path, clip_maker):
    options = {"preset": "medium", "tune": "animation", "x264-params": "b-adapt=0:bframes=3"}
    path = clip_maker(tmp_path / "b.mp4", predicted=True, options=options)
    whole, part = (PyAvSource(str(path), stream=CAM, live=False) for _ in range(2))
    part.reference_only = True
    for source in (whole, part):
        source.open()
    every, kept = ({d.pts: d for d in read_all(source)} for source in (whole, part))
    assert len(every) == 25
    # Of IbBbP (a pyramid) every other picture.
    assert 11 <= len(kept) <= 14
    assert all(d.reference_only for d in kept.values())
    assert not any(d.reference_only for d in every.values())
    for pts, decoded in kept.items():
        np.testing.assert_array_equal(decoded.picture.to_ndarray(), every[pts].picture.to_ndarray())
    assert part.counters.decode_errors == part.counters.corrupt == 0


def test_decoding_in_part_begins_and_ends_between_two_pictures(tmp_path, clip_maker):
    options = {"preset": "medium", "tune": "animation", "x264-params": "b-adapt=0:bframes=3"}
    path = clip_maker(tmp_path / "b.mp4", seconds=4, predicted=True, options=options)
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    times = []
    for decoded in source.frames(threading.Event(), 0):
        times.append(float(decoded.pts * decoded.time_base))
        source.reference_only = 1 <= times[-1] < 2.5
    steps = [(a, b - a) for a, b in pairwise(times)]
    assert {round(step, 3) for at, step in steps if at < 0.7 or at > 2.8} == {0.04}
    # Every other one; a group of pictures may end in two that are needed.
    assert 11 <= len([at for at, _ in steps if 1.4 < at < 2.4]) <= 15


def test_interlaced_pictures_are_decoded_whole(tmp_path, clip_maker):
    source = PyAvSource(str(clip_maker(tmp_path / "i.ts", interlaced=True)), stream=CAM, live=False)
    source.open()
    source.reference_only = True
    assert len(read_all(source)) == 25


def test_interlaced_pictures_are_seen(tmp_path, clip_maker):
    source = PyAvSource(str(clip_maker(tmp_path / "i.ts", interlaced=True)), stream=CAM, live=False)
    assert source.open().interlaced
    assert len(read_all(source)) == 25
    assert source.interlaced_seen


def test_ten_bit_pictures_keep_their_format(tmp_path, clip_maker):
    path = clip_maker(tmp_path / "ten.mkv", codec="ffv1", pixel_format="yuv420p10le", seconds=0.2)
    source = PyAvSource(str(path), stream=CAM, live=False)
    assert source.open().pixel_format == "yuv420p10le"
    assert {d.picture.format.name for d in read_all(source)} == {"yuv420p10le"}


@pytest.mark.parametrize("name", ["a b.ts", "50%25.ts", "udp:1.ts", "a?b#c@d:e.ts"])
def test_a_path_is_a_path_whatever_its_characters(tmp_path, clip, name):
    path = tmp_path / name
    path.symlink_to(clip)
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    assert len(read_all(source)) == 50


def test_a_file_url_is_decoded(tmp_path, clip):
    (tmp_path / "a b.ts").symlink_to(clip)
    source = PyAvSource(f"file://{tmp_path}/a%20b.ts", stream=CAM, live=False)
    assert source.open().protocol == "file"
    source.close()


def test_a_change_of_size_in_the_middle_goes_on(tmp_path, clip_maker, clip):
    path = tmp_path / "mixed.ts"
    path.write_bytes(clip.read_bytes() + clip_maker(tmp_path / "l.ts", size=(640, 360)).read_bytes())
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    widths = [d.picture.width for d in read_all(source)]
    assert widths == [320] * 50 + [640] * 25


def test_damage_is_counted_and_not_fatal(tmp_path, clip):
    data = np.frombuffer(clip.read_bytes(), np.uint8).reshape(-1, 188).copy()
    damaged = np.random.default_rng(1).choice(np.arange(8, len(data)), len(data) // 20, replace=False)
    data[damaged, 12:] = 0xA5
    path = tmp_path / "damaged.ts"
    path.write_bytes(data.tobytes())
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    decoded = read_all(source)
    assert len(decoded) >= 40
    assert source.counters.corrupt == sum(d.corrupt for d in decoded) > 0


def test_a_packet_that_the_decoder_refuses_is_a_decode_error_and_not_the_end(tmp_path):
    path = tmp_path / "bad.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((96, 64), 9 * number, np.uint8), "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            for packet in stream.encode(picture):
                if number in (4, 5):
                    garbage = av.Packet(b"\x00" * packet.size)
                    garbage.pts, garbage.dts, garbage.time_base = packet.pts, packet.dts, packet.time_base
                    garbage.stream = stream
                    out.mux(garbage)
                else:
                    out.mux(packet)
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    assert len(read_all(source)) == 8
    assert source.decode_errors == 2


def test_a_cut_off_file_gives_what_is_there(tmp_path, clip):
    path = tmp_path / "cut.ts"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    source = PyAvSource(str(path), stream=CAM, live=False)
    source.open()
    assert 15 <= len(read_all(source)) <= 35


def test_a_file_watched_as_live_is_lost_when_it_ends(clip):
    source = PyAvSource(str(clip), stream=CAM, live=True)
    source.open()
    got: list[Decoded] = []
    with pytest.raises(SourceError, match="ended") as raised:
        got.extend(source.frames(threading.Event(), 0))
    assert raised.value.code is SourceCode.ENDED
    assert raised.value.transient
    assert source.counters.pictures == 50


def test_the_stop_event_ends_the_pictures_without_an_error(clip):
    stop = threading.Event()
    source = PyAvSource(str(clip), stream=CAM, live=True)
    source.open()
    got = 0
    for _ in source.frames(stop, 0):
        got += 1
        if got == 5:
            stop.set()
    assert got == 5


def test_a_paced_file_goes_at_its_presentation_times(clip):
    time = FakeTime()
    source = PyAvSource(str(clip), stream=CAM, live=False, paced=True, clock=time.clock, wait=time.wait)
    source.open()
    received = [d.received_s for d in read_all(source)]
    assert received == pytest.approx([100.0 + n / 25 for n in range(50)])


def test_a_looped_file_goes_on_with_growing_presentation_times(clip):
    time, stop = FakeTime(), threading.Event()
    source = PyAvSource(str(clip), stream=CAM, live=True, paced=True, loop=True, clock=time.clock, wait=time.wait)
    source.open()
    decoded: list[Decoded] = []
    for picture in source.frames(stop, 0):
        decoded.append(picture)
        if len(decoded) == 125:
            stop.set()
    assert {b.pts - a.pts for a, b in pairwise(decoded)} == {3600}
    assert decoded[-1].received_s == pytest.approx(100.0 + 124 / 25)


def test_frames_before_open_is_a_mistake_of_the_caller(clip):
    with pytest.raises(RuntimeError, match="open"):
        read_all(PyAvSource(str(clip), stream=CAM, live=False))


def read_to_the_loss(path: str) -> None:
    source = PyAvSource(path, stream=CAM, live=True)
    source.open()
    with pytest.raises(SourceError):
        read_all(source)


def test_a_lost_source_frees_its_decoder_without_the_garbage_collector(clip):
    read_to_the_loss(str(clip))
    gc.collect()
    gc.disable()
    try:
        read_to_the_loss(str(clip))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        # pytest.raises leaves cycles of its own; what matters is that no connection is in them.
        kept = {type(thing).__name__ for thing in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not kept & {"Connection", "InputContainer", "VideoCodecContext", "VideoFrame", "generator"}
