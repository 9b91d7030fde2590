"""Two-stage forms of a layer at every rank at once, in the norm of the layer's output.

W[o, a, b] ~ sum_r H[o, b, r] V[r, a] as in `two_factors_for_data`, with one V for all ranks: its
first R rows serve rank R. They are the leading right singular directions of W S_a^(1/2), S_a the
marginal of the covariance, which is the best V where b is nothing and a good one elsewhere.

For the first R rows the best H is the regression of the output on the first stage's R B outputs,
H_R K_R = X_R with K_R the leading R B columns of one matrix K and X_R those of one X. Cholesky's
factor of a leading part is the leading part of the factor: with K = L L^T and Z = L^-1 X^T the
energy that rank R keeps is |Z_1..RB|^2, and H_R is L_R^-T Z_R. So every rank's error costs one
factorization, and a rank's weights one small solution more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.tensors import root
from rankconv.factorizations.two_factors import unfold
from rankconv.factorizations.two_factors_for_data import orthonormal

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Nested:
    """Every rank up to that of V (G, R, A), whose rows are orthonormal.

    `L` (G, R B, R B) and `Z` (G, R B, M) as above, rows in the order (r, b); `kept` (R + 1) is
    the energy that 0, 1, ... channels keep, of `total`.
    """

    V: Array
    L: Array
    Z: Array
    kept: Array
    total: float

    @property
    def most(self) -> int:
        """The largest rank."""
        return int(self.V.shape[1])

    def factors(self, rank: int) -> tuple[Array, Array]:
        """H (G, M, B, rank) and V (G, rank, A)."""
        V = self.V[:, :rank]
        G, _, M = self.Z.shape
        B = self.Z.shape[1] // self.most
        H = np.linalg.solve(self.L[:, : rank * B, : rank * B].swapaxes(1, 2), self.explained(rank))
        return H.reshape(G, rank, B, M).transpose(0, 3, 2, 1), V

    def explained(self, rank: int) -> Array:
        """Z of the first `rank` channels, (G, rank B, M): Z^T Z is what H_R K_R H_R^T is."""
        return self.Z[:, : rank * (self.Z.shape[1] // self.most)]

    def loss(self, rank: int) -> float:
        """tr (W - W~) S (W - W~)^T over all groups."""
        return max(self.total - float(self.kept[rank]), 0.0)


def nested(W: Array, S: Array, most: int) -> Nested:
    """All ranks up to `most` for W (G, M, A, B) and a positive definite S (G, A B, A B)."""
    G, M, A, B = W.shape
    WS = (W.reshape(G, M, -1) @ S).reshape(W.shape)
    V = directions(W, S, most)
    R = V.shape[1]
    moved = (V @ S.reshape(G, A, -1)).reshape(G, R, B, A, B)
    K = moved.swapaxes(3, 4).reshape(G, -1, A) @ V.swapaxes(1, 2)  # (G, R B B, R)
    K = K.reshape(G, R, B, B, R).transpose(0, 1, 2, 4, 3).reshape(G, R * B, R * B)
    X = V @ WS.transpose(0, 2, 3, 1).reshape(G, A, -1)  # (G, R, B M)
    L = np.linalg.cholesky(K)
    Z = np.linalg.solve(L, X.reshape(G, R * B, M))
    energy = (Z * Z).sum(axis=(0, 2)).reshape(R, B).sum(axis=1)
    kept = np.concatenate([[0.0], np.cumsum(energy)])
    return Nested(V, L, Z, kept, float(np.vdot(WS, W)))


def directions(W: Array, S: Array, most: int) -> Array:
    """V (G, most, A): each next row keeps the most of W S_a^(1/2) that is left.

    By the eigenvectors of the smaller of its two Gram matrices, whose digits suffice for
    directions that are followed by a regression.
    """
    G, M, A, B = W.shape
    marginal = S if B == 1 else np.einsum("gabcb->gac", S.reshape(G, A, B, A, B))
    matrix = unfold(W)  # (G, M B, A)
    if M * B <= A:
        half = matrix @ root(marginal)
        u = np.linalg.eigh(half @ half.swapaxes(1, 2))[1][..., ::-1][..., :most]
        rows = u.swapaxes(1, 2) @ matrix
    else:
        lower = root(marginal)
        half = matrix @ lower
        v = np.linalg.eigh(half.swapaxes(1, 2) @ half)[1][..., ::-1][..., :most]
        # u^T M is sigma v^T L^-1, and a row's length is of no account.
        rows = np.linalg.solve(lower.swapaxes(1, 2), v).swapaxes(1, 2)
    lengths = np.linalg.norm(rows, axis=2, keepdims=True)
    rows = rows / np.where(lengths > 0, lengths, 1.0)
    return orthonormal(rows)
