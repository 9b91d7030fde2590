"""Filtering images: SciPy's arguments, any rank, and the algorithm that the plan chooses."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import (
    as_filter,
    as_numbers,
    check_out,
    check_rank_or_tol,
    check_workers,
    filtered_axes,
    held_by,
)
from rankconv.calibration import current
from rankconv.correlate import ALGORITHMS, takes
from rankconv.correlate.constants import Constants
from rankconv.geometry import Mode, Pair, check_boundary, output_shape, padding
from rankconv.planning import work_dtype
from rankconv.prepared import Prepared, apply, prepare
from rankconv.splitting import CACHED_BYTES, split_kernel

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
    out: Array | None = None,
    axes: tuple[int, int] = (-2, -1),
    workers: int | None = None,
) -> Array:
    """Correlate images (..., H, W) with a kernel (kH, kW), at its own or at a lower rank.

    `mode` is the size of the result: 'full' (H + kH - 1 rows), 'same' (H) or 'valid'
    (H - kH + 1). `boundary` is 'fill' (with `fillvalue`), 'wrap' or 'symm' as in SciPy's signal
    functions, or 'constant', 'reflect' (= symm), 'mirror' or 'nearest' as in its ndimage.
    `rank=r` gives the result of the nearest kernel of rank r; `tol` that of the smallest rank
    whose relative Frobenius error is within it; with neither the result is exact up to rounding.
    `algorithm` is 'auto' or a name from the table of `plan`. A complex kernel is conjugated.

    `axes` are the image's rows and columns, (0, 1) or (-3, -2) where the channels stand last.
    `out` takes the result: any writable array of its shape and of a dtype that holds it safely;
    it may overlap the image. `workers` is the largest number of threads of the native algorithms:
    one below about 1.5 million pixels and all above (None), that many, or -1 for all; results do
    not depend on it.

    The result has NumPy's promoted dtype, as SciPy's has: float32 images with a float64 kernel
    are filtered in float64, at half the speed of a float32 kernel (or of `SeparableFilter`).
    Integers stay exact and wrap around like NumPy's; with `rank` or `tol` an integer kernel counts
    as float64. Where an image holds NaN or infinity, only the windows that see them are affected
    with 'auto', and by infinities as in a direct sum.

    Raises ValueError for a kernel that is empty, not finite, not 2-D or, in mode 'valid', larger
    than the image (SciPy would swap the two), and for options out of range.
    Equivalent: `scipy.signal.correlate2d`.
    Source: the paper, sections VII to IX.

    >>> correlate2d([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="valid")
    array([[-1, -1],
           [-1, -1]])
    """
    taps = as_filter(kernel, "kernel", (2,))
    accuracy = (rank, tol)
    options = (mode, boundary, fillvalue, accuracy, algorithm, False, out, axes, workers)
    return _filter(image, taps.conj(), *options)


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
    out: Array | None = None,
    axes: tuple[int, int] = (-2, -1),
    workers: int | None = None,
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
    accuracy = (rank, tol)
    options = (mode, boundary, fillvalue, accuracy, algorithm, True, out, axes, workers)
    return _filter(image, taps, *options)


def _filter(
    image: ArrayLike,
    taps: Array,
    mode: Mode,
    boundary: str,
    fillvalue: complex,
    accuracy: tuple[int | None, float | None],
    algorithm: str,
    flipped: bool,
    out: Array | None,
    axes: tuple[int, int],
    workers: int | None,
) -> Array:
    A = as_numbers(image, "image")
    if A.ndim < 2 or A.size == 0:
        raise ValueError(f"image of shape {A.shape} is not (..., H, W) with all sizes above 0")
    moved = filtered_axes(axes, A.ndim)
    if moved is not None:
        A = np.moveaxis(A, moved, (-2, -1))
    check_boundary(boundary)
    check_rank_or_tol(*accuracy, min(taps.shape))
    workers = check_workers(workers)
    k = (taps.shape[0], taps.shape[1])
    shape = (*A.shape[:-2], *output_shape((A.shape[-2], A.shape[-1]), k, mode))
    dtype = work_dtype(A.dtype, taps.dtype, *accuracy)
    check_algorithm(algorithm, dtype)
    fill = held_by(fillvalue, dtype)
    pads = padding(k, mode, flipped=flipped)
    if moved is not None:  # a new result has its axes in the image's order, in memory too
        whole = _new_or_checked(out, moved_back(shape, moved), dtype)
        apply(
            _prepared_for(A, taps, dtype, pads, boundary, fill, accuracy, algorithm, workers),
            A,
            np.moveaxis(whole, moved, (-2, -1)),
        )
        return whole
    if out is not None:
        check_out(out, shape, dtype)
    ready = _prepared_for(A, taps, dtype, pads, boundary, fill, accuracy, algorithm, workers)
    return apply(ready, A, out)


def check_algorithm(algorithm: str, dtype: np.dtype[Any]) -> None:
    """ValueError unless `algorithm` is 'auto' or works in `dtype`."""
    if algorithm != "auto" and algorithm not in ALGORITHMS:
        names = ", ".join(map(repr, ("auto", *ALGORITHMS)))
        raise ValueError(f"algorithm={algorithm!r} is not one of {names}")
    if algorithm != "auto" and not takes(algorithm, dtype):
        raise ValueError(
            f"algorithm={algorithm!r} does not work in {dtype}, the dtype of the result: use "
            "'auto', or convert the image or the kernel first"
        )


def _new_or_checked(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if out is None:
        return np.empty(shape, dtype)
    check_out(out, shape, dtype)
    return out


def moved_back(shape: tuple[int, ...], axes: Pair) -> tuple[int, ...]:
    """The shape (..., H, W) with its last two sizes at `axes`."""
    sizes = iter(shape[:-2])
    last = dict(zip(axes, shape[-2:], strict=True))
    return tuple(last[i] if i in last else next(sizes) for i in range(len(shape)))


def _prepared_for(
    A: Array,
    taps: Array,
    dtype: np.dtype[Any],
    pads: tuple[Pair, Pair],
    boundary: str,
    fill: complex,
    accuracy: tuple[int | None, float | None],
    algorithm: str,
    workers: int | None,
) -> Prepared:
    # A large kernel is prepared anew each time, so that the cache stays small.
    make = _prepared if taps.nbytes <= CACHED_BYTES else _prepared.__wrapped__
    key = (taps.tobytes(), taps.shape, taps.dtype, A.shape, A.dtype, dtype, pads, boundary, fill)
    return make(*key, accuracy, algorithm, workers, current())


@lru_cache(maxsize=256)
def _prepared(
    taps: bytes,
    taps_shape: Pair,
    taps_dtype: np.dtype[Any],
    shape: tuple[int, ...],
    image_dtype: np.dtype[Any],
    dtype: np.dtype[Any],
    pads: tuple[Pair, Pair],
    boundary: str,
    fill: complex,
    accuracy: tuple[int | None, float | None],
    algorithm: str,
    workers: int | None,
    constants: Constants,
) -> Prepared:
    """`constants` make the key: what was planned with others is planned again."""
    kernel = np.frombuffer(taps, taps_dtype).reshape(taps_shape).astype(dtype)
    return prepare(
        split_kernel(kernel, *accuracy).kernel,
        shape,
        dtype,
        image_dtype=image_dtype,
        pads=pads,
        boundary=boundary,
        fillvalue=fill,
        algorithm=algorithm,
        workers=workers,
        exact_infinities=True,
    )
