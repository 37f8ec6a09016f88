"""`vqwatch simulate`: recorded seconds through two sets of rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.cli import main
from monitor.core.metrics import METRICS
from monitor.core.moments import moment_text
from monitor.core.record import Record
from monitor.store.history_file import HistoryFile
from monitor.types import Condition, Status, StreamId

START_MS = 1_800_000_000_000 // 3_600_000 * 3_600_000
RULES = """
alerts:
  quality: {raise: 10, clear: 6, raise_for: 30s}
  ugly: {metric: score, raise: 65, clear: 70}
"""


def drop_at(n: int) -> float:
    return 18.0 if 200 < n < 260 else 11.0 if 500 < n < 600 else 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten minutes of two streams: a deep drop of a minute, and a shallow one of 99 s."""
    file = HistoryFile(
        tmp_path / "history.db",
        keep_seconds_s=1e9, keep_minutes_s=1e9, max_bytes=10**9, clock=lambda: 0.0, monotonic=lambda: 0.0,
    )  # fmt: skip
    for name in ("news", "sport"):
        records = []
        for n in range(700):
            drop = drop_at(n)
            metrics = dict.fromkeys(METRICS) | {"lost": 0.0, "no_video": 0.0, "drop": drop, "score": 80 - drop}
            records.append(Record(START_MS + n * 1000, Status.OK, Condition.OK, metrics, 80.0, "blur", 0.8, 80 - drop))
        file.write([(StreamId(name), record) for record in records])
    file.finish()
    file.close()
    (tmp_path / "new.yaml").write_text(RULES)
    return tmp_path


def simulate(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["simulate", *map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def times(report: Any, rules: str, rule: str) -> list[tuple[float, float]]:
    found = []
    for alert in report["alerts"]:
        if (alert["rules"], alert["rule"]) == (rules, rule):
            at = next(n for n in range(700) if moment_text(START_MS + n * 1000) == alert["raised_at"])
            found.append((at, alert["duration_s"]))
    return found


def test_both_sets_stand_side_by_side_with_their_alerts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = simulate(capsys, "--rules", folder / "new.yaml", "--data-dir", folder, "--stream", "news")
    assert (report["streams"], report["seconds"], report["from"]) == (1, 700, moment_text(START_MS))
    # In force (default): 15 points for 10 s, healthy for 20 s; new: 10 points for 30 s, and
    # 40 s healthy for the second clear, since its raise comes within five minutes of the first one's clear.
    assert times(report, "in_force", "quality") == [(211, 69.0)]
    assert times(report, "proposed", "quality") == [(231, 49.0), (531, 109.0)]
    assert times(report, "proposed", "ugly") == [(211, 59.0)]
    assert report["by_rule"] == [
        {
            "stream": "news",
            "rule": "quality",
            "in_force": {"raised": 1, "up_s": 69.0, "longest_s": 69.0},
            "proposed": {"raised": 2, "up_s": 158.0, "longest_s": 109.0},
        },
        {
            "stream": "news",
            "rule": "ugly",
            "in_force": {"raised": 0, "up_s": 0, "longest_s": 0.0},
            "proposed": {"raised": 1, "up_s": 59.0, "longest_s": 59.0},
        },
    ]
    first = report["alerts"][0]
    assert (first["rules"], first["severity"], first["value"], first["threshold"]) == ("in_force", "major", 18.0, 15.0)
    assert (first["cause"], first["in_both"]) == ("blur", True)
    assert [a["in_both"] for a in report["alerts"]] == [True, False, True, False]


def test_an_exported_csv_gives_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "export", "--data-dir", str(folder)]) == 0
    (folder / "out.csv").write_text(capsys.readouterr().out)
    asked = ["--rules", folder / "new.yaml", "--from", moment_text(START_MS + 100_000)]
    from_csv = simulate(capsys, *asked, folder / "out.csv")
    assert from_csv == simulate(capsys, *asked, "--data-dir", folder)
    assert from_csv["seconds"] == 1200


