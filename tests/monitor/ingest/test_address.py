from __future__ import annotations

import pytest

from monitor.ingest.address import HTTP_READ_LIMIT_S, parse_address


def parse(url: str, live: bool = True, **options: str):
    return parse_address(url, live=live, read_timeout_s=2.0, options=options)


def test_udp_gets_a_queue_that_may_overrun():
    assert parse("udp://239.1.1.1:5000").url == (
        "udp://239.1.1.1:5000?fifo_size=50000&overrun_nonfatal=1&buffer_size=2097152"
    )


def test_what_the_user_gave_for_udp_wins():
    address = parse("udp://@239.1.1.1:5000?fifo_size=9&localaddr=10.0.0.1", buffer_size="7")
    assert address.url == "udp://@239.1.1.1:5000?fifo_size=9&localaddr=10.0.0.1&overrun_nonfatal=1"
    assert address.options["buffer_size"] == "7"


def test_rtsp_goes_over_tcp_unless_told_otherwise():
    assert parse("rtsp://h/x").options["rtsp_transport"] == "tcp"
    assert parse("rtsp://h/x", rtsp_transport="udp").options["rtsp_transport"] == "udp"


def test_http_waits_longer_for_a_segment_than_for_an_answer():
    address = parse("http://h/x.m3u8")
    assert address.read_limit_s == HTTP_READ_LIMIT_S
    assert address.silence_limit_s == 2.0
    assert address.options["rw_timeout"] == "2000000"


def test_live_feeds_open_with_a_short_probe_and_recordings_with_a_full_one():
    assert parse("tcp://h:1").options["analyzeduration"] == "1000000"
    assert "analyzeduration" not in parse("http://h/x.mp4", live=False).options


@pytest.mark.parametrize("url", ["rtsp://u:cAnArY7@h/x", "http://h/x?token=cAnArY7"])
def test_the_repr_shows_no_credentials(url):
    address = parse(url, headers="Authorization: cAnArY7")
    assert "cAnArY7" not in repr(address)
