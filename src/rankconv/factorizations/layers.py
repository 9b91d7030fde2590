"""The public edge of every decomposition: a weight and its options as one checked layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_filter, check_rank_or_tol
from rankconv.geometry import Pair, conv_padding, pair
from rankconv.stages import Stage

Array = NDArray[Any]


def as_layer(
    weight: ArrayLike,
    *,
    stride: int | Sequence[int],
    padding: int | Sequence[int | Sequence[int]],
    dilation: int | Sequence[int],
    groups: int,
) -> tuple[Stage, tuple[int, ...]]:
    """The layer, its weight in four dimensions and in floating point, and the weight's own shape.

    Raises ValueError for an empty, non-finite or non-numeric weight, for another number of
    dimensions than two or four, and for options out of range.
    """
    array = as_filter(weight, "weight", (2, 4))
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
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
        padding=conv_padding(padding),
        dilation=pair(dilation, "dilation", least=1),
        groups=int(groups),
    )
    return layer, array.shape


def group_shape(layer: Stage) -> tuple[int, int, int, int]:
    """The weight of one group: (C_out / groups, C_in / groups, kH, kW)."""
    outputs, inputs, kH, kW = layer.weight.shape
    return outputs // layer.groups, inputs, kH, kW


def check_rank(rank: object, tol: object, full: int | Pair) -> int | Pair | None:
    """`rank` as the kind needs it: an integer, or a pair where `full` is one.

    One integer stands for both of a pair, each no more than its full rank. Raises ValueError
    unless at most one of rank (1 to `full`) and tol (>= 0) is given.
    """
    if isinstance(full, int):
        check_rank_or_tol(rank, tol, full)
        return int(rank) if isinstance(rank, int | np.integer) else None
    if rank is None or isinstance(rank, int | np.integer):
        check_rank_or_tol(rank, tol, max(full))
        return None if rank is None else (min(int(rank), full[0]), min(int(rank), full[1]))
    if not (
        isinstance(rank, Sequence)
        and len(rank) == 2
        and all(
            isinstance(r, int | np.integer) and not isinstance(r, bool) and 1 <= r <= f
            for r, f in zip(rank, full, strict=True)
        )
    ):
        raise ValueError(
            f"rank={rank!r} is not a pair (R_in, R_out) of integers from 1 to {full}, the full "
            "ranks of this weight; for an accuracy instead of a rank pass tol="
        )
    check_rank_or_tol(None if tol is None else rank, tol, 1)
    return int(rank[0]), int(rank[1])
