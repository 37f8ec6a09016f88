"""``vqwatch bench``, shortened: its figures mean nothing here, its shape does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import main

FIELDS = {
    "streams", "resolution", "sample_fps", "engine", "precision", "samples_per_s", "decode_alone_per_s",
    "engine_alone_per_s", "limit_per_s", "efficiency", "lag_ms_p50", "lag_ms_p99", "rss_mb_per_stream",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_parts_and_pipeline_are_measured_in_one_run_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "benchmarks.md"
    assert (
        main(["bench", "--json", "--size", "128x96", "--codec", "mpeg2", "--scale", "0.1", "--write", str(page)]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= FIELDS
    assert (found["resolution"], found["codec"], found["sample_fps"]) == ("128x96", "mpeg2", 25.0)
    parts = (found["decode_alone_per_s"], found["preprocess_alone_per_s"], found["engine_alone_per_s"])
    assert found["limit_per_s"] == pytest.approx(1 / sum(1 / part for part in parts), rel=0.01)
    assert found["efficiency"] == pytest.approx(found["samples_per_s"] / found["limit_per_s"], rel=0.02)
    text = page.read_text()
    assert f"| `streams` | {found['streams']} |" in text
    assert "Streams tried in real time" in text


def test_a_page_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    assert main(["bench", "--write", str(tmp_path / "nowhere" / "page.md")]) == 2
