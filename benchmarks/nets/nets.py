"""The two networks that this repository trains itself, built from their committed weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
CLASSES = 10


def vgg() -> nn.Sequential:
    """A VGG-like net: 3x3 convolutions of 64-64-128-128-256-256 channels, each with batch norm.

    Takes (N, 3, 32, 32), gives (N, 10) logits; 1.15 million weights, 153 million multiply-adds.
    Pooling after every second convolution, the last over the whole image. Plan of the layers:
    Simonyan and Zisserman, arXiv:1409.1556, section 2; batch norm: arXiv:1502.03167.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += _normed(nn.Conv2d(channels, width, 3, padding=1, bias=False))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *_head(channels))


def depthwise() -> nn.Sequential:
    """A net of 5x5 depthwise and 1x1 convolutions in turn, after a first 3x3 convolution.

    Takes (N, 3, 32, 32), gives (N, 10) logits. Blocks of MobileNet (arXiv:1704.04861, section 3)
    with larger kernels. The first layer halves the image, as there: it makes training cheap.
    """
    layers = _normed(nn.Conv2d(3, 64, 3, 2, padding=1, bias=False))
    channels = 64
    for width, stride in ((128, 1), (128, 1), (256, 2), (256, 1), (256, 1)):
        layers += _normed(
            nn.Conv2d(channels, channels, 5, stride, padding=2, groups=channels, bias=False)
        )
        layers += _normed(nn.Conv2d(channels, width, 1, bias=False))
        channels = width
    return nn.Sequential(*layers, *_head(channels))


NETS = {"vgg": vgg, "depthwise": depthwise}


def _normed(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


def trained(name: str, *, folder: Path = WEIGHTS) -> nn.Sequential:
    """The network of that name with its stored weights, in evaluation mode."""
    if name not in NETS:
        raise ValueError(f"name={name!r} is not one of {', '.join(map(repr, NETS))}")
    network = NETS[name]()
    read_weights(network, folder / f"{name}.npz")
    return network.eval()


def read_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a file that `write_weights` wrote; the file is read as data only."""
    with np.load(path, allow_pickle=False) as stored:
        state = {name: torch.from_numpy(stored[name]) for name in stored.files}
    counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    network.load_state_dict(counters | state)  # float16 becomes float32 here


def write_weights(network: nn.Module, path: Path) -> None:
    """Store a network's weights as float16, its batch norms as float32; written beside, renamed."""
    state = {
        name: tensor.detach().numpy().astype(np.float16 if tensor.ndim > 1 else np.float32)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            np.savez(file, **state)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
