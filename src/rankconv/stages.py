"""A factorized convolution as a chain of ordinary convolutions, and its inference in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rankconv.geometry import Padding, Pair, conv_output_shape, pad, sides

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stage:
    """One convolution of a chain, with the meaning that `torch.nn.Conv2d` gives to each word.

    `weight` (C_out, C_in / groups, kH, kW). `padding` may differ at the two ends of a side, as in
    ONNX: ((top, bottom), (left, right)); one integer stands for two equal ends. `permute`, where
    it is not None, reorders the input channels first: channel c of the convolution is channel
    permute[c] of the input.
    """

    weight: Array
    stride: Pair = (1, 1)
    padding: Padding = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    permute: tuple[int, ...] | None = None

    @property
    def in_channels(self) -> int:
        """Channels that the stage takes."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def out_channels(self) -> int:
        """Channels that the stage gives."""
        return int(self.weight.shape[0])

    @property
    def kernel(self) -> Pair:
        """Rows and columns of the stage's filters."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def parameters(self) -> int:
        """Numbers in the weight."""
        return int(self.weight.size)

    def output_shape(self, image: Pair) -> Pair:
        """Rows and columns of the result for an image of `image` rows and columns."""
        return conv_output_shape(
            image, self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation
        )

    def multiply_adds(self, image: Pair) -> int:
        """Multiply-adds for one image of `image` rows and columns."""
        rows, columns = self.output_shape(image)
        return rows * columns * self.parameters


@dataclass(frozen=True, eq=False)
class Factorization:
    """A chain of stages that stands for a filter, or for the weight of a layer.

    `error` is the measured relative Frobenius error of the chain's weight; `bound` is a proven
    upper bound of it, or None where the kind has none. `shape` is that of the original:
    (kH, kW) or (C_out, C_in / groups, kH, kW).
    """

    kind: str
    rank: int | Pair
    stages: tuple[Stage, ...]
    error: float
    bound: float | None
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Numbers in all weights of the chain."""
        return sum(stage.parameters for stage in self.stages)

    def multiply_adds(self, image: Pair) -> int:
        """Multiply-adds of the whole chain for one image of `image` rows and columns."""
        total = 0
        for stage in self.stages:
            total += stage.multiply_adds(image)
            image = stage.output_shape(image)
        return total

    def dense(self) -> Array:
        """The weight that the chain computes, in the shape of the original.

        Found by sending unit impulses through the chain, which holds for any kind of chain.
        """
        kH, kW = self.shape[-2:]
        channels = self.stages[0].in_channels
        # A filter's value is the response to an impulse, whatever the step between responses.
        stages = [Stage(s.weight, groups=s.groups, permute=s.permute) for s in self.stages]
        dtype = np.result_type(*(stage.weight for stage in stages))
        taps = np.eye(kH * kW, dtype=dtype).reshape(kH * kW, kH, kW)
        full = np.empty((stages[-1].out_channels, channels, kH, kW), dtype)
        for channel in range(channels):
            impulses = np.zeros((kH * kW, channels, kH, kW), dtype)
            impulses[:, channel] = taps
            full[:, channel] = apply(stages, impulses)[..., 0, 0].T.reshape(-1, kH, kW)
        if len(self.shape) == 2:
            plane: Array = full[0, 0]
            return plane
        width = self.shape[1]  # input channels a group; what lies outside the groups is zero
        grouped = full.reshape(channels // width, -1, channels // width, width, kH, kW)
        blocks = [grouped[q, :, q] for q in range(channels // width)]
        return np.concatenate(blocks)


def apply(stages: Sequence[Stage], images: Array) -> Array:
    """Run images (N, C_in, H, W) through a chain of stages; (N, C_out, H', W').

    Raises ValueError where the channels or the size do not fit the chain.
    Equivalent: `torch.nn.functional.conv2d`, once a stage, after `images[:, permute]` and,
    where the ends differ, `torch.nn.functional.pad`.

    >>> box = Stage(np.ones((1, 1, 3, 1))), Stage(np.ones((1, 1, 1, 3)))
    >>> apply(box, np.ones((1, 1, 3, 4)))
    array([[[[9., 9.]]]])
    """
    if images.ndim != 4 or images.shape[1] != stages[0].in_channels:
        raise ValueError(
            f"images of shape {images.shape} do not fit a chain of {stages[0].in_channels} "
            "input channels: pass (N, C_in, H, W)"
        )
    for stage in stages:
        images = _convolve(stage, images)
    return images


def _convolve(stage: Stage, x: Array) -> Array:
    """One stage as one matrix product a group (im2col)."""
    n = x.shape[0]
    oH, oW = stage.output_shape((x.shape[2], x.shape[3]))
    if stage.permute is not None:
        x = x[:, list(stage.permute)]
    (dH, dW), (sH, sW) = stage.dilation, stage.stride
    x = pad(x, sides(stage.padding))
    kH, kW = stage.kernel
    extent = dH * (kH - 1) + 1, dW * (kW - 1) + 1
    windows = sliding_window_view(x, extent, axis=(2, 3))[:, :, ::sH, ::sW, ::dH, ::dW]
    columns = windows.transpose(0, 1, 4, 5, 2, 3)  # (N, C, kH, kW, oH, oW)
    columns = columns.reshape(n, stage.groups, -1, oH * oW)
    weight = stage.weight.reshape(stage.groups, stage.out_channels // stage.groups, -1)
    y: Array = weight @ columns  # (N, groups, C_out / groups, oH oW)
    return y.reshape(n, stage.out_channels, oH, oW)
