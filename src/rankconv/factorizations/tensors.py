"""What the decompositions of a layer share: its weight by groups, spectra, ranks, least squares."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.stages import Stage

Array = NDArray[Any]
JITTER = 1e-12  # of a Gram matrix's mean diagonal, where its inverse only has to be near


def grouped(layer: Stage) -> tuple[Array, int]:
    """The weight over 2^e as (G, M, C, kH, kW) in double precision, no value above 1, and e.

    A power of two changes no digit, and the squares of tiny and of huge weights stay in range.
    """
    weight, groups = layer.weight, layer.groups
    exponent = math.frexp(float(np.abs(weight).max()))[1]
    wide = np.ldexp(weight.astype(np.float64), -exponent)
    return wide.reshape(groups, -1, *weight.shape[1:]), exponent


def stored(factor: Array, exponent: int, dtype: np.dtype[Any]) -> Array:
    """A factor times 2^exponent, as a weight of the layer's dtype."""
    return np.ldexp(factor, exponent).astype(dtype)


def recovered(weight: Array, exponent: int) -> Array:
    """The factor that `stored` rounded, back in double precision."""
    return np.ldexp(weight.astype(np.float64), -exponent)


def relative_error(weight: Array, product: Array) -> float:
    """Measured |W - W~|_F / |W|_F; 0 for a zero weight."""
    return float(np.linalg.norm(weight - product)) / (float(np.linalg.norm(weight)) or 1.0)


def rounding(sizes: tuple[int, int], rank: int, dtype: np.dtype[Any]) -> float:
    """Relative error that rounding alone may cause beside a proven bound.

    LAPACK's SVD of a matrix of `sizes` is backward stable in double precision: a modest
    multiple of its larger size times eps (32 leaves room). Storing R terms f_r g_r^T in `dtype`
    adds at most eps sum_r |f_r| |g_r| = eps sum_r sigma_r <= eps sqrt(R) |W|_F (doubled here, for
    a third factor).
    """
    computed = 32.0 * max(sizes) * float(np.finfo(np.float64).eps)
    return computed + 2.0 * math.sqrt(rank) * float(np.finfo(dtype).eps)


def numerical_rank(sigma: Array, sizes: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """The largest rank of a group that rounding in `dtype` cannot explain, or 1."""
    threshold = max(sizes) * float(np.finfo(dtype).eps) * sigma.max()
    return max(1, int((sigma > threshold).sum(axis=-1).max()))


def leading(matrices: Array, rank: int) -> Array:
    """Orthonormal bases (G, m, rank) of the leading left singular vectors of (G, m, n).

    Where n is smaller than the rank, the basis is completed.
    """
    u = np.linalg.svd(matrices, full_matrices=False)[0]
    if u.shape[-1] < rank:
        one = np.broadcast_to(np.eye(u.shape[1]), (u.shape[0], u.shape[1], u.shape[1]))
        u = np.linalg.qr(np.concatenate([u, one], axis=2))[0]
    basis: Array = u[..., :rank]
    return basis


def smallest(most: int, fits: Callable[[int], bool]) -> int:
    """The smallest of 1..most that fits; `most` is known to fit, and whatever follows one that
    fits is taken to fit too.

    Doubled first, then halved: small ones cost little, and most results are small.
    """
    low, high = 0, 1
    while high < most and not fits(high):
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def solve(normal: Array, right: Array) -> Array:
    """X of N X = B for positive semidefinite N (G, n, n), by least squares where N is singular."""
    try:
        np.linalg.cholesky(normal)
    except np.linalg.LinAlgError:
        # NumPy's cut-off is for one general matrix; these are Gram matrices of rounded data.
        cut = normal.shape[-1] * float(np.finfo(np.float64).eps)
        pseudo: Array = np.linalg.pinv(normal, rcond=cut, hermitian=True) @ right
        return pseudo
    solved: Array = np.linalg.solve(normal, right)
    return solved


def root(positive: Array) -> Array:
    """L (G, n, n) with L L^T = S for positive semidefinite S."""
    try:
        lower: Array = np.linalg.cholesky(positive)
    except np.linalg.LinAlgError:
        value, vector = np.linalg.eigh(positive)
        lower = vector * np.sqrt(value.clip(min=0))[:, None, :]
    return lower


def inverse_of(gram: Array) -> Array:
    """The inverse of a Gram matrix (G, n, n), which may be singular: for preconditioners alone."""
    n = gram.shape[-1]
    mean = np.trace(gram, axis1=1, axis2=2)[:, None, None] / n
    lifted = gram + (JITTER * mean + np.finfo(np.float64).tiny) * np.eye(n)
    try:
        inverse: Array = np.linalg.inv(lifted)
    except np.linalg.LinAlgError:
        inverse = np.linalg.pinv(gram, hermitian=True)
    return inverse


def descend(
    operator: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    x: Array,
    right: Array,
    steps: int,
) -> Array:
    """`steps` of preconditioned conjugate gradients from x (G, m, n) on operator(x) = right.

    Each step lowers x . operator(x) / 2 - right . x, group by group, singular operators
    included (Hestenes and Stiefel, 1952, J. Res. NBS 49, 409-436).
    """
    rest = right - operator(x)
    z = precondition(rest)
    direction, slope = z, _dot(rest, z)
    for _ in range(steps):
        image = operator(direction)
        curvature = _dot(direction, image)
        step = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
        x = x + step * direction
        rest = rest - step * image
        z = precondition(rest)
        before, slope = slope, _dot(rest, z)
        turn = np.divide(slope, before, out=np.zeros_like(slope), where=before > 0)
        direction = z + turn * direction
    return x


def _dot(x: Array, y: Array) -> Array:
    product: Array = (x * y).sum(axis=(1, 2), keepdims=True)
    return product
