"""A convolution layer of low rank: a chain of ordinary `nn.Conv2d` that stands in one's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankconv.compress.network import Replacement
from rankconv.factorizations import factorize
from rankconv.geometry import Padding, Pair, conv_padding, sides
from rankconv.nn import chains
from rankconv.nn.spectral import spectral_init
from rankconv.stages import Factorization

Array = NDArray[Any]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class LowRankConv2d(nn.Module):
    """`nn.Conv2d` as a chain of smaller ones, (N, C_in, H, W) to (N, C_out, H', W').

    `rank` is what `kind` counts (see `rankconv.factorize`), a pair for tucker2; the other
    arguments are those of `nn.Conv2d`. The layers lie in `chain`, the bias in the last of them;
    what else is needed between them (the order of slice_svd's channels, padding that differs at
    two ends) is a layer of its own there. Padding by another mode than zeros is done once,
    before the chain. The weights start from a dense layer's (`rankconv.nn.spectral_init`).

    Raises ValueError for options out of range, a kind or a rank that does not fit the layer.
    Equivalent: `nn.Conv2d`, which `to_dense` gives back.
    Source: the files of `rankconv.factorizations` for the kinds.

    >>> layer = LowRankConv2d(16, 32, 3, rank=8, padding=1)
    >>> layer
    LowRankConv2d(
      16, 32, kernel_size=(3, 3), rank=8, kind=spatial_svd, padding=(1, 1)
      (chain): Sequential(
        (0): Conv2d(16, 8, kernel_size=(3, 1), stride=(1, 1), padding=(1, 0), bias=False)
        (1): Conv2d(8, 32, kernel_size=(1, 3), stride=(1, 1), padding=(0, 1))
      )
    )
    >>> layer(torch.zeros(1, 16, 8, 8)).shape
    torch.Size([1, 32, 8, 8])
    """

    padding: Padding | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        rank: int | Pair,
        kind: str = "spatial_svd",
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        chain = spectral_init(_weight(conv), rank=rank, kind=kind, **chain_options(conv))
        self._take(chain, _bias(conv), conv)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        *,
        rank: int | Pair | None = None,
        tol: float | None = None,
        kind: str = "spatial_svd",
    ) -> Self:
        """The layer `conv`, its weight cut to `rank` or to the relative error `tol`.

        With neither, exact up to rounding. Device, dtype, training flag and whether weights
        are trained are those of `conv`, which is not changed.

        Raises ValueError for anything but a plain `nn.Conv2d`, and as `rankconv.factorize` does.

        >>> conv = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect")
        >>> low = LowRankConv2d.from_conv(conv, tol=0.0)
        >>> x = torch.randn(1, 8, 6, 6)
        >>> torch.allclose(low(x), conv(x), atol=1e-5)
        True
        """
        if type(conv) is not nn.Conv2d:
            raise ValueError(
                f"conv is {type(conv).__name__}, not a plain nn.Conv2d: what a subclass or a "
                "parametrised layer computes is not known; remove the parametrisation first"
            )
        if not conv.weight.dtype.is_floating_point:
            raise ValueError(f"conv has a weight of {conv.weight.dtype}: only real layers are cut")
        chain = factorize(_weight(conv), rank=rank, tol=tol, kind=kind, **chain_options(conv))
        return cls._standing_for(conv, chain, _bias(conv))

    @classmethod
    def from_chain(
        cls,
        replacement: Replacement,
        *,
        padding: int | Sequence[int | Sequence[int]] = 0,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """The layer that a `Replacement`'s chain and bias make.

        The chain's stages know their own padding by zeros; for a `padding_mode` other than
        'zeros' they have none, and `padding` is that of the layer, done before the chain.

        Raises ValueError for a `padding` with 'zeros', and for an unknown mode.

        >>> chain = factorize(np.ones((4, 2, 3, 3), np.float32), kind="channel_svd", padding=1)
        >>> layer = LowRankConv2d.from_chain(Replacement(chain, None))
        >>> layer.rank, layer.padding, round(layer(torch.ones(1, 2, 3, 3))[0, 0, 1, 1].item())
        (1, (1, 1), 18)
        """
        if padding_mode not in get_args(PaddingMode):
            raise ValueError(f"padding_mode={padding_mode!r} is not one of {get_args(PaddingMode)}")
        before = conv_padding(padding)
        if padding_mode == "zeros" and before != (0, 0):
            raise ValueError(
                f"padding={padding!r} with padding_mode='zeros': the stages of the chain hold the "
                "padding; leave it out"
            )
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._fill(replacement.chain, replacement.bias, padding_mode, before)
        return layer.to(device=device, dtype=dtype)

    @classmethod
    def for_layer(cls, conv: nn.Conv2d, replacement: Replacement) -> Self:
        """A `Replacement` in the place of `conv`, with its device, dtype, padding and flags.

        Raises ValueError where the chain does not have the layer's shape.
        """
        if replacement.chain.shape != tuple(conv.weight.shape):
            raise ValueError(
                f"a chain for a weight of shape {replacement.chain.shape} does not fit a layer of "
                f"weight {tuple(conv.weight.shape)}"
            )
        return cls._standing_for(conv, replacement.chain, replacement.bias)

    @classmethod
    def _standing_for(cls, conv: nn.Conv2d, chain: Factorization, bias: Array | None) -> Self:
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._take(chain, bias, conv)
        layer.train(conv.training)
        return layer.requires_grad_(conv.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        if any(self._pad):
            x = functional.pad(x, self._pad, mode=self.padding_mode)
        y: Tensor = self.chain(x)
        return y

    @property
    def bias(self) -> Tensor | None:
        """The bias (C_out,) of the last layer, or None."""
        last = self.chain[-1]
        assert isinstance(last, nn.Conv2d)
        return last.bias

    def dense_weight(self) -> Tensor:
        """The weight (C_out, C_in / groups, kH, kW) that the chain computes, with its gradient."""
        return chains.dense_weight(list(self.chain), self.shape, self.in_channels)

    def to_dense(self) -> nn.Conv2d:
        """One `nn.Conv2d` that computes the same.

        Raises ValueError where the two ends of a side are padded differently, which `nn.Conv2d`
        has for padding='same' alone.
        """
        padding = self.padding
        if not isinstance(padding, str):
            (top, bottom), (left, right) = sides(padding)
            if top != bottom or left != right:
                raise ValueError(
                    f"padding={padding} differs at the two ends of a side, and nn.Conv2d cannot "
                    "hold that: keep the chain, or pad before the layer"
                )
            padding = (top, left)
        weight = self.dense_weight().detach()
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
        )
        conv.weight = nn.Parameter(weight)
        if self.bias is not None:
            conv.bias = nn.Parameter(self.bias.detach().clone())
        conv.train(self.training)
        return conv.requires_grad_(next(self.parameters()).requires_grad)

    def reset_parameters(self) -> None:
        """Draw the weights anew, as the constructor does."""
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            groups=self.groups,
            bias=self.bias is not None,
        )
        start = spectral_init(_weight(conv), rank=self.rank, kind=self.kind, groups=self.groups)
        chains.refill(self.chain, start.stages, _bias(conv))

    def extra_repr(self) -> str:
        """The layer's options where they are not the usual ones."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"rank={self.rank}, kind={self.kind}"
        )
        usual = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        for name, value in {**usual, "padding_mode": "zeros"}.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text if self.bias is not None else text + ", bias=False"

    def _take(self, chain: Factorization, bias: Array | None, conv: nn.Conv2d) -> None:
        """Stand for `conv`, by this chain."""
        pads = conv_pads(conv)
        self._fill(chain, bias, conv.padding_mode, (0, 0) if conv.padding_mode == "zeros" else pads)
        self.padding = conv.padding if isinstance(conv.padding, str) else pads
        self.to(device=conv.weight.device, dtype=conv.weight.dtype)

    def _fill(
        self, chain: Factorization, bias: Array | None, padding_mode: PaddingMode, before: Padding
    ) -> None:
        stages = chain.stages
        self.chain = nn.Sequential(*chains.conv2d_layers(stages, bias))
        self.kind, self.rank = chain.kind, chain.rank
        self.in_channels = stages[0].in_channels
        self.out_channels = stages[-1].out_channels
        self.kernel_size: Pair = (chain.shape[-2], chain.shape[-1])
        self.groups = self.in_channels // chain.shape[1]
        self.shape: tuple[int, ...] = tuple(chain.shape)
        self.stride: Pair = _product(stages, "stride")
        # A stage of one tap in a direction has no dilation in it.
        self.dilation: Pair = _product(stages, "dilation")
        self.padding_mode = padding_mode
        self._pad = chains.pad_argument(before)
        own = np.array([sides(stage.padding) for stage in stages]).sum(axis=0).tolist()
        self.padding = conv_padding(own) if padding_mode == "zeros" else before


