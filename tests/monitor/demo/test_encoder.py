from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from monitor.demo.encoder import TsSender
from monitor.types import U8

WIDTH, HEIGHT = 160, 96


def picture(number: int) -> U8:
    made = np.random.default_rng(number).integers(60, 190, (HEIGHT * 3 // 2, WIDTH)).astype(np.uint8)
    made[HEIGHT:] = 128
    return made


def sent(path: Path, *runs: tuple[range, float | None]) -> list[av.Packet]:
    sender = TsSender(str(path), WIDTH, HEIGHT, 25.0)
    for numbers, bits_per_pixel in runs:
        if bits_per_pixel is None:
            sender.pause()
            continue
        for number in numbers:
            sender.send(picture(number), number, bits_per_pixel)
    sender.close()
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_the_time_line_goes_on_when_the_encoder_is_exchanged(tmp_path: Path) -> None:
    packets = sent(tmp_path / "a.ts", (range(0, 20), 2.0), (range(20, 40), 0.05), (range(40, 60), 2.0))
    assert [p.pts for p in packets] == [packets[0].pts + 3600 * n for n in range(60)]
    assert [p.dts for p in packets] == [p.pts for p in packets]


def test_each_encoder_begins_with_a_keyframe_that_decodes_alone(tmp_path: Path) -> None:
    packets = sent(tmp_path / "a.ts", (range(0, 10), 2.0), (range(10, 20), 0.05))
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 10]
    decoder = av.CodecContext.create("h264", "r")
    decoded = [frame for packet in packets[10:] for frame in decoder.decode(packet)]
    assert len(decoded + decoder.decode(None)) == 10


def test_a_starved_encoder_sends_far_less(tmp_path: Path) -> None:
    packets = sent(tmp_path / "a.ts", (range(0, 25), 2.0), (range(25, 50), 0.05))
    rich, poor = (sum(p.size for p in part) for part in (packets[:25], packets[25:]))
    assert poor < rich / 5


def test_a_pause_leaves_a_gap_of_its_length_and_ends_with_a_keyframe(tmp_path: Path) -> None:
    packets = sent(tmp_path / "a.ts", (range(0, 10), 2.0), (range(0), None), (range(25, 30), 2.0))
    assert packets[10].pts - packets[9].pts == 16 * 3600
    assert packets[10].is_keyframe


def test_every_picture_arrives_and_looks_like_what_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    sender = TsSender(str(path), WIDTH, HEIGHT, 25.0)
    ramp = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    ramp[:HEIGHT] = np.linspace(30, 220, WIDTH).astype(np.uint8)
    for number in range(8):
        sender.send(np.roll(ramp, number, 1), number)
    sender.close()
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(frames) == 8
    assert np.abs(frames[0][:HEIGHT].astype(int) - ramp[:HEIGHT]).mean() < 2.0
