"""Correlation in SciPy's own order of summation: for integers, and for NaN and infinity.

An integer result is cut towards zero, so that a sum of 254.99999999999997 and one of 255 are two
different pixels: flat areas would flicker if the order of summation were another. The order here
is that of `NI_Correlate1D`, `NI_UniformFilter1D` and `NI_Correlate` in SciPy 1.17
(scipy/ndimage/src/ni_filters.c), in double precision: shifted adds over blocks that stay in the
cache. It is also the way to keep a NaN within the windows that see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.bands import CACHE_BYTES
from rankconv.filtering import correlate2d
from rankconv.geometry import pad
from rankconv.ndimage.rounding import stored

Array = NDArray[Any]

EPSILON = float(np.finfo(np.float64).eps)


def extend(image: Array, axis: int, before: int, after: int, mode: str, cval: float) -> Array:
    """The real image continued along one axis, in float64 where `cval` may ask for it."""
    if mode == "constant":
        image = image.astype(np.float64, copy=False)
    line = image.shape[axis]
    flat = np.moveaxis(image, axis, -1).reshape(-1, line)
    longer = pad(flat, ((0, 0), (before, after)), boundary=mode, fillvalue=cval)
    shape = (*image.shape[:axis], *image.shape[axis + 1 :], line + before + after)
    return np.moveaxis(longer.reshape(shape), -1, axis)


class Lines:
    """An image as lines along one axis, continued beyond its edges: (outer, n + k - 1, inner)."""

    def __init__(
        self, image: Array, weights: Array, axis: int, before: int, mode: str, cval: float
    ) -> None:
        k = len(weights)
        outer = int(np.prod(image.shape[:axis], dtype=np.int64))
        inner = int(np.prod(image.shape[axis + 1 :], dtype=np.int64))
        self.shape = outer, image.shape[axis], inner
        self.values = extend(image, axis, before, k - 1 - before, mode, cval).reshape(
            outer, image.shape[axis] + k - 1, inner
        )
        self.weights = weights

    def sums_at(self, places: Array) -> Array:
        """The sums at places of the flattened image, in SciPy's order."""
        line, start, column = np.unravel_index(places, self.shape)
        taps = start[:, None] + np.arange(len(self.weights))
        windows = self.values[line[:, None], taps, column[:, None]].astype(np.float64)
        return np.asarray(_ordered(windows[:, :, None], self.weights)[:, 0, 0])

    def flat(self) -> Array:
        """For each place of the flattened image whether all pixels of its window are equal."""
        k = len(self.weights)
        if k == 1:
            return np.ones(int(np.prod(self.shape)), bool)
        changes = (self.values[:, 1:] != self.values[:, :-1]).astype(np.uint8)
        ones = np.ones((k - 1, 1), np.float32)
        if self.shape[2] == 1:
            counts = correlate2d(changes[:, :, 0], ones.T, "valid")
        else:
            counts = correlate2d(changes, ones, "valid")
        return np.asarray(counts < 0.5).reshape(-1)

    def sums_in_flat_areas(self, places: Array) -> Array:
        """`sums_at` where the windows are flat: once for each value."""
        pixels = self.values[:, : self.shape[1]].reshape(-1)[places]
        if pixels.dtype.itemsize <= 2:
            lowest = int(pixels.min(initial=0))
            values = np.arange(lowest, int(pixels.max(initial=0)) + 1)
            which = np.subtract(pixels, lowest, dtype=np.int32)
        else:
            values, which = np.unique(pixels, return_inverse=True)
        windows = np.repeat(values.astype(np.float64)[:, None, None], len(self.weights), axis=1)
        return np.asarray(_ordered(windows, self.weights)[:, 0, 0][which])


def correlate_line(
    image: Array,
    weights: Array,
    axis: int,
    before: int,
    mode: str,
    cval: float,
    *,
    mean: bool,
    dtype: np.dtype[Any],
) -> Array:
    """sum_j weights[j] image[i + j - before] along `axis`, stored in `dtype`.

    `image` and `weights` (k,) are real. With `mean` the weights are 1 and the sum is divided by k.
    """
    k = len(weights)
    lines = Lines(image, weights, axis, before, mode, cval)
    outer, n, inner = lines.shape
    out = np.empty(lines.shape, dtype)
    # A mean of small integers is exact in any order, another integer result needs SciPy's, and a
    # float result is here for its NaN, which a running sum would carry on.
    whole = image.dtype.kind in "biu" and image.dtype.itemsize <= 4
    running = mean and (whole or dtype.kind != "f")
    for group, start, stop in _blocks(outer, n, inner, n if running and not whole else 4 * k):
        block = lines.values[group, start : stop + k - 1].astype(
            np.float64
        )  # (o, stop - start + k - 1, i)
        sums = _running(block, k) if running else _ordered(block, weights)
        if mean:
            sums /= k
        out[group, start:stop] = stored(sums, dtype)
    return out.reshape(image.shape)