def chain_options(conv: nn.Conv2d) -> dict[str, Any]:
    """A layer's options for `factorize`; without padding where that is not by zeros."""
    return {
        "stride": conv.stride,
        "padding": conv_pads(conv) if conv.padding_mode == "zeros" else (0, 0),
        "dilation": conv.dilation,
        "groups": conv.groups,
    }


def conv_pads(conv: nn.Conv2d | nn.Conv1d) -> Padding:
    """The padding of a layer in numbers; 'same' puts an odd one behind, as PyTorch does."""
    if isinstance(conv.padding, str):
        if conv.padding == "valid":
            return conv_padding((0,) * 2)
        spare = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        ends = [(n // 2, n - n // 2) for n in spare]
    else:
        ends = [(p, p) for p in conv.padding]
    return conv_padding(ends if len(ends) == 2 else [(0, 0), *ends])


def _product(stages: Sequence[Any], name: str) -> Pair:
    values = np.array([getattr(stage, name) for stage in stages]).prod(axis=0)
    return int(values[0]), int(values[1])


def _weight(conv: nn.Conv2d) -> Array:
    """The weight as an array; zeros where the layer holds no numbers (device 'meta')."""
    weight = conv.weight
    return np.zeros(weight.shape, np.float32) if weight.is_meta else chains.array(weight)


def _bias(conv: nn.Conv2d) -> Array | None:
    bias = conv.bias
    if bias is None:
        return None
    return np.zeros(bias.shape, np.float32) if bias.is_meta else chains.array(bias)
