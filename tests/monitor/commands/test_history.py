"""`vqwatch history export`: what comes out, and what a user gets wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from monitor.cli import main
from monitor.core.metrics import METRICS
from monitor.core.moments import moment_text
from monitor.core.record import Record
from monitor.core.record_text import COLUMNS
from monitor.store.history_file import HistoryFile
from monitor.types import Condition, Status, StreamId

START_MS = 1_800_000_000_000 // 60_000 * 60_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = HistoryFile(
        tmp_path / "history.db",
        keep_seconds_s=1e9, keep_minutes_s=1e9, max_bytes=10**9, clock=lambda: 0.0, monotonic=lambda: 0.0,
    )  # fmt: skip
    for name in ("a", "b"):
        records = []
        for n in range(90):
            metrics = dict.fromkeys(METRICS) | {"score": 50.25 + n / 100, "band": 3.0, "lost": 0.0}
            records.append(Record(START_MS + n * 1000, Status.OK, Condition.OK, metrics, score_min=50.25 + n / 100))
        file.write([(StreamId(name), record) for record in records])
    file.finish()
    file.close()
    return tmp_path


def export(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["history", "export", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_csv_has_a_row_a_second_and_only_what_was_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moment = moment_text(START_MS + 60_000)
    text = export(capsys, "--data-dir", str(folder), "--stream", "b", "--from", moment)
    rows = list(csv.DictReader(text.splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 30
    assert (rows[0]["time"], rows[0]["stream"], rows[0]["score"], rows[0]["band"]) == (moment, "b", "50.85", "fair")
    assert (rows[0]["lost"], rows[0]["drop"], rows[0]["condition"]) == ("0", "", "ok")
    assert len(export(capsys, "--data-dir", str(folder)).splitlines()) == 181


def test_minutes_and_json_and_the_directory_of_a_configuration(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"data_dir: {folder}\nstreams: [{{id: a, url: 'rtsp://u:${{NOT_SET_ANYWHERE}}@h/x'}}]\n")
    text = export(capsys, "-c", str(config), "--resolution", "1m", "--json", "--stream", "a")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["seconds"] for row in rows] == [60, 30]
    assert rows[0]["score_min"] == 50.25
    assert rows[0]["score"] == pytest.approx(50.55, abs=0.01)
    assert "drop" not in rows[0]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "no history: name a data directory"),
        (["--data-dir", "/nowhere"], 2, "/nowhere/history.db: no such file"),
        (["--data-dir", "HERE", "--stream", "z"], 2, "--stream z: not in HERE/history.db; there are a, b"),
        (["--data-dir", "HERE", "--from", "soon"], 2, "--from: not a moment: 'soon'"),
        (["--data-dir", "HERE", "--from", "1h", "--to", "2h"], 2, "--to lies before --from"),
        (["--data-dir", "HERE", "--resolution", "5s"], 2, "--resolution"),
        (["--data-dir", "BROKEN"], 1, "BROKEN/history.db: it is no database"),
    ],
)
def test_a_mistake_is_one_line_with_the_right_status(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    broken = folder / "broken"
    broken.mkdir()
    (broken / "history.db").write_bytes(b"x" * 5000)
    places = {"HERE": str(folder), "BROKEN": str(broken)}
    assert main(["history", "export", *(places.get(word, word) for word in arguments)]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.replace(str(broken), "BROKEN").replace(str(folder), "HERE")
    assert len(err.splitlines()) == 1
