"""Calls from other threads onto the event loop, until nobody wants to hear of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class LoopCalls:
    """Runs calls on an event loop, in the order of their making.

    Args:
        loop: Which.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._silenced = False

    def silence(self) -> None:
        """Runs none from here on, not those either that are under way. On the loop's thread."""
        self._silenced = True

    def __call__(self, call: Callable[[], object]) -> None:
        """Runs ``call`` on the loop; from any thread. Dropped where nobody listens any more."""

        def unless_silenced() -> None:
            if not self._silenced:
                call()

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is on its way out
            self._loop.call_soon_threadsafe(unless_silenced)
