"""Gaussian and uniform filters."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv.kernels import gaussian_line, gaussian_radius
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
from rankconv.ndimage.passes import Pass
from rankconv.ndimage.terms import apply_terms

Array = NDArray[Any]

# SciPy leaves an axis alone whose deviation is not above this.
NO_SIGMA = 1e-15


def gaussian_filter1d(
    input: ArrayLike,
    sigma: float,
    axis: int = -1,
    order: int = 0,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> Array:
    """Smooth along one axis with a Gaussian of `sigma` pixels, or with its derivative of `order`.

    The filter reaches `radius` pixels to each side, by default int(truncate * sigma + 0.5).
    Raises ValueError for a sigma that is not above 0 and for other arguments out of range.
    Equivalent: `scipy.ndimage.gaussian_filter1d`.

    >>> gaussian_filter1d([0.0, 0.0, 1.0, 0.0, 0.0], 1, radius=1).round(3)
    array([0.   , 0.274, 0.452, 0.274, 0.   ])
    """
    image = as_image(input)
    at = check_axis(axis, image.ndim)
    line = gaussian_pass(at, sigma, order, mode, truncate, radius)
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    return deliver(apply_terms(image, [[line]], dtype, check_cval(cval, image)), output)


def gaussian_filter(
    input: ArrayLike,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | Sequence[int] | None = None,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Smooth along all `axes` with Gaussians, or with their derivatives of `order`.

    `sigma`, `order`, `mode` and `radius` are one value or one for each axis; an axis with
    sigma=0 is left as it is.
    Raises ValueError for a negative sigma and for other arguments out of range.
    Equivalent: `scipy.ndimage.gaussian_filter`.

    >>> gaussian_filter([[0.0, 0.0, 8.0], [0.0, 0.0, 0.0]], 1, radius=1).round(2)
    array([[0.  , 1.59, 4.22],
           [0.  , 0.6 , 1.59]])
    """
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    term = gaussian_term(chosen, sigma, order, mode, truncate, radius)
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    return deliver(apply_terms(image, [term], dtype, check_cval(cval, image)), output)


def uniform_filter1d(
    input: ArrayLike,
    size: int,
    axis: int = -1,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """The mean of `size` neighbours along one axis.

    Raises ValueError for a size below 1 and for other arguments out of range.
    Equivalent: `scipy.ndimage.uniform_filter1d`, but a NaN stays within its windows.

    >>> uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
    array([4, 3, 4, 1, 4, 6, 6, 3])
    """
    image = as_image(input)
    line = _mean(check_axis(axis, image.ndim), size, origin, mode)
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    return deliver(apply_terms(image, [[line]], dtype, check_cval(cval, image)), output)


def uniform_filter(
    input: ArrayLike,
    size: int | Sequence[int] = 3,
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """The mean of `size` neighbours along each of `axes`.

    `size`, `mode` and `origin` are one value or one for each axis.
    Raises ValueError for a size below 1 and for other arguments out of range.
    Equivalent: `scipy.ndimage.uniform_filter`, but a NaN stays within its windows.

    >>> uniform_filter([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], mode="constant").round(3)
    array([[1., 1., 0.],
           [1., 1., 0.]])
    """
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    n = len(chosen)
    means = [
        _mean(*one)
        for one in zip(
            chosen,
            per_axis(size, n, "size"),
            per_axis(origin, n, "origin"),
            per_axis(mode, n, "mode"),
            strict=True,
        )
    ]
    term = [mean for mean in means if len(mean.weights) > 1]
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    return deliver(apply_terms(image, [term], dtype, check_cval(cval, image)), output)


def gaussian_term(
    axes: Sequence[int], sigma: Any, order: Any, mode: Any, truncate: float, radius: Any
) -> list[Pass]:
    """The passes of a Gaussian filter, without those that leave their axis alone."""
    n = len(axes)
    settings = zip(
        axes,
        per_axis(sigma, n, "sigma"),
        per_axis(order, n, "order"),
        per_axis(mode, n, "mode"),
        per_axis(radius, n, "radius"),
        strict=True,
    )
    return [
        gaussian_pass(axis, s, o, m, truncate, r)
        for axis, s, o, m, r in settings
        if not 0 <= s <= NO_SIGMA
    ]


def gaussian_pass(
    axis: int, sigma: float, order: int, mode: str, truncate: float, radius: int | None
) -> Pass:
    """A Gaussian or one of its derivatives along one axis."""
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma={sigma!r} is not a finite number of pixels above 0")
    reach = gaussian_radius(float(sigma), truncate) if radius is None else radius
    reach, order = _count(reach, "radius"), _count(order, "order")
    # SciPy correlates with the mirrored derivative.
    weights = gaussian_line(float(sigma), reach, order)[::-1]
    return Pass(axis, weights, reach, check_mode(mode))


def _count(value: Any, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={value!r} is not a whole number") from None
    if number < 0:
        raise ValueError(f"{name}={value} is below 0")
    return number


def _mean(axis: int, size: int, origin: int, mode: str) -> Pass:
    taps = _count(size, "size")
    if taps < 1:
        raise ValueError(f"size={size} is not at least 1")
    return Pass(axis, np.ones(taps), taps_before(origin, taps), check_mode(mode), mean=True)
