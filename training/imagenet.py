"""ImageNet weights of ResNet-18, -50 and -101, as torchvision publishes them (its version 1, which VSFA used).

They come from the first of: a file, torch hub's cache, torchvision, the address that torchvision publishes them at.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from engines.bundle import sha256_of
from engines.vsfa_weights import read_resnet
from training.errors import TrainingError, UsageError

#: Published file of each depth; the digits behind the dash begin its SHA-256. torchvision, ``IMAGENET1K_V1``.
FILES = {18: "resnet18-f37072fd.pth", 50: "resnet50-0676ba61.pth", 101: "resnet101-63fe2227.pth"}
URL = "https://download.pytorch.org/models/"
#: For each step of a download, the connection first; the libraries in between would wait without end.
_TIMEOUT_S = 8.0


def imagenet_available(depth: int) -> Path | None:
    """The weights' file in torch hub's cache (``TORCH_HOME``), or None; nothing is downloaded or read.

    Raises:
        UsageError: There are none of this depth.
    """
    if depth not in FILES:
        raise UsageError(f"ImageNet weights exist for depths {', '.join(map(str, FILES))}, not {depth}")
    file = Path(torch.hub.get_dir()) / "checkpoints" / FILES[depth]
    return file if file.is_file() else None


def imagenet_state(depth: int, file: Path | None = None) -> dict[str, Tensor]:
    """A ResNet's ImageNet weights, for ``engines.backbone.load_backbone_weights``; downloads them where need be.

    Args:
        depth: 18, 50 or 101.
        file: State dict in torchvision's names to take them from, and from nowhere else.

    Raises:
        UsageError: There are none of this depth.
        TrainingError: They cannot be had; the message says what was tried and what to do.
        BundleError: A file is not such weights.
    """
    cached = imagenet_available(depth)
    if file is not None:
        return read_resnet(file, depth)
    if cached is not None:
        if not sha256_of(cached).startswith(cached.stem.split("-")[1]):
            raise TrainingError(f"{cached}: damaged: its SHA-256 is not the one in its name; delete it")
        return read_resnet(cached, depth)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    tried = [f"{FILES[depth]} is not in {folder}"]
    fetch = _torchvision_fetch(depth, tried) or _published_fetch(depth)
    try:
        with _bounded_waits():
            return fetch()
    except (OSError, RuntimeError, HTTPException) as error:
        # RuntimeError: what came does not have the published SHA-256.
        tried.append(f"the download from {URL} failed ({_first_line(error)})")
    raise TrainingError(
        f"no ImageNet weights of ResNet-{depth}: {'; '.join(tried)}; "
        "give --weights FILE, or put the file into that folder"
    )


_Fetch = Callable[[], dict[str, Tensor]]


def _torchvision_fetch(depth: int, tried: list[str]) -> _Fetch | None:
    """Weights as torchvision fetches them; None, with the reason in ``tried``, where it cannot be imported."""
    try:
        models = importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:
        # RuntimeError: its wheels, made for CUDA, miss their operators beside a CPU build of torch.
        tried.append(f"torchvision cannot be imported ({_first_line(error)})")
        return None
    weights = getattr(models, f"ResNet{depth}_Weights").IMAGENET1K_V1

    def fetch() -> dict[str, Tensor]:
        return dict(weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True))

    return fetch


def _published_fetch(depth: int) -> _Fetch:
    """The same file without torchvision, into the same cache."""

    def fetch() -> dict[str, Tensor]:
        return dict(
            torch.hub.load_state_dict_from_url(
                URL + FILES[depth],
                map_location="cpu",
                progress=sys.stderr.isatty(),
                check_hash=True,
                weights_only=True,
            )
        )

    return fetch


@contextmanager
def _bounded_waits() -> Iterator[None]:
    """Ends a connection that does not answer; torch hub sets no time-out of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
