from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.errors import MonitorError
from monitor.store.history_file import HistoryFile, HistoryRefused, Kind
from monitor.store.history_reader import HistoryReader
from monitor.types import Condition, Status, StreamId

CAM = StreamId("cam")
#: Start of an hour.
HOUR = 1_800_000_000 // 3600 * 3600


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def second(at_s: float, score: float = 70.0) -> Record:
    metrics = dict.fromkeys(METRICS) | {"score": score}
    return Record(round(at_s * 1000), Status.OK, Condition.OK, metrics, score_min=score)


class Rig:
    """A file with a wall clock and a steady one, both of the test's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall, self.steady = Clock(HOUR), Clock(0.0)
        self.file = self.open()

    def open(self, **more: float) -> HistoryFile:
        options = {"keep_seconds_s": 3600.0, "keep_minutes_s": 86400.0, "max_bytes": 10**9} | more
        return HistoryFile(self.path, clock=self.wall, monotonic=self.steady, **options)  # type: ignore[arg-type]

    def write(self, start_s: float, seconds: int, stream: StreamId = CAM, score: float = 70.0) -> None:
        self.file.write([(stream, second(start_s + n, score)) for n in range(seconds)])

    def scores(self, kind: Kind = Kind.SECONDS, stream: StreamId = CAM) -> dict[int, float | None]:
        with HistoryReader(self.path) as reader:
            return {r.ts // 1000 - HOUR: r.metrics["score"] for r in reader.records(kind, stream, 0, 2**52)}

    def pass_time(self, seconds: float) -> None:
        self.wall.now_s += seconds
        self.steady.now_s += seconds


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "history.db")
    yield made
    made.file.close()


def test_seconds_and_minutes_are_there_to_be_read_while_it_is_written(rig: Rig) -> None:
    rig.write(HOUR, 90, score=60.0)
    rig.write(HOUR, 30, StreamId("other"), score=50.0)
    assert rig.scores() == {n: 60.0 for n in range(90)}  # noqa: C420
    assert rig.scores(stream=StreamId("other")) == dict.fromkeys(range(30), 50.0)
    assert rig.scores(Kind.MINUTES) == {0: 60.0}
    rig.file.finish()
    assert rig.scores(Kind.MINUTES) == {0: 60.0, 60: 60.0}
    with HistoryReader(rig.path) as reader:
        assert reader.streams == ("cam", "other")
        assert [r.seconds for r in reader.records(Kind.MINUTES, CAM, 0, 2**52)] == [60, 30]
        some = list(reader.records(Kind.SECONDS, CAM, (HOUR + 58) * 1000, (HOUR + 62) * 1000))
        assert [r.ts // 1000 - HOUR for r in some] == [58, 59, 60, 61]
        columns = reader.columns(Kind.SECONDS, CAM, (HOUR + 58) * 1000, (HOUR + 62) * 1000, ("score", "drop"))
        assert columns["score"].tolist() == [60.0] * 4
        assert reader.span(Kind.SECONDS, CAM) == (HOUR * 1000, (HOUR + 120) * 1000)


def test_after_a_kill_a_minute_goes_on_where_it_was_and_the_one_that_was_cut_is_summed_up(rig: Rig) -> None:
    rig.write(HOUR, 20)
    rig.file.close()  # as a kill: nothing is finished
    rig.file = rig.open()
    rig.write(HOUR + 25, 10)
    assert sorted(rig.scores()) == [*range(20), *range(25, 35)]
    rig.file.close()
    rig.file = rig.open()
    rig.write(HOUR + 200, 5)
    assert list(rig.scores(Kind.MINUTES)) == [0]
    with HistoryReader(rig.path) as reader:
        assert [r.seconds for r in reader.records(Kind.MINUTES, CAM, 0, 2**52)] == [30]


def test_the_newest_word_wins_where_the_clock_is_set_back_and_nothing_runs_backwards(rig: Rig) -> None:
    rig.write(HOUR + 3600, 200, score=1.0)
    rig.write(HOUR + 3640, 30, score=2.0)
    scores = rig.scores()
    assert list(scores) == sorted(scores)
    assert all(scores[3600 + n] == 2.0 for n in range(40, 70))
    assert all(scores[3600 + n] == 1.0 for n in [*range(40), *range(120, 200)])


def test_old_seconds_go_before_old_minutes_and_the_file_stops_growing(rig: Rig) -> None:
    sizes = []
    for hour in range(30):
        rig.write(HOUR + hour * 3600, 120)
        rig.pass_time(3600)
        rig.file.prune()
        sizes.append(rig.file.bytes_used())
    assert min(rig.scores()) >= 28 * 3600
    assert min(rig.scores(Kind.MINUTES)) >= 5 * 3600
    assert max(rig.scores(Kind.MINUTES)) >= 29 * 3600
    assert sizes[-1] <= sizes[25]


def test_a_clock_that_leaps_ahead_takes_little_history_with_it(rig: Rig) -> None:
    rig.write(HOUR, 1000)
    rig.pass_time(1000)
    rig.file.prune()
    rig.wall.now_s += 10 * 365 * 86400.0
    for _ in range(2):
        rig.pass_time(30)
        rig.write(rig.wall.now_s, 5)
        rig.file.prune()
    # A minute of a wrong clock takes ten of the past.
    kept = [n for n in rig.scores() if n < 10**6]
    assert len(kept) >= 1000 - 11 * 60
    rig.wall.now_s = HOUR + 1100
    before = rig.scores()
    rig.file.prune()
    assert rig.scores() == before


def test_the_file_stays_within_its_size(rig: Rig) -> None:
    rig.file.close()
    rig.file = rig.open(max_bytes=60_000, keep_seconds_s=10 * 86400.0)
    for hour in range(24):
        for minute in range(0, 60, 5):
            rig.write(HOUR + hour * 3600 + minute * 60, 12, StreamId("a"), score=hour + minute)
            rig.write(HOUR + hour * 3600 + minute * 60, 12, StreamId("b"), score=hour - minute)
        rig.pass_time(3600)
        rig.file.prune()
        assert rig.file.bytes_used() <= 60_000
    assert rig.file.share < 1.0
    newest = rig.scores(stream=StreamId("b"))
    assert max(newest) == 24 * 3600 - 300 + 11
    assert rig.path.stat().st_size < 5_000_000


@pytest.mark.parametrize("other", ["program", "newer"])
def test_files_of_others_are_refused_and_left_as_they_are(tmp_path: Path, other: str) -> None:
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as db:
        if other == "program":
            db.execute("CREATE TABLE theirs (x)")
        else:
            db.execute("PRAGMA user_version = 99")
        db.commit()
    content = path.read_bytes()
    with pytest.raises(HistoryRefused, match=r"not a history|newer"):
        Rig(path)
    assert path.read_bytes() == content
    with pytest.raises(HistoryRefused):
        HistoryReader(path)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match=r"history\.db: it cannot be opened"):
        HistoryReader(tmp_path / "history.db")
    (tmp_path / "history.db").write_bytes(b"x" * 9000)
    with pytest.raises(MonitorError, match=r"history\.db: it is no database"):
        HistoryReader(tmp_path / "history.db")


def test_a_history_on_a_read_only_disk_can_be_read(rig: Rig) -> None:
    rig.write(HOUR, 5)
    rig.file.close()
    rig.path.chmod(0o444)
    assert len(rig.scores()) == 5
