"""Fixtures shared by every test."""

from __future__ import annotations

import sys
from pathlib import Path

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
settings.register_profile("vqwatch", deadline=None)
settings.load_profile("vqwatch")


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where pytest-xdist shares out the tests: files stay whole, and whole monitors on live feeds run one at a time.

    A file stays whole because its tests share what is dear to make. The tests of tests/e2e with real servers hold a
    monitor to the clock, so no two of them are beside each other. What waits comes first and what takes long next:
    else one process would still be at those when the other has nothing left to do.
    """
    if not hasattr(config, "workerinput"):
        return
    waits, slow = ({item.path for item in items if item.get_closest_marker(name)} for name in ("servers", "slow"))
    for item in items:
        live = item.path in waits and item.path.parent.name == "e2e"
        item.add_marker(pytest.mark.xdist_group("live" if live else item.path.stem))
    items.sort(key=lambda item: (item.path.parent.name != "e2e", item.path not in waits, item.path not in slow))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of test media and reference values that are not part of the repository; skips where absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("needs the reference material beside the checkout, which is not distributed")
    return SHARED
