"""ResNet-20 and ResNet-56 for CIFAR-10, for weights that others trained and published.

He et al., arXiv:1512.03385, section 4.2: a 3x3 convolution, three groups of blocks with 16, 32 and
64 channels, mean over the image, one linear layer. Where a block changes the shape, its shortcut
takes every second pixel and adds channels of zeros (the paper's option A).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

VARIABLE = "RANKCONV_MODELS"
BESIDE_REPOSITORY = Path(__file__).resolve().parents[2].parent / "shared" / "models"
FILES = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
BLOCKS = {"resnet20": 3, "resnet56": 9}  # a group; two convolutions each
SOURCE = "akamaster/pytorch_resnet_cifar10 (BSD-2-Clause)"


class Block(nn.Module):
    """Two normed 3x3 convolutions and a shortcut around them."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.added = stride, width - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.added:
            half = self.added // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, half, self.added - half))
        return functional.relu(y + x)


class ResNet(nn.Module):
    """Images (N, 3, 32, 32) to (N, 10) logits; `blocks` in each of the three groups."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _group(16, 16, blocks)
        self.layer2 = _group(16, 32, blocks)
        self.layer3 = _group(32, 64, blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def _group(channels: int, width: int, blocks: int) -> nn.Sequential:
    first = Block(channels, width, 1 if channels == width else 2)
    return nn.Sequential(first, *(Block(width, width, 1) for _ in range(blocks - 1)))


def models_folder() -> Path:
    """The folder named by RANKCONV_MODELS, else ``shared/models`` beside the repository."""
    return Path(os.environ.get(VARIABLE) or BESIDE_REPOSITORY)


def resnet(name: str, *, folder: Path | None = None) -> ResNet:
    """'resnet20' or 'resnet56' with the published weights, in evaluation mode.

    Raises FileNotFoundError where the weights are not in the folder.
    """
    if name not in FILES:
        raise ValueError(f"name={name!r} is not one of {', '.join(map(repr, FILES))}")
    path = (folder or models_folder()) / FILES[name]
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; fetch it from {SOURCE} and name its folder in {VARIABLE}"
        )
    saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network = ResNet(BLOCKS[name])
    network.load_state_dict({key.removeprefix("module."): value for key, value in saved.items()})
    return network.eval()
