from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from monitor.commands.table import StatusTable
from monitor.types import AlertEvent, Condition, Severity, Status, StreamId, StreamState

GOOD = StreamState(
    ts=0, seq=1, epoch=1, status=Status.OK, condition=Condition.OK, coverage=1.0, samples=25, dropped=0, corrupt=0,
    repeated=0, sample_fps=25.0, model="m@1", score=91.0, band="excellent", cause="clean", cause_p=0.9, drop=0.4,
    fps_in=25.0, age_ms=600.0,
)  # fmt: skip


def shown(table: StatusTable) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    with console.file:
        console.print(table)
    return console.export_text()


def test_the_worst_streams_stand_first() -> None:
    table = StatusTable("t")
    table.state(StreamId("fine"), GOOD)
    table.state(StreamId("poor"), replace(GOOD, score=30.0, band="poor", cause="blur"))
    table.state(
        StreamId("blind"), replace(GOOD, status=Status.UNKNOWN, condition=Condition.LOST, score=None, band=None)
    )
    table.state(StreamId("alerting"), GOOD)
    table.alert(AlertEvent("1", 1, StreamId("alerting"), "black", Severity.MAJOR, "raised", 0.0))
    text = shown(table)
    order = sorted(("fine", "poor", "blind", "alerting"), key=text.index)
    assert order == ["alerting", "blind", "poor", "fine"]
    assert "blur 90 %" in text


def test_a_blind_stream_shows_no_score() -> None:
    table = StatusTable("t")
    table.state(
        StreamId("blind"), replace(GOOD, status=Status.UNKNOWN, condition=Condition.LOST, score=None, band=None)
    )
    text = shown(table)
    assert "--" in text
    assert "lost" in text
    assert "91" not in text


def test_raises_and_clears_are_told_as_events() -> None:
    table = StatusTable("t")
    table.state(StreamId("a"), GOOD)
    raised = AlertEvent("1", 1, StreamId("a"), "quality", Severity.MAJOR, "raised", 100.0, cause="compression")
    table.alert(raised)
    assert "quality raised (major, cause compression)" in shown(table)
    table.alert(replace(raised, status="cleared", cleared_at=112.0))
    assert "quality cleared after 12 s" in shown(table)
