from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.store import ledger as ledger_module
from monitor.store.ledger import CorruptLedger, Ledger, LedgerRefused, read_standing
from monitor.store.standing import Addressed, Delivered, Standing, key_of
from monitor.types import AlertEvent, Severity, StreamId

CAM = StreamId("cam")
NOW = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[3]


def raised(seq: int, stream: str = "cam", rule: str = "lost", at_s: float = NOW) -> AlertEvent:
    return AlertEvent(
        f"{stream}-{seq}",
        seq,
        StreamId(stream),
        rule,
        Severity.MAJOR,
        "raised",
        at_s,
        0.1,
        1.0,
        None,
        "blur",
        0.7,
        at_s,
    )


def cleared(event: AlertEvent, seq: int, at_s: float = NOW) -> AlertEvent:
    return replace(event, seq=seq, status="cleared", cleared_at=at_s)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    ledgers: list[Ledger] = []

    def open_(name: str = "vqwatch.db", **more: object) -> Ledger:
        ledgers.append(Ledger(tmp_path / name, **{"clock": lambda: NOW, "busy_s": 0.05} | more))  # type: ignore[arg-type]
        return ledgers[-1]

    yield open_
    for ledger in ledgers:
        ledger.close()


def test_what_was_written_is_read_back_to_the_last_bit_by_the_next_process(opened: Callable[..., Ledger]) -> None:
    first = raised(1)
    events = [first, raised(1, "other", "black"), cleared(first, 2, NOW + 1 / 3)]
    ledger = opened()
    ledger.write(events)
    ledger.write([Delivered(key_of(first))])
    ledger.close()
    again = opened()
    assert again.events() == events
    assert again.standing() == Standing(
        active={"other-1": events[1]},
        undelivered={key_of(e): e for e in events[1:]},
        next_seq={CAM: 3, StreamId("other"): 2},
    )


def test_an_event_written_twice_is_there_once_and_not_owed_again(opened: Callable[..., Ledger]) -> None:
    ledger = opened()
    ledger.write([raised(1), Delivered(key_of(raised(1)))])
    ledger.write([raised(1)])
    assert ledger.events() == [raised(1)]
    assert not ledger.standing().undelivered


def test_each_destination_has_its_own_acknowledgements_also_for_the_next_process(opened: Callable[..., Ledger]) -> None:
    events = [raised(seq) for seq in range(1, 5)]
    ledger = opened()
    ledger.write([Addressed(events[0], ("a", "b")), Addressed(events[1], ()), Addressed(events[2], ("b",)), events[3]])
    ledger.write([Delivered(key_of(events[0])), Delivered(key_of(events[0]), "b"), Delivered(key_of(events[1]), "b")])
    ledger.close()
    standing = opened().standing()
    assert standing.undelivered == {key_of(e): e for e in events[1:]}
    assert standing.owed == {"a": {key_of(events[0]): events[0]}, "b": {key_of(events[2]): events[2]}}


def test_what_is_written_and_what_a_standing_takes_in_agree(opened: Callable[..., Ledger]) -> None:
    entries = [
        Addressed(raised(1), ("a", "b")),
        Addressed(raised(2), ("a",)),
        Delivered(key_of(raised(1)), "a"),
        Delivered(key_of(raised(1)), "b"),
        Delivered(key_of(raised(2))),
        Delivered(key_of(raised(9)), "nobody"),
    ]
    ledger, mirror = opened(), Standing()
    ledger.write(entries)
    for entry in entries:
        mirror.take(entry)
    assert ledger.standing() == mirror
    copy = mirror.copy()
    mirror.take(Delivered(key_of(raised(2)), "a"))
    assert copy == ledger.standing() != mirror
    heir = opened("heir.db")
    heir.adopt(copy)
    assert heir.standing() == copy


