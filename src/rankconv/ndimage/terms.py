"""Sums of separable filters: one correlation for each plane of axes, or SciPy's passes one by one.

A term is a sequence of passes along different axes; the result is the sum of the terms. Results
of a floating-point type are computed by `rankconv.correlate2d`, two axes at a time: the passes
along both become one kernel of rank 1, and terms over the same two axes one kernel of their sum.
Integer results, and images with NaN or infinity, go through the passes of `exact`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.ndimage import exact
from rankconv.ndimage.plane import Plane, correlate_plane
from rankconv.ndimage.rounding import stored
from rankconv.splitting import CACHED_BYTES

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """out[i] = sum_j weights[j] image[i + j - before] along `axis`; weights (k,).

    With `mean` the weights are ones, and the sum is divided by k.
    """

    axis: int
    weights: Array
    before: int
    mode: str
    mean: bool = False

    def line(self) -> Array:
        """The weights, for a mean 1 / k each."""
        return self.weights / len(self.weights) if self.mean else self.weights


Term = Sequence[Pass]


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
    if in_floats(image, dtype, cval):
        return _in_planes(image, terms, dtype, cval.real)
    # A truth value is a byte until the end: SciPy adds up several in one.
    byte = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    parts = []
    for term in terms:
        part = image if len(term) else stored(image.astype(np.float64), byte)
        for p in term:
            part = exact.correlate_line(
                part, p.weights, p.axis, p.before, p.mode, cval.real,
                mean=p.mean, dtype=byte,
            )  # fmt: skip
        parts.append(part != 0 if dtype.kind == "b" else part)
    return _sum(parts)


def in_floats(image: Array, dtype: np.dtype[Any], cval: complex) -> bool:
    """Whether any order of summation serves: a float result of finite numbers."""
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


def _in_planes(image: Array, terms: Sequence[Term], dtype: np.dtype[Any], cval: float) -> Array:
    work = work_dtype(image.dtype, dtype)
    image = image.astype(work, copy=False)
    joint = _joined(terms, image.ndim, cval) if len(terms) > 1 else None
    if joint is not None:
        return correlate_plane(image, joint, cval).astype(dtype, copy=False)
    parts = []
    for term in terms:
        part = image if term else image.copy()
        for plane in _groups(term, image.ndim, cval):
            part = correlate_plane(part, plane, cval)
        parts.append(part)
    return _sum(parts).astype(dtype, copy=False)


def _sum(parts: Sequence[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        np.add(total, part, out=total)
    return total


def _groups(term: Term, ndim: int, cval: float) -> list[Plane]:
    """The passes of a term by twos where that gives the same result, in their order."""
    groups: list[Plane] = []
    rest = list(term)
    while rest:
        if len(rest) > 1 and _commute(rest[0], rest[1], cval):
            groups.append(_plane(rest[:2], ndim))
            rest = rest[2:]
        else:
            groups.append(_plane(rest[:1], ndim))
            rest = rest[1:]
    return groups


def _commute(first: Pass, second: Pass, cval: float) -> bool:
    """Whether both passes may see the image at once, and are a kernel of a size that is cached.

    The second pass continues the first one's result. Beyond a constant edge that is `cval`, and
    not the filtered `cval` that a joint kernel would find there.
    """
    same_beyond = second.mode != "constant" or cval == 0 or abs(first.line().sum() - 1) < 1e-12
    return same_beyond and 8 * len(first.weights) * len(second.weights) <= CACHED_BYTES


def _plane(passes: Term, ndim: int) -> Plane:
    """One or two passes as a kernel; with one the other axis is as far back as possible."""
    first = passes[0]
    line = first.line()
    if len(passes) == 1:
        if ndim == 1 or first.axis == ndim - 1:
            axes = (max(ndim - 2, 0), ndim - 1)
            return Plane(axes, line[None], (0, first.before), (first.mode, first.mode))
        return Plane(
            (first.axis, ndim - 1), line[:, None], (first.before, 0), (first.mode, first.mode)
        )
    a, b = sorted(passes, key=lambda p: p.axis)
    kernel = np.multiply.outer(a.line(), b.line())
    return Plane((a.axis, b.axis), kernel, (a.before, b.before), (a.mode, b.mode))


def _joined(terms: Sequence[Term], ndim: int, cval: float) -> Plane | None:
    """Several terms over the same two axes as one kernel; None where they do not fit together."""
    axes = sorted({p.axis for term in terms for p in term})
    modes = {(p.axis, p.mode) for term in terms for p in term}
    if len(axes) != 2 or len(modes) != 2 or any(len(term) == 0 for term in terms):
        return None
    if any(len(term) == 2 and not _commute(term[0], term[1], cval) for term in terms):
        return None
    planes = [_widened(term, (axes[0], axes[1]), ndim) for term in terms]
    before = tuple(max(p.before[i] for p in planes) for i in (0, 1))
    after = [max(p.kernel.shape[i] - p.before[i] for p in planes) for i in (0, 1)]
    kernel = np.zeros((before[0] + after[0], before[1] + after[1]))
    for p in planes:
        top, left = before[0] - p.before[0], before[1] - p.before[1]
        kernel[top : top + p.kernel.shape[0], left : left + p.kernel.shape[1]] += p.kernel
    by_axis = dict(modes)
    return Plane(
        (axes[0], axes[1]), kernel, (before[0], before[1]), (by_axis[axes[0]], by_axis[axes[1]])
    )


def _widened(term: Term, axes: tuple[int, int], ndim: int) -> Plane:
    """A term over one or both of `axes` as a kernel over both."""
    if len(term) == 2:
        return _plane(term, ndim)
    line = term[0].line()
    first = term[0].axis == axes[0]
    before = term[0].before
    return Plane(
        axes,
        line[:, None] if first else line[None],
        (before, 0) if first else (0, before),
        (term[0].mode, term[0].mode),
    )
