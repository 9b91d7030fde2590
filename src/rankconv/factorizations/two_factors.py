"""Two-stage forms of a layer as one problem: W[o, a, b] = sum_r H[o, b, r] V[r, a].

The input index (i, p, q) of a weight falls into a, which the first stage sums over, and b, which
is left to the second:

    spatial_svd          a = (i, p)     b = q        kH x 1, then 1 x kW
    channel_svd          a = (i, p, q)  b = nothing  kH x kW, then 1 x 1
    channel_svd_input    a = i          b = (p, q)   1 x 1, then kH x kW

With W as the matrix of rows (o, b) and columns a, the weight alone asks for the nearest matrix of
rank R: its cut SVD (Eckart and Young, 1936, Psychometrika 1, 211-218). For spatial_svd this is
the closed form of Tai et al. (2016, arXiv 1511.06067, section 2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.slice_svd import relative_tail
from rankconv.factorizations.tensors import (
    grouped,
    numerical_rank,
    recovered,
    relative_error,
    rounding,
    stored,
)
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
Build = Callable[[Stage, Array, Array], tuple[Stage, Stage]]


def factorize_layer(
    layer: Stage, *, rank: int | None, tol: float | None, kind: str, columns: int, build: Build
) -> Factorization:
    """The cut SVD of every group at one rank; `columns` is the size of b."""
    weight, _ = grouped(layer)
    W = weight.reshape(*weight.shape[:2], -1, columns)  # (G, M, A, B)
    G, M, A, B = W.shape
    sizes, dtype = (M * B, A), layer.weight.dtype
    u, sigma, vt = np.linalg.svd(unfold(W), full_matrices=False)
    tails = relative_tail(sigma)
    if rank is None:
        rank = numerical_rank(sigma, sizes, dtype)
        if tol is not None:
            rank = next((r for r in range(1, rank) if tails[r] <= tol), rank)
    half = np.sqrt(sigma[:, :rank])
    H = (u[..., :rank] * half[:, None]).reshape(G, M, B, rank)
    V = half[..., None] * vt[:, :rank]  # (G, R, A)
    bound = tails[rank] + rounding(sizes, rank, dtype)
    return chain(layer, H, V, kind=kind, build=build, bound=bound)


def chain(
    layer: Stage, H: Array, V: Array, *, kind: str, build: Build, bound: float | None
) -> Factorization:
    """The chain of the factors H (G, M, B, R) and V (G, R, A) of a weight as `grouped` gives it."""
    weight, exponent = grouped(layer)
    powers = exponent - exponent // 2, exponent // 2
    H, V = stored(H, powers[0], layer.weight.dtype), stored(V, powers[1], layer.weight.dtype)
    product = compose(recovered(H, powers[0]), recovered(V, powers[1]))
    error = relative_error(weight.reshape(product.shape), product)
    return Factorization(kind, V.shape[1], build(layer, V, H), error, bound, layer.weight.shape)


def unfold(W: Array) -> Array:
    """The matrices (G, M B, A) of W (G, M, A, B)."""
    G, M, A, B = W.shape
    return W.swapaxes(2, 3).reshape(G, M * B, A)


def compose(H: Array, V: Array) -> Array:
    """The weight (G, M, A, B) of factors H (G, M, B, R) and V (G, R, A)."""
    product: Array = (H @ V[:, None]).swapaxes(2, 3)
    return product
