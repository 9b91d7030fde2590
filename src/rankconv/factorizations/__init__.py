"""Filters and layer weights as chains of cheaper convolutions, one kind of decomposition a file.

A kind is a function `factorize_layer(layer: Stage, *, rank, tol) -> Factorization`. A new one is
one file and a line in KINDS and in FULL_RANKS. (The package has not the name of its function
`factorize`, which `rankconv.factorize` must mean.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from rankconv.factorizations import channel_svd, cp, dense, slice_svd, spatial_svd, tucker2
from rankconv.factorizations.layers import as_layer, check_rank, group_shape
from rankconv.geometry import Pair
from rankconv.stages import Factorization

KINDS: dict[str, Callable[..., Factorization]] = {
    "slice_svd": slice_svd.factorize_layer,
    "spatial_svd": spatial_svd.factorize_layer,
    "channel_svd": channel_svd.factorize_output,
    "channel_svd_input": channel_svd.factorize_input,
    "tucker2": tucker2.factorize_layer,
    "cp": cp.factorize_layer,
    "dense": dense.factorize_layer,
}
# The rank of an exact chain for the weight (M, C, kH, kW) of one group.
FULL_RANKS: dict[str, Callable[[tuple[int, int, int, int]], int | Pair]] = {
    "slice_svd": lambda shape: min(shape[2:]),
    "spatial_svd": spatial_svd.full_rank,
    "channel_svd": channel_svd.full_rank_output,
    "channel_svd_input": channel_svd.full_rank_input,
    "tucker2": tucker2.full_rank,
    "cp": cp.full_rank,
    "dense": dense.full_rank,
}


def factorize(
    weight: ArrayLike,
    *,
    rank: int | Sequence[int] | None = None,
    tol: float | None = None,
    kind: str = "slice_svd",
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Factorization:
    """Split a filter (kH, kW) or a weight (C_out, C_in / groups, kH, kW) into a chain of stages.

    What `rank` counts, from 1 to the full rank for a group's weight (M, C, kH, kW):

    - slice_svd: terms f_i g_i^T of each slice; full min(kH, kW)
    - spatial_svd: channels between kH x 1 and 1 x kW; full min(C kH, M kW)
    - channel_svd: channels between kH x kW and 1 x 1; full min(M, C kH kW)
    - channel_svd_input: channels between 1 x 1 and kH x kW; full min(C, M kH kW)
    - tucker2: a pair, the channels before and after kH x kW between two 1 x 1; one integer
      stands for both; full is that of channel_svd_input and of channel_svd
    - cp: terms of one vector for each of the four dimensions; full M C kH kW over the largest
    - dense: nothing; the layer is left as it is

    `tol` instead takes a small rank whose measured relative Frobenius error is within it (the
    smallest for the kinds by SVD); with neither, the rank is the numerical one and the chain is
    exact up to rounding. Stride, padding, dilation and groups are those of the layer, as in
    `torch.nn.Conv2d`; where the two ends of a side are padded differently, `padding` is
    ((top, bottom), (left, right)). In a grouped layer each group is split by itself, all at one
    rank. An integer weight gives float64; complex weights are for slice_svd alone.

    Raises ValueError for an empty, non-finite or non-numeric weight, for another number of
    dimensions, and for options out of range.
    Equivalent: none in SciPy or PyTorch; `numpy.linalg.svd` of each slice, sigma folded into u.
    Source: the paper, section IX (Eckart-Young), for slice_svd; the file of each other kind.

    >>> sobel = factorize([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    >>> sobel.rank, [stage.weight.shape for stage in sobel.stages]
    (1, [(1, 1, 3, 1), (1, 1, 1, 3)])
    >>> laplacian = factorize([[0, 1, 0], [1, -4, 1], [0, 1, 0]], rank=1)
    >>> round(laplacian.error, 3)
    0.101
    >>> import numpy as np
    >>> layer = factorize(np.ones((8, 4, 3, 3)), kind="tucker2", rank=(2, 5), padding=1)
    >>> [stage.weight.shape for stage in layer.stages]
    [(2, 4, 1, 1), (5, 2, 3, 3), (8, 5, 1, 1)]
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")
    layer, shape = as_layer(
        weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    if layer.weight.dtype.kind == "c" and kind != "slice_svd":
        raise ValueError(
            f"weight of dtype {layer.weight.dtype} with kind={kind!r}: complex weights are for "
            "kind='slice_svd' alone; split the real and the imaginary part"
        )
    checked = check_rank(rank, tol, FULL_RANKS[kind](group_shape(layer)))
    return replace(KINDS[kind](layer, rank=checked, tol=tol), shape=shape)


def full_rank(shape: tuple[int, int, int, int], *, kind: str, groups: int = 1) -> int | Pair:
    """The rank at which `kind` is exact for a weight (C_out, C_in / groups, kH, kW).

    Raises ValueError for an unknown kind.

    >>> full_rank((64, 32, 3, 3), kind="spatial_svd")
    96
    """
    if kind not in FULL_RANKS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, FULL_RANKS))}")
    return FULL_RANKS[kind]((shape[0] // groups, *shape[1:]))
