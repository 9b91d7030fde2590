"""Checks of arguments at the public edge; everything further in trusts its input."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
SINGLE_AND_DOUBLE = frozenset("fdFD")
PLAIN = frozenset("fdFD?bBhHiIlLqQ")


def as_numbers(value: ArrayLike, name: str) -> Array:
    """`value` as an array of numbers in the machine's byte order; ValueError for anything else."""
    if type(value) is np.ndarray and value.dtype.char in PLAIN and value.dtype.isnative:
        return value
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


def check_out(out: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """ValueError unless `out` is a writable array of `shape` whose dtype holds `dtype` safely."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ValueError(f"out is {type(out).__name__}, and must be a plain numpy.ndarray")
    if out.shape != shape:
        raise ValueError(f"out of shape {out.shape} does not fit the result: pass shape {shape}")
    if not np.can_cast(dtype, out.dtype, "safe"):
        raise ValueError(
            f"out of dtype {out.dtype} cannot hold the {dtype} result safely: pass an array of "
            f"{dtype}, or filter without out and convert the result"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only: pass a writable array")


def check_workers(workers: object) -> int | None:
    """The number of threads, or None for as many as pay off; negative ones count from all.

    Equivalent: `workers` of `scipy.fft`.
    """
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
        raise ValueError(f"workers={workers!r} is not an integer: pass 1, -1 for all, or None")
    cores = os.cpu_count() or 1
    number = int(workers) if workers > 0 else cores + 1 + int(workers)
    if workers == 0 or number < 1:
        raise ValueError(
            f"workers={workers!r} is not a number of threads: pass 1 or more, -1 to -{cores} to "
            "count from all processors, or None"
        )
    return number


def filtered_axes(axes: object, ndim: int) -> tuple[int, int] | None:
    """The axes of rows and columns, counted from the first; None for the last two in order."""
    if axes == (-2, -1):
        return None
    try:
        rows, columns = (int(operator.index(axis)) for axis in axes)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ValueError(
            f"axes={axes!r} is not a pair of integers: pass (rows, columns), such as (0, 1)"
        ) from None
    if not (-ndim <= rows < ndim and -ndim <= columns < ndim) or rows % ndim == columns % ndim:
        raise ValueError(
            f"axes={axes!r} are not two different axes of an image of {ndim} dimensions"
        )
    pair = (rows % ndim, columns % ndim)
    return None if pair == (ndim - 2, ndim - 1) else pair


def held_by(value: complex, dtype: np.dtype[Any]) -> complex:
    """`fillvalue` as a number that `dtype` holds; ValueError where the dtype would change it."""
    if type(value) is int and value == 0:  # the default
        return 0
    try:
        number = np.asarray(value)
        if number.shape != () or number.dtype.kind not in "biufc":
            raise TypeError
        with np.errstate(all="ignore"):
            filled = number.astype(dtype) if dtype.kind == "c" else number.real.astype(dtype)
        fits = dtype.kind == "c" or number.imag == 0
        if dtype.kind not in "fc":
            fits = fits and number.real == filled
    except (TypeError, ValueError):
        raise ValueError(f"fillvalue={value!r} is not a number") from None
    if not fits:
        raise ValueError(
            f"fillvalue={value!r} cannot be held by {dtype}, the dtype of the result: pass a value "
            "of that type, or convert the image first"
        )
    result: complex = filled.item()
    return result
