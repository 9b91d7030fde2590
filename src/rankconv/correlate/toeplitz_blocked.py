"""The Toeplitz form in tiles: the cost grows with the number of pixels, not H^2 W + H W^2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from rankconv.correlate.kernel import SplitKernel
from rankconv.correlate.toeplitz import interleaved_slides, slides

Array = NDArray[Any]


# Columns a tile: each of its outputs costs TILE + kW - 1 multiply-adds, so a narrow tile saves
# work; 16 fill the registers of a matrix product. Measured best of 16, 32, 64 and 96.
TILE = 16
# The intermediate lines of a band stay in the second-level cache.
LINES_BYTES = 512 * 1024


def correlate_toeplitz_blocked(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) with cost linear in pixels.

    Bands of rows: A g_i*^T for tiles of columns, then one product with the stacked
    [f_1* ... f_r*] of the band. One small pair of matrices serves every tile.
    """
    f, g = kernel.f, kernel.g
    kH, kW = kernel.shape
    *lead, H, W = image.shape
    oH, oW = H - kH + 1, W - kW + 1
    tH, tW, strip = tiling((oH, oW), kernel.shape, kernel.rank, image.itemsize)
    F = interleaved_slides(f, tH + kH - 1)  # (tH, (tH + kH - 1) r)
    G = np.ascontiguousarray(slides(g, tW + kW - 1).swapaxes(-1, -2))  # (r, tW + kW - 1, tW)
    B = np.empty((*lead, oH, oW), image.dtype)
    lines = np.empty((tH + kH - 1, kernel.rank, strip), image.dtype)
    stacked = lines.reshape(-1, strip)
    for A, out in zip(image.reshape(-1, H, W), B.reshape(-1, oH, oW), strict=True):
        for left in _starts(oW, strip):
            for top in _starts(oH, tH):
                _row_pass(A[top : top + tH + kH - 1, left : left + strip + kW - 1], G, lines)
                np.matmul(F, stacked, out=out[top : top + tH, left : left + strip])
    return B


def tiling(
    outputs: tuple[int, int], kernel: tuple[int, int], rank: int, itemsize: int
) -> tuple[int, int, int]:
    """Rows of a band, columns of a tile, columns of a strip.

    A band of tH rows spends tH + kH - 1 multiply-adds an output and repeats kH - 1 rows: near
    tH = kH neither dominates, and below 24 rows a product is too small to be fast.
    """
    kH, kW = kernel
    tH = min(max(24, kH), outputs[0])
    tW = min(TILE, outputs[1])
    column_bytes = (tH + kH - 1) * rank * itemsize
    strip = max(LINES_BYTES // column_bytes, 8 * kW, TILE) // TILE * TILE
    return tH, tW, min(strip, outputs[1])


def _row_pass(band: Array, G: Array, lines: Array) -> None:
    """Write A g_i*^T of a band (h, W) into `lines` (h, r, oW), tile by tile."""
    h, _, oW = lines.shape
    rank, width, tW = G.shape
    whole = oW // tW
    row, step = band.strides
    tiles = as_strided(band, (whole, h, width), (tW * step, row, step), writeable=False)
    out = lines[:, :, : whole * tW].reshape(h, rank, whole, tW).transpose(1, 2, 0, 3)
    np.matmul(tiles, G[:, None], out=out)  # (whole, h, width) @ (r, 1, width, tW)
    if whole * tW < oW:  # the last tile overlaps its neighbour
        last = oW - tW
        np.matmul(band[:, last:], G, out=lines[:, :, last:].transpose(1, 0, 2))


def _starts(outputs: int, tile: int) -> list[int]:
    """First rows of the bands; the last band overlaps the one before it."""
    return [*range(0, outputs - tile, tile), outputs - tile]
