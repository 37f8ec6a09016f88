from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.errors import UsageError
from monitor.store.history import History
from monitor.types import Condition, HistoryQuery, Status, StreamId

CAM = StreamId("cam")
ROOT = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("VQWATCH_KILLS", "12"))
NOW_MS = int(time.time()) * 1000


def second(n: int) -> Record:
    metrics = dict.fromkeys(METRICS) | {"score": float(n), "band": 3.0}
    return Record(NOW_MS + n * 1000, Status.OK, Condition.BLACK, metrics, cause="blur")


def query(*fields: str, streams: tuple[StreamId, ...] = (), hours: float = 1) -> HistoryQuery:
    return HistoryQuery(streams, NOW_MS, NOW_MS + round(hours * 3_600_000), False, fields)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_was_said_a_moment_ago_can_be_read(tmp_path: Path) -> None:
    async with History(tmp_path, flush_s=60) as history:
        for n in range(3):
            history.append(CAM, second(n))
        found = await history.read(query("score", "condition", "band", "cause", "drop"))
        assert found == {
            "cam": {
                "ts": [NOW_MS, NOW_MS + 1000, NOW_MS + 2000],
                "score": [0.0, 1.0, 2.0],
                "condition": ["black"] * 3,
                "band": ["fair"] * 3,
                "cause": ["blur"] * 3,
                "drop": [None] * 3,
            }
        }
        with pytest.raises(UsageError, match="unknown fields: sore"):
            await history.read(query("sore"))
        with pytest.raises(UsageError, match="no history of: x"):
            await history.read(query("score", streams=(StreamId("x"),)))
        with pytest.raises(UsageError, match="more than 180000"):
            await history.read(query("score", hours=51))
    async with History(tmp_path) as history:
        assert (await history.read(query("score")))["cam"]["score"] == [0.0, 1.0, 2.0]


async def test_a_file_that_cannot_be_used_is_declared_once_and_taken_up_with_what_waited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.db").mkdir()
    async with History(tmp_path, flush_s=0.02, retry_s=0.02, max_waiting=5) as history:
        await until(lambda: history.trouble)
        assert history.trouble == "it cannot be opened"
        for n in range(8):
            history.append(CAM, second(n))
        await asyncio.sleep(0.2)  # several attempts, which say nothing new
        (tmp_path / "history.db").rmdir()
        await until(lambda: history.trouble is None)
        assert (await history.read(query("score")))["cam"]["score"] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert [line.split()[0] for line in failures(caplog)] == ["event=history_failed", "event=history_lost"]
    assert "3 seconds were never recorded" in failures(caplog)[1]


async def test_a_slow_disk_does_not_hold_the_loop(tmp_path: Path) -> None:
    async with History(tmp_path, flush_s=0.02, retry_s=0.02) as history:
        history.append(CAM, second(0))
        await history.flush()
        with closing(sqlite3.connect(history.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for n in range(1, 50):
                began = time.perf_counter()
                history.append(CAM, second(n))
                assert time.perf_counter() - began < 0.5
                await asyncio.sleep(0.005)
            other.execute("ROLLBACK")
        await until(lambda: history.trouble is None)
        assert len((await history.read(query("score")))["cam"]["score"]) == 50


@pytest.mark.parametrize("damage", ["garbage", "torn"])
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "history.db"
    async with History(tmp_path, flush_s=0.02) as history:
        for n in range(3000):
            history.append(StreamId(f"s{n % 50}"), second(n))
        await history.flush()
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content[:9000] = b"x" * 9000
    else:
        content[2 * 4096 :] = bytes(len(content) - 2 * 4096)
    path.write_bytes(content)
    async with History(tmp_path, flush_s=0.02, retry_s=0.02) as history:
        history.append(StreamId("s1"), second(3001))
        found = await history.read(query("score"))
        assert found == {"s1": {"ts": [NOW_MS + 3_001_000], "score": [3001.0]}}
        assert history.trouble is None
    assert (tmp_path / "history.db.corrupt").read_bytes() == content
    assert [line.split()[0] for line in failures(caplog)] == ["event=history_corrupt"]


async def test_a_foreign_file_is_left_alone_and_scoring_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "history.db")) as db:
        db.execute("CREATE TABLE theirs (x)")
    async with History(tmp_path, flush_s=0.02) as history:
        history.append(CAM, second(0))
        await until(lambda: history.trouble)
        assert history.trouble is not None
        assert "not a history of vqwatch" in history.trouble
    assert not (tmp_path / "history.db.corrupt").exists()


def test_on_a_full_disk_seconds_wait_and_are_all_recorded_once_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.monitor.store.full_history", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["trouble"] in ("the disk is full", "the disk cannot be read or written")
    assert told["whole"], told
    assert told["slowest_append_s"] < 1.0
    assert "Traceback" not in done.stderr


def test_killed_writers_lose_nothing_that_was_recorded(tmp_path: Path) -> None:
    """VQWATCH_KILLS sets their number."""
    path = tmp_path / "history.db"
    command = [sys.executable, "-m", "tests.monitor.store.killed_history", str(path), str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55 + KILLS)
    assert done.returncode == 0, done.stderr
    recorded = -1
    finds = 0
    for line in done.stdout.splitlines():
        word, rest = line.split(" ", 1)
        if word == "recorded":
            recorded = int(rest)
        else:
            count, newest = json.loads(rest)
            assert newest >= recorded
            assert count == newest + 1  # no gap
            finds += 1
    assert finds == KILLS
    assert recorded > KILLS
