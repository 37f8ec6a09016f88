from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.core.identifiers import uuid7
from monitor.store.evidence import EvidenceFolder

NOW_S = 1_795_341_600.0
DAY_S = 86400.0


def id_at(at_s: float, number: int = 0) -> str:
    return uuid7(int(at_s * 1000), number)


def curve(*ts: int) -> dict[str, list[int]]:
    return {"ts": list(ts), "score": [at + 100 for at in ts]}


def folder(path: Path, **options: Any) -> EvidenceFolder:
    return EvidenceFolder(path, **({"clock": lambda: NOW_S, "retry_s": 0.05} | options))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_evidence_can_be_read_at_once_and_after_a_restart(tmp_path: Path) -> None:
    one, two = id_at(NOW_S - 2), id_at(NOW_S - 1)
    async with folder(tmp_path) as evidence:
        evidence.put(one, {"alert": "one"}, b"jpeg")
        evidence.put(two, {"alert": "two"}, None)
        assert await evidence.document(one) == {"alert": "one"}
        assert await evidence.still(one) == b"jpeg"
        assert (evidence.has_still(one), evidence.has_still(two)) == (True, False)
    async with folder(tmp_path) as again:
        assert await again.document(two) == {"alert": "two"}
        assert await again.still(two) is None
        assert (again.has_still(one), again.has_still(two)) == (True, False)
        assert await again.recent(5) == [{"alert": "two"}, {"alert": "one"}]
        assert again.size_bytes == 3 * 4096
        assert again.trouble is None


async def test_a_clear_after_a_restart_adds_to_what_the_raise_left(tmp_path: Path) -> None:
    id_ = id_at(NOW_S)
    async with folder(tmp_path) as evidence:
        evidence.put(id_, {"raised": 1, "alert": "raised", "curve": curve(1, 2, 3)}, b"jpeg")
    async with folder(tmp_path) as again:
        again.put(id_, {"cleared": 2, "alert": "cleared", "curve": curve(3, 9)}, None, amend=True)
    async with folder(tmp_path) as third:
        document = await third.document(id_)
        assert document == {"raised": 1, "cleared": 2, "alert": "cleared", "curve": curve(1, 2, 3, 9)}
        assert await third.still(id_) == b"jpeg"


async def test_the_oldest_goes_when_the_quota_is_full(tmp_path: Path) -> None:
    ids = [id_at(NOW_S - 100 + number) for number in range(20)]
    async with folder(tmp_path, max_bytes=10 * 8192) as evidence:
        for id_ in ids:
            evidence.put(id_, {"id": id_}, b"x" * 3000)
        await eventually(lambda: not evidence._todo)
        assert evidence.size_bytes <= 10 * 8192
    kept = sorted(path.stem for path in (tmp_path / "evidence").iterdir())
    assert kept == sorted(ids[10:] * 2)


async def test_what_is_too_old_goes_but_a_leaping_clock_does_not_take_all(tmp_path: Path) -> None:
    old = [id_at(NOW_S - 31 * DAY_S, number) for number in range(3)]
    fresh = [id_at(NOW_S - DAY_S + number) for number in range(50)]
    async with folder(tmp_path) as evidence:
        for id_ in old + fresh:
            evidence.put(id_, {}, None)
        await eventually(lambda: not evidence._todo)
        evidence._pruned_s = float("-inf")
        evidence.put(fresh[0], {}, None)
    assert {path.stem for path in (tmp_path / "evidence").iterdir()} == set(fresh)
    async with folder(tmp_path, clock=lambda: NOW_S + 1000 * DAY_S) as leapt:
        await eventually(lambda: len(leapt._kept) < 50)
        assert len(leapt._kept) == 30


async def test_a_disk_that_refuses_is_said_once_and_the_newest_is_kept_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "evidence").write_text("a file stands in the way")
    ids = [id_at(NOW_S + number) for number in range(5)]
    caplog.set_level(logging.INFO, "vqwatch.evidence")
    async with folder(tmp_path, max_waiting=3) as evidence:
        for id_ in ids:
            evidence.put(id_, {"id": id_}, b"jpeg")
        assert await evidence.still(ids[4]) == b"jpeg"
        await eventually(lambda: evidence.trouble is not None)
        (tmp_path / "evidence").unlink()
        await eventually(lambda: evidence.trouble is None)
        assert await evidence.document(ids[1]) is None
        assert await evidence.document(ids[2]) == {"id": ids[2]}
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert told == ["event=evidence_failed", "event=evidence_recovered", "event=evidence_lost"]


async def test_half_written_files_go_and_those_of_others_stay(tmp_path: Path) -> None:
    place = tmp_path / "evidence"
    place.mkdir()
    (place / f"{id_at(NOW_S)}.json.part").write_text("{")
    (place / f"{id_at(NOW_S)}.json").write_text("not JSON")
    (place / "notes.txt").write_text("mine")
    async with folder(tmp_path) as evidence:
        assert await evidence.document(id_at(NOW_S)) is None
    assert sorted(os.listdir(place)) == sorted([f"{id_at(NOW_S)}.json", "notes.txt"])


@pytest.mark.parametrize("id_", ["../vqwatch", "", "x" * 36, "01a2076b-bf6e-7ceb-92dd-9ebfd959b9b0/../x"])
async def test_nothing_but_ids_is_looked_for(tmp_path: Path, id_: str) -> None:
    (tmp_path / "vqwatch.json").write_text("{}")
    async with folder(tmp_path) as evidence:
        assert await evidence.document(id_) is None
        with pytest.raises(ValueError, match="not the id"):
            evidence.put(id_, {}, None)


async def test_files_are_json_on_one_line_with_unicode_as_it_is(tmp_path: Path) -> None:
    async with folder(tmp_path) as evidence:
        evidence.put(id_at(NOW_S), {"stream": "küste"}, None)
    (file,) = (tmp_path / "evidence").iterdir()
    assert file.read_text() == '{"stream":"küste"}'
    assert json.loads(file.read_text())
