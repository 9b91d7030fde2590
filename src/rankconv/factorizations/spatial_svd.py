"""kH x 1, then 1 x kW, through R channels: scheme 2 of Jaderberg et al. (2014, arXiv 1405.3866).

The best R filters of both kinds in closed form: Tai et al. (2016, arXiv 1511.06067), theorem 1.
In a grouped layer each group has R channels of its own; a depthwise layer's two stages are those
of the paper's separated filters.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rankconv.factorizations import two_factors
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]


def factorize_layer(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """Cut to `rank` channels a group, or to as few as the relative error `tol` needs."""
    return two_factors.factorize_layer(
        layer,
        rank=rank,
        tol=tol,
        kind="spatial_svd",
        columns=layer.kernel[1],
        build=stages,
    )


def full_rank(shape: tuple[int, int, int, int]) -> int:
    """The rank of an exact chain for a group's weight (M, C, kH, kW): min(M kW, C kH)."""
    outputs, inputs, kH, kW = shape
    return min(outputs * kW, inputs * kH)


def stages(layer: Stage, V: Array, H: Array) -> tuple[Stage, Stage]:
    """The chain of V (G, R, C kH) and H (G, M, kW, R)."""
    inputs, kH, kW = layer.weight.shape[1:]
    rank = V.shape[1]
    first = Stage(
        V.reshape(-1, inputs, kH, 1),
        stride=(layer.stride[0], 1),
        padding=(layer.padding[0], 0),
        dilation=(layer.dilation[0], 1),
        groups=layer.groups,
    )
    second = Stage(
        H.swapaxes(2, 3).reshape(-1, rank, 1, kW),
        stride=(1, layer.stride[1]),
        padding=(0, layer.padding[1]),
        dilation=(1, layer.dilation[1]),
        groups=layer.groups,
    )
    return first, second
