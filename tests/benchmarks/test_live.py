"""The benchmark on live feeds, very short: its figures mean nothing here, that it measures the right thing does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.live import Row, main, table

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(120)]


def row(streams: int, cores: float, *, whole: bool = True) -> Row:
    return Row(
        streams=streams, seconds=20, cores=cores, ms_a_picture=15, parts_ms=12, coverage=1, at_full_rate=whole, lost=0,
        age_p50_ms=550, age_p99_ms=600, loop_p99_ms=5, first_score_s=4, rss_mb=200 + 50 * streams, sender_cores=0.1,
    )  # fmt: skip


def test_what_a_stream_costs_is_told_of_counts_at_which_nothing_was_shed() -> None:
    text = table([row(1, 0.5), row(4, 1.5), row(6, 1.5, whole=False)], {"in one thread": [8, 3, 1]}, "160x96", 5, 25)
    assert "Memory of each stream after the first: 50.0 MB." in text
    assert "takes 500.0 ms of a core with 1 and 375.0 with 4 (-25%)" in text
    assert "25 fps in MPEG-TS over UDP, 5 of them a second analysed" in text
    assert "A stream's second" not in table([row(1, 0.5), row(6, 1.5, whole=False)], {}, "160x96", 25, 25)


def test_a_live_feed_is_scored_at_every_picture_and_costs_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.live._SETTLE_S", 2.0)
    page = tmp_path / "live.md"
    main(["--streams", "1", "--seconds", "4", "--size", "160x96", "--write", str(page)])
    (line,) = re.findall(r"^\| 1 \|.*$", capsys.readouterr().out, re.MULTILINE)
    _, streams, seconds, cores, cost, efficiency, coverage, shed, dropped, *_ = (
        cell.strip() for cell in line.split("|")
    )
    assert (streams, shed, dropped) == ("1", "no", "0")
    assert float(seconds) == pytest.approx(4, abs=0.5)
    assert float(coverage) == 1.0
    # 25 pictures a second came, neither more nor fewer.
    assert float(cores) == pytest.approx(25 * float(cost) / 1000, rel=0.08)
    assert 0 < float(efficiency) < 2
    assert line in page.read_text()
