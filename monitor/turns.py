"""Work for each of many things, in turns that are short enough for whatever else waits for the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: A tenth of what the event loop's lag may be, and some streams' worth of a second's work.
TURN_S = 0.004


async def in_turns(
    items: Mapping[K, V],
    work: Callable[[K, V], object],
    *,
    turn_s: float = TURN_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Does it for each item of a mapping that may change meanwhile; an item that is gone by its turn is left out.

    Args:
        items: As they are now.
        work: Called with key and value, on the event loop.
        turn_s: After so long others get a turn.
        clock: Monotonic seconds.
    """
    began_s = clock()
    for key, value in list(items.items()):
        if items.get(key) is not value:
            continue
        work(key, value)
        if clock() - began_s >= turn_s:
            await asyncio.sleep(0)
            began_s = clock()
