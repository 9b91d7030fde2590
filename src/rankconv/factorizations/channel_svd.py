"""The same filters between fewer channels: kH x kW and 1 x 1, in either order.

On the output side kH x kW to R channels, then 1 x 1 (Zhang et al., 2015, arXiv 1505.06798,
section 2); on the input side 1 x 1 to R channels, then kH x kW. A 1 x 1 layer becomes two 1 x 1
layers, the plain SVD of its matrix. In a grouped layer each group has R channels of its own.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rankconv.factorizations import two_factors
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]


def factorize_output(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """kH x kW to `rank` channels a group, then 1 x 1; or as few as the error `tol` needs."""
    return two_factors.factorize_layer(
        layer, rank=rank, tol=tol, kind="channel_svd", columns=1, build=output_stages
    )


def factorize_input(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """1 x 1 to `rank` channels a group, then kH x kW; or as few as the error `tol` needs."""
    kH, kW = layer.kernel
    return two_factors.factorize_layer(
        layer, rank=rank, tol=tol, kind="channel_svd_input", columns=kH * kW, build=input_stages
    )


def full_rank_output(shape: tuple[int, int, int, int]) -> int:
    """The rank of an exact chain for a group's weight (M, C, kH, kW): min(M, C kH kW)."""
    outputs, inputs, kH, kW = shape
    return min(outputs, inputs * kH * kW)


def full_rank_input(shape: tuple[int, int, int, int]) -> int:
    """The rank of an exact chain for a group's weight (M, C, kH, kW): min(C, M kH kW)."""
    outputs, inputs, kH, kW = shape
    return min(inputs, outputs * kH * kW)


def output_stages(layer: Stage, V: Array, H: Array) -> tuple[Stage, Stage]:
    """The chain of V (G, R, C kH kW) and H (G, M, 1, R)."""
    first = Stage(
        V.reshape(-1, *layer.weight.shape[1:]),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return first, Stage(H.reshape(-1, V.shape[1], 1, 1), groups=layer.groups)


def input_stages(layer: Stage, V: Array, H: Array) -> tuple[Stage, Stage]:
    """The chain of V (G, R, C) and H (G, M, kH kW, R)."""
    second = Stage(
        H.swapaxes(2, 3).reshape(-1, V.shape[1], *layer.kernel),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return Stage(V.reshape(-1, V.shape[2], 1, 1), groups=layer.groups), second
