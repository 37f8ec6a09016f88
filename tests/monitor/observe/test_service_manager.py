from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.observe.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@vqwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        manager.setblocking(False)
        yield manager, address


def heard(manager: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(64))
    return found


async def test_it_hears_of_readiness_life_and_the_end(listening: tuple[socket.socket, str]) -> None:
    manager, address = listening
    told = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "50000", "WATCHDOG_PID": str(os.getpid())})
    told.ready()
    living = asyncio.create_task(told.run())
    await asyncio.sleep(0.12)  # A socket holds eleven messages that nobody has read.
    living.cancel()
    told.stopping()
    first, *lives, last = heard(manager)
    assert (first, last) == (b"READY=1", b"STOPPING=1")
    assert len(lives) >= 2
    assert set(lives) == {b"WATCHDOG=1"}


async def test_no_signs_of_life_where_none_are_asked_of_this_process(listening: tuple[socket.socket, str]) -> None:
    manager, address = listening
    for asked in ({}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "often"}):
        await ServiceManager({"NOTIFY_SOCKET": address, **asked}).run()
    assert heard(manager) == []


async def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"WATCHDOG_USEC": "20000"}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        told = ServiceManager(environment)
        told.ready()
        await told.run()
        told.stopping()
