"""Direct correlation by shifted adds: one multiply and one add of the whole image a filter tap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.bands import bands
from rankconv.correlate.kernel import SplitKernel

Array = NDArray[Any]


def correlate_direct(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W), exact in integers, kH kW multiply-adds a pixel.

    A pixel of the result depends on its own window alone, so this is also the algorithm for
    images that hold NaN or infinities.
    """
    F = kernel.dense
    kH, kW = F.shape
    H, W = image.shape[-2:]
    oH, oW = H - kH + 1, W - kW + 1
    B = np.zeros((*image.shape[:-2], oH, oW), image.dtype)
    row_bytes = oW * image.itemsize * (B.size // (oH * oW))
    for start, stop in bands(oH, row_bytes, kH - 1):
        band = B[..., start:stop, :]
        product = np.empty_like(band)
        for i in range(kH):
            for j in range(kW):
                source = image[..., start + i : stop + i, j : j + oW]
                np.multiply(source, F[i, j], out=product)
                band += product
    return B
