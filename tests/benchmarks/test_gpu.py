"""What of the GPU's benchmark needs no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from benchmarks.gpu import Case, Row, activation_ranges, main, random_bundle, table, work_of  # noqa: E402
from benchmarks.gpu_pictures import Way, decoded_by, measure_ways, ways_table  # noqa: E402
from engines.bundle import BUNDLED, bundles_folder, load_bundle  # noqa: E402
from engines.low_precision import convolutions  # noqa: E402
from monitor.ingest.hardware import Decoder  # noqa: E402
from monitor.pipeline.bundle_scoring import BundleScoring  # noqa: E402
from monitor.pipeline.capacity import make_clip  # noqa: E402

pytestmark = pytest.mark.train


def test_without_a_gpu_it_says_so_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([]) == 1
    captured = capsys.readouterr()
    assert "no NVIDIA GPU" in captured.err
    assert captured.out == ""


def test_the_roof_is_that_of_the_published_network() -> None:
    # He et al., 2016: ResNet-50 takes 4.09e9 multiply-adds at 224x224, its convolutions alone.
    work = work_of(50, (3, 224, 224))
    assert work.flop == pytest.approx(8.18e9, rel=0.01)
    full = work_of(50, (3, 1080, 1920))
    assert full.flop / work.flop == pytest.approx(1080 * 1920 / 224**2, rel=0.02)
    assert work.roof(790, 1e9) == pytest.approx(790e12 / work.flop)
    assert work.roof(1e9, 4.3) == pytest.approx(4.3e12 / work.bytes)


def test_int8_ranges_are_measured_where_the_graph_has_its_convolutions(tmp_path: Path) -> None:
    bundle, trunk = random_bundle(tmp_path, Case("small", 18, (3, 64, 64), 2))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    graph = bundle.trunk_path.read_bytes()
    found = activation_ranges(trunk, graph, pixels, "cpu")
    names = list(convolutions(graph))
    assert list(found) == names[1:]
    seen: dict[str, float] = {}
    hook = (
        trunk.layer3[0]
        .downsample[0]
        .register_forward_pre_hook(lambda _, inputs: seen.update(value=float(inputs[0].abs().max())))
    )
    with torch.inference_mode():
        trunk(torch.from_numpy(pixels))
    hook.remove()
    assert found["/layer3/layer3.0/downsample/downsample.0/Conv"] == pytest.approx(seen["value"])


def test_the_table_compares_with_torch() -> None:
    rows = [Row("a", "tensorrt f16", 300.0, 0.6, 0.001), Row("a", "torch", 150.0, 0.3, 0.002)]
    lines = table(rows).splitlines()
    assert lines[2] == "| a | tensorrt f16 | 300 | 0.60 | 0.0010 | 2.00 |"
    assert lines[3].endswith("| 1.00 |")


def test_decoders_are_compared_sample_by_sample_with_the_cpu(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(clip, 320, 180)
    scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
    ways = measure_ways(clip, scoring, feeds=(1, 2), seconds=0.3)
    by_cpu = [way for way in ways if way.decoder == "cpu"]
    assert [way.feeds for way in by_cpu] == [1, 2]
    assert all(way.decoded_by == "cpu" and (way.other_pixels, way.side_difference) == (0, 0) for way in by_cpu)
    assert all(way.pictures_per_s > 25 and way.core_ms > 0 for way in by_cpu)
    assert decoded_by(clip, Decoder.CPU) == "cpu"


def test_the_table_of_decoders_compares_feed_by_feed() -> None:
    ways = [
        Way("cpu", "cpu", 1, 100.0, 10.0, 0.0, 0.0),
        Way("cpu", "cpu", 8, 400.0, 10.0, 0.0, 0.0),
        Way("cuda-kept", "cuda-kept", 8, 2000.0, 0.5, 0.0001, 0.02),
    ]
    assert ways_table(ways).splitlines()[-1] == "| cuda-kept | cuda-kept | 8 | 2,000 | 0.50 | 0.0001 | 0.020 | 5.00 |"
