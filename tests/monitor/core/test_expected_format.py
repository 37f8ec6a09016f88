from __future__ import annotations

from dataclasses import replace

from monitor.core.expected_format import ExpectedFormat
from monitor.types import StreamInfo

INFO = StreamInfo("udp://x", "udp", "h264", 1280, 720, "yuv420p", fps=29.97, audio_codec=None)


def test_what_differs_is_named_and_the_rest_is_not_looked_at() -> None:
    wanted = ExpectedFormat(codec="h264", width=1920, height=1080, audio_codec="aac", interlaced=False)
    assert wanted.mismatches(INFO) == ["width 1280, not 1920", "height 720, not 1080", "audio_codec none, not aac"]
    assert ExpectedFormat().mismatches(INFO) == []


def test_rates_a_container_rounds_are_the_same_and_neighbours_of_the_standard_are_not() -> None:
    assert ExpectedFormat(fps=30000 / 1001).mismatches(INFO) == []
    assert ExpectedFormat(fps=30).mismatches(INFO) == ["fps 29.970, not 30"]
    assert ExpectedFormat(fps=30).mismatches(replace(INFO, fps=None)) == []
