"""The systemd unit, as far as it can be held to anything without systemd as the first process."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.app import SHUTDOWN_S
from monitor.commands import run
from monitor.rule_sections import parse_duration

ROOT = Path(__file__).resolve().parents[2]
UNIT = (ROOT / "packaging" / "vqwatch.service").read_text()
ANALYZE = shutil.which("systemd-analyze")


def value(key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)
    return str(found)


def test_it_runs_a_command_that_exists_as_nobody_with_a_folder_of_its_own() -> None:
    program, *arguments = value("ExecStart").split()
    assert Path(program).name == "vqwatch"
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    assert arguments.pop(0) == "run"
    assert parser.parse_args(arguments).config == Path("/etc/vqwatch/config.yaml")
    assert value("DynamicUser") == "yes"
    assert value("StateDirectory") == value("ConfigurationDirectory") == "vqwatch"


def test_it_waits_longer_than_an_orderly_end_takes() -> None:
    stop = parse_duration(value("TimeoutStopSec"))
    assert isinstance(stop, float)
    assert stop > SHUTDOWN_S
    assert value("KillMode") == "mixed"  # readers are processes, which the monitor ends in order
    assert value("Type") == "notify"
    assert value("RestartPreventExitStatus") == "2"


def test_systemd_finds_nothing_wrong_with_it_and_little_to_be_exposed(tmp_path: Path) -> None:
    if ANALYZE is None:
        pytest.skip("needs systemd-analyze (Debian package systemd), which is not installed")
    unit = tmp_path / "vqwatch.service"
    # What it starts is not installed here.
    unit.write_text(UNIT.replace(value("ExecStart").split()[0], sys.executable))
    verified = subprocess.run([ANALYZE, "verify", str(unit)], capture_output=True, text=True)
    assert "vqwatch.service" not in verified.stderr, verified.stderr
    secure = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--threshold=20", str(unit)], capture_output=True, text=True
    )
    assert secure.returncode == 0, secure.stdout[-2000:] + secure.stderr
