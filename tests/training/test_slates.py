from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import main
from training.slates import draw_slates, write_slates

pytestmark = pytest.mark.train


def test_every_slate_is_out_of_the_bundled_models_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_slates(tmp_path, 640, 360)
    assert len(files) == len(draw_slates(64, 36))
    assert main(["score", "--json", "--threads", "1", *map(str, files)]) == 0
    for line in capsys.readouterr().out.splitlines():
        result = json.loads(line)
        flagged = sum(result.get("out_of_domain", {}).values())
        assert flagged > result["duration_s"] / 2, result["file"]
