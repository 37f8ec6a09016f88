"""What is missing from a transport stream is counted to the packet and to the picture, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.continuity import PACKET, Continuity, PictureLoss
from tests.fixtures.damage import IN_DATAGRAM, Damage, Kind, numbered
from tests.fixtures.transport import VIDEO_PID, Line, Programme, make_programme, pid_of

COUNT = 500


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> Programme:
    return make_programme(tmp_path_factory.mktemp("short") / "programme.ts", seconds=6)


@pytest.fixture(scope="module")
def packets(programme: Programme) -> list[tuple[int, bytes]]:
    return list(numbered(programme, 0, COUNT, Line()))


def seen(counter: Continuity) -> PictureLoss:
    loss = counter.pictures(VIDEO_PID)
    assert loss is not None
    return loss


def read(data: bytes, cuts: int = 1316) -> Continuity:
    counter = Continuity()
    for at in range(0, len(data), cuts):
        counter.push(data[at : at + cuts])
    return counter


@settings(max_examples=10)
@given(cuts=st.integers(1, 5000), before=st.integers(0, 400))
def test_a_whole_stream_has_lost_nothing_wherever_it_is_cut_and_joined(
    packets: list[tuple[int, bytes]], cuts: int, before: int
) -> None:
    data = b"".join(packet for _, packet in packets[:800])[before:]
    counter = read(data, cuts)
    assert (counter.lost, counter.marked, seen(counter).damaged) == (0, 0, 0)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_lost_datagrams_are_counted_to_the_packet_and_to_the_picture(
    packets: list[tuple[int, bytes]], share: float
) -> None:
    damage = Damage(Kind.LOSS, share, seed=3)
    counter = read(b"".join(data for _, data in damage.datagrams(packets)))
    truth = damage.truth
    assert len(truth.pictures) > 3
    assert counter.lost == pytest.approx(truth.packets_lost, rel=0.02)  # the last may fall behind the end
    assert abs(seen(counter).damaged - len(truth.pictures)) <= max(1, 0.03 * len(truth.pictures))


@settings(max_examples=40)
@given(at=st.integers(1000, 5000), length=st.integers(1, IN_DATAGRAM))
def test_one_burst_anywhere_damages_the_pictures_it_hits(
    packets: list[tuple[int, bytes]], at: int, length: int
) -> None:
    gone = packets[at : at + length]
    counter = read(b"".join(packet for _, packet in packets[at - 600 : at] + packets[at + length : at + 600]))
    assert counter.lost == sum(bool(packet[3] & 0x10) for _, packet in gone)
    assert seen(counter).damaged == len({number for number, packet in gone if pid_of(packet) == VIDEO_PID})


def test_marked_packets_damage_their_pictures(packets: list[tuple[int, bytes]]) -> None:
    damage = Damage(Kind.MARKED, 0.01, seed=3)
    counter = read(b"".join(data for _, data in damage.datagrams(packets)))
    assert counter.lost == 0
    assert counter.marked >= len(damage.truth.pictures)
    assert seen(counter).damaged == pytest.approx(len(damage.truth.pictures), rel=0.1)


def test_a_packet_sent_twice_an_announced_jump_and_stuffing_are_no_loss(packets: list[tuple[int, bytes]]) -> None:
    first = [packet for _, packet in packets[:40]]
    jump = bytearray(PACKET)
    jump[:6] = [0x47, VIDEO_PID >> 8, VIDEO_PID & 0xFF, 0x30 | 9, 1, 0x80]
    null = bytes([0x47, 0x1F, 0xFF, 0x15]) + b"\xff" * 184
    counter = read(b"".join([*first, first[-1], null, bytes(jump)]))
    assert (counter.lost, seen(counter).damaged) == (0, 0)


def test_a_broken_sync_byte_costs_its_packet_alone(packets: list[tuple[int, bytes]]) -> None:
    stream = [packet for _, packet in packets[:400]]
    place = next(n for n in range(200, 400) if pid_of(stream[n]) == VIDEO_PID)
    stream[place] = b"\x46" + stream[place][1:]
    assert read(b"".join(stream)).lost == 1


@settings(max_examples=20)
@given(data=st.binary(max_size=2000), cuts=st.integers(1, 400))
def test_bytes_that_are_no_transport_stream_say_nothing_and_are_not_kept(data: bytes, cuts: int) -> None:
    counter = read(data.replace(b"\x47", b"\x00"), cuts)
    assert (counter.lost, counter.marked) == (0, 0)
    assert len(counter._rest) < 2 * PACKET
