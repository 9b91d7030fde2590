"""Correlation as a product of spectra, with NumPy's FFT."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.kernel import SplitKernel

Array = NDArray[Any]


def correlate_fft(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W), by overlap-save; hardly dearer for a larger filter.

    Correlation is the image's spectrum times the conjugate of the filter's. A circular
    correlation of a tile wraps around only outside the tile's valid part, so nothing is padded
    beyond the next good length. float32 is computed in float32 under NumPy 2; the result has
    the image's dtype.
    """
    kH, kW = kernel.shape
    H, W = image.shape[-2:]
    oH, oW = H - kH + 1, W - kW + 1
    (tH, sizeH), (tW, sizeW) = tile_sizes(oH, kH), tile_sizes(oW, kW)
    size = sizeH, sizeW
    is_complex = np.iscomplexobj(image)
    forward = np.fft.fft2 if is_complex else np.fft.rfft2
    inverse = np.fft.ifft2 if is_complex else np.fft.irfft2
    spectrum = np.conj(forward(np.conj(kernel.dense), size))
    B = np.empty((*image.shape[:-2], oH, oW), image.dtype)
    for top in range(0, oH, tH):
        for left in range(0, oW, tW):
            tile = forward(image[..., top : top + sizeH, left : left + sizeW], size)
            tile *= spectrum
            out = B[..., top : top + tH, left : left + tW]
            out[:] = inverse(tile, size)[..., : out.shape[-2], : out.shape[-1]]
    return B


def tile_sizes(outputs: int, k: int) -> tuple[int, int]:
    """Outputs a tile and length of its transform, for equal tiles along one axis.

    Transforms of about 192 samples stay in the cache; with six filter lengths or more the
    overlap of k - 1 samples wastes under a fifth.
    """
    tiles = max(1, round(outputs / (max(192, 6 * k) - k + 1)))
    tile = -(-outputs // tiles)
    return tile, good_size(tile + k - 1)


@lru_cache(maxsize=1024)
def good_size(n: int) -> int:
    """The smallest 2^a 3^b 5^c that is at least n: lengths that the FFT splits into small steps."""
    best = 1 << (n - 1).bit_length()
    power5 = 1
    while power5 < best:
        power35 = power5
        while power35 < best:
            quotient = -(-n // power35)
            best = min(best, power35 << (quotient - 1).bit_length())
            power35 *= 3
        power5 *= 5
    return best
