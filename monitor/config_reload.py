"""Watches the configuration file, and applies what is right in it: on SIGHUP, or once it has changed and rests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from monitor.config import Config, LoadedConfig
from monitor.errors import UsageError
from monitor.observe.readings import ConfigReading

log = logging.getLogger("vqwatch.config")

#: A file is looked at this often; one that changed is read once it is the same at two looks.
LOOK_S = 1.0

_Look = tuple[tuple[int, int, int, int] | None, ...]


class ConfigReload:
    """Keeps the configuration in force equal to the file, as long as that is valid.

    All methods belong to the event loop's thread; files are read in another one.

    Args:
        load: Reads the file, and all that is checked before a start.
        files: What the present configuration was read from.
        apply: Takes a new configuration and says in words what it changed.
        look_s: Pause between two looks at the files.
    """

    def __init__(
        self,
        load: Callable[[], LoadedConfig],
        files: Iterable[Path],
        apply: Callable[[Config], Awaitable[str]],
        look_s: float = LOOK_S,
    ) -> None:
        self._load, self._apply, self._look_s = load, apply, look_s
        self._files = tuple(files)
        self._asked = asyncio.Event()
        self._applied = self._refused = 0
        self._problems: list[str] = []

    @property
    def reading(self) -> ConfigReading:
        """For the metrics."""
        return ConfigReading(not self._problems, self._applied, self._refused)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the file as it is now; empty where it is in force."""
        return list(self._problems)

    def ask(self) -> None:
        """Reads the file now; safe from signal handlers of the loop."""
        self._asked.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        taken = before = await asyncio.to_thread(_look_at, self._files)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._asked.wait()
            now = await asyncio.to_thread(_look_at, self._files)
            if self._asked.is_set() or (now != taken and now == before):
                self._asked.clear()
                await self._reload()
                # What was read may name other files. A change in between is seen at the next look.
                taken = now if len(now) == len(self._files) else await asyncio.to_thread(_look_at, self._files)
            before = now

    async def _reload(self) -> None:
        try:
            loaded = await asyncio.to_thread(self._load)
            said = await self._apply(loaded.config)
        except UsageError as error:
            self._refuse(str(error).splitlines())
            return
        except Exception as error:
            log.exception("event=bug the configuration was not taken")
            self._refuse([f"{self._files[0]}: {type(error).__name__}"])
            return
        self._files = loaded.files
        self._problems = []
        self._applied += 1
        log.info("event=config_reloaded %s", said)

    def _refuse(self, problems: list[str]) -> None:
        self._problems = problems
        self._refused += 1
        for problem in problems:
            log.error("event=config_invalid %s", problem)
        log.error("event=config_kept errors=%d the configuration before stays in force", len(problems))


def _look_at(files: tuple[Path, ...]) -> _Look:
    return tuple(_mark(file) for file in files)


def _mark(file: Path) -> tuple[int, int, int, int] | None:
    try:
        # Through links: a mounted configuration is replaced by turning one.
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