# As the first version made it; what was released is not to be edited.
TABLES_1 = """
CREATE TABLE event (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,
    status TEXT NOT NULL, raised_at REAL NOT NULL, value REAL, threshold REAL, cleared_at REAL, cause TEXT,
    cause_p REAL, worst_at REAL,
    UNIQUE (stream, seq, id)
);
CREATE INDEX event_of_alert ON event (id);
CREATE TABLE outbox (position INTEGER PRIMARY KEY REFERENCES event (position) ON DELETE CASCADE);
CREATE TABLE active (position INTEGER PRIMARY KEY REFERENCES event (position));
CREATE TABLE stream (name TEXT PRIMARY KEY, next_seq INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO event VALUES (1, 'cam', 1, 'cam-1', 'lost', 'major', 'raised', 1800000000.0, 0.1, 1.0, NULL, 'blur', 0.7,
    1800000000.0);
INSERT INTO event VALUES (2, 'cam', 2, 'cam-2', 'lost', 'major', 'raised', 1800000000.0, 0.1, 1.0, NULL, 'blur', 0.7,
    1800000000.0);
INSERT INTO outbox VALUES (2);
INSERT INTO active VALUES (1);
INSERT INTO active VALUES (2);
INSERT INTO stream VALUES ('cam', 3);
PRAGMA application_id = 0x76717761;
PRAGMA user_version = 1;
"""


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    path = tmp_path / "vqwatch.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(TABLES_1)
    return path


def test_a_ledger_of_the_first_version_goes_on_with_all_that_it_held(
    opened: Callable[..., Ledger], first_version: Path
) -> None:
    one, two = raised(1), raised(2)
    held = Standing({e.id: e for e in (one, two)}, {key_of(two): two}, {CAM: 3})
    assert read_standing(first_version) == held
    ledger = opened()
    assert not ledger.created
    assert ledger.standing() == held
    assert ledger.events() == [one, two]
    ledger.write([Addressed(cleared(one, 3), ("a",)), Delivered(key_of(two))])
    ledger.close()
    again = opened().standing()
    assert list(again.undelivered) == list(again.owed["a"]) == [key_of(cleared(one, 3))]
    assert list(again.active) == ["cam-2"]


