"""What each algorithm costs: work counted from the shapes, times constants.

The counts of an algorithm are the columns of its row in constants.py: seconds = counts . constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rankconv._native_module import native
from rankconv.correlate.bands import bands
from rankconv.correlate.fft import tile_sizes
from rankconv.correlate.toeplitz_blocked import tiling

# Beyond this many bytes of image and result the second-level cache no longer holds them.
CACHE_BYTES = 1 << 20
VECTOR_BYTES = {"v2": 16, "v3": 32, "v4": 64}.get(getattr(native, "isa", ""), 16)


class Job(NamedTuple):
    """What the cost depends on: `images` of H x W (padded), the filter's shape and rank."""

    images: int
    H: int
    W: int
    kH: int  # noqa: N815
    kW: int  # noqa: N815
    rank: int
    dtype: np.dtype[Any]

    @property
    def oH(self) -> int:
        """Rows of the result."""
        return self.H - self.kH + 1

    @property
    def oW(self) -> int:
        """Columns of the result."""
        return self.W - self.kW + 1


class Work(NamedTuple):
    """`multiply_adds` done (the same for any machine), and what the constants multiply."""

    multiply_adds: int
    counts: tuple[float, ...]


def loop(job: Job) -> Work:
    """A few NumPy calls a window: windows, multiply-adds."""
    count = job.images * job.oH * job.oW * job.kH * job.kW
    return Work(count, (job.oH * job.oW, count))


def direct(job: Job) -> Work:
    """A multiply and an add a tap and band: calls, bytes, bytes out of the cache."""
    count = job.images * job.oH * job.oW * job.kH * job.kW
    calls = 2 * job.kH * job.kW * _bands(job)
    return Work(count, (calls, count * job.dtype.itemsize, _far(job)))


def separable(job: Job) -> Work:
    """kW passes over a band and its halo, then kH passes over the band, for each term."""
    halo = _bands(job) * (job.kH - 1)
    count = (job.oH + halo) * job.oW * job.kW + job.oH * job.oW * job.kH
    count *= job.images * job.rank
    calls = 2 * (job.kH + job.kW) * job.rank * _bands(job)
    return Work(count, (calls, count * job.dtype.itemsize, _far(job)))


def toeplitz(job: Job) -> Work:
    """Two products with matrices of the image's size: calls, bytes built, multiply-adds."""
    count = job.images * job.rank * job.H * job.oW * (job.W + job.oH)
    built = job.rank * (job.oH * job.H + job.W * job.oW) * job.dtype.itemsize
    return Work(count, (1, built, count))


def toeplitz_terms(job: Job) -> Work:
    """The same operations in 2 r products, with r - 1 additions of the result."""
    count, (_, built, _) = toeplitz(job)
    added = (job.rank - 1) * job.images * job.oH * job.oW * job.dtype.itemsize
    return Work(count, (1, 3 * job.rank, built, count, added))


def toeplitz_blocked(job: Job) -> Work:
    """Small products, tiles for the rows and bands for the columns: calls, products, both."""
    shape = (job.oH, job.oW)
    tH, tW, strip = tiling(shape, (job.kH, job.kW), job.rank, job.dtype.itemsize)
    tall = -(-job.oH // tH)
    blocks = job.images * tall * -(-job.oW // strip)
    each = job.images * job.rank * job.oW
    rows = each * tall * (tH + job.kH - 1) * (tW + job.kW - 1)
    columns = each * tall * tH * (tH + job.kH - 1)
    products = blocks * job.rank * -(-strip // tW)
    return Work(rows + columns, (1, blocks, products, rows, columns))


def fft(job: Job) -> Work:
    """Two transforms a tile and one of the filter: tiles, butterflies, samples, lines, results."""
    (tH, sizeH), (tW, sizeW) = tile_sizes(job.oH, job.kH), tile_sizes(job.oW, job.kW)
    tiles = -(-job.oH // tH) * -(-job.oW // tW)
    size = sizeH * sizeW
    transforms = 2 * tiles * job.images + 1
    count = int(transforms * size * math.log2(max(size, 2)))
    samples = transforms * size
    return Work(count, (1, tiles, count, samples, transforms * (sizeH + sizeW), _far(job)))


def native_separable(job: Job) -> Work:
    """Row passes of one to three terms at once, then column passes of all terms.

    A call, rows and groups of terms; vectors loaded and multiplied in the row passes; in the
    column passes, where a filter of few rows shares its loads less; results, and those out of
    the cache. One term with few taps: taps and results of one pass, whose sums stay in registers.
    """
    width, rank = _vectors(job), job.rank
    groups = -(-rank // 3) + (rank % 3 == 1 and rank > 1)
    entering, leaving = job.images * job.H, job.images * job.oH * width
    pass_rows = entering * width * job.kW
    short = leaving * rank * job.kH if _short(job) else 0
    far = _far(job)
    count = rank * job.oW * job.images * (job.H * job.kW + job.oH * job.kH)
    if rolls(job):
        return Work(count, (1, 0, 0, 0, 0, 0, 0, 0, 0, far, leaving * (job.kW + 1)))
    counts = (
        1, entering, entering * groups, pass_rows * groups, pass_rows * rank,
        leaving * rank * job.kH, leaving * rank, short, leaving, far, 0,
    )  # fmt: skip
    return Work(count, counts)


def native_direct(job: Job) -> Work:
    """A call, rows; vectors multiplied, loaded, and loaded where few rows share; results."""
    width = _vectors(job)
    rows, leaving = job.images * job.H, job.images * job.oH * width
    taps = leaving * job.kH * job.kW
    count = job.images * job.oH * job.oW * job.kH * job.kW
    counts = (
        1, rows, taps, leaving * job.kW, taps if _short(job) else 0, leaving, _far(job),
    )  # fmt: skip
    return Work(count, counts)


def _vectors(job: Job) -> int:
    return -(-job.oW * job.dtype.itemsize // VECTOR_BYTES)


def _short(job: Job) -> bool:
    return job.kH < 5 and job.kH != 3


def rolls(job: Job) -> bool:
    """Whether the compiled separable filter keeps all its sums in registers."""
    most = 7 if VECTOR_BYTES == 64 else 5  # as in native/rolling.hpp
    return job.rank == 1 and job.kH == job.kW and job.kW in range(3, most + 1, 2)


def _far(job: Job) -> int:
    used = job.images * (job.H * job.W + job.oH * job.oW) * job.dtype.itemsize
    return max(used - CACHE_BYTES, 0)


def _bands(job: Job) -> int:
    row_bytes = job.images * job.oW * job.dtype.itemsize
    return sum(1 for _ in bands(job.oH, row_bytes, job.kH - 1))


COUNTS: dict[str, Callable[[Job], Work]] = {
    "loop": loop,
    "direct": direct,
    "separable": separable,
    "toeplitz_terms": toeplitz_terms,
    "toeplitz": toeplitz,
    "toeplitz_blocked": toeplitz_blocked,
    "fft": fft,
    "native_separable": native_separable,
    "native_direct": native_direct,
}
