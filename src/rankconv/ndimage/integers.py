"""Integer results: the same integers as SciPy's, from fast sums where those leave no doubt.

SciPy sums in double precision in its own order and cuts the fraction off after each pass. Sums of
whole numbers have no rounding in any order. Other sums of k products are within
k eps sum |w| max |x| of the true one (Higham, Accuracy and Stability of Numerical Algorithms,
2002, section 3.1; eps = 2^-53), so that two orders of summation give the same integer wherever
one is further than twice that from an integer. The pixels in doubt are summed again in SciPy's
order: each by itself, in flat areas each grey value once, and all where there are too many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.native import available
from rankconv.ndimage import exact
from rankconv.ndimage.passes import Pass, Term
from rankconv.ndimage.plane import Plane, correlate_plane
from rankconv.ndimage.planes import correlate_in_planes, plane_of
from rankconv.ndimage.rounding import stored

Array = NDArray[Any]

# A pixel costs about as much by itself as this many in blocks.
ONE_BY_ONE = 32
# With float32 sums about this share of the pixels is in doubt, on each side of an integer.
MOST_DOUBT = 0.005
BLOCK = 32 * 1024


def integer_terms(image: Array, terms: Sequence[Term], dtype: np.dtype[Any], cval: float) -> Array:
    """The sum of the terms in the integer `dtype` (or bool), cut after each pass."""
    # A truth value is a byte until the end: SciPy adds up several in one.
    byte = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    passes = [p for term in terms for p in term]
    if not any(p.mean for p in passes) and (len(terms) == 1 or dtype.kind != "b"):
        gain = sum(float(np.prod([np.abs(p.weights).sum() for p in term])) for term in terms)
        work = _whole(image, [p.weights for p in passes], gain, {p.mode for p in passes}, cval)
        if work is not None and byte != np.uint64:  # which does not wrap around in SciPy's doubles
            sums = correlate_in_planes(image, terms, work, cval, few=0)
            result = stored(np.rint(sums, out=sums), byte, gain * _largest(image, cval))
            return result != 0 if dtype.kind == "b" else result
    total: Array | None = None
    for term in terms:
        part = image if len(term) else stored(image.astype(np.float64), byte)
        for p in term:
            part = _line(part, p, cval, byte)
        if dtype.kind == "b":
            part = part != 0
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # every filter has a term
    return total


def integer_taps(
    image: Array,
    weights: Array,
    plane: Plane,
    before: tuple[int, ...],
    cval: float,
    dtype: np.dtype[Any],
) -> Array:
    """The correlation in an integer `dtype` (or bool) with `weights` (ndim of the image).

    `plane` is the same kernel over the two axes that it has more than one tap along.
    """
    mode, gain = plane.modes[0], float(np.abs(weights).sum())
    if _are_small(image, {mode}, cval):
        limit = gain * _largest(image, cval)
        work = _whole(image, [weights], gain, {mode}, cval)
        if work is not None:
            sums = correlate_plane(image, plane, cval, work)
            return stored(np.rint(sums, out=sums), dtype, limit)
        result, doubts = _cut(image, plane, cval, dtype, limit)
        if doubts.size * ONE_BY_ONE <= result.size:
            at = np.unravel_index(doubts, image.shape)
            result[at] = stored(exact.taps_at(image, weights, before, mode, cval, at), dtype)
            return result
    return exact.correlate_taps(image, weights, before, mode, cval, dtype=dtype)


def _line(image: Array, p: Pass, cval: float, dtype: np.dtype[Any]) -> Array:
    """One pass of a filter, stored in the integer `dtype`."""
    k, gain = len(p.weights), float(np.abs(p.weights).sum())
    if _are_small(image, {p.mode}, cval):
        limit = gain * _largest(image, cval)
        plane = plane_of([replace(p, mean=False)], image.ndim)
        if not p.mean:
            result, doubts = _cut(image, plane, cval, dtype, limit)
            if _settle(result, image, p, cval, doubts):
                return result
        elif (work := _whole(image, [p.weights], gain, {p.mode}, cval)) is not None:
            if limit < 2**24 and image.dtype.itemsize <= 2:  # sums of products are exact
                work = np.dtype(np.float32)
            sums = correlate_plane(image, plane, cval, work, direct=True)
            mean = partial(_divided, k)
            return _in_blocks(sums, dtype, mean, limit)
    return exact.correlate_line(
        image, p.weights, p.axis, p.before, p.mode, cval, mean=p.mean, dtype=dtype
    )


def _cut(
    image: Array, plane: Plane, cval: float, dtype: np.dtype[Any], limit: float
) -> tuple[Array, Array]:
    """The correlation in `dtype`, and the flat places where another order may give another."""
    doubt = 2.0 * (plane.kernel.size + 3) * limit  # the weights are rounded to `work`, too
    work = np.dtype(np.float32 if doubt * 2.0**-24 < MOST_DOUBT else np.float64)
    slack = doubt * (2.0**-24 if work == np.float32 else 2.0**-53)
    sums = correlate_plane(image, plane, cval, work, direct=True)
    doubts = []

    def look(block: Array, start: int) -> Array:
        off = np.rint(block)
        np.abs(np.subtract(off, block, out=off), out=off)
        doubts.append(np.flatnonzero(off <= slack) + start)
        return block

    result = _in_blocks(sums, dtype, look, limit)
    return result, np.concatenate(doubts)


def _in_blocks(
    sums: Array, dtype: np.dtype[Any], change: Callable[[Array, int], Array], limit: float
) -> Array:
    """`change(block, start)` of blocks of the flattened sums that stay in the cache, stored."""
    result = np.empty(sums.shape, dtype)
    before, after = sums.reshape(-1), result.reshape(-1)
    for start in range(0, before.size, BLOCK):
        block = before[start : start + BLOCK]
        after[start : start + BLOCK] = stored(change(block, start), dtype, limit)
    return result


def _divided(k: int, block: Array, start: int) -> Array:
    return np.divide(block, k, dtype=np.float64)


def _settle(result: Array, image: Array, p: Pass, cval: float, doubts: Array) -> bool:
    """Put SciPy's integers in the places of `doubts`; False where they are too many."""
    if doubts.size == 0:
        return True
    lines = exact.Lines(image, p.weights, p.axis, p.before, p.mode, cval)
    settled = result.reshape(-1)
    if doubts.size * ONE_BY_ONE > result.size:
        flat = lines.flat()[doubts]
        settled[doubts[flat]] = stored(lines.sums_in_flat_areas(doubts[flat]), result.dtype)
        doubts = doubts[~flat]
    if doubts.size * ONE_BY_ONE > result.size:
        return False
    settled[doubts] = stored(lines.sums_at(doubts), result.dtype)
    return True


def _whole(
    image: Array, weights: Sequence[Array], gain: float, modes: Collection[str], cval: float
) -> np.dtype[Any] | None:
    """A float type in which the sums of whole numbers are off by less than a half, or None."""
    if not _are_small(image, modes, cval) or not all((w == np.rint(w)).all() for w in weights):
        return None
    if "constant" in modes and not float(cval).is_integer():
        return None
    reach = 16 * _largest(image, cval) * gain * sum(w.size for w in weights)
    if reach < 2**23 and image.dtype.itemsize <= 2:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if reach < 2**52 else None


def _are_small(image: Array, modes: Collection[str], cval: float) -> bool:
    """Whether the compiled filters can sum these integers in double precision."""
    integers = image.dtype.kind in "biu" and image.dtype.itemsize <= 4
    return available and integers and ("constant" not in modes or bool(np.isfinite(cval)))


def _largest(image: Array, cval: float) -> float:
    """A bound of the pixels, near and beyond the edge."""
    if image.dtype.kind == "b":
        inside = 1.0
    elif image.dtype.itemsize <= 2:
        inside = 2.0 ** (8 * image.dtype.itemsize)
    else:
        inside = max(abs(float(image.max())), abs(float(image.min())))
    return max(inside, abs(cval), 1.0)