def test_a_migration_that_fails_leaves_the_first_version_whole(
    opened: Callable[..., Ledger], first_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ledger_module._FROM_1
    monkeypatch.setattr(ledger_module, "_FROM_1", whole.replace("DROP TABLE outbox_1", "DROP TABLE not_there"))
    with pytest.raises(sqlite3.OperationalError, match="not_there"):
        opened()
    monkeypatch.setattr(ledger_module, "_FROM_1", whole)
    assert list(opened().standing().undelivered) == [key_of(raised(2))]


def test_an_event_dropped_for_want_of_room_counts_once_however_many_it_was_owed_to(
    opened: Callable[..., Ledger],
) -> None:
    ledger = opened(keep_most=5, keep_least=1)
    ledger.write([Addressed(raised(seq), ("a", "b")) for seq in range(1, 9)])
    ledger.prune()
    assert ledger.dropped == 3
    assert len(ledger.standing().owed["a"]) == 5


def test_a_write_that_fails_half_way_leaves_nothing_behind(opened: Callable[..., Ledger]) -> None:
    ledger = opened()
    bad = replace(raised(2), rule=None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write([raised(1), bad])
    assert ledger.events() == []
    assert ledger.standing() == Standing()
    ledger.write([raised(1)])
    assert ledger.events() == [raised(1)]


def test_a_full_file_refuses_whole_writes_and_takes_them_once_there_is_room(opened: Callable[..., Ledger]) -> None:
    ledger = opened()
    ledger._db.execute("PRAGMA max_page_count = 12").fetchall()
    written: list[AlertEvent] = []

    def fill() -> None:
        for number in range(1, 10_000):
            ledger.write([raised(number)])
            written.append(raised(number))

    with pytest.raises(sqlite3.OperationalError) as caught:
        fill()
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert ledger.events() == written
    ledger._db.execute("PRAGMA max_page_count = 100000").fetchall()
    ledger.write([raised(len(written) + 1)])
    assert len(ledger.events()) == len(written) + 1


def test_old_delivered_events_go_and_what_is_active_or_owed_stays(opened: Callable[..., Ledger]) -> None:
    now = [NOW]
    ledger = opened(keep_s=100.0, keep_least=2, clock=lambda: now[0])
    up, owed = raised(1, rule="black"), raised(2)
    ledger.write([up, owed, Delivered(key_of(up))])
    for seq in range(3, 23, 2):
        event = raised(seq)
        ledger.write(
            [event, cleared(event, seq + 1), Delivered(key_of(event)), Delivered(key_of(cleared(event, seq + 1)))]
        )
    ledger.prune()
    assert len(ledger.events()) == 22
    now[0] += 101
    ledger.prune()
    assert [event.seq for event in ledger.events()] == [1, 2, 21, 22]
    assert ledger.standing().next_seq == {CAM: 23}
    assert ledger.dropped == 0


def test_the_number_of_events_and_the_file_are_bounded_also_when_nobody_takes_delivery(
    opened: Callable[..., Ledger], tmp_path: Path
) -> None:
    ledger = opened(keep_most=500, keep_least=10)
    sizes = []
    for start in range(1, 8_001, 250):
        events = [cleared(raised(seq), seq) for seq in range(start, start + 250)]
        ledger.write(events)
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert len(ledger.events()) == len(ledger.standing().undelivered) == 500
    assert ledger.dropped == 7_500
    assert max(sizes[16:]) <= 1.2 * max(sizes[:16])
    assert ledger.standing().next_seq == {CAM: 8_001}


def test_a_clock_that_leaps_ahead_or_back_neither_empties_nor_reorders(opened: Callable[..., Ledger]) -> None:
    ledger = opened(keep_s=100.0, keep_least=50, clock=lambda: NOW + 1e9)
    events = [cleared(raised(seq, at_s=NOW - 1e6 * seq), seq, NOW + 1e7 * (-1) ** seq) for seq in range(1, 41)]
    ledger.write([*events, *(Delivered(key_of(event)) for event in events)])
    ledger.prune()
    assert ledger.events() == events


def test_a_damaged_file_is_told_apart_from_another_programs_and_a_newer_version_of_ours(
    opened: Callable[..., Ledger], tmp_path: Path
) -> None:
    (tmp_path / "garbage.db").write_bytes(b"no database at all, " * 500)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        opened("garbage.db")
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_NOTADB

    ledger = opened("torn.db")
    ledger.write([raised(seq) for seq in range(1, 400)])
    ledger.close()
    content = bytearray((tmp_path / "torn.db").read_bytes())
    content[8 * 4096 : 12 * 4096] = bytes(4 * 4096)
    (tmp_path / "torn.db").write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        opened("torn.db")
    assert isinstance(caught.value, CorruptLedger) or caught.value.sqlite_errorcode == sqlite3.SQLITE_CORRUPT

    for name, statement, words in (
        ("foreign.db", "CREATE TABLE accounts (name)", "not a database of vqwatch"),
        ("newer.db", "PRAGMA user_version = 99", "written by a newer vqwatch"),
    ):
        other = sqlite3.connect(tmp_path / name)
        other.execute(statement)
        other.close()
        before = (tmp_path / name).read_bytes()
        with pytest.raises(LedgerRefused, match=f"{name}: {words}"):
            opened(name)
        assert (tmp_path / name).read_bytes() == before


def test_a_new_file_takes_over_what_a_lost_one_held_open(opened: Callable[..., Ledger]) -> None:
    lost = opened("lost.db")
    lost.write([raised(1), raised(2, rule="black"), raised(1, "other"), Delivered(key_of(raised(1)))])
    new = opened()
    new.adopt(lost.standing())
    assert new.standing() == lost.standing()


def test_a_ledger_that_can_only_be_read_still_says_what_stands(opened: Callable[..., Ledger], tmp_path: Path) -> None:
    ledger = opened()
    ledger.write([raised(1)])
    path = tmp_path / "vqwatch.db"
    assert read_standing(path) == ledger.standing()  # beside its writer
    standing = ledger.standing()
    ledger.close()
    assert not path.with_name("vqwatch.db-wal").exists()
    assert read_standing(path) == standing
    assert read_standing(tmp_path / "none.db") is None


def test_alerts_of_a_stream_or_rule_that_is_gone_are_cleared_with_the_next_numbers() -> None:
    standing = Standing()
    events = [raised(1, "gone"), raised(1), raised(2, rule="black"), raised(3)]  # two of one rule: 1 and 3
    for event in events:
        standing.take(event)
    clears = standing.close_orphans({(CAM, "lost")}, NOW + 9)
    assert clears == [
        cleared(events[0], 2, NOW + 9), cleared(events[1], 4, NOW + 9), cleared(events[2], 5, NOW + 9)
    ]  # fmt: skip
    assert standing.active_on(CAM) == (events[3],)
    assert list(standing.active) == [events[3].id]
    assert standing.next_seq == {CAM: 6, StreamId("gone"): 3}


class LedgerMachine(RuleBasedStateMachine):
    """Any interleaving of raises, clears, deliveries and crashes, against a list and a set."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.lives = 0
        self.ledger = self.open()
        self.recorded: list[AlertEvent] = []
        self.owed: list[AlertEvent] = []
        self.up: dict[str, list[AlertEvent]] = {"a": [], "b": [], "c": []}
        self.seq = dict.fromkeys(self.up, 1)

    def open(self) -> Ledger:
        return Ledger(Path(self.folder.name) / f"{self.lives}.db", clock=lambda: NOW)

    def write(self, *events: AlertEvent) -> None:
        self.ledger.write(events)
        self.recorded += events
        self.owed += events

    def number(self, stream: str) -> int:
        self.seq[stream] += 1
        return self.seq[stream] - 1

    @rule(streams=st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
    def raise_(self, streams: list[str]) -> None:
        events = [raised(self.number(stream), stream) for stream in streams]
        self.write(*events)
        for event in events:
            self.up[event.stream].append(event)

    @rule(stream=st.sampled_from("abc"))
    def clear(self, stream: str) -> None:
        if self.up[stream]:
            self.write(cleared(self.up[stream].pop(), self.number(stream)))

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        event = self.owed.pop(data.draw(st.integers(0, len(self.owed) - 1)))
        self.ledger.write([Delivered(key_of(event))])

    @precondition(lambda self: self.recorded)
    @rule(data=st.data())
    def write_again(self, data: st.DataObject) -> None:
        self.ledger.write([data.draw(st.sampled_from(self.recorded))])

    @rule()
    def crash(self) -> None:
        """What a killed process leaves: the file and its log as they are now, and no shared memory."""
        path = self.ledger.path
        self.lives += 1
        for suffix in ("", "-wal"):
            if Path(f"{path}{suffix}").exists():
                shutil.copy(f"{path}{suffix}", path.with_name(f"{self.lives}.db{suffix}"))
        self.ledger.close()
        self.ledger = self.open()

    @rule()
    def close_and_open(self) -> None:
        self.ledger.close()
        self.ledger = self.open()

    @invariant()
    def holds_everything_once(self) -> None:
        assert self.ledger.events() == self.recorded
        standing = self.ledger.standing()
        assert sorted(standing.undelivered) == sorted(key_of(event) for event in self.owed)
        assert sorted(standing.active) == sorted(event.id for events in self.up.values() for event in events)
        for stream, next_seq in self.seq.items():
            seqs = [event.seq for event in self.recorded if event.stream == stream]
            assert seqs == list(range(1, next_seq))
            assert standing.next_seq.get(StreamId(stream), 1) == next_seq

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


TestAnyInterleaving = LedgerMachine.TestCase
TestAnyInterleaving.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_thirty_kills_lose_nothing_that_was_reported_recorded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.monitor.store.killed_writers", str(tmp_path / "vqwatch.db"), "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    said: dict[str, set[int]] = {"recorded": set(), "delivered": set()}
    kills = 0
    for line in done.stdout.splitlines():
        word, rest = line.split(" ", 1)
        if word in said:
            said[word].add(int(rest))
            continue
        kills += 1
        found = json.loads(rest)
        assert found["seqs"] == list(range(1, len(found["seqs"]) + 1))
        assert said["recorded"] <= set(found["seqs"])
        assert not said["delivered"] & set(found["undelivered"])
        assert found["next_seq"] == len(found["seqs"]) + 1
        assert found["active"] == len(found["seqs"]) % 2
    assert kills == 30
    assert len(said["recorded"]) >= 15
