from __future__ import annotations

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.address import HTTP_READ_LIMIT_S, parse_address, trusted_certificates


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


@pytest.mark.parametrize("scheme", ["udp", "rtp"])
def test_an_interface_is_named_and_a_sender_stands_before_the_group(scheme):
    url = parse(f"{scheme}://192.0.2.7@239.1.1.1:5000?interface=lo&ttl=3").url
    assert url.startswith(f"{scheme}://@239.1.1.1:5000?ttl=3&localaddr=127.0.0.1&sources=192.0.2.7")
    assert parse(f"{scheme}://@239.1.1.1:5000?localaddr=10.0.0.1").url.count("localaddr=10.0.0.1") == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("udp://@239.1.1.1:5000?interface=nosuch7", "no network interface 'nosuch7'; there are: "),
        ("rtp://host.example@239.1.1.1:5000", "the sender's IP address"),
    ],
)
def test_an_interface_or_sender_that_cannot_be_is_refused(url, says):
    with pytest.raises(SourceError, match=says) as raised:
        parse(url)
    assert (raised.value.code, raised.value.transient) == (SourceCode.CONNECTION, False)


def test_rtp_gets_a_large_socket_buffer_unless_told_otherwise():
    assert parse("rtp://@239.1.1.1:5000").options["buffer_size"] == "4194304"
    assert parse("rtp://@239.1.1.1:5000", buffer_size="9").options["buffer_size"] == "9"


@pytest.mark.parametrize("scheme", ["https", "rtsps", "rtmps"])
def test_certificates_are_verified_by_those_that_this_machine_trusts(scheme):
    options = parse(f"{scheme}://h/x").options
    assert options["tls_verify"] == "1"
    assert options.get("ca_file") == trusted_certificates()
    assert parse(f"{scheme}://h/x", tls_verify="0", ca_file="/x").options["ca_file"] == "/x"
    assert "tls_verify" not in parse("http://h/x").options


def test_srt_is_read_by_its_own_rules():
    address = parse("srt://h:9000?latency=200&passphrase=cAnArY7cAnArY7")
    assert (address.protocol, address.shown) == ("srt", "srt://h:9000?latency=200&passphrase=***")
    assert address.srt is not None
    assert address.srt.rcvlatency_ms == 200
    assert "cAnArY7" not in f"{address!r}{address.url}{address.options}"