def _blocks(outer: int, n: int, inner: int, least: int) -> Iterator[tuple[slice, int, int]]:
    """Groups of lines and ranges of at least `least` within a line, some hundred KB of doubles."""
    budget = CACHE_BYTES // (3 * 8)
    length = min(n, max(budget // inner, least))
    lines = max(1, budget // (length * inner))
    for first in range(0, outer, lines):
        for start in range(0, n, length):
            yield slice(first, min(first + lines, outer)), start, min(start + length, n)


def _ordered(block: Array, weights: Array) -> Array:
    """The weighted sums of a block (o, n + k - 1, i), in the order of NI_Correlate1D."""
    k = len(weights)
    n, centre = block.shape[1] - k + 1, k // 2
    near, far = weights[:centre], weights[:centre:-1]
    w = weights.tolist()
    sign = 0
    if k % 2 and (np.abs(near - far) <= EPSILON).all():
        sign = 1
    elif k % 2 and (np.abs(near + far) <= EPSILON).all():
        sign = -1
    start = centre if sign else k - 1
    sums: Array = block[:, start : start + n] * w[start]
    term = np.empty_like(sums)
    for j in range(start):
        source, mirrored = block[:, j : j + n], block[:, k - 1 - j : k - 1 - j + n]
        if sign > 0:
            np.multiply(np.add(source, mirrored, out=term), w[j], out=term)
        elif sign < 0:
            np.multiply(np.subtract(source, mirrored, out=term), w[j], out=term)
        else:
            np.multiply(source, w[j], out=term)
        sums += term
    return sums


def _running(block: Array, k: int) -> Array:
    """Sums over k neighbours, each the one before plus what enters less what leaves the window."""
    sums = np.empty((block.shape[0], block.shape[1] - k + 1, block.shape[2]))
    sums[:, 0] = np.cumsum(block[:, :k], axis=1)[:, -1]
    np.subtract(block[:, k:], block[:, :-k], out=sums[:, 1:])
    return np.cumsum(sums, axis=1, out=sums)


def correlate_taps(
    image: Array,
    weights: Array,
    before: tuple[int, ...],
    mode: str,
    cval: float,
    *,
    dtype: np.dtype[Any],
) -> Array:
    """The correlation with a filter of as many dimensions as the image, in NI_Correlate's order.

    `image` and `weights` are real. Taps of 0 are left out, so that a NaN below them is not seen.
    """
    longer = _extended(image, weights.shape, before, mode, cval)
    taps = [(tuple(at), float(weights[tuple(at)])) for at in np.argwhere(weights).tolist()]
    out = np.empty(image.shape, dtype)
    rows, row = image.shape[0], int(np.prod(image.shape[1:], dtype=np.int64))
    height = max(CACHE_BYTES // (3 * 8 * row), 4 * (weights.shape[0] - 1), 1)
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        block = longer[start : stop + weights.shape[0] - 1].astype(np.float64)
        shape = (stop - start, *image.shape[1:])
        sums, term = np.zeros(shape), np.empty(shape)
        for at, weight in taps:
            window = tuple(slice(i, i + n) for i, n in zip(at, shape, strict=True))
            sums += np.multiply(block[window], weight, out=term)
        out[start:stop] = stored(sums, dtype)
    return out


def taps_at(
    image: Array,
    weights: Array,
    before: tuple[int, ...],
    mode: str,
    cval: float,
    places: tuple[Array, ...],
) -> Array:
    """The sums of `correlate_taps` at some places (n,) of the image."""
    longer = _extended(image, weights.shape, before, mode, cval)
    sums = np.zeros(places[0].shape)
    for at in np.argwhere(weights).tolist():
        window = tuple(p + i for p, i in zip(places, at, strict=True))
        sums += longer[window].astype(np.float64) * float(weights[tuple(at)])
    return sums


def _extended(
    image: Array, sizes: tuple[int, ...], before: tuple[int, ...], mode: str, cval: float
) -> Array:
    for axis, (k, first) in enumerate(zip(sizes, before, strict=True)):
        if k > 1:
            image = extend(image, axis, first, k - 1 - first, mode, cval)
    return image
