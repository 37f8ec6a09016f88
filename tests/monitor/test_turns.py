from __future__ import annotations

import asyncio

from monitor.turns import in_turns


async def test_others_get_a_turn_as_soon_as_one_is_over() -> None:
    now_s = 0.0
    done: list[int | str] = []

    def work(key: str, cost_ms: int) -> None:
        nonlocal now_s
        now_s += cost_ms / 1000
        done.append(key)

    async def other() -> None:
        while True:
            done.append(".")
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    await in_turns({"a": 1, "b": 1, "c": 3, "d": 9, "e": 1}, work, turn_s=0.004, clock=lambda: now_s)
    waiting.cancel()
    assert "".join(map(str, done)) == "abc.d.e"


async def test_what_is_gone_or_another_by_its_turn_is_left_out() -> None:
    items = {key: object() for key in "abcd"}
    done: list[str] = []

    def work(key: str, _: object) -> None:
        done.append(key)
        items.pop("b", None)
        items["c"] = object()
        items["e"] = object()

    await in_turns(items, work, turn_s=0.0)
    assert done == ["a", "d"]
