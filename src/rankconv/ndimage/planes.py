"""Sums of separable filters as few correlations over planes: two axes, and terms, at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.ndimage.passes import Pass, Term
from rankconv.ndimage.plane import FEW_TAPS, Plane, correlate_plane
from rankconv.splitting import CACHED_BYTES

Array = NDArray[Any]


def correlate_in_planes(
    image: Array, terms: Sequence[Term], dtype: np.dtype[Any], cval: float, *, few: int = FEW_TAPS
) -> Array:
    """The sum of the terms, computed and given in the floating-point `dtype`.

    The passes along two axes become one kernel of rank 1, and terms over the same two axes one
    kernel of their sum. Kernels of up to `few` taps go one pass after the other: a difference of
    equal pixels then is 0, and not nearly 0.
    """
    joint = _joined(terms, image.ndim, cval) if len(terms) > 1 else None
    if joint is not None:
        return correlate_plane(image, joint, cval, dtype)
    total: Array | None = None
    for term in terms:
        part = image if term else image.astype(dtype)
        for plane in _groups(term, image.ndim, cval, few):
            part = correlate_plane(part, plane, cval, dtype)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # every filter has a term
    return total


def _groups(term: Term, ndim: int, cval: float, few: int) -> list[Plane]:
    """The passes of a term by twos where that gives the same result, in their order."""
    groups: list[Plane] = []
    rest = list(term)
    while rest:
        taps = math.prod(len(p.weights) for p in rest[:2])
        if taps > few and len(rest) > 1 and _commute(rest[0], rest[1], cval):
            groups.append(plane_of(rest[:2], ndim))
            rest = rest[2:]
        else:
            groups.append(plane_of(rest[:1], ndim))
            rest = rest[1:]
    return groups


def _commute(first: Pass, second: Pass, cval: float) -> bool:
    """Whether both passes may see the image at once, and are a kernel of a size that is cached.

    The second pass continues the first one's result. Beyond a constant edge that is `cval`, and
    not the filtered `cval` that a joint kernel would find there.
    """
    same_beyond = second.mode != "constant" or cval == 0 or abs(first.line().sum() - 1) < 1e-12
    return same_beyond and 8 * len(first.weights) * len(second.weights) <= CACHED_BYTES


def plane_of(passes: Term, ndim: int) -> Plane:
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
        return plane_of(term, ndim)
    line = term[0].line()
    first = term[0].axis == axes[0]
    before = term[0].before
    return Plane(
        axes,
        line[:, None] if first else line[None],
        (before, 0) if first else (0, before),
        (term[0].mode, term[0].mode),
    )
