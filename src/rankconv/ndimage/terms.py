"""Sums of separable filters: the result's dtype decides how they are computed.

Floats take the fastest correlation of planes; integers are cut as SciPy cuts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.ndimage.integers import integer_terms
from rankconv.ndimage.passes import Term
from rankconv.ndimage.planes import correlate_in_planes

Array = NDArray[Any]


def apply_terms(image: Array, terms: Sequence[Term], dtype: np.dtype[Any], cval: complex) -> Array:
    """The sum of the terms in `dtype`, an array of its own.

    Real and imaginary part go by themselves, so that an infinity in one leaves the other alone.
    """
    if dtype.kind == "c":
        return from_parts(
            lambda part, fill: apply_terms(part, terms, part_dtype(dtype), fill), image, dtype, cval
        )
    if image.size == 0:
        return np.zeros(image.shape, dtype)
    if (dtype.kind == "f" and len(terms) == 1) or in_floats(image, dtype, cval):
        work = work_dtype(image.dtype, dtype)
        return correlate_in_planes(image, terms, work, cval.real).astype(dtype, copy=False)
    return integer_terms(image, terms, dtype, cval.real)


def in_floats(image: Array, dtype: np.dtype[Any], cval: complex) -> bool:
    """Whether any order of summation serves, and so does 0 times a pixel: floats, all finite."""
    return dtype.kind == "f" and bool(np.isfinite(cval)) and _all_finite(image)


def work_dtype(image: np.dtype[Any], result: np.dtype[Any]) -> np.dtype[Any]:
    """Single precision where the image has no more and the result keeps no more, else double."""
    small = image.itemsize <= (4 if image.kind == "f" else 2)
    return np.dtype(np.float32 if small and result.itemsize == 4 else np.float64)


def from_parts(
    run: Callable[[Array, float], Array], image: Array, dtype: np.dtype[Any], cval: complex
) -> Array:
    """`run(image, cval)` for the real and the imaginary part, put together in `dtype`."""
    out = np.zeros(image.shape, dtype)
    out.real = run(np.ascontiguousarray(image.real).reshape(image.shape), cval.real)
    if image.dtype.kind == "c":
        out.imag = run(np.ascontiguousarray(image.imag).reshape(image.shape), cval.imag)
    return out


def part_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The real dtype of a complex one's parts."""
    return np.dtype(np.float32 if dtype == np.complex64 else np.float64)


def _all_finite(image: Array) -> bool:
    """Whether an image holds neither NaN nor infinity: a finite sum shows it in one pass."""
    if image.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(image.sum())) or bool(np.isfinite(image).all())
