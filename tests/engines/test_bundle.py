from __future__ import annotations

import json
import math
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from engines.bundle import (
    BUNDLED,
    Bundle,
    CalibrationPart,
    HeadPart,
    InputPart,
    Int8Part,
    Manifest,
    PoolingPart,
    RungPart,
    StatePart,
    TrunkPart,
    WeightsPart,
    bundles_folder,
    find_bundle,
    load_bundle,
    write_bundle,
)
from engines.errors import BundleError
from engines.preprocess import InputMode, InputSpec


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    trunk = tmp_path / "trunk.onnx"
    trunk.write_bytes(b"not a graph, but bytes with a hash")
    manifest = Manifest(
        name="test",
        version="1",
        input=InputPart(mode=InputMode.FRAGMENTS, colour="yuv"),
        trunk=TrunkPart(file="trunk.onnx", sha256="0" * 64, depth=18, width=0.25, feature_size=4),
        head=HeadPart(file="head.npz", sha256="0" * 64, kind="vsfa"),
    )
    return write_bundle(tmp_path / "test", manifest, {"fc_w": np.ones((2, 4))}, trunk)


def test_a_written_bundle_loads_again(bundle: Bundle) -> None:
    again = load_bundle(bundle.path)
    assert again.model_id == bundle.model_id
    np.testing.assert_array_equal(again.head_arrays["fc_w"], np.ones((2, 4)))


@pytest.mark.parametrize("file", ["trunk.onnx", "head.npz"])
def test_a_changed_file_is_refused_by_name(bundle: Bundle, file: str) -> None:
    damaged = bundle.path / file
    damaged.write_bytes(damaged.read_bytes() + b"x")
    with pytest.raises(BundleError, match=file):
        load_bundle(bundle.path)


def test_a_changed_number_needs_a_new_hash(bundle: Bundle) -> None:
    manifest = bundle.path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["pooling"]["tau"] = 25
    manifest.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="numeric_hash"):
        load_bundle(bundle.path)


def test_prose_does_not_enter_the_hash(bundle: Bundle) -> None:
    described = bundle.manifest.model_copy(update={"description": "other words", "version": "2"})
    assert described.compute_hash() == bundle.manifest.compute_hash()
    faster = bundle.manifest.model_copy(update={"sample_fps": 30.0})
    assert faster.compute_hash() != bundle.manifest.compute_hash()


def rung(fps: float) -> RungPart:
    return RungPart(file=f"head{fps:g}.npz", sha256="0" * 64, kind="vsfa", fps=fps, pooling=PoolingPart(tau=6))


def test_what_a_shot_takes_to_settle_enters_the_hash_where_it_is_said(bundle: Bundle) -> None:
    said = StatePart(policy="staggered", period_s=10, settle_s=0.5)
    assert (said.period(Fraction(25)), said.settle(Fraction(25))) == (250, 12)
    assert (said.period(Fraction(5)), said.settle(Fraction(5))) == (50, 2)
    assert StatePart().settle(Fraction(25)) is None
    hashes = {
        bundle.manifest.model_copy(update={"state": said.model_copy(update={"settle_s": s})}).compute_hash()
        for s in (None, 0.5, 1.0)
    }
    assert len(hashes) == 3


def test_a_shot_settles_before_its_turn_is_over(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "late"
    shutil.copytree(bundle.path, path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["state"] |= {"policy": "staggered", "period_s": 2.0, "settle_s": 1.5}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"settle_s must be at most half of period_s, got 1.5 and 2"):
        load_bundle(path)


def test_a_ladder_of_rates_has_a_head_for_each_and_enters_the_hash(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"ladder": (rung(12.5), rung(5.0))})
    heads = [{"fc_w": np.full((2, 4), value)} for value in (2.0, 3.0)]
    written = write_bundle(tmp_path / "ladder", manifest, bundle.head_arrays, bundle.trunk_path, heads)
    assert [arrays["fc_w"][0, 0] for arrays in written.rung_arrays] == [2.0, 3.0]
    assert written.manifest.numeric_hash != bundle.manifest.numeric_hash
    other = write_bundle(tmp_path / "other", manifest, bundle.head_arrays, bundle.trunk_path, heads[::-1])
    assert other.manifest.numeric_hash != written.manifest.numeric_hash
    (written.path / "head5.npz").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"head5\.npz"):
        load_bundle(written.path)


