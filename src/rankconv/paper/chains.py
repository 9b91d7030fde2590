"""Networks of any width in NumPy: every convolution a chain of stages, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankconv.factorizations import factorize
from rankconv.geometry import Pair
from rankconv.paper.model import FloatArray
from rankconv.paper.networks import folded
from rankconv.stages import Factorization, apply

Array = NDArray[Any]
Predict = Callable[[FloatArray], int]
Step = Callable[[Array], Array]
Split = Callable[[nn.Conv2d], Factorization]


def chain_network(network: nn.Sequential, split: Split) -> Predict:
    """A function from an image (C, H, W), or (H, W) of one channel, to its class.

    `split` gives the chain for each convolution; batch norms are folded into them first. Raises
    ValueError for a layer other than those of `rankconv.paper.networks`.
    """
    steps = [_step(layer, split) for layer in folded(network)]

    def predict(image: FloatArray) -> int:
        x: Array = image.reshape(1, -1, *image.shape[-2:])
        for step in steps:
            x = step(x)
        return int(x.argmax())

    return predict


def unsplit(conv: nn.Conv2d) -> Factorization:
    """The layer as it is, one stage."""
    return _factorize(conv, "dense", None)


def slices(rank: int) -> Split:
    """Every k x k slice at `rank`: the paper's form."""
    return lambda conv: _factorize(conv, "slice_svd", rank)


def spatial(share: float) -> Split:
    """A column and a row filter through as many channels as `share` of the multiply-adds allows.

    Where not even one channel is cheaper, the layer is left as it is.
    """

    def split(conv: nn.Conv2d) -> Factorization:
        rank = spatial_rank(conv, share)
        return unsplit(conv) if rank is None else _factorize(conv, "spatial_svd", rank)

    return split


def spatial_rank(conv: nn.Conv2d, share: float) -> int | None:
    """The rank of `spatial` for a layer; None where it is left as it is."""
    kH, kW = conv.kernel_size
    dense = conv.in_channels * conv.out_channels * kH * kW
    rank = int(share * dense / (conv.in_channels * kH + conv.out_channels * kW))
    full = min(conv.in_channels * kH, conv.out_channels * kW)
    return min(rank, full) if rank >= 1 else None


def _factorize(conv: nn.Conv2d, kind: str, rank: int | Pair | None) -> Factorization:
    assert isinstance(conv.padding, tuple)
    return factorize(
        conv.weight.detach().numpy(),
        rank=rank,
        kind=kind,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )


def _step(layer: nn.Module, split: Split) -> Step:
    match layer:
        case nn.Conv2d():
            stages = split(layer).stages
            bias = _array(layer.bias)[:, None, None] if layer.bias is not None else np.float32(0)
            return lambda x: apply(stages, x) + bias
        case nn.ReLU():
            return lambda x: np.maximum(x, 0)
        case nn.MaxPool2d(kernel_size=2, stride=2):
            return _pool
        case nn.AdaptiveAvgPool2d(output_size=1):
            return lambda x: x.mean(axis=(2, 3), keepdims=True)
        case nn.Flatten():
            return lambda x: x.reshape(len(x), -1)
        case nn.Linear():
            weight, bias = _array(layer.weight).T, _array(layer.bias)
            return lambda x: x @ weight + bias
    raise ValueError(f"{layer} is not a layer that runs in NumPy here")


def _pool(x: Array) -> Array:
    rows, columns = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    pairs = np.maximum(x[:, :, 0:rows:2], x[:, :, 1:rows:2])
    return np.maximum(pairs[..., 0:columns:2], pairs[..., 1:columns:2])


def _array(parameter: torch.Tensor) -> FloatArray:
    return np.ascontiguousarray(parameter.detach().numpy(), np.float32)
