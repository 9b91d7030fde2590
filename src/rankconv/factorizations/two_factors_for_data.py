"""W[o, a, b] ~ sum_r H[o, b, r] V[r, a] in the norm of the layer's output.

With S the second moment of the input patches, indexed (a, b), the loss is
tr (W - W~) S (W - W~)^T = E |(W - W~) x|^2.

Where b is nothing (channel_svd) the whitened matrix W S^(1/2) has its nearest matrix of rank R by
SVD: with U its R leading left singular vectors, H = U and V = U^T W, exactly, and no inverse of S
is needed. Otherwise W~ lies in no such product: b stands on the second factor's side, and S joins
both sides. But for a given V the best H is an ordinary least-squares problem, the regression of
the layer's output on the first stage's output, and for a given H so is V. The start is V from the
whitened SVD by the marginal sum_b S[(a, b), (a', b)], which is exact for an S that is a product
of one over a and the identity over b; then H and V are solved in turn. H is solved exactly; for
V the normal equations would have R A unknowns, so conjugate gradients walk on from the present
V, preconditioned by that product form. Both steps can only lower the loss.

Tucker-2 is the case b = (p, q) with H itself of rank R_out: the loss splits by Pythagoras into
that of the best H* and |(H - H*) K^(1/2)|^2, K the first stage's output moment, so that the best
H is again a whitened cut SVD.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.tensors import descend, inverse_of, leading, root, solve
from rankconv.factorizations.two_factors import compose, unfold

Array = NDArray[Any]
STEPS = 6  # of conjugate gradients on V in a sweep
STOP = 1e-3  # relative fall of the loss that ends the sweeps


def fit(
    W: Array, S: Array, plain: Array, *, sweeps: int, outer: int | None = None
) -> tuple[Array, Array, list[float], float | None]:
    """H (G, M, B, R), V (G, R, A) with orthonormal rows, the loss after each sweep, and a bound.

    W (G, M, A, B), S (G, A B, A B). `plain` (G, R, A) is the V that the weight alone gives: the
    better of it and of the whitened V is the start. `outer` limits the rank of H. The bound is
    Eckart and Young's on the root of the loss, where the whitened start is the minimum.
    """
    WS = (W.reshape(*W.shape[:2], -1) @ S).reshape(W.shape)
    whitened, tail = _whitened(W, S, plain.shape[1])
    starts = [whitened]
    if W.shape[3] > 1 or outer is not None:
        starts.append(orthonormal(plain))
    tried = []
    for V in starts:
        H = second(WS, S, V, outer)
        tried.append((loss(W - compose(H, V), S), H, V))
    least, H, V = min(tried, key=lambda one: one[0])
    if W.shape[3] == 1 and outer is None:
        return H, V, [least], tail  # the minimum at once
    H, V, losses = improve(W, S, H, V, sweeps=sweeps, outer=outer)
    return H, V, losses, None


def improve(
    W: Array, S: Array, H: Array, V: Array, *, sweeps: int, outer: int | None = None
) -> tuple[Array, Array, list[float]]:
    """Up to `sweeps` rounds from H and V with orthonormal rows, and the loss before and after each.

    H is to be the best for V, as `second` finds it.
    """
    G, M, A, B = W.shape
    WS = (W.reshape(G, M, -1) @ S).reshape(W.shape)
    losses = [loss(W - compose(H, V), S)]
    floor = 1e-28 * float(np.vdot(WS, W))
    marginal = inverse_of(np.einsum("gabcb->gac", S.reshape(G, A, B, A, B)) / B)
    for _ in range(sweeps):
        if losses[-1] <= floor:
            break
        moved = orthonormal(_first(WS, S, V, H, marginal))
        solved = second(WS, S, moved, outer)
        now = loss(W - compose(solved, moved), S)
        if not now < losses[-1]:
            break  # only rounding is left
        H, V = solved, moved
        losses.append(now)
        if now > losses[-2] * (1 - STOP):
            break
    return H, V, losses


def loss(E: Array, S: Array) -> float:
    """tr E S E^T over all groups, for E (G, M, ...) and S (G, D, D)."""
    flat = E.reshape(*E.shape[:2], -1)
    return max(float(np.vdot(flat @ S, flat)), 0.0)


def second(WS: Array, S: Array, V: Array, outer: int | None) -> Array:
    """The best H for a given V, of rank `outer` as a matrix (M, B R) where that is not None."""
    G, M, A, B = WS.shape
    R = V.shape[1]
    moved = (V @ S.reshape(G, A, -1)).reshape(G, R, B, A, B)
    K = moved.swapaxes(3, 4).reshape(G, -1, A) @ V.swapaxes(1, 2)  # (G, R B B, R)
    K = K.reshape(G, R, B, B, R).swapaxes(1, 2).reshape(G, B * R, B * R)
    cross = (WS.swapaxes(2, 3) @ V.swapaxes(1, 2)[:, None]).reshape(G, M, B * R)
    H = solve(K, cross.swapaxes(1, 2)).swapaxes(1, 2)
    if outer is not None:
        U = leading(H @ root(K), outer)
        H = U @ (U.swapaxes(1, 2) @ H)
    return H.reshape(G, M, B, R)


def _first(WS: Array, S: Array, V: Array, H: Array, marginal: Array) -> Array:
    """A better V for a given H."""
    G, M, A, B = WS.shape
    R = V.shape[1]
    flat = H.reshape(G, M, B * R)
    gram = (flat.swapaxes(1, 2) @ flat).reshape(G, B, R, B, R)
    rows = gram.swapaxes(1, 2).reshape(G, R, -1)  # r by (b, b', r')

    def operator(X: Array) -> Array:
        moved = (X @ S.reshape(G, A, -1)).reshape(G, R, B, A, B)  # r' b' a b
        image: Array = rows @ moved.transpose(0, 4, 2, 1, 3).reshape(G, -1, A)
        return image

    inner = inverse_of(np.einsum("gbrbs->grs", gram))
    right = H.transpose(0, 3, 1, 2).reshape(G, R, -1) @ unfold(WS)
    return descend(operator, lambda X: inner @ X @ marginal, V, right, STEPS)


def _whitened(W: Array, S: Array, rank: int) -> tuple[Array, float]:
    """V of the cut SVD of W S_a^(1/2), S_a the marginal, and what the SVD leaves out."""
    G, _, A, B = W.shape
    marginal = S if B == 1 else np.einsum("gabcb->gac", S.reshape(G, A, B, A, B))
    matrix = unfold(W)
    u, sigma, _ = np.linalg.svd(matrix @ root(marginal), full_matrices=False)
    V = orthonormal(u[..., :rank].swapaxes(1, 2) @ matrix)
    return V, float(np.linalg.norm(sigma[:, rank:]))


def orthonormal(V: Array) -> Array:
    """The same row space, or one that holds it, with orthonormal rows."""
    rows: Array = np.linalg.qr(V.swapaxes(1, 2))[0].swapaxes(1, 2)
    return rows
