"""The compiled filters: planned once, called many times; nothing is padded or copied first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._native_module import native as _module
from rankconv.correlate.kernel import SplitKernel
from rankconv.correlate.small import SmallNet, available, conv_relu_pool
from rankconv.geometry import BOUNDARIES, Pair, check_boundary

if TYPE_CHECKING:
    from rankconv import _native
    from rankconv._native import Filter
else:
    _native = _module

__all__ = [
    "DTYPES",
    "SmallNet",
    "available",
    "compile_filter",
    "conv_relu_pool",
    "correlate_native_direct",
    "correlate_native_separable",
]

Array = NDArray[Any]

DTYPES: tuple[str, ...] = ("float32", "float64", "uint8", "uint16")
# The numbers of the C++ enumeration `Boundary`, by geometry's names.
_NUMBERS = {"fill": 0, "nearest": 1, "symm": 2, "mirror": 3, "wrap": 4}


def compile_filter(
    kernel: ArrayLike | None = None,
    *,
    factors: tuple[ArrayLike, ArrayLike] | None = None,
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    boundary: str = "fill",
    fillvalue: float = 0.0,
    keep_dtype: bool = False,
    workers: int | None = 1,
) -> Filter:
    """A filter to be called as `filter(image, *, out=None)`, on images (..., H, W) of any strides.

    Pass `kernel` (kH, kW) to correlate directly, or `factors`, (r, kH) and (r, kW), to correlate
    with sum_i f_i g_i^T in r passes over rows and one over columns. `padding` is how far the image
    goes on, ((above, below), (left, right)), by `boundary` as in `correlate2d`; nothing is padded
    in memory. Results are (..., H + above + below - kH + 1, W + left + right - kW + 1).

    Images are float32, float64, uint8 or uint16. Sums and taps are float64 for float64 images and
    float32 for the others, and so are the results; with `keep_dtype`, uint8 and uint16 results
    have the image's dtype, rounded to nearest (ties to even) and saturated, 0 for NaN.
    Before that rounding a result differs from the exact one by at most (n + 4) u sum |F| |A|, with
    n = kH kW (direct) or r kH + kW (|F| being sum_i |f_i| |g_i|^T) and u = 2^-24 or 2^-53.
    `workers` is the number of threads, None for as many as pay off; the results do not depend on
    it. Calls release the GIL and may run in many Python threads at once. `out` may overlap the
    image; it is then written at the end. Where an image holds NaN or infinity, a separable filter
    of rank above 1 may give NaN for a direct filter's infinity.

    Raises ValueError for options out of range and ImportError without the native module; the
    filter raises TypeError for other dtypes and ValueError for images that are too small.
    Equivalent: `scipy.signal.correlate2d`, `scipy.ndimage.correlate`.
    Source: the paper, section VIII.

    >>> import numpy as np
    >>> box = compile_filter(factors=(np.ones((1, 3)), np.ones((1, 3))))
    >>> box(np.ones((4, 5), np.float32))
    array([[9., 9., 9.],
           [9., 9., 9.]], dtype=float32)
    """
    if _module is None:
        raise ImportError(
            "rankconv's native module is not built here: install a C++17 compiler and reinstall "
            "rankconv, or use rankconv.correlate2d, which also works without it"
        )
    columns, rows = _taps(kernel, factors)
    check_boundary(boundary)
    (top, bottom), (left, right) = padding
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"padding={padding!r} has negative sizes: crop the image instead")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers} is not 1 or more, nor None")
    return _native.Filter(
        columns,
        rows,
        top,
        bottom,
        left,
        right,
        _NUMBERS[BOUNDARIES[boundary]],
        float(fillvalue),
        keep_dtype,
        0 if workers is None else workers,
    )


def _taps(
    kernel: ArrayLike | None, factors: tuple[ArrayLike, ArrayLike] | None
) -> tuple[Array, Array | None]:
    """What the compiled filter takes: F^T and None, or the columns and rows of the factors."""
    if (kernel is None) == (factors is None):
        raise ValueError("pass either kernel or factors, and not both")
    if factors is None:
        dense = np.asarray(kernel, np.float64)
        if dense.ndim != 2 or dense.size == 0:
            raise ValueError(f"kernel of shape {dense.shape}; a kernel is (kH, kW) with some taps")
        return np.ascontiguousarray(dense.T), None
    columns, rows = (np.ascontiguousarray(part, np.float64) for part in factors)
    if (
        (columns.ndim, rows.ndim) != (2, 2)
        or columns.shape[0] != rows.shape[0]
        or min(*columns.shape, *rows.shape) < 1
    ):
        raise ValueError(
            f"factors of shapes {columns.shape} and {rows.shape}; these must be (r, kH) and (r, kW)"
        )
    return columns, rows


def correlate_native_direct(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) with kH kW multiply-adds a pixel, compiled."""
    return compile_filter(kernel.dense)(image)


def correlate_native_separable(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) with r (kH + kW) multiply-adds a pixel, compiled.

    The row pass of each image row is kept in a ring of lines that stays in the cache, and the
    column pass adds up all terms there.
    """
    return compile_filter(factors=(kernel.f, kernel.g))(image)
