"""Filters and layer weights as chains of cheaper convolutions, one kind of decomposition a file.

A kind is a function `factorize_layer(layer: Stage, *, rank, tol) -> Factorization`. A new one is
one file and one line in KINDS. (The package has not the name of its function `factorize`, which
`rankconv.factorize` must mean.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from rankconv._checks import as_filter, check_rank_or_tol
from rankconv.factorizations import slice_svd
from rankconv.geometry import pair
from rankconv.stages import Factorization, Stage

KINDS: dict[str, Callable[..., Factorization]] = {
    "slice_svd": slice_svd.factorize_layer,
}


def factorize(
    weight: ArrayLike,
    *,
    rank: int | None = None,
    tol: float | None = None,
    kind: str = "slice_svd",
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Factorization:
    """Split a filter (kH, kW) or a weight (C_out, C_in / groups, kH, kW) into a chain of stages.

    `rank` is the number of terms f_i g_i^T of each slice, from 1 to min(kH, kW); `tol` instead
    takes the smallest rank whose relative Frobenius error is within it; with neither, the rank
    is the numerical one and the chain is exact up to rounding. Stride, padding, dilation and
    groups are those of the layer, as in `torch.nn.Conv2d`. An integer weight gives float64.

    Raises ValueError for an empty, non-finite or non-numeric weight, for another number of
    dimensions, and for options out of range.
    Equivalent: none in SciPy or PyTorch; `numpy.linalg.svd` of each slice, sigma folded into u.
    Source: the paper, section IX (Eckart-Young).

    >>> sobel = factorize([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    >>> sobel.rank, [stage.weight.shape for stage in sobel.stages]
    (1, [(1, 1, 3, 1), (1, 1, 1, 3)])
    >>> laplacian = factorize([[0, 1, 0], [1, -4, 1], [0, 1, 0]], rank=1)
    >>> round(laplacian.error, 3)
    0.101
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")
    array = as_filter(weight, "weight", (2, 4))
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    check_rank_or_tol(rank, tol, min(array.shape[-2:]))
    four = array if array.ndim == 4 else array[None, None]
    if (
        isinstance(groups, bool)
        or not isinstance(groups, int | np.integer)
        or groups < 1
        or four.shape[0] % groups
    ):
        raise ValueError(
            f"groups={groups!r} is not a divisor of the {four.shape[0]} output channels of a "
            f"weight of shape {array.shape}"
        )
    layer = Stage(
        four,
        stride=pair(stride, "stride", least=1),
        padding=pair(padding, "padding", least=0),
        dilation=pair(dilation, "dilation", least=1),
        groups=int(groups),
    )
    chain = KINDS[kind](layer, rank=None if rank is None else int(rank), tol=tol)
    return replace(chain, shape=array.shape)
