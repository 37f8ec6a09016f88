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


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of test media and reference values that are not part of the repository; skips where absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("needs the reference material beside the checkout, which is not distributed")
    return SHARED