def test_rules_without_streams_are_for_the_streams_in_force_with_their_profiles(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "c.yaml"
    config.write_text(
        f"data_dir: {folder}\nprofiles: {{calm: {{alerts: {{quality: {{enabled: false}}}}}}}}\n"
        "streams:\n  - {id: news, url: 'rtsp://u:${NOT_SET_ANYWHERE}@h/x', profile: calm}\n  - {id: sport, url: 'udp://h:1'}\n"
    )
    new = folder / "new.yaml"
    new.write_text("profiles: {calm: {alerts: {quality: {raise: 5, clear: 3}}}}\n")
    report = simulate(capsys, "--rules", new, "-c", config)
    counts = {row["stream"]: (row["in_force"]["raised"], row["proposed"]["raised"]) for row in report["by_rule"]}
    assert counts == {"news": (0, 2), "sport": (1, 1)}
    new.write_text("alerts: {quality: {raise: 5, clear: 3}}\n")
    assert main(["simulate", "--rules", str(new), "-c", str(config)]) == 2
    assert f"{new}: with streams.0.profile of {config}: unknown profile 'calm'" in capsys.readouterr().err


def test_the_table_tells_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--rules", str(folder / "new.yaml"), "--data-dir", str(folder), "--stream", "news"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == f"1 streams, 11 min 40 s of seconds, {moment_text(START_MS)} to {moment_text(START_MS + 699_000)}"
    )
    assert [line.split() for line in lines if line.startswith("news    quality")] == [
        ["news", "quality", "1", "69", "s", "69", "s", "2", "2", "min", "38", "s", "109", "s"]
    ]
    assert f"+ {moment_text(START_MS + 531_000)} news quality (major) for 109 s, worst 11, cause blur" in lines
    assert f"< {moment_text(START_MS + 211_000)} news quality (major) for 69 s, worst 18, cause blur" in lines


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (3, "soon,cam,1,ok,ok,50", "x.csv:3: time: not a moment: 'soon'"),
        (3, "2027-01-15T08:00:01Z,cam,1,ok,ok,high", "x.csv:3: score: not a number: 'high'"),
        (3, "2027-01-15T07:00:00Z,cam,1,ok,ok,50", "x.csv:3: time: time runs backwards; rows of a stream go forward"),
        (3, "2027-01-15T08:01:00Z,cam,60,ok,ok,50", "x.csv:3: seconds: this row is 60 of them"),
        (1, "a,b,c", "x.csv:2: time: missing"),
    ],
)
def test_a_row_that_cannot_be_replayed_is_named_by_file_line_and_column(
    folder: Path, capsys: pytest.CaptureFixture[str], line: int, text: str, said: str
) -> None:
    lines = ["time,stream,seconds,status,condition,score", "2027-01-15T08:00:00Z,cam,1,ok,ok,50", ""]
    lines[line - 1] = text
    (folder / "x.csv").write_text("\n".join(lines) + "\n")
    assert main(["simulate", "--rules", str(folder / "new.yaml"), str(folder / "x.csv")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rules", "HERE/none.yaml", "--data-dir", "HERE"], "HERE/none.yaml: No such file"),
        (["--rules", "HERE/new.yaml"], "no history: name a data directory"),
        (["--rules", "HERE/new.yaml", "--data-dir", "HERE", "HERE/x.csv"], "not both"),
        (
            ["--rules", "HERE/new.yaml", "--data-dir", "HERE", "--from", "2030-01-01"],
            "no seconds to replay in that time",
        ),
        (["--rules", "HERE/bad.yaml", "--data-dir", "HERE"], "HERE/bad.yaml:2: alerts.quality.raise: not a level"),
        (["--rules", "HERE/new.yaml", "HERE/none.csv"], "HERE/none.csv: No such file"),
        (["--data-dir", "HERE"], "--rules"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (folder / "bad.yaml").write_text("alerts:\n  quality: {raise: much}\n")
    assert main(["simulate", *(word.replace("HERE", str(folder)) for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.replace(str(folder), "HERE")
    assert len(err.splitlines()) == 1
