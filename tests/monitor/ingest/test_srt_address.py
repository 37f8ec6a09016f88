from __future__ import annotations

import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.srt_address import DEFAULT_LATENCY_MS, SrtFeed, parse_srt

CANARY = "cAnArY7cAnArY7"


def parse(url: str, **options: str) -> SrtFeed:
    return parse_srt(url, "shown", options)


def test_a_host_is_called_and_no_host_listens() -> None:
    assert parse("srt://h:9000") == SrtFeed("h", 9000, listen=False)
    assert parse("srt://:9000") == SrtFeed("", 9000, listen=True)
    assert parse("srt://0.0.0.0:9000?mode=listener") == SrtFeed("0.0.0.0", 9000, listen=True)
    assert parse("srt://[::1]:9000").host == "::1"


def test_a_stream_id_may_hold_a_hash_and_percent_codes() -> None:
    feed = parse("srt://h:9000?streamid=#!::r=live,u=me&passphrase=p%40ss%26word1&latency=200")
    assert feed.streamid == "#!::r=live,u=me"
    assert feed.passphrase == "p@ss&word1"
    assert (feed.rcvlatency_ms, feed.peerlatency_ms) == (200, 200)


def test_options_win_over_the_query() -> None:
    feed = parse("srt://h:1?passphrase=0123456789&rcvlatency=80", passphrase=CANARY, pbkeylen="32")
    assert (feed.passphrase, feed.pbkeylen, feed.rcvlatency_ms, feed.peerlatency_ms) == (CANARY, 32, 80, None)


def test_what_other_programs_write_in_such_urls_is_no_mistake() -> None:
    assert parse("srt://h:1?pkt_size=1316&transtype=live&latency=0").rcvlatency_ms == 0
    assert parse("srt://h:1").rcvlatency_ms == DEFAULT_LATENCY_MS


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("srt://h", SourceCode.CONNECTION, "port"),
        ("srt://h:99999", SourceCode.CONNECTION, "port"),
        ("srt://:9000?mode=caller", SourceCode.CONNECTION, "needs a host"),
        ("srt://h:9000?mode=rendezvous", SourceCode.CONNECTION, "rendezvous is not supported"),
        (f"srt://h:9000?pasphrase={CANARY}", SourceCode.CONNECTION, "no option 'pasphrase'"),
        ("srt://h:9000?passphrase=canary", SourceCode.AUTH, "10 to 79"),
        (f"srt://h:9000?passphrase={CANARY * 6}", SourceCode.AUTH, "10 to 79"),
        # FFmpeg's microseconds
        ("srt://h:9000?latency=120000", SourceCode.CONNECTION, "milliseconds"),
        ("srt://h:9000?latency=soon", SourceCode.CONNECTION, "whole number"),
        ("srt://h:9000?pbkeylen=8", SourceCode.CONNECTION, "16, 24 or 32"),
    ],
)
def test_what_can_never_work_is_refused_for_good(url: str, code: SourceCode, says: str) -> None:
    with pytest.raises(SourceError, match=says) as raised:
        parse(url)
    assert (raised.value.code, raised.value.transient) == (code, False)
    assert "canary" not in str(raised.value).lower()


def test_ffmpeg_is_given_microseconds_and_the_secrets_apart_from_the_url() -> None:
    feed = parse(f"srt://[::1]:9000?passphrase={CANARY}&streamid={CANARY}&latency=200")
    url, options = feed.ffmpeg_input(2.0)
    assert url == "srt://[::1]:9000"
    assert (options["rcvlatency"], options["peerlatency"], options["passphrase"]) == ("200000", "200000", CANARY)
    assert (options["mode"], options["connect_timeout"]) == ("caller", "2000")
    listening = parse("srt://:9000?streamid=x").ffmpeg_input(2.0)[1]
    assert (listening["mode"], listening["listen_timeout"]) == ("listener", "2000000")
    assert "streamid" not in listening


def test_the_repr_shows_no_secrets() -> None:
    assert CANARY not in repr(parse(f"srt://h:9000?passphrase={CANARY}&streamid={CANARY}"))
