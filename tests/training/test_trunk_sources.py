"""Trunks by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from engines.backbone import Trunk  # noqa: E402
from engines.preprocess import InputMode, InputSpec  # noqa: E402
from training import trunk_sources  # noqa: E402
from training.errors import DataError, UsageError  # noqa: E402
from training.synthesis import SPEC  # noqa: E402
from training.trunk import pack_weights  # noqa: E402
from training.trunk_sources import (  # noqa: E402
    choose_trunk,
    default_weights,
    parse_input,
    settle_statistics,
    trained_state,
)

pytestmark = pytest.mark.train

#: A trunk that is made in no time.
WIDTH = 0.0625


def settled(depth: int = 18, seed: int = 0) -> Trunk:
    torch.manual_seed(seed)
    trunk = Trunk(depth, width=WIDTH, colour="yuv")
    settle_statistics(trunk, SPEC, seed)
    return trunk


def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(16, 236, (4, 3, 128, 128), dtype=np.uint8))


def test_half_precision_weights_give_the_features_of_the_originals(tmp_path: Path) -> None:
    trunk = settled()
    pack_weights(trunk, tmp_path / "w.npz")
    loaded = Trunk(18, width=WIDTH, colour="yuv").eval()
    loaded.load_state_dict(trained_state(tmp_path / "w.npz", 18, WIDTH))
    with torch.no_grad():
        ours, theirs = loaded(pixels()).numpy(), trunk(pixels()).numpy()
    # Half precision keeps 11 bits: 5e-4 a weight, and errors of many average out.
    assert np.abs(ours - theirs).max() < 5e-3 * np.abs(theirs).max()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("depth", [18, 101])
def test_features_of_random_trunks_are_finite_seeded_and_of_their_pictures(depth: int) -> None:
    with torch.no_grad():
        found = [settled(depth, seed)(pixels()).numpy() for seed in (0, 0, 1)]
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    # Statistics that were not settled double with every block: a hundred of them end far from here.
    assert 1e-3 < np.abs(found[0]).max() < 1e3
    assert (found[0].std(axis=0) > 0).mean() > 0.5


def test_a_random_trunk_is_kept_so_that_its_features_are_found_again(tmp_path: Path) -> None:
    choice = choose_trunk("random:18", None, WIDTH, None)
    first = choice.make(tmp_path)
    stamp = first.onnx.stat().st_mtime_ns
    assert choice.make(tmp_path) == first
    assert first.onnx.stat().st_mtime_ns == stamp
    assert choice.make(tmp_path / "elsewhere").identity == first.identity


def test_own_weights_have_a_folder_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for seed, file in enumerate(files):
        pack_weights(settled(seed=seed), file)
    made = [choose_trunk("trained:18", None, WIDTH, file).make(tmp_path / "t") for file in files]
    assert made[0].folder != made[1].folder
    assert made[0].identity != made[1].identity
    assert all(trunk.onnx.is_file() for trunk in made)
    with pytest.raises(DataError, match=r"absent\.npz"):
        choose_trunk("trained:18", None, WIDTH, tmp_path / "absent.npz").make(tmp_path / "t")


@pytest.mark.parametrize(("depth", "width"), [(50, WIDTH), (18, 0.125)])
def test_weights_of_another_architecture_are_named(tmp_path: Path, depth: int, width: float) -> None:
    pack_weights(settled(), tmp_path / "w.npz")
    with pytest.raises(DataError, match=rf"w\.npz: 1 problem: is not a ResNet-{depth} x{width:g}"):
        trained_state(tmp_path / "w.npz", depth, width)


@pytest.mark.parametrize("name", ["w.npz", "w.pt"])
def test_what_holds_no_weights_is_named(tmp_path: Path, name: str) -> None:
    for content in (None, b"", b"not weights", b"PK\x03\x04 cut short"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name) as caught:
            trained_state(tmp_path / name, 18, WIDTH)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", sorted(trunk_sources.WEIGHTS.glob("*.npz")), ids=lambda file: file.stem)
def test_trunks_of_this_package_load_and_tell_pictures_apart(file: Path) -> None:
    depth = int(file.stem.removeprefix("resnet"))
    assert file == default_weights(depth)
    trunk = Trunk(depth, width=trunk_sources.SMALL, colour="yuv").eval()
    trunk.load_state_dict(trained_state(file, depth, trunk_sources.SMALL))
    noisy = pixels()
    flat = torch.full_like(noisy, 128)
    with torch.no_grad():
        found = trunk(torch.cat([noisy, flat])).numpy()
    assert np.isfinite(found).all()
    # Two draws of one noise are nearer to each other than either is to a flat picture (by 7 to 14 times).
    assert np.linalg.norm(found[0] - found[-1]) > 3 * np.linalg.norm(found[0] - found[1])


def test_inputs_have_short_names() -> None:
    assert parse_input("full") == InputSpec(InputMode.FULL, colour="rgb")
    assert parse_input("resize:540") == InputSpec(InputMode.RESIZE, size=540, colour="rgb")
    assert parse_input("fragments:4x32") == SPEC
    for text in (
        "",
        "full ",
        "resize:",
        "resize:8",
        "fragments:4",
        "fragments:0x32",
        "fragments:4x31",
        "fragments:-1x32",
    ):
        with pytest.raises(UsageError):
            parse_input(text)


def test_trunks_are_what_their_kind_needs() -> None:
    vsfa = choose_trunk("imagenet:50", None, None, None)
    assert (vsfa.width, vsfa.input, vsfa.name) == (1.0, parse_input("full"), "imagenet-resnet50-full")
    # ImageNet weights know RGB alone, also of fragments.
    assert choose_trunk("imagenet:18", SPEC, 1.0, None).input.colour == "rgb"
    small = choose_trunk("trained:101", None, None, None)
    assert (small.width, small.input, small.name) == (0.25, SPEC, "trained-resnet101-x0.25-fragments4x32")
    assert choose_trunk("random:18", parse_input("resize:540"), 1.0, None).name == "random-resnet18-resize540"
    for text in ("random", "random:", "random:34", "vgg:18", "random:18:2"):
        with pytest.raises(UsageError, match="KIND:DEPTH"):
            choose_trunk(text, None, None, None)
    with pytest.raises(UsageError, match="width 1"):
        choose_trunk("imagenet:50", None, 0.25, None)
    with pytest.raises(UsageError, match="no weights"):
        choose_trunk("random:50", None, None, Path("w.npz"))
