from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.errors import MonitorError, UsageError
from monitor.store.alert_log import AlertLog
from monitor.store.standing import key_of
from monitor.types import AlertEvent, Severity, StreamId

CAM = StreamId("cam")
ROOT = Path(__file__).resolve().parents[3]


def raised(seq: int, rule: str = "lost") -> AlertEvent:
    return AlertEvent(f"id-{seq}", seq, CAM, rule, Severity.MAJOR, "raised", 1_800_000_000.0)


def cleared(event: AlertEvent, seq: int) -> AlertEvent:
    return replace(event, seq=seq, status="cleared", cleared_at=1_800_000_009.0)


class Receiver:
    """Keeps what it is sent, as far as it has room."""

    def __init__(self) -> None:
        self.got: list[AlertEvent] = []
        self.room = 10**6

    def send(self, event: AlertEvent) -> bool:
        if len(self.got) >= self.room:
            return False
        self.got.append(event)
        return True


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def recorded(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "vqwatch.db")) as db:
        return [row[0] for row in db.execute("SELECT seq FROM event ORDER BY position")]


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_event_is_on_the_disk_when_it_is_sent(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def send(event: AlertEvent) -> bool:
        seen.append(recorded(tmp_path))
        assert event.seq in seen[-1]
        return True

    async with AlertLog(tmp_path, send) as log:
        for seq in range(1, 6):
            log.append(raised(seq))
        await log.flush(20)
        assert len(seen) == 5
        assert log.trouble is None


async def test_the_next_run_sends_again_what_nobody_acknowledged_and_knows_what_is_up(tmp_path: Path) -> None:
    receiver = Receiver()
    first = raised(1)
    events = [first, cleared(first, 2), raised(3, "black"), raised(4, "quality")]
    async with AlertLog(tmp_path, receiver.send) as log:
        for event in events:
            log.append(event)
        await log.flush(20)
        for event in (events[0], events[2]):
            log.delivered(event)
    assert receiver.got == events

    again = Receiver()
    async with AlertLog(tmp_path, again.send) as log:
        log.send_undelivered()
        assert again.got == [events[1], events[3]]
        assert list(log.standing.active.values()) == events[2:]
        assert log.standing.next_seq == {CAM: 5}
        for event in again.got:
            log.delivered(event)
    async with AlertLog(tmp_path, again.send) as log:
        assert not log.standing.undelivered


class Others:
    """Keeps what each other destination is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.got: dict[str, list[AlertEvent]] = {}

    def send(self, destination: str, event: AlertEvent) -> None:
        assert event.seq in recorded(self.folder)
        self.got.setdefault(destination, []).append(event)


async def test_other_destinations_get_what_is_theirs_and_the_next_run_what_they_did_not_acknowledge(
    tmp_path: Path,
) -> None:
    receiver, others = Receiver(), Others(tmp_path)
    receiver.room = 0  # MQTT, which takes nothing, holds nobody else up
    events = [raised(seq) for seq in range(1, 5)]
    async with AlertLog(tmp_path, receiver.send, send_to=others.send) as log:
        for event, also in zip(events, [("a", "b"), ("b",), (), ("a",)], strict=True):
            log.append(event, also)
        await log.flush(20)
        assert others.got == {"a": [events[0], events[3]], "b": [events[0], events[1]]}
        log.delivered(events[0], "a")
        log.delivered(events[1], "b")

    again = Others(tmp_path)
    async with AlertLog(tmp_path, Receiver().send, send_to=again.send) as log:
        log.send_undelivered()
        assert again.got == {"a": [events[3]], "b": [events[0]]}
        assert len(log.standing.undelivered) == 4


async def test_a_receiver_without_room_gets_the_rest_in_order_as_it_delivers(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.room = 2
    async with AlertLog(tmp_path, receiver.send) as log:
        for seq in range(1, 6):
            log.append(raised(seq))
        await log.flush(20)
        assert [event.seq for event in receiver.got] == [1, 2]
        for event in list(receiver.got):
            receiver.room += 1
            log.delivered(event)
        assert [event.seq for event in receiver.got] == [1, 2, 3, 4]
    async with AlertLog(tmp_path, receiver.send) as log:
        assert [key.seq for key in log.standing.undelivered] == [3, 4, 5]


async def test_while_another_process_holds_the_file_alerts_go_out_from_memory_and_are_recorded_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    async with AlertLog(tmp_path, receiver.send, busy_s=0.05, retry_s=0.05) as log:
        log.append(raised(1))
        await log.flush(20)
        with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            log.append(raised(2))
            await until(lambda: log.trouble)
            assert log.trouble == "another process holds it"
            log.append(raised(3))
            assert [event.seq for event in receiver.got] == [1, 2, 3]
            log.delivered(receiver.got[2])
            await asyncio.sleep(0.3)  # several attempts, which say nothing new
            other.execute("ROLLBACK")
        await until(lambda: log.trouble is None)
        assert recorded(tmp_path) == [1, 2, 3]
    assert len(failures(caplog)) == 1
    assert str(log.path) in failures(caplog)[0]
    assert [r for r in caplog.records if "event=ledger_recovered" in r.getMessage()]
    async with AlertLog(tmp_path, receiver.send) as log:
        assert [key.seq for key in log.standing.undelivered] == [1, 2]


async def test_a_disk_that_does_not_answer_holds_no_alert_back_and_not_the_loop(tmp_path: Path) -> None:
    receiver = Receiver()
    async with AlertLog(tmp_path, receiver.send, busy_s=60, late_s=0.1) as log:
        with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            log.append(raised(1))
            await until(lambda: receiver.got)
            assert log.trouble == "the disk does not answer"
            log.append(raised(2))
            assert [event.seq for event in receiver.got] == [1, 2]
            other.execute("ROLLBACK")
        await until(lambda: log.trouble is None)
        await until(lambda: recorded(tmp_path) == [1, 2])
    assert [event.seq for event in receiver.got] == [1, 2]


async def test_a_file_that_cannot_be_opened_is_declared_and_taken_up_once_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    (tmp_path / "vqwatch.db").mkdir()
    async with AlertLog(tmp_path, receiver.send, retry_s=0.05) as log:
        assert log.trouble == "it cannot be opened"
        log.append(raised(1))
        assert receiver.got == [raised(1)]
        (tmp_path / "vqwatch.db").rmdir()
        await until(lambda: log.trouble is None)
        assert recorded(tmp_path) == [1]
    assert len(failures(caplog)) == 1


async def test_an_old_ledger_that_comes_back_late_still_gets_its_alerts_delivered(tmp_path: Path) -> None:
    receiver = Receiver()
    async with AlertLog(tmp_path, receiver.send) as log:
        log.append(raised(1))
        await log.flush(20)
    (tmp_path / "vqwatch.db").rename(tmp_path / "away")
    (tmp_path / "vqwatch.db").mkdir()
    receiver.got.clear()
    async with AlertLog(tmp_path, receiver.send, retry_s=0.05) as log:
        log.send_undelivered()
        assert receiver.got == []
        (tmp_path / "vqwatch.db").rmdir()
        (tmp_path / "away").rename(tmp_path / "vqwatch.db")
        await until(lambda: log.trouble is None)
        assert receiver.got == [raised(1)]


@pytest.mark.parametrize("damage", ["garbage", "torn"])
async def test_a_damaged_file_is_set_aside_whole_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    receiver = Receiver()
    path = tmp_path / "vqwatch.db"
    async with AlertLog(tmp_path, receiver.send) as log:
        for seq in range(1, 400):
            log.append(raised(seq))
        await log.flush(20)
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content[:4096] = b"x" * 4096
    else:
        content[8 * 4096 : 12 * 4096] = bytes(4 * 4096)
    path.write_bytes(content)
    async with AlertLog(tmp_path, receiver.send) as log:
        assert log.trouble is None
        log.append(raised(1))
        await log.flush(20)
        assert recorded(tmp_path) == [1]
    assert (tmp_path / "vqwatch.db.corrupt-1").read_bytes() == content
    assert len(failures(caplog)) == 1
    assert "set aside as" in failures(caplog)[0]


@pytest.mark.parametrize("loss", ["removed", "overwritten"])
async def test_a_file_lost_while_it_is_used_is_made_anew_with_all_that_is_up_and_owed(
    tmp_path: Path, loss: str
) -> None:
    receiver = Receiver()
    path = tmp_path / "vqwatch.db"
    events = [raised(1), raised(2, "black"), raised(3, "quality")]
    async with AlertLog(tmp_path, receiver.send, busy_s=0.05, retry_s=0.2) as log:
        log.append(events[0])
        log.append(events[1])
        await log.flush(20)
        if loss == "removed":
            log.delivered(events[0])
            await until(lambda: not log._todo)
            path.unlink()
        else:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                log.delivered(events[0])  # cannot be written now
                await until(lambda: log.trouble)
                path.write_bytes(b"x" * 40_960)
        log.append(events[2])
        await until(lambda: log.trouble is None and not log._todo)
        assert sorted(recorded(tmp_path)) == [1, 2, 3]
    async with AlertLog(tmp_path, receiver.send) as log:
        assert set(log.standing.active) == {event.id for event in events}
        assert set(log.standing.undelivered) == {key_of(event) for event in events[1:]}
        assert log.standing.next_seq == {CAM: 4}


async def test_two_monitors_on_one_folder_are_refused_by_the_files_name(tmp_path: Path) -> None:
    receiver = Receiver()
    async with AlertLog(tmp_path, receiver.send):
        with pytest.raises(MonitorError) as caught:
            await AlertLog(tmp_path, receiver.send).__aenter__()
        assert str(caught.value) == f"{tmp_path / 'vqwatch.db'}: another vqwatch uses it"
    async with AlertLog(tmp_path, receiver.send) as log:
        assert log.trouble is None


async def test_a_folder_that_is_a_file_is_a_mistake_in_the_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: not a folder"):
        await AlertLog(tmp_path / "file", Receiver().send).__aenter__()


async def test_memory_is_bounded_while_the_disk_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    (tmp_path / "vqwatch.db").mkdir()
    async with AlertLog(tmp_path, receiver.send, retry_s=0.05, max_waiting=10) as log:
        for seq in range(1, 101):
            log.append(raised(seq))
        assert len(receiver.got) == 100
        (tmp_path / "vqwatch.db").rmdir()
        await until(lambda: log.trouble is None)
        assert recorded(tmp_path)[-10:] == list(range(91, 101))
        assert len(recorded(tmp_path)) <= 20
    assert any("never recorded" in line for line in failures(caplog))


def test_on_a_full_disk_every_alert_goes_out_and_is_recorded_once_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.monitor.store.full_disk", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    everything = list(range(1, told["appended"] + 1))
    assert told["trouble"] in ("the disk is full", "the disk cannot be read or written")
    assert told["at_once"] == told["appended"]
    assert told["sent"] == told["recorded"] == everything
    assert "Traceback" not in done.stderr
