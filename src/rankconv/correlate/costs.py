"""What each algorithm costs: operations counted from the shapes, times constants.

The constants were measured with one thread on a 2-core x86 server (NumPy 2.4, OpenBLAS) and
are estimates on any other machine; what counts for a choice is their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rankconv.correlate.bands import bands
from rankconv.correlate.fft import tile_sizes
from rankconv.correlate.toeplitz_blocked import tiling


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


class Cost(NamedTuple):
    """`multiply_adds` done (the same for any machine) and `seconds`, an estimate."""

    multiply_adds: int
    seconds: float


CALL = 0.8e-6  # one NumPy call on a small array
LOOP = 6.0e-6  # one window of the naive loop
STREAM = 0.085e-9  # a byte of a multiply-add by whole-array passes
PRODUCT = 0.0145e-9  # a multiply-add of a large float32 matrix product
TILE_PRODUCT = 0.026e-9  # the same in a product of tiles
BUILD = 0.15e-9  # a byte of a banded Toeplitz matrix
BUTTERFLY = 0.28e-9  # an element of a transform times the logarithm of its length
# Matrix products in float64, complex64 and complex128, float32 being 1.
PRODUCT_FACTOR = {"f": 1.0, "d": 2.1, "F": 4.0, "D": 8.4}


def loop(job: Job) -> Cost:
    """A few NumPy calls a window."""
    count = job.images * job.oH * job.oW * job.kH * job.kW
    return Cost(count, job.oH * job.oW * LOOP + count * 0.3e-9)


def direct(job: Job) -> Cost:
    """A multiply and an add a tap and band."""
    count = job.images * job.oH * job.oW * job.kH * job.kW
    calls = 2 * job.kH * job.kW * _bands(job)
    return Cost(count, calls * CALL + count * job.dtype.itemsize * STREAM)


def separable(job: Job) -> Cost:
    """kW passes over a band and its halo, then kH passes over the band, for each term."""
    halo = _bands(job) * (job.kH - 1)
    count = (job.oH + halo) * job.oW * job.kW + job.oH * job.oW * job.kH
    count *= job.images * job.rank
    calls = 2 * (job.kH + job.kW) * job.rank * _bands(job)
    return Cost(count, calls * CALL + count * job.dtype.itemsize * STREAM)


def toeplitz(job: Job) -> Cost:
    """Two products with matrices of the image's size: H W (W + H) for a square image."""
    count = job.images * job.rank * job.H * job.oW * (job.W + job.oH)
    built = job.rank * (job.oH * job.H + job.W * job.oW) * job.dtype.itemsize
    seconds = 10 * CALL + built * BUILD + count * PRODUCT * _factor(job)
    return Cost(count, seconds)


def toeplitz_terms(job: Job) -> Cost:
    """The same operations in 2 r products, with r - 1 additions of the result."""
    count, seconds = toeplitz(job)
    added = (job.rank - 1) * job.images * job.oH * job.oW * job.dtype.itemsize
    return Cost(count, seconds + 3 * job.rank * CALL + added * STREAM)


def toeplitz_blocked(job: Job) -> Cost:
    """Small products: tiles of a band for the rows, one a band for the columns."""
    shape = (job.oH, job.oW)
    tH, tW, strip = tiling(shape, (job.kH, job.kW), job.rank, job.dtype.itemsize)
    tall = -(-job.oH // tH)
    blocks = job.images * tall * -(-job.oW // strip)
    rows = tall * (tH + job.kH - 1) * (tW + job.kW - 1)
    columns = tall * tH * (tH + job.kH - 1)
    count = job.images * job.rank * job.oW * (rows + columns)
    products = blocks * job.rank * -(-strip // tW)
    calls = 20 * CALL + blocks * 6 * CALL + products * 0.15e-6
    return Cost(count, calls + count * TILE_PRODUCT * _factor(job))


def fft(job: Job) -> Cost:
    """Two transforms a tile and one of the filter; a multiply-add a butterfly."""
    (tH, sizeH), (tW, sizeW) = tile_sizes(job.oH, job.kH), tile_sizes(job.oW, job.kW)
    tiles = -(-job.oH // tH) * -(-job.oW // tW)
    transform = sizeH * sizeW * math.log2(max(sizeH * sizeW, 2))
    count = int((2 * tiles * job.images + 1) * transform)
    wide = 2.0 if job.dtype.kind == "c" else 1.0
    return Cost(count, (tiles + 1) * 22e-6 + count * BUTTERFLY * wide)


def _bands(job: Job) -> int:
    row_bytes = job.images * job.oW * job.dtype.itemsize
    return sum(1 for _ in bands(job.oH, row_bytes, job.kH - 1))


def _factor(job: Job) -> float:
    # Integers have no fast matrix product: NumPy multiplies them one by one.
    return PRODUCT_FACTOR.get(job.dtype.char, 60.0)


COSTS: dict[str, Callable[[Job], Cost]] = {
    "loop": loop,
    "direct": direct,
    "separable": separable,
    "toeplitz_terms": toeplitz_terms,
    "toeplitz": toeplitz,
    "toeplitz_blocked": toeplitz_blocked,
    "fft": fft,
}
