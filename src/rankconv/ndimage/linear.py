"""Correlation and convolution with any filter, along one axis or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_filter, as_numbers
from rankconv.ndimage import exact
from rankconv.ndimage.arguments import (
    Output,
    as_image,
    check_axes,
    check_axis,
    check_cval,
    check_mode,
    deliver,
    output_dtype,
    per_axis,
    taps_before,
)
from rankconv.ndimage.integers import integer_taps
from rankconv.ndimage.passes import Pass
from rankconv.ndimage.plane import Plane, correlate_plane
from rankconv.ndimage.terms import (
    apply_terms,
    from_parts,
    in_floats,
    part_dtype,
    work_dtype,
)

Array = NDArray[Any]


def correlate1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Correlate the lines of an image along one axis with `weights` (k,), complex ones conjugated.

    The result has the shape of the image and the dtype of `output`, an array to fill or a dtype;
    without it that of the image.

    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.correlate1d`.

    >>> correlate1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    taps = as_filter(weights, "weights", (1,)).conj()
    return _line(input, taps, axis, output, mode, cval, taps_before(origin, len(taps)))


def convolve1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Convolve the lines of an image along one axis with `weights` (k,).

    Result and errors are those of `correlate1d`.
    Equivalent: `scipy.ndimage.convolve1d`.

    >>> convolve1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    taps = as_filter(weights, "weights", (1,))[::-1]
    before = len(taps) - 1 - taps_before(origin, len(taps))
    return _line(input, taps, axis, output, mode, cval, before)


def correlate(
    input: ArrayLike,
    weights: ArrayLike,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Correlate an image with `weights` of as many dimensions as `axes`, or as the image.

    Filters over one or two axes take the fastest way of `rankconv.correlate2d`; with more than
    two, every tap costs a pass. Complex weights are conjugated.

    Result and errors are those of `correlate1d`.
    Equivalent: `scipy.ndimage.correlate`.

    >>> correlate([[1, 2, 3], [4, 5, 6]], [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    array([[ 4,  3,  2],
           [-2, -3, -4]])
    """
    return _volume(input, weights, output, mode, cval, origin, axes, flip=False)


def convolve(
    input: ArrayLike,
    weights: ArrayLike,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Convolve an image with `weights` of as many dimensions as `axes`, or as the image.

    Result and errors are those of `correlate`; complex weights are taken as they are.
    Equivalent: `scipy.ndimage.convolve`.

    >>> convolve([[1, 2, 3], [4, 5, 6]], [[1, -1]], mode="constant")
    array([[ 1,  1, -3],
           [ 1,  1, -6]])
    """
    return _volume(input, weights, output, mode, cval, origin, axes, flip=True)


def _line(
    input: ArrayLike,
    taps: Array,
    axis: int,
    output: Output,
    mode: str,
    cval: complex,
    before: int,
) -> Array:
    image = as_image(input)
    at, boundary, fill = check_axis(axis, image.ndim), check_mode(mode), check_cval(cval, image)

    def run(weights: Array, dtype: np.dtype[Any]) -> Array:
        return apply_terms(image, [[Pass(at, weights, before, boundary)]], dtype, fill)

    return _with_weights(run, image, taps, output)


def _volume(
    input: ArrayLike,
    weights: ArrayLike,
    output: Output,
    mode: str,
    cval: complex,
    origin: int | Sequence[int],
    axes: int | Sequence[int] | None,
    *,
    flip: bool,
) -> Array:
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    taps = as_numbers(weights, "weights")
    taps = as_filter(taps, "weights", (len(chosen),))
    # As in SciPy: weights follow the image's axes, and so do origins where there is one for each.
    order = range(image.ndim) if len(chosen) == image.ndim else chosen
    origins = dict(zip(order, per_axis(origin, len(chosen), "origin"), strict=True))
    taps = np.expand_dims(taps, [i for i in range(image.ndim) if i not in chosen])
    before = tuple(taps_before(origins.get(i, 0), k) for i, k in enumerate(taps.shape))
    if flip:
        taps = np.flip(taps)
        before = tuple(k - 1 - b for k, b in zip(taps.shape, before, strict=True))
    else:
        taps = taps.conj()
    boundary, fill = check_mode(mode), check_cval(cval, image)

    def run(real: Array, dtype: np.dtype[Any]) -> Array:
        return _correlate(image, real, before, boundary, fill, dtype)

    return _with_weights(run, image, taps, output)


def _with_weights(
    run: Callable[[Array, np.dtype[Any]], Array], image: Array, taps: Array, output: Output
) -> Array:
    """`run(taps, dtype)`, for complex taps put together from their real and imaginary part."""
    complex_image, complex_taps = image.dtype.kind == "c", taps.dtype.kind == "c"
    dtype = output_dtype(output, image, complex_result=complex_image or complex_taps)
    if not complex_taps:
        return deliver(run(taps.astype(np.float64), dtype), output)
    inner = dtype if complex_image else part_dtype(dtype)
    first = run(taps.real.astype(np.float64), inner)
    second = run(taps.imag.astype(np.float64), inner)
    result = np.empty(image.shape, dtype)
    result.real, result.imag = first.real, second.real
    if complex_image:
        result.real -= second.imag
        result.imag += first.imag
    return deliver(result, output)


def _correlate(
    image: Array,
    weights: Array,
    before: tuple[int, ...],
    mode: str,
    cval: complex,
    dtype: np.dtype[Any],
) -> Array:
    """The correlation with real weights of as many dimensions as the image."""
    if dtype.kind == "c":
        return from_parts(
            lambda part, fill: _correlate(part, weights, before, mode, fill, part_dtype(dtype)),
            image,
            dtype,
            cval,
        )
    if image.size == 0:
        return np.zeros(image.shape, dtype)
    if image.ndim == 0:
        return _correlate(image[None], weights[None], (0,), mode, cval, dtype).reshape(())
    long = [i for i, k in enumerate(weights.shape) if k > 1]
    floats = in_floats(image, dtype, cval)
    if len(long) > 2 or (dtype.kind == "f" and not floats):
        return exact.correlate_taps(image, weights, before, mode, cval.real, dtype=dtype)
    spare = [i for i in reversed(range(image.ndim)) if i not in long]
    while len(long) < min(2, image.ndim):
        long.append(spare.pop(0))
    axes = (min(long), max(long))
    kernel = weights.reshape([weights.shape[i] for i in axes] if image.ndim > 1 else (1, -1))
    first = before[axes[0]] if image.ndim > 1 else 0
    plane = Plane(axes, kernel, (first, before[axes[1]]), (mode, mode))
    if not floats:
        return integer_taps(image, weights, plane, before, cval.real, dtype)
    work = work_dtype(image.dtype, dtype)
    return correlate_plane(image, plane, cval.real, work).astype(dtype, copy=False)
