"""Fixtures shared by every test."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The plugins below are modules of this tree, which is importable only where pytest was started as a module.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

pytest_plugins = [
    "tests.fixtures.streams",
    "tests.fixtures.transports",
    "tests.fixtures.transport",
    "tests.fixtures.hung_servers",
    "tests.fixtures.command_lines",
]

# Machines that run other work beside the tests are slow at random; time-outs belong to pytest.
# The same examples every time: whether a change passes must not be up to chance. `make long` tries others.
settings.register_profile("vqwatch", deadline=None, derandomize="VQWATCH_RANDOM" not in os.environ)
settings.load_profile("vqwatch")


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where pytest-xdist shares out the tests by file: those that are held to the clock are as one file.

    A file stays whole because its tests share what is dear to make. The process that shares out has collected nothing,
    so it looks for the mark in the text; the groups of pytest-xdist 3.8 are lost with pytest 9.2.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "realtime" if _is_realtime(config.rootpath / file) else file

    return Scheduling(config, log)


@cache
def _is_realtime(file: Path) -> bool:
    return "pytest.mark.realtime" in file.read_text()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a process of pytest-xdist: what waits comes first, and what takes long next.

    Else one process would still be at those when the other has nothing left to do.
    """
    if hasattr(config, "workerinput"):
        marked = [
            {item.path for item in items if item.get_closest_marker(name)} for name in ("realtime", "servers", "slow")
        ]
        items.sort(key=lambda item: [item.path not in paths for paths in marked])


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of test media and reference values that are not part of the repository; skips where absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("needs the reference material beside the checkout, which is not distributed")
    return SHARED
