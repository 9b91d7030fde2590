"""Filtering images: SciPy's arguments, any rank, and the algorithm that the plan chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_filter, as_numbers, check_rank_or_tol
from rankconv.correlate import ALGORITHMS, takes
from rankconv.geometry import Mode, check_boundary, output_shape, pad, padding
from rankconv.planning import choose, work_dtype
from rankconv.splitting import split_kernel

Array = NDArray[Any]


def correlate2d(
    image: ArrayLike,
    kernel: ArrayLike,
    mode: Mode = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    *,
    rank: int | None = None,
    tol: float | None = None,
    algorithm: str = "auto",
) -> Array:
    """Correlate images (..., H, W) with a kernel (kH, kW), at its own or at a lower rank.

    `mode` is the size of the result: 'full' (H + kH - 1 rows), 'same' (H) or 'valid'
    (H - kH + 1). `boundary` is 'fill' (with `fillvalue`), 'wrap' or 'symm' as in SciPy's signal
    functions, or 'constant', 'reflect' (= symm), 'mirror' or 'nearest' as in its ndimage.
    `rank=r` gives the result of the nearest kernel of rank r; `tol` that of the smallest rank
    whose relative Frobenius error is within it; with neither the result is exact up to rounding.
    `algorithm` is 'auto' or a name from the table of `plan`. A complex kernel is conjugated.

    The result has NumPy's promoted dtype. Integers stay exact and wrap around like NumPy's,
    as in SciPy; with `rank` or `tol` an integer kernel counts as float64. Where an image holds
    NaN or infinity, 'auto' works directly and only the windows that see them are affected.

    Raises ValueError for a kernel that is empty, not finite, not 2-D or, in mode 'valid', larger
    than the image (SciPy would swap the two), and for options out of range.
    Equivalent: `scipy.signal.correlate2d`.
    Source: the paper, sections VII to IX.

    >>> correlate2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="valid")
    array([[-1, -1],
           [-1, -1]])
    """
    taps = as_filter(kernel, "kernel", (2,))
    return _filter(image, taps.conj(), mode, boundary, fillvalue, rank, tol, algorithm, False)


def convolve2d(
    image: ArrayLike,
    kernel: ArrayLike,
    mode: Mode = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    *,
    rank: int | None = None,
    tol: float | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve images (..., H, W) with a kernel (kH, kW): correlate with the flipped kernel.

    Arguments, result and errors are those of `correlate2d`, without a conjugate. For an even
    kernel in mode 'same' the centre is SciPy's: one pixel before that of `correlate2d`.

    Equivalent: `scipy.signal.convolve2d`.
    Source: the paper, sections VII to IX (it calls the unflipped form convolution).

    >>> convolve2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="valid")
    array([[1, 1],
           [1, 1]])
    """
    taps = as_filter(kernel, "kernel", (2,))[::-1, ::-1]
    return _filter(image, taps, mode, boundary, fillvalue, rank, tol, algorithm, True)


def _filter(
    image: ArrayLike,
    taps: Array,
    mode: Mode,
    boundary: str,
    fillvalue: complex,
    rank: int | None,
    tol: float | None,
    algorithm: str,
    flipped: bool,
) -> Array:
    A = as_numbers(image, "image")
    if A.ndim < 2 or A.size == 0:
        raise ValueError(f"image of shape {A.shape} is not (..., H, W) with all sizes above 0")
    check_boundary(boundary)
    check_rank_or_tol(rank, tol, min(taps.shape))
    if algorithm != "auto" and algorithm not in ALGORITHMS:
        names = ", ".join(map(repr, ("auto", *ALGORITHMS)))
        raise ValueError(f"algorithm={algorithm!r} is not one of {names}")
    k = (taps.shape[0], taps.shape[1])
    output_shape((A.shape[-2], A.shape[-1]), k, mode)  # refuses a kernel that does not fit
    dtype = work_dtype(A.dtype, taps.dtype, rank, tol)
    if algorithm != "auto" and not takes(algorithm, dtype):
        raise ValueError(
            f"algorithm={algorithm!r} does not work in {dtype}, the dtype of the result: use "
            "'auto', or convert the image or the kernel first"
        )
    split = split_kernel(taps.astype(dtype), rank, tol).kernel
    A = A.astype(dtype, copy=False)
    A = pad(
        A,
        padding(k, mode, flipped=flipped),
        boundary=boundary,
        fillvalue=_fill(fillvalue, dtype),
    )
    if algorithm == "auto":
        algorithm = choose(A.shape, k, split.rank, dtype)
        # Zeros of a matrix times NaN are NaN: only the direct form keeps them where they are.
        if algorithm != "direct" and dtype.kind in "fc" and not np.isfinite(A).all():
            algorithm = "direct"
    return ALGORITHMS[algorithm](A, split)


def _fill(value: complex, dtype: np.dtype[Any]) -> Array:
    """`fillvalue` in the dtype of the result; ValueError where that would change it."""
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
    return filled
