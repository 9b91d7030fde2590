"""Slices of rank r, F_oi ~ sum_r f_oir g_oir^T, in the norm of the layer's output.

Each slice alone is a two-stage form of its own input channel. In a depthwise layer nothing more
is to be said: an output sees one slice. Where an output sums over several inputs, their slices
are first fitted one by one, with the covariance of their own channel, and then all row filters g
of an output are regressed together on what the column filters of its inputs give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.nested import nested
from rankconv.factorizations.tensors import solve
from rankconv.factorizations.two_factors_for_data import improve

Array = NDArray[Any]
JOINT_WORK = 2e10  # multiply-adds of the joint regression, at most: 1 s or so


def fit_slices(W: Array, S: Array, rank: int, *, sweeps: int) -> tuple[Array, Array]:
    """Column filters f (G, M, C, rank, kH) and row filters g (G, M, C, rank, kW).

    W (G, M, C, kH, kW), S (G, D, D) positive definite. The joint regression is left out where it
    would take too long, in layers with hundreds of inputs a group.
    """
    G, M, C, kH, kW = W.shape
    taps = kH * kW
    own = np.einsum("gcxcy->gcxy", S.reshape(G, C, taps, C, taps))
    blocks = np.broadcast_to(own[:, None], (G, M, C, taps, taps)).reshape(-1, taps, taps)
    slices = W.reshape(-1, 1, kH, kW)
    H, V = nested(slices, blocks, rank).factors(rank)  # (., 1, kW, r), (., r, kH)
    if rank < min(kH, kW):
        H, V, _ = improve(slices, blocks, H, V, sweeps=sweeps)
    f = V.reshape(G, M, C, rank, kH)
    g = H[:, 0].swapaxes(1, 2).reshape(G, M, C, rank, kW)
    unknowns = C * rank * kW
    if C > 1 and G * M * unknowns * (C * taps) ** 2 <= JOINT_WORK:
        g = np.stack([_together(W[i], S[i], f[i]) for i in range(G)])
    return f, g


def compose(f: Array, g: Array) -> Array:
    """The weight (G, M, C, kH, kW) of the filters."""
    product: Array = f.swapaxes(-1, -2) @ g
    return product


def _together(W: Array, S: Array, f: Array) -> Array:
    """All g (M, C, r, kW) of one group's outputs, given f (M, C, r, kH)."""
    M, C, r, kH = f.shape
    kW = W.shape[3]
    # Row (c, r, q) of an output's design takes the patch's (c, p, q) with weight f[c, r, p].
    design = np.zeros((M, C, r, kW, C, kH, kW))
    for c in range(C):
        for q in range(kW):
            design[:, c, :, q, c, :, q] = f[:, c]
    P = design.reshape(M, C * r * kW, -1)
    PS = P @ S
    g: Array = solve(PS @ P.swapaxes(1, 2), PS @ W.reshape(M, -1, 1))
    return g.reshape(M, C, r, kW)
