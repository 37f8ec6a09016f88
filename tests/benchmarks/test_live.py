"""The benchmark on live feeds, very short: its figures mean nothing here, that it measures the right thing does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.live import main

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_live_feed_is_scored_at_every_picture_and_costs_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.live._SETTLE_S", 2.0)
    page = tmp_path / "live.md"
    main(["--streams", "1", "--seconds", "4", "--size", "160x96", "--write", str(page)])
    (row,) = re.findall(r"^\| 1 \|.*$", capsys.readouterr().out, re.MULTILINE)
    _, streams, seconds, cores, cost, efficiency, coverage, shed, dropped, *_ = (
        cell.strip() for cell in row.split("|")
    )
    assert (streams, shed, dropped) == ("1", "no", "0")
    assert float(seconds) == pytest.approx(4, abs=0.5)
    assert float(coverage) == 1.0
    # 25 pictures a second came, neither more nor fewer.
    assert float(cores) == pytest.approx(25 * float(cost) / 1000, rel=0.08)
    assert 0 < float(efficiency) < 2
    assert row in page.read_text()
