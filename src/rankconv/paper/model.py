"""The network of the paper (section XI), as a PyTorch module and as plain arrays.

Two choices that the paper leaves open or states in a form that cannot be built:

- It writes the biases of the convolutions as 5 x 5 matrices, which does not fit their 28 x 28 and
  10 x 10 outputs. Here each is the one number that PyTorch's layer with one filter has.
- It does not give the hidden width of the two linear layers. Here it is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

FloatArray = NDArray[np.float32]

FILTER_SIZE = 5
IMAGE_SIZE = 32
CLASSES = 10


def paper_network(
    *,
    hidden: int,
    classes: int = CLASSES,
    filter_size: int = FILTER_SIZE,
    image_size: int = IMAGE_SIZE,
) -> nn.Sequential:
    """The paper's CNN: (N, 1, 32, 32) standardised grey images to (N, classes) logits.

    Two times 5 x 5 convolution with one filter and bias, ReLU and 2 x 2 max-pool; then the 25
    remaining values through linear, ReLU, linear. Weights are drawn from PyTorch's global
    generator: seed it first. Source: the paper, section XI.

    >>> network = paper_network(hidden=8)
    >>> network(torch.zeros(3, 1, 32, 32)).shape
    torch.Size([3, 10])
    """
    side = feature_size(filter_size, image_size)
    return nn.Sequential(
        nn.Conv2d(1, 1, filter_size),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(1, 1, filter_size),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(side * side, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def feature_size(filter_size: int, image_size: int) -> int:
    """Rows that two convolutions and pools leave of an image.

    >>> feature_size(5, 32)
    5
    """
    for _ in range(2):
        image_size = (image_size - filter_size + 1) // 2
    return image_size


@dataclass(frozen=True)
class Weights:
    """The parameters of the paper's network as contiguous float32 arrays.

    `kernel1`, `kernel2` are (5, 5) and `bias1`, `bias2` numbers; `linear1` is (hidden, 25),
    `linear2` (classes, hidden), each with its bias vector.
    """

    kernel1: FloatArray
    bias1: float
    kernel2: FloatArray
    bias2: float
    linear1: FloatArray
    linear1_bias: FloatArray
    linear2: FloatArray
    linear2_bias: FloatArray


def weights_of(network: nn.Sequential) -> Weights:
    """Copy the parameters out of a `paper_network`."""
    conv1, conv2, linear1, linear2 = network[0], network[3], network[7], network[9]
    return Weights(
        kernel1=_array(conv1.weight)[0, 0],
        bias1=float(_array(conv1.bias)[0]),
        kernel2=_array(conv2.weight)[0, 0],
        bias2=float(_array(conv2.bias)[0]),
        linear1=_array(linear1.weight),
        linear1_bias=_array(linear1.bias),
        linear2=_array(linear2.weight),
        linear2_bias=_array(linear2.bias),
    )


def logits_float64(weights: Weights, image: FloatArray) -> NDArray[np.float64]:
    """The network's logits for one image in float64: the referee when exact methods differ."""
    layer = image.astype(np.float64)
    for kernel, bias in ((weights.kernel1, weights.bias1), (weights.kernel2, weights.bias2)):
        windows = np.lib.stride_tricks.sliding_window_view(layer, kernel.shape)
        layer = np.einsum("rcij,ij->rc", windows, kernel.astype(np.float64)) + bias
        rows, columns = layer.shape[0] // 2 * 2, layer.shape[1] // 2 * 2
        layer = layer[:rows, :columns]
        layer = np.maximum(layer.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3)), 0.0)
    hidden = np.maximum(
        weights.linear1.astype(np.float64) @ layer.ravel() + weights.linear1_bias, 0
    )
    return np.asarray(weights.linear2.astype(np.float64) @ hidden + weights.linear2_bias)


def _array(parameter: object) -> FloatArray:
    assert isinstance(parameter, torch.Tensor)
    return np.ascontiguousarray(parameter.detach().cpu().numpy(), dtype=np.float32).copy()
