"""Chains in the place of the layers that are 2-D convolutions in disguise: Conv1d and Linear."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankconv.compress.network import Replacement
from rankconv.factorizations import factorize
from rankconv.nn import chains
from rankconv.nn.low_rank import LowRankConv2d, conv_pads

Array = NDArray[Any]
T = TypeVar("T", bound=nn.Module)


class LowRankLinear(nn.Module):
    """A `Replacement` of `linear` as two or more `nn.Linear`, (..., C_in) to (..., C_out).

    The chain is that of the weight (C_out, C_in, 1, 1); the layers lie in `chain`. Device,
    dtype and flags are those of `linear`, which is not changed.

    Raises ValueError for a chain of another shape, or of stages that are no linear layers.

    >>> low = LowRankLinear.from_linear(nn.Linear(32, 16), rank=4)
    >>> [tuple(layer.weight.shape) for layer in low.chain]
    [(4, 32), (16, 4)]
    """

    def __init__(self, linear: nn.Linear, replacement: Replacement) -> None:
        super().__init__()
        chain = replacement.chain
        _check(chain.shape, (*linear.weight.shape, 1, 1))
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.kind, self.rank = chain.kind, chain.rank
        self.chain = nn.Sequential(*chains.linear_layers(chain.stages, replacement.bias))
        _like(self, linear)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, *, rank: int | None = None, tol: float | None = None
    ) -> LowRankLinear:
        """The layer `linear`, cut by SVD to `rank` or to the relative error `tol`.

        Raises ValueError as `rankconv.factorize` does.
        """
        weight = chains.array(linear.weight)[:, :, None, None]
        chain = factorize(weight, rank=rank, tol=tol, kind="channel_svd")
        return cls(linear, Replacement(chain, _bias(linear)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.chain(x)
        return y

    @property
    def bias(self) -> Tensor | None:
        """The bias (C_out,) of the last layer, or None."""
        last = self.chain[-1]
        assert isinstance(last, nn.Linear)
        return last.bias

    def to_dense(self) -> nn.Linear:
        """One `nn.Linear` that computes the same."""
        weight = torch.eye(self.in_features, dtype=_of(self).dtype, device=_of(self).device)
        for layer in self.chain:
            assert isinstance(layer, nn.Linear)
            weight = functional.linear(weight, layer.weight)
        linear = nn.Linear(
            self.in_features, self.out_features, bias=self.bias is not None, device="meta"
        )
        return _dense(linear, weight.detach().T.contiguous(), self.bias, self)

    def extra_repr(self) -> str:
        """Sizes, rank and kind."""
        return f"{self.in_features}, {self.out_features}, rank={self.rank}, kind={self.kind}"


class LowRankConv1d(nn.Module):
    """A `Replacement` of `conv` as a chain of `nn.Conv1d`, (N, C_in, L) to (N, C_out, L').

    The chain is that of the weight (C_out, C_in / groups, 1, k), a layer of height 1. Padding by
    another mode than zeros is done before it. Device, dtype and flags are those of `conv`, which
    is not changed.

    Raises ValueError for a chain of another shape.

    >>> conv = nn.Conv1d(4, 6, 5, padding=2)
    >>> weight = conv.weight.detach().numpy()[:, :, None]
    >>> chain = factorize(weight, rank=2, kind="channel_svd", padding=(0, 2))
    >>> LowRankConv1d(conv, Replacement(chain, None))(torch.zeros(1, 4, 9)).shape
    torch.Size([1, 6, 9])
    """

    def __init__(self, conv: nn.Conv1d, replacement: Replacement) -> None:
        super().__init__()
        chain = replacement.chain
        _check(chain.shape, (*conv.weight.shape[:2], 1, conv.weight.shape[2]))
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups
        self.padding_mode = conv.padding_mode
        self.kind, self.rank = chain.kind, chain.rank
        self._pad = (
            chains.pad_argument(conv_pads(conv))[:2] if conv.padding_mode != "zeros" else (0, 0)
        )
        self.chain = nn.Sequential(*chains.conv1d_layers(chain.stages, replacement.bias))
        _like(self, conv)

    def forward(self, x: Tensor) -> Tensor:
        if any(self._pad):
            x = functional.pad(x, self._pad, mode=self.padding_mode)
        y: Tensor = self.chain(x)
        return y

    @property
    def bias(self) -> Tensor | None:
        """The bias (C_out,) of the last layer, or None."""
        last = self.chain[-1]
        assert isinstance(last, nn.Conv1d)
        return last.bias

    def to_dense(self) -> nn.Conv1d:
        """One `nn.Conv1d` that computes the same."""
        shape = self.out_channels, self.in_channels // self.groups, 1, self.kernel_size[0]
        weight = chains.dense_weight(list(self.chain), shape, self.in_channels).detach()[:, :, 0]
        conv = nn.Conv1d(
            self.in_channels,
            self.out_channels,
            self.kernel_size[0],
            stride=self.stride[0],
            padding=self.padding if isinstance(self.padding, str) else self.padding[0],
            dilation=self.dilation[0],
            groups=self.groups,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
        )
        return _dense(conv, weight.contiguous(), self.bias, self)

    def extra_repr(self) -> str:
        """Sizes, rank and kind."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"rank={self.rank}, kind={self.kind}"
        )


LowRank = LowRankConv2d | LowRankConv1d | LowRankLinear


def standing_for(layer: nn.Module, replacement: Replacement) -> LowRank:
    """The module for a replacement in the place of a plain Conv2d, Conv1d or Linear.

    Raises ValueError for another layer, and where the chain does not fit.
    """
    if type(layer) is nn.Conv2d:
        return LowRankConv2d.for_layer(layer, replacement)
    if type(layer) is nn.Conv1d:
        return LowRankConv1d(layer, replacement)
    if type(layer) is nn.Linear:
        return LowRankLinear(layer, replacement)
    raise ValueError(f"{type(layer).__name__} is not a plain Conv2d, Conv1d or Linear")


def _check(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"a chain for a weight of shape {shape} does not fit a layer of {wanted}")


def _like(module: nn.Module, layer: nn.Conv1d | nn.Linear) -> None:
    module.to(device=layer.weight.device, dtype=layer.weight.dtype)
    module.train(layer.training)
    module.requires_grad_(layer.weight.requires_grad)


def _of(module: nn.Module) -> nn.Parameter:
    return next(module.parameters())


def _bias(layer: nn.Linear) -> Array | None:
    return None if layer.bias is None else chains.array(layer.bias)


def _dense(layer: T, weight: Tensor, bias: Tensor | None, old: nn.Module) -> T:
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    layer.train(old.training)
    return layer.requires_grad_(_of(old).requires_grad)
