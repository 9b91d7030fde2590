"""A chain of stages as ordinary PyTorch layers, and the weight that such layers compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankconv.geometry import Padding, sides
from rankconv.stages import Stage

Array = NDArray[Any]


class Reorder(nn.Module):
    """Channel c of the result is channel order[c] of the input (N, C, ...)."""

    order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)


def conv2d_layers(stages: Sequence[Stage], bias: Array | None) -> list[nn.Module]:
    """Each stage as `nn.Conv2d`, the bias in the last; a different padding at two ends apart."""
    layers: list[nn.Module] = []
    for stage, last in _with_bias(stages, bias):
        if stage.permute is not None:
            layers.append(Reorder(stage.permute))
        (top, bottom), (left, right) = sides(stage.padding)
        even = top == bottom and left == right
        if not even:
            layers.append(nn.ZeroPad2d((left, right, top, bottom)))
        conv = nn.Conv2d(
            stage.in_channels,
            stage.out_channels,
            stage.kernel,
            stride=stage.stride,
            padding=(top, left) if even else 0,
            dilation=stage.dilation,
            groups=stage.groups,
            bias=last is not None,
            device="meta",
        )
        layers.append(_filled(conv, stage.weight, last))
    return layers


def conv1d_layers(stages: Sequence[Stage], bias: Array | None) -> list[nn.Module]:
    """Each stage of a layer of height 1 as `nn.Conv1d`, the bias in the last."""
    layers: list[nn.Module] = []
    for stage, last in _with_bias(stages, bias):
        if stage.permute is not None:
            layers.append(Reorder(stage.permute))
        left, right = sides(stage.padding)[1]
        if left != right:
            layers.append(nn.ConstantPad1d((left, right), 0.0))
        conv = nn.Conv1d(
            stage.in_channels,
            stage.out_channels,
            stage.kernel[1],
            stride=stage.stride[1],
            padding=left if left == right else 0,
            dilation=stage.dilation[1],
            groups=stage.groups,
            bias=last is not None,
            device="meta",
        )
        layers.append(_filled(conv, stage.weight[:, :, 0], last))
    return layers


def linear_layers(stages: Sequence[Stage], bias: Array | None) -> list[nn.Module]:
    """Each 1 x 1 stage as `nn.Linear`, the bias in the last; stages that only scale folded.

    Raises ValueError for a chain whose stages are grouped otherwise.
    """
    matrices: list[Array] = []
    scale: Array | None = None
    for stage in stages:
        matrix = stage.weight[:, :, 0, 0]
        if stage.permute is not None or stage.kernel != (1, 1):
            raise ValueError(
                f"a stage {stage.weight.shape} is no linear layer: choose another kind"
            )
        if stage.groups == 1:
            matrices.append(matrix if scale is None else matrix * scale)
            scale = None
        elif stage.groups == stage.in_channels == stage.out_channels:
            if matrices:
                matrices[-1] = matrices[-1] * matrix
            else:
                scale = matrix[:, 0] if scale is None else scale * matrix[:, 0]
        else:
            raise ValueError(
                f"a stage of {stage.groups} groups does not fit a linear layer: choose a kind "
                "such as channel_svd for it"
            )
    if scale is not None:
        matrices.append(np.diag(scale))
    layers: list[nn.Module] = []
    for number, matrix in enumerate(matrices, 1):
        last = bias if number == len(matrices) else None
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=last is not None, device="meta")
        layers.append(_filled(linear, matrix, last))
    return layers


def refill(layers: nn.Sequential, stages: Sequence[Stage], bias: Array | None) -> None:
    """Copy other weights of the same shapes into the layers of `conv2d_layers`."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for layer, (stage, last) in zip(convs, _with_bias(stages, bias), strict=True):
            layer.weight.copy_(tensor(stage.weight))
            if layer.bias is not None and last is not None:
                layer.bias.copy_(tensor(last))


def dense_weight(layers: Sequence[nn.Module], shape: tuple[int, ...], channels: int) -> Tensor:
    """The weight (C_out, C_in / groups, kH, kW) that the layers compute; it has a gradient.

    Unit impulses are sent through, in all groups at once: an output depends on its own group.
    """
    _, width, kH, kW = shape
    taps = kH * kW
    weight = next(layer.weight for layer in layers if hasattr(layer, "weight"))
    assert isinstance(weight, Tensor)
    together = max(1, 2**22 // (taps * taps * channels))
    parts = []
    for start in range(0, width, together):
        count = min(together, width - start)
        impulses = weight.new_zeros(count, taps, channels // width, width, taps)
        at = torch.arange(count)
        impulses[at, :, :, start + at] = torch.eye(taps, dtype=weight.dtype, device=weight.device)[
            :, None
        ]
        x = impulses.reshape(count * taps, channels, kH, kW)
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Conv1d):
                filters = layer.weight if layer.weight.ndim == 4 else layer.weight[:, :, None]
                x = functional.conv2d(x, filters, groups=layer.groups)
            elif isinstance(layer, Reorder):
                x = layer(x)
        parts.append(x.reshape(count, kH, kW, -1).permute(3, 0, 1, 2))
    return torch.cat(parts, 1)


def tensor(array: Array) -> Tensor:
    """A copy of an array as a tensor."""
    return torch.from_numpy(np.array(array, order="C"))


def array(value: Tensor) -> Array:
    """A tensor as an array; bfloat16 and half as float32, which hold the same numbers."""
    value = value.detach()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    result: Array = value.cpu().contiguous().numpy()
    return result


def pad_argument(padding: Padding) -> tuple[int, int, int, int]:
    """A layer's padding as `torch.nn.functional.pad` takes it: (left, right, top, bottom)."""
    (top, bottom), (left, right) = sides(padding)
    return left, right, top, bottom


Layers = Callable[[Sequence[Stage], Array | None], list[nn.Module]]


def _with_bias(stages: Sequence[Stage], bias: Array | None) -> Iterator[tuple[Stage, Array | None]]:
    for number, stage in enumerate(stages, 1):
        yield stage, bias if number == len(stages) else None


def _filled(layer: nn.Module, weight: Array, bias: Array | None) -> nn.Module:
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(bias.astype(weight.dtype)))
    return layer
