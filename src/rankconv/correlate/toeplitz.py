"""Correlation as matrix products with banded Toeplitz matrices (paper, sections VII and VIII)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def extended_slide(v: ArrayLike, n: int) -> Array:
    """The extended-slide matrix of `v`: row i holds `v` at columns i to i + k - 1, zeros elsewhere.

    `v` has shape (k,), the result (n - k + 1, n) and the dtype of `v`, so that
    `extended_slide(v, n) @ a` is the valid correlation of a signal `a` of n samples with `v`.

    Raises ValueError where `v` is not a vector of 1 to n elements.
    Equivalent: the first n - k + 1 rows of `scipy.linalg.toeplitz` of a zero-padded `v`.
    Source: the paper, section VII (there `f*^T` and `g*`).

    >>> extended_slide([1, 2, 3], 5)
    array([[1, 2, 3, 0, 0],
           [0, 1, 2, 3, 0],
           [0, 0, 1, 2, 3]])
    """
    v = np.asarray(v)
    if v.ndim != 1 or not 1 <= v.size <= n:
        raise ValueError(
            f"v of shape {v.shape} does not slide over n={n} samples: "
            "pass a 1-D v with 1 <= len(v) <= n"
        )
    return slides(v, n)


def slides(v: Array, n: int) -> Array:
    """The extended-slide matrices of vectors (..., k) as one array (..., n - k + 1, n)."""
    k = v.shape[-1]
    m = n - k + 1
    # Rows of n + 1 that each begin with v, read back as rows of n: every row moves one further.
    flat = np.zeros((*v.shape[:-1], m * (n + 1)), v.dtype)
    flat.reshape(*v.shape[:-1], m, n + 1)[..., :k] = v[..., None, :]
    return flat[..., : m * n].reshape(*v.shape[:-1], m, n)
