"""The networks of the harness: the paper's, and two that have many channels."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rankconv.paper.model import CLASSES, FILTER_SIZE, IMAGE_SIZE, feature_size, paper_network

MODELS = ("paper", "lenet", "vgg")
LENET_FILTERS = 6, 16
VGG_WIDTHS = 32, 64, 128  # two layers of each


def build(
    model: str,
    *,
    filter_size: int = FILTER_SIZE,
    image_size: int = IMAGE_SIZE,
    hidden: int = 500,
    classes: int = CLASSES,
) -> nn.Sequential:
    """A network as a plain sequence of layers, (N, C, image_size, image_size) to (N, classes).

    "paper": two filters as in the paper's section XI, C = 1. "lenet": 6 and 16 filters and two
    hidden layers (LeCun et al., 1998, Proc. IEEE 86, 2278-2324), C = 1. "vgg": six layers with
    batch norm in three widths, a pool after every two, then the mean over the image (Simonyan and
    Zisserman, arXiv 1409.1556), C = 3. Weights come from PyTorch's global generator.

    >>> import torch
    >>> build("lenet", filter_size=3, image_size=24)(torch.zeros(2, 1, 24, 24)).shape
    torch.Size([2, 10])
    """
    if model == "paper":
        return paper_network(
            hidden=hidden, classes=classes, filter_size=filter_size, image_size=image_size
        )
    return (
        _vgg(filter_size, classes) if model == "vgg" else _lenet(filter_size, image_size, classes)
    )


def smallest_map(model: str, filter_size: int, image_size: int) -> int:
    """Rows of the last feature map: what is left of the image after the convolutions and pools.

    >>> smallest_map("paper", 5, 32), smallest_map("vgg", 3, 32)
    (5, 4)
    """
    return image_size // 8 if model == "vgg" else feature_size(filter_size, image_size)


def folded(network: nn.Sequential) -> list[nn.Module]:
    """The layers in eval mode, each batch norm folded into a copy of the convolution before it.

    >>> [type(layer).__name__ for layer in folded(build("vgg", filter_size=3))][:4]
    ['Conv2d', 'ReLU', 'Conv2d', 'ReLU']
    """
    layers: list[nn.Module] = []
    for layer in network.eval():
        if isinstance(layer, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return layers


def _lenet(filter_size: int, image_size: int, classes: int) -> nn.Sequential:
    first, second = LENET_FILTERS
    return nn.Sequential(
        nn.Conv2d(1, first, filter_size),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, filter_size),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * feature_size(filter_size, image_size) ** 2, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def _vgg(filter_size: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG_WIDTHS:
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, width, filter_size, padding=filter_size // 2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )
