"""Separable correlation: for each rank a pass over rows, then a pass over columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.bands import bands
from rankconv.correlate.kernel import SplitKernel

Array = NDArray[Any]


def correlate_separable(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) with r (kH + kW) multiply-adds a pixel, by shifted adds.

    It is f_i^T P g_i of the paper's section VIII for all pixels at once: `lines` holds P g_i.
    """
    f, g = kernel.f, kernel.g
    kH, kW = kernel.shape
    H, W = image.shape[-2:]
    oH, oW = H - kH + 1, W - kW + 1
    B = np.zeros((*image.shape[:-2], oH, oW), image.dtype)
    row_bytes = oW * image.itemsize * (B.size // (oH * oW))
    for start, stop in bands(oH, row_bytes, kH - 1):
        band = B[..., start:stop, :]
        rows = image[..., start : stop + kH - 1, :]
        lines = np.empty((*rows.shape[:-1], oW), image.dtype)
        product = np.empty_like(lines)
        for f_i, g_i in zip(f, g, strict=True):
            np.multiply(rows[..., :oW], g_i[0], out=lines)
            for j in range(1, kW):
                np.multiply(rows[..., j : j + oW], g_i[j], out=product)
                lines += product
            part = product[..., : stop - start, :]
            for i in range(kH):
                np.multiply(lines[..., i : i + stop - start, :], f_i[i], out=part)
                band += part
    return B
