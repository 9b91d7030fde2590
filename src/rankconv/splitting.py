"""A kernel and its factors, computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.kernel import SplitKernel
from rankconv.factorizations.slice_svd import (
    choose_rank,
    numerical_rank,
    output_gain,
    relative_error,
    relative_tail,
    rounding,
    svd,
)

Array = NDArray[Any]

# Kernels above this size are split anew each time, so that the cache stays small.
CACHED_BYTES = 32 * 1024


@dataclass(frozen=True, eq=False)
class Split:
    """A kernel ready for every algorithm, and how near it is to the one that was given."""

    kernel: SplitKernel
    error: float
    bound: float
    output_gain: float


def split_kernel(kernel: Array, rank: int | None, tol: float | None) -> Split:
    """The kernel and its factors, cached on its bytes; an integer kernel keeps exact factors."""
    taps = np.ascontiguousarray(kernel)
    if taps.nbytes > CACHED_BYTES:
        return _split(taps, rank, tol)
    return _split_cached(taps.tobytes(), taps.shape, taps.dtype, rank, tol)


@lru_cache(maxsize=256)
def _split_cached(
    taps: bytes,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    rank: int | None,
    tol: float | None,
) -> Split:
    return _split(np.frombuffer(taps, dtype).reshape(shape), rank, tol)


def _split(taps: Array, rank: int | None, tol: float | None) -> Split:
    if taps.dtype.kind not in "fc":
        return Split(SplitKernel(taps, *_integer_factors(taps)), 0.0, 0.0, 0.0)
    f, sigma, g = svd(taps)
    exact = numerical_rank(sigma, taps)
    m = choose_rank(sigma, taps, tol) if rank is None else min(int(rank), exact)
    f, g = f[:m], g[:m]
    if exact == 1 and (pair := _cross(taps)) is not None:
        f, g = pair
    dense = taps if m == exact else (f.T @ g).astype(taps.dtype)
    f, g = np.ascontiguousarray(f, taps.dtype), np.ascontiguousarray(g, taps.dtype)
    for array in (dense, f, g):
        array.flags.writeable = False
    return Split(
        SplitKernel(dense, f, g),
        error=relative_error(taps, f, g),
        bound=relative_tail(sigma)[m] + rounding(taps),
        output_gain=output_gain(sigma, m, (taps.shape[0], taps.shape[1])),
    )


def _cross(taps: Array) -> tuple[Array, Array] | None:
    """The column and the row through the largest tap, where their product is the kernel to the bit.

    The factors of an SVD are rounded: they would filter whole numbers with [1, 2, 1] to 1.9999999.
    """
    i, j = np.unravel_index(np.abs(taps).argmax(), taps.shape)
    if not taps[i, j]:
        return None
    column, row = taps[:, j], taps[i] / taps[i, j]
    return (column[None], row[None]) if np.array_equal(np.outer(column, row), taps) else None


def _integer_factors(taps: Array) -> tuple[Array, Array]:
    """Factors without rounding: of rank 1 where that is possible, else F = sum_i e_i row_i(F)^T."""
    wide = taps.astype(np.int64)
    rows = np.flatnonzero(wide.any(axis=1))
    if rows.size and np.abs(wide).max() < 2**31 and np.array_equal(wide, taps):
        row = wide[rows[0]]
        g = row // np.gcd.reduce(row)
        at = np.flatnonzero(g)[0]
        f = wide[:, at] // g[at]
        f, g = f.astype(taps.dtype), g.astype(taps.dtype)
        if np.array_equal(np.outer(f.astype(np.int64), g.astype(np.int64)), wide):
            return f[None], g[None]
    return np.eye(len(taps), dtype=taps.dtype), taps
