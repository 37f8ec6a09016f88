"""Models from elsewhere become bundles, or are refused in one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor import cli


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with the names and shapes of the published files: ``VSFA.pt`` for 1024 features, ``r18.pth``."""
    torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
    from engines.backbone import Trunk

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    gru = torch.nn.GRU(128, 32)
    head = {f"rnn.{name}": value.detach() for name, value in gru.state_dict().items()}
    for name, inputs, outputs in (("ann.fc0", 1024, 128), ("ann.fc.0", 128, 128), ("q", 32, 1)):
        head[f"{name}.weight"] = torch.randn(outputs, inputs) / inputs
        head[f"{name}.bias"] = torch.full((outputs,), 0.5)
    torch.save(head, folder / "VSFA.pt")
    classifier = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(Trunk(18).state_dict() | classifier, folder / "r18.pth")
    torch.save([1, 2], folder / "list.pt")
    torch.save(head | {"q.weight": torch.zeros(2, 32)}, folder / "two.pt")
    torch.save(head | {"rnn.weight_hh_l0": torch.zeros(96, 31)}, folder / "misfit.pt")
    (folder / "text.pt").write_text("no weights")
    return folder


def attempt(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main(["model", "import", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.train
def test_published_weights_become_a_model_that_scores(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], clip_maker: Callable[..., Path]
) -> None:
    import torch

    from engines.backbone import Trunk, load_backbone_weights
    from engines.preprocess import PictureCutter
    from training.clips import Clip, read_frames
    from training.models import load_head, score_clip

    files = ("--head", weights / "VSFA.pt", "--backbone", weights / "r18.pth", "--depth", "18")
    status, out, err = attempt(capsys, *files, "--input", "fragments:2x32", "--data-dir", tmp_path)
    assert (status, err) == (0, "")
    folder = tmp_path / "models" / "vsfa"
    bundle = load_bundle(folder)
    assert out == f"{bundle.model_id}\n  {folder}\n"
    assert (bundle.manifest.state.policy, bundle.manifest.pooling.warmup) == ("continuous", 0)
    assert cli.main(["model", "list", "--json", "--data-dir", str(tmp_path)]) == 0
    assert bundle.model_id in {row["model"] for row in json.loads(capsys.readouterr().out)}

    clip = clip_maker(tmp_path / "clip.mp4", seconds=1.0)
    assert cli.main(["score", "--json", "--precision", "f32", "--model", str(folder), str(clip)]) == 0
    found = json.loads(capsys.readouterr().out)["score"]
    # The same in torch from the published files, without a bundle.
    trunk = Trunk(18)
    load_backbone_weights(trunk, torch.load(weights / "r18.pth", weights_only=True))
    cutter = PictureCutter(bundle.manifest.input.spec())
    cuts = [cutter.pixels(frame) for frame in read_frames(Clip(clip, "c", "c", 0.0, "clean"))]
    with torch.inference_mode():
        features = trunk.eval()(torch.stack([torch.from_numpy(cut) for cut in cuts]))
    expected = score_clip(load_head(weights / "VSFA.pt"), features.clone()).score * 100
    assert 1 < expected < 99
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.train
@pytest.mark.parametrize(
    ("head", "backbone", "more", "status", "says"),
    [
        ("VSFA.pt", "r18.pth", ["--depth", "50"], 1, "not the weights of ResNet-50"),
        ("VSFA.pt", "VSFA.pt", [], 1, "missing: conv1.weight"),
        ("r18.pth", "r18.pth", [], 1, "r18.pth: holds no VSFA head: ann.fc0.weight is missing"),
        ("two.pt", "r18.pth", [], 1, "two.pt: holds no VSFA head: q.weight has shape (2, 32)"),
        ("misfit.pt", "r18.pth", [], 1, "misfit.pt: head arrays do not fit"),
        ("list.pt", "r18.pth", [], 1, "list.pt: is no state dict"),
        ("text.pt", "r18.pth", [], 1, "text.pt: is damaged, or holds more than tensors"),
        ("VSFA.pt", "absent.pth", [], 1, "absent.pth: cannot be read: No such file"),
        ("VSFA.pt", "r18.pth", ["--input", "resize"], 2, "resize:SIDE"),
        ("VSFA.pt", "r18.pth", ["--input", "fragments:2x33"], 2, "even patch"),
        ("VSFA.pt", "r18.pth", ["--fps", "0"], 2, "sample_fps"),
        ("VSFA.pt", "r18.pth", ["--name", "Not A Name"], 2, "name: "),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    head: str,
    backbone: str,
    more: list[str],
    status: int,
    says: str,
) -> None:
    files = ("--head", weights / head, "--backbone", weights / backbone, "--depth", "18")
    found, out, err = attempt(capsys, *files, *more, "--out", tmp_path / "model")
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert says in err
    assert not (tmp_path / "model").exists()


@pytest.mark.train
def test_a_head_for_other_features_is_refused(
    shared_dir: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--head", shared_dir / "reference" / "VSFA.pt", "--backbone", weights / "r18.pth", "--depth", "18")
    status, _, err = attempt(capsys, *files, "--out", tmp_path / "model")
    assert (status, "takes 4096 features, ResNet-18 gives 1024" in err) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--head", "a.pt"], ["folder", "--head", "a.pt", "--backbone", "b.pth"], ["folder", "--backbone", "b.pth"]],
)
def test_half_a_wish_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, _, err = attempt(capsys, *arguments, "--out", tmp_path / "model")
    assert (status, err) == (2, "vqwatch: model import takes a model's folder, or both --head and --backbone\n")


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("engines.backbone", "engines.export", "engines.vsfa_weights"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = attempt(capsys, "--head", "a.pt", "--backbone", "b.pth", "--out", tmp_path / "model")
    assert (status, err.count("\n"), "pip install 'vqwatch[train]'" in err) == (1, 1, True)


def test_a_model_s_folder_is_checked_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = bundles_folder() / BUNDLED
    status, out, _ = attempt(capsys, source, "--name", "ours", "--data-dir", tmp_path)
    copied = load_bundle(tmp_path / "models" / "ours")
    assert status == 0
    assert copied.model_id in out
    assert copied.manifest.name == "ours"
    assert copied.manifest.numeric_hash == load_bundle(source).manifest.numeric_hash
    assert (copied.path / "MODEL_CARD.md").is_file()

    status, _, err = attempt(capsys, source, "--name", "ours", "--data-dir", tmp_path)
    assert (status, "is there already" in err) == (2, True)


def test_a_damaged_folder_is_not_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles_folder() / BUNDLED, damaged)
    (damaged / "head.npz").write_bytes(b"")
    status, _, err = attempt(capsys, damaged, "--out", tmp_path / "model")
    assert (status, "head.npz: SHA-256" in err, err.count("\n")) == (1, True, 1)
    assert not (tmp_path / "model").exists()
