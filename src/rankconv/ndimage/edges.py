"""Derivatives: Sobel, Prewitt, Laplace, and their Gaussian forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
)
from rankconv.ndimage.passes import Pass, Term
from rankconv.ndimage.smoothing import gaussian_term
from rankconv.ndimage.terms import apply_terms

Array = NDArray[Any]


def sobel(
    input: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
) -> Array:
    """The Sobel derivative along `axis`: differences there, 1 2 1 along every other axis.

    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.sobel`.

    >>> sobel([[0, 0, 1], [0, 0, 1], [0, 0, 1]])
    array([[0, 4, 4],
           [0, 4, 4],
           [0, 4, 4]])
    """
    return _derivative(input, [1.0, 2.0, 1.0], axis, output, mode, cval)


def prewitt(
    input: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
) -> Array:
    """The Prewitt derivative along `axis`: differences there, 1 1 1 along every other axis.

    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.prewitt`.

    >>> prewitt([[0, 0, 1], [0, 0, 1], [0, 0, 1]])
    array([[0, 3, 3],
           [0, 3, 3],
           [0, 3, 3]])
    """
    return _derivative(input, [1.0, 1.0, 1.0], axis, output, mode, cval)


def laplace(
    input: ArrayLike,
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """The sum of the second differences 1 -2 1 along `axes`.

    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.laplace`.

    >>> laplace([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    array([[ 0.,  1.,  0.],
           [ 1., -4.,  1.],
           [ 0.,  1.,  0.]])
    """
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    modes = per_axis(mode, len(chosen), "mode")
    second = np.array([1.0, -2.0, 1.0])
    terms = [[Pass(i, second, 1, check_mode(m))] for i, m in zip(chosen, modes, strict=True)]
    return _finish(image, terms or [[]], output, cval)


def gaussian_laplace(
    input: ArrayLike,
    sigma: float | Sequence[float],
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Array:
    """The sum over `axes` of the second derivative of a Gaussian-smoothed image.

    As in SciPy, `sigma` and `mode` are one value or one for each of `axes`, and the i-th `mode`
    serves every axis of the i-th derivative; `radius` is one value or one for each axis of the
    image.
    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.gaussian_laplace`.

    >>> import numpy as np
    >>> float(gaussian_laplace(np.eye(31), 2.0)[0, 30].round(4))
    0.0
    """
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    sigmas = per_axis(sigma, len(chosen), "sigma")
    if len(chosen) < image.ndim:
        by_axis = dict(zip(chosen, sigmas, strict=True))
        sigmas = [by_axis.get(i, 0) for i in range(image.ndim)]
    terms = [
        gaussian_term(range(image.ndim), sigmas, _one_at(i, 2, image), m, truncate, radius)
        for i, m in zip(chosen, per_axis(mode, len(chosen), "mode"), strict=True)
    ]
    return _finish(image, terms or [[]], output, cval)


def gaussian_gradient_magnitude(
    input: ArrayLike,
    sigma: float | Sequence[float],
    output: Output = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
) -> Array:
    """The length of the gradient over `axes` of a Gaussian-smoothed image.

    As in SciPy 1.17, the smoothing runs over every axis of the image, also beyond `axes`: give
    `sigma` for each axis of the image, with 0 for channels. The i-th `mode` serves every axis of
    the i-th derivative.
    Raises ValueError for an argument that is not allowed.
    Equivalent: `scipy.ndimage.gaussian_gradient_magnitude`.

    >>> import numpy as np
    >>> ramp = np.arange(30.0) * np.ones((20, 1))
    >>> float(gaussian_gradient_magnitude(ramp, 1.0)[10, 15].round(3))
    1.0
    """
    image = as_image(input)
    chosen = check_axes(axes, image.ndim)
    terms = [
        gaussian_term(range(image.ndim), sigma, _one_at(i, 1, image), m, truncate, radius)
        for i, m in zip(chosen, per_axis(mode, len(chosen), "mode"), strict=True)
    ]
    if not terms:
        return _finish(image, [[]], output, cval)
    fill = check_cval(cval, image)
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    parts = [apply_terms(image, [term], dtype, fill) for term in terms]
    total = np.multiply(parts[0], parts[0], out=parts[0])  # in the result's dtype, as SciPy does
    for part in parts[1:]:
        total += np.multiply(part, part, out=part)
    np.sqrt(total, out=total, casting="unsafe")
    return deliver(total, output)


def _derivative(
    input: ArrayLike,
    across: Sequence[float],
    axis: int,
    output: Output,
    mode: str | Sequence[str],
    cval: complex,
) -> Array:
    image = as_image(input)
    at = check_axis(axis, image.ndim)
    modes = [check_mode(m) for m in per_axis(mode, image.ndim, "mode")]
    line = np.array(across)
    term = [Pass(at, np.array([-1.0, 0.0, 1.0]), 1, modes[at])]
    term += [Pass(i, line, 1, modes[i]) for i in range(image.ndim) if i != at]
    return _finish(image, [term], output, cval)


def _finish(image: Array, terms: Sequence[Term], output: Output, cval: complex) -> Array:
    dtype = output_dtype(output, image, complex_result=image.dtype.kind == "c")
    return deliver(apply_terms(image, terms, dtype, check_cval(cval, image)), output)


def _one_at(axis: int, order: int, image: Array) -> list[int]:
    return [order if i == axis else 0 for i in range(image.ndim)]
