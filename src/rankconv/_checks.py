"""Checks of arguments at the public edge; everything further in trusts its input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
SINGLE_AND_DOUBLE = frozenset("fdFD")


def as_numbers(value: ArrayLike, name: str) -> Array:
    """`value` as an array of numbers in the machine's byte order; ValueError for anything else."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, and a filter has no meaning for hidden values: "
            f"pass {name}.filled(value)"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array of numbers: {error}") from None
    if array.dtype.kind in "biu":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind not in "fc":
        raise ValueError(f"{name} of dtype {array.dtype} does not hold numbers: convert it first")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.char not in SINGLE_AND_DOUBLE:
        raise ValueError(
            f"{name} of dtype {array.dtype} is not supported: use float32, float64, complex64, "
            f"complex128 or an integer type, e.g. {name}.astype('float32')"
        )
    return array


def as_filter(value: ArrayLike, name: str, ndims: tuple[int, ...]) -> Array:
    """`value` as a non-empty array of finite numbers with one of `ndims` dimensions."""
    array = as_numbers(value, name)
    if array.ndim not in ndims:
        allowed = " or ".join(f"{n}-D" for n in ndims)
        raise ValueError(
            f"{name} of shape {array.shape} has {array.ndim} dimensions: pass {allowed}"
        )
    if array.size == 0:
        raise ValueError(f"{name} of shape {array.shape} is empty: pass at least one tap")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds NaN or infinity, which no factorization can represent: "
            "replace them, e.g. with numpy.nan_to_num"
        )
    return array


def check_rank_or_tol(rank: object, tol: object, full: int) -> None:
    """ValueError unless at most one of `rank` (1 to `full`) and `tol` (>= 0) is given."""
    if rank is not None and tol is not None:
        raise ValueError(f"rank={rank!r} and tol={tol!r} exclude each other: pass one of them")
    if rank is not None and (
        isinstance(rank, bool)
        or not isinstance(rank, int | np.integer)
        or not 1 <= int(rank) <= full
    ):
        raise ValueError(
            f"rank={rank!r} is not an integer from 1 to {full}, the full rank of this filter; "
            "for an accuracy instead of a rank pass tol="
        )
    if tol is not None and (
        isinstance(tol, bool)
        or not isinstance(tol, float | int | np.floating | np.integer)
        or not 0 <= tol < np.inf
    ):
        raise ValueError(
            f"tol={tol!r} is not a finite number >= 0: it is the largest relative error of the "
            "filter in the Frobenius norm, e.g. tol=0.01"
        )
