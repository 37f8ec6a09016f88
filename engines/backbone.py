"""ResNet trunks with VSFA's pooling: spatial mean and unbiased spatial standard deviation of layer4 (torch).

This is the definition that training uses and that exports are made of. Written here, with torchvision's parameter
names, because torchvision's wheels do not import beside a CPU build of torch; its ImageNet weights load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engines.preprocess import InputSpec

#: Blocks a stage and whether they are bottlenecks. He et al., "Deep Residual Learning", CVPR 2016, table 1.
_STAGES: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
#: ResNets that a trunk can be.
DEPTHS = tuple(_STAGES)
#: ImageNet statistics of RGB in 0-1 (torchvision's weights), here in 0-255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_SD = (58.395, 57.12, 57.375)
#: Centre and spread of limited-range Y, U, V of natural pictures.
YUV_MEAN = (118.0, 128.0, 128.0)
YUV_SD = (60.0, 24.0, 24.0)


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        kept = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + kept)
        return result


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, channels * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        kept = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + kept)
        return result


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Trunk(nn.Module):
    """A ResNet that turns uint8 pictures into VSFA features.

    Args:
        depth: 18, 50 or 101.
        width: Channel multiplier; 1.0 is the published network.
        colour: ``rgb`` (ImageNet statistics) or ``yuv`` (limited range).
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, depth: int = 18, *, width: float = 1.0, colour: str = "rgb") -> None:
        super().__init__()
        if depth not in _STAGES:
            raise ValueError(f"depth must be one of {sorted(_STAGES)}, got {depth}")
        self.depth, self.width = depth, width
        blocks, bottleneck = _STAGES[depth]
        kind = _Bottleneck if bottleneck else _Basic
        channels = [max(8, round(c * width)) for c in (64, 128, 256, 512)]
        mean, sd = (IMAGENET_MEAN, IMAGENET_SD) if colour == "rgb" else (YUV_MEAN, YUV_SD)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor(sd).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = channels[0]
        stages = []
        for index, (count, size) in enumerate(zip(blocks, channels, strict=True)):
            stage: list[nn.Module] = []
            for block in range(count):
                stage.append(kind(inputs, size, 2 if block == 0 and index else 1))
                inputs = size * kind.expansion
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        #: F, the number of features: mean and standard deviation of each channel of layer4.
        self.feature_size = 2 * inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, F) float32: spatial means, then unbiased spatial standard deviations."""
        x = (pixels.float() - self.mean) / self.sd
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return mean_and_sd(x)


def mean_and_sd(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2C): mean | standard deviation with N-1, as VSFA (CNNfeatures.py) takes them."""
    flat = x.flatten(2)
    mean = flat.mean(dim=2)
    # Written out rather than Tensor.std: the same few operations in every export.
    n = flat.shape[2]
    variance = ((flat - mean.unsqueeze(2)) ** 2).sum(dim=2) / (n - 1)
    return torch.cat([mean, torch.sqrt(variance.clamp_min(1e-12))], dim=1)


def load_backbone_weights(trunk: Trunk, state: Mapping[str, Tensor]) -> None:
    """Loads a torchvision ResNet state dict; its classifier (``fc.*``) is left out.

    Raises:
        ValueError: A tensor is missing or has another shape; the message names up to three.
    """
    wanted = trunk.state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    missing = [n for n in wanted if n not in kept and not n.endswith("num_batches_tracked")]
    wrong = [n for n, v in kept.items() if n in wanted and wanted[n].shape != v.shape]
    unknown = [n for n in kept if n not in wanted]
    for what, names in (("missing", missing), ("of another shape", wrong), ("unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"backbone weights do not fit: {what}: {', '.join(names[:3])}{more}")
    trunk.load_state_dict(kept, strict=False)


def example_input(spec: InputSpec, batch: int = 2) -> Tensor:
    """A valid input batch of an input spec: random pixels of the fixed shape, or of 96x160 where sizes vary."""
    shape = spec.fixed_shape or (3, 96, 160)
    return torch.randint(0, 256, (batch, *shape), dtype=torch.uint8)