def test_an_int8_graph_goes_along_with_its_trunk_and_stays_out_of_the_identity(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("trunk.int8.xml", "trunk.int8.bin"):
        (bundle.path / name).write_bytes(name.encode())
    part = Int8Part(file="trunk.int8.xml", sha256="0" * 64, numbers=WeightsPart(file="trunk.int8.bin", sha256="0" * 64))
    trunk = bundle.manifest.trunk.model_copy(update={"int8": part})
    manifest = bundle.manifest.model_copy(update={"trunk": trunk})
    written = write_bundle(tmp_path / "with-int8", manifest, bundle.head_arrays, bundle.trunk_path)
    assert (written.path / "trunk.int8.bin").read_bytes() == b"trunk.int8.bin"
    assert written.manifest.numeric_hash == bundle.manifest.numeric_hash
    (written.path / "trunk.int8.xml").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"trunk\.int8\.xml"):
        load_bundle(written.path)


def test_rates_of_a_ladder_fall(bundle: Bundle) -> None:
    wrong = bundle.manifest.model_dump() | {"ladder": (rung(5.0), rung(12.5))}
    with pytest.raises(ValidationError, match="must fall"):
        Manifest.model_validate(wrong)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"surprise": 1}, "surprise"), ({"sample_fps": 0}, "sample_fps"), ({"trunk": None}, "trunk")],
)
def test_a_wrong_manifest_names_the_key(bundle: Bundle, change: dict[str, object], named: str) -> None:
    manifest = bundle.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(BundleError, match=named):
        load_bundle(bundle.path)


def test_an_unknown_name_lists_the_known(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"nothing-like-it.*test"):
        find_bundle("nothing-like-it", [bundle.path.parent])


def test_calibration_is_monotone_and_flat_outside(bundle: Bundle) -> None:
    scores = [bundle.calibrate(q) for q in np.linspace(-0.5, 1.5, 41)]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0.0, 100.0)


def test_a_logistic_stands_before_the_points_and_enters_the_hash(bundle: Bundle, tmp_path: Path) -> None:
    squashed = CalibrationPart(logistics=((1.0, 0.0), (4.0, -2.0)), points=((0.0, 0.0), (1.0, 100.0)))
    other = bundle.manifest.model_copy(update={"calibration": squashed})
    again = write_bundle(tmp_path / "squashed", other, bundle.head_arrays, bundle.trunk_path)
    assert again.manifest.numeric_hash != bundle.manifest.numeric_hash
    for quality in (-1e4, -1.0, 0.3, 2.0, 1e4):
        inner = 1 / (1 + math.exp(-max(-700.0, quality)))
        assert again.calibrate(quality) == pytest.approx(100 / (1 + math.exp(2 - 4 * inner)))
    with pytest.raises(ValidationError, match="greater than 0"):
        CalibrationPart(logistics=((-1.0, 0.0),))


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("full", InputSpec(InputMode.FULL, colour="rgb")),
        ("resize:540", InputSpec(InputMode.RESIZE, size=540, colour="rgb")),
        ("fragments:7x32", InputSpec(InputMode.FRAGMENTS, grid=7, patch=32, colour="rgb")),
    ],
)
def test_inputs_are_written_as_commands_take_them(text: str, spec: InputSpec) -> None:
    assert InputPart.parse(text).spec() == spec


@pytest.mark.parametrize(
    "text", ["", "full:1", "resize", "resize:a", "resize:16", "resize:-540", "fragments:7", "fragments:7x31", "crop:5"]
)
def test_inputs_that_cannot_be_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        InputPart.parse(text)
    assert "\n" not in str(caught.value)


def test_the_bundled_model_is_whole_and_small() -> None:
    folder = bundles_folder() / BUNDLED
    shipped = load_bundle(folder)
    assert shipped.manifest.name == BUNDLED
    assert (folder / "MODEL_CARD.md").is_file()
    assert sum(f.stat().st_size for f in folder.iterdir()) < 25e6
