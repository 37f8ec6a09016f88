"""Where ImageNet weights come from, without any network but loopback."""

from __future__ import annotations

import functools
import http.server
import shutil
import socket
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from engines.backbone import Trunk, load_backbone_weights  # noqa: E402
from engines.bundle import sha256_of  # noqa: E402
from engines.errors import BundleError  # noqa: E402
from training import imagenet  # noqa: E402
from training.errors import TrainingError, UsageError  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a ResNet-18 as torchvision writes them, classifier and hash in the name included."""
    torch.manual_seed(0)
    state = Trunk(18).state_dict() | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.zeros(1000)}
    folder = tmp_path_factory.mktemp("published")
    torch.save(state, folder / "weights.pth")
    return (folder / "weights.pth").rename(folder / f"resnet18-{sha256_of(folder / 'weights.pth')[:8]}.pth")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, published: Path) -> Path:
    """An empty hub cache, no torchvision, and an address that refuses; returns the cache."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(imagenet, "URL", f"http://127.0.0.1:{port}/")
    monkeypatch.setattr(imagenet, "FILES", imagenet.FILES | {18: published.name})
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "site" / "torchvision").mkdir(parents=True)
    (tmp_path / "site" / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def server(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The published folder, at the published address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(published.parent)))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    monkeypatch.setattr(imagenet, "URL", f"http://127.0.0.1:{made.server_port}/")
    yield
    made.shutdown()
    thread.join()
    made.server_close()


def fits(state: dict[str, torch.Tensor], published: Path) -> bool:
    load_backbone_weights(Trunk(18), state)
    return torch.equal(state["conv1.weight"], torch.load(published, weights_only=True)["conv1.weight"])


def test_a_file_is_taken_before_all_else(tmp_path: Path, published: Path) -> None:
    mine = tmp_path / "mine.pth"
    shutil.copy(published, mine)
    assert fits(imagenet.imagenet_state(18, mine), published)
    assert imagenet.imagenet_available(18) is None


def test_the_hub_cache_is_used_as_it_is(alone: Path, published: Path) -> None:
    alone.mkdir(parents=True)
    shutil.copy(published, alone)
    assert imagenet.imagenet_available(18) == alone / published.name
    assert fits(imagenet.imagenet_state(18), published)


def test_a_damaged_cache_is_named(alone: Path, published: Path) -> None:
    alone.mkdir(parents=True)
    (alone / published.name).write_bytes(published.read_bytes()[:-1])
    with pytest.raises(TrainingError, match=rf"{published.name}: damaged"):
        imagenet.imagenet_state(18)


def test_a_file_of_something_else_is_named(tmp_path: Path, published: Path) -> None:
    with pytest.raises(BundleError, match=r"not the weights of ResNet-50: .*missing: layer1\.0\.conv3\.weight"):
        imagenet.imagenet_state(50, published)
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    for file in (text, tmp_path / "absent.pth"):
        with pytest.raises(BundleError, match=file.name) as caught:
            imagenet.imagenet_state(18, file)
        assert "\n" not in str(caught.value)


def test_depths_without_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="18, 50, 101, not 34"):
        imagenet.imagenet_available(34)


def test_without_torchvision_the_published_address_fills_the_cache(server: None, alone: Path, published: Path) -> None:
    assert fits(imagenet.imagenet_state(18), published)
    assert imagenet.imagenet_available(18) == alone / published.name


@pytest.mark.usefixtures("server")
def test_a_download_that_is_not_the_published_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, alone: Path, published: Path
) -> None:
    other = published.with_name("resnet18-00000000.pth")
    other.write_bytes(b"something else")
    monkeypatch.setattr(imagenet, "FILES", imagenet.FILES | {18: other.name})
    with pytest.raises(TrainingError, match="invalid hash value"):
        imagenet.imagenet_state(18)
    assert imagenet.imagenet_available(18) is None


def test_torchvision_is_asked_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_state_dict(**options: object) -> dict[str, torch.Tensor]:
        asked.append(options["check_hash"])
        return {"conv1.weight": torch.zeros(1)}

    weights = types.SimpleNamespace(IMAGENET1K_V1=types.SimpleNamespace(get_state_dict=get_state_dict))
    models = types.ModuleType("torchvision.models")
    models.ResNet18_Weights = weights  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert list(imagenet.imagenet_state(18)) == ["conv1.weight"]
    assert asked == [True]


def test_when_nothing_can_be_reached_the_message_says_what_to_do(alone: Path, published: Path) -> None:
    before = socket.getdefaulttimeout()
    with pytest.raises(TrainingError) as caught:
        imagenet.imagenet_state(18)
    text = str(caught.value)
    assert "\n" not in text
    for part in ("ResNet-18", published.name, str(alone), "torchvision::nms", "refused", "--weights FILE"):
        assert part in text
    assert socket.getdefaulttimeout() == before


def test_an_address_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(imagenet, "URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(imagenet, "_TIMEOUT_S", 0.2)
        with pytest.raises(TrainingError, match="timed out"):
            imagenet.imagenet_state(18)
