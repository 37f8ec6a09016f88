from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="trunks of other sizes are made with torch")

from benchmarks import cpu, gpu  # noqa: E402
from engines.base import Precision  # noqa: E402
from engines.bundle import BUNDLED, bundles_folder, load_bundle  # noqa: E402

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the peak's kernel needs a C compiler"
)
pytestmark = pytest.mark.train


def test_convolutions_of_a_graph_are_those_of_its_network(tmp_path: Path) -> None:
    case = gpu.Case("small", 18, (3, 96, 64), 1)
    bundle, _ = gpu.random_bundle(tmp_path, case)
    assert cpu.work_of(bundle.trunk_path, case.picture) == cpu.Work(0.0, gpu.work_of(18, case.picture).flop)


def test_what_a_graph_computes_in_int8_is_told_from_what_it_does_not() -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    int8 = bundle.manifest.trunk.int8
    assert int8 is not None
    exact = cpu.work_of(bundle.trunk_path, (3, 128, 128))
    mixed = cpu.work_of(bundle.path / int8.file, (3, 128, 128))
    assert exact.int8 == 0
    assert mixed.int8 + mixed.other == exact.other
    # The first convolution and the last stage are f32.
    assert 0.5 < mixed.int8 / exact.other < 0.9


@needs_compiler
def test_the_engine_is_held_against_the_peak_of_the_same_seconds(tmp_path: Path) -> None:
    peak = cpu.Peak(tmp_path, 1)
    assert peak.per_s(Precision.F32) > 1e9
    bundle = load_bundle(bundles_folder() / BUNDLED)
    row = cpu.measure("trunk", bundle, (3, 128, 128), Precision.F32, peak, 4, 2)
    assert row is not None
    work = cpu.work_of(bundle.trunk_path, (3, 128, 128))
    assert row.share == pytest.approx(row.per_s * work.other / row.peak, rel=0.3)
    assert "| trunk | f32 |" in cpu.table([row])


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="C compiler"):
        cpu.Peak(tmp_path, 1)
