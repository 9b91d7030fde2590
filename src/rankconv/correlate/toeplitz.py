"""Correlation as matrix products with banded Toeplitz matrices (paper, sections VII and VIII)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv.correlate.kernel import SplitKernel

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


def slides(v: Array, n: int, *, step: int = 1) -> Array:
    """Extended-slide matrices of vectors (..., k): shape (..., (n - k) / step + 1, n).

    Each row holds v `step` columns further right than the row above.
    """
    k = v.shape[-1]
    m = (n - k) // step + 1
    # Rows of n + step that each begin with v, read back as rows of n: every row moves right.
    flat = np.zeros((*v.shape[:-1], m * (n + step)), v.dtype)
    flat.reshape(*v.shape[:-1], m, n + step)[..., :k] = v[..., None, :]
    return flat[..., : m * n].reshape(*v.shape[:-1], m, n)


def term_matrices(f: Array, g: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The matrices f_i* (r, H - kH + 1, H) and g_i*^T (r, W, W - kW + 1) for images of `shape`."""
    H, W = shape
    return slides(f, H), np.ascontiguousarray(slides(g, W).swapaxes(-1, -2))


def apply_terms(image: Array, F: Array, G: Array) -> Array:
    """B = sum_i f_i* A g_i*^T (paper, section VIII), two products and one addition a term."""
    B: Array = F[0] @ image @ G[0]
    for f_star, g_star in zip(F[1:], G[1:], strict=True):
        B += f_star @ image @ g_star
    return B


def stacked_matrices(f: Array, g: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The matrices of the stacked form: (H - kH + 1, H r) and (W, r (W - kW + 1)).

    The row matrices g_i*^T stand side by side. The columns of the f_i* are interleaved, so that
    they meet A [g_1*^T ... g_r*^T] in the order in which it lies in memory.
    """
    H, W = shape
    return interleaved_slides(f, H), slides(g, W).reshape(-1, W).T


def interleaved_slides(f: Array, n: int) -> Array:
    """[f_1* ... f_r*] (n - k + 1, n r) with columns ordered by sample, then by term."""
    rank = f.shape[0]
    return slides(f.T.reshape(-1), n * rank, step=rank)


def apply_stacked(image: Array, F: Array, G: Array) -> Array:
    """The same sum as two matrix products at any rank: [f_1* ... f_r*] [A g_1*^T; ...; A g_r*^T].

    A batch (..., H, W) takes one product for all rows; nothing is copied between the products.
    """
    *lead, H, W = image.shape
    rank = F.shape[1] // H
    lines = image.reshape(-1, W) @ G  # (N H, r oW), read as (N, H r, oW)
    B: Array = F @ lines.reshape(*lead, H * rank, G.shape[1] // rank)
    return B


def correlate_toeplitz_terms(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) term by term, as the paper writes it."""
    return apply_terms(image, *term_matrices(kernel.f, kernel.g, _shape(image)))


def correlate_toeplitz(image: Array, kernel: SplitKernel) -> Array:
    """Valid correlation of (..., H, W) in the stacked form: two matrix products at any rank."""
    return apply_stacked(image, *stacked_matrices(kernel.f, kernel.g, _shape(image)))


def _shape(image: Array) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]
