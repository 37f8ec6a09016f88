"""Plans on the disk: found, refused, rebuilt, and built once."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.plan_cache import PlanCache, PlanKey

KEY = PlanKey("a" * 64, "tensorrt 11.4.0", "NVIDIA H200", "9.0", "580.65", "f16", (((1, 3, 128, 128),) * 3,))


def test_a_plan_is_found_again_by_everything_that_it_depends_on(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    cache.store(KEY, b"plan\nwith\x00bytes")
    assert cache.load(KEY) == b"plan\nwith\x00bytes"
    for field in fields(PlanKey):
        other = ((((2, 3, 128, 128),) * 3,)) if field.name == "profiles" else "other"
        assert cache.load(replace(KEY, **{field.name: other})) is None
    assert [key["gpu"] for _, key in cache.plans()] == ["NVIDIA H200"]


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "empty"])
def test_a_damaged_or_foreign_plan_is_built_again(tmp_path: Path, damage: str) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"old plan")
    path = cache.path(KEY)
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-3])
        case "flip":
            path.write_bytes(content[:-1] + b"X")
        case "foreign":
            other = replace(KEY, gpu="NVIDIA L4")
            cache.store(other, b"old plan")
            cache.path(other).replace(path)
        case "empty":
            path.write_bytes(b"")
    assert cache.fetch(KEY, lambda: b"new plan", lambda plan: True) == b"new plan"
    assert cache.load(KEY) == b"new plan"


def test_a_plan_that_this_machine_cannot_load_is_built_again(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store(KEY, b"refused")
    assert cache.fetch(KEY, lambda: b"good", lambda plan: plan == b"good") == b"good"
    assert cache.fetch(KEY, lambda: pytest.fail("built twice"), lambda plan: plan == b"good") == b"good"


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)

    def build() -> bytes:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        cache.fetch(KEY, build, lambda plan: True)
    assert cache.load(KEY) is None
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_disk_that_refuses_costs_the_plan_not_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PlanCache, key: PlanKey, plan: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PlanCache, "store", full)
    assert PlanCache(tmp_path).fetch(KEY, lambda: b"plan", lambda plan: True) == b"plan"


def _fetch(folder: Path) -> None:
    def build() -> bytes:
        with (folder / "built").open("a") as log:
            log.write("once\n")
        time.sleep(0.3)
        return b"plan"

    assert PlanCache(folder).fetch(KEY, build, lambda plan: True) == b"plan"


def test_one_process_of_a_host_builds_and_the_others_take_its_plan(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fetch, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "built").read_text() == "once\n"
