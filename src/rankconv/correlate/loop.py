"""The naive double loop: the specification that every other algorithm is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.kernel import SplitKernel

Array = NDArray[Any]


def correlate_loop(A: Array, F: Array) -> Array:
    """B[i, j] = sum of F * A[i : i + kH, j : j + kW] (paper, section IV); nobody optimises it.

    `A` (..., H, W) and `F` (kH, kW) of any numeric dtype -> B (..., H - kH + 1, W - kW + 1).

    >>> correlate_loop(np.arange(9).reshape(3, 3), np.array([[1, 0], [0, -1]]))
    array([[-4, -4],
           [-4, -4]])
    """
    kH, kW = F.shape
    H, W = A.shape[-2:]
    B = np.zeros((*A.shape[:-2], H - kH + 1, W - kW + 1), np.result_type(A, F))
    for r in range(H - kH + 1):
        for c in range(W - kW + 1):
            products = A[..., r : r + kH, c : c + kW] * F
            B[..., r, c] = np.sum(products, axis=(-2, -1), dtype=B.dtype)
    return B


def correlate_split_loop(image: Array, kernel: SplitKernel) -> Array:
    """The loop with the arguments that every algorithm takes."""
    return correlate_loop(image, kernel.dense)
