"""1 x 1 to R_in channels, kH x kW to R_out, 1 x 1 to C_out: Tucker-2 of the two channel modes.

Kim et al. (2016, arXiv 1511.06530) for the chain; De Lathauwer et al. (2000, SIAM J. Matrix Anal.
Appl. 21, 1253-1278 and 1324-1342) for the start by two SVDs (HOSVD), its bound and the iterations
that lower its error (HOOI). In a grouped layer each group has channels of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.slice_svd import relative_tail
from rankconv.factorizations.tensors import (
    grouped,
    leading,
    numerical_rank,
    recovered,
    relative_error,
    rounding,
    smallest,
    stored,
)
from rankconv.geometry import Pair
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
SWEEPS = 50  # of HOOI, at most
STOP = 1e-6  # relative growth of the kept energy that ends them


def factorize_layer(layer: Stage, *, rank: Pair | None, tol: float | None) -> Factorization:
    """Cut to `rank` = (R_in, R_out) channels a group, or to as few as the error `tol` needs.

    With `tol`, both ranks grow together: each is the smallest that leaves at most t / sqrt(2) of
    its own mode's energy, with the largest t whose measured error is within `tol`.
    """
    W, _ = grouped(layer)
    spectra = mode_spectra(W)
    exact = exact_rank(W, spectra, layer.weight.dtype)
    if rank is not None:
        return _cut(layer, rank, spectra)
    if tol is None:
        return _cut(layer, exact, spectra)
    ranks = rank_path(spectra, exact)
    chains: dict[int, Factorization] = {}

    def fits(n: int) -> bool:
        chains[n] = _cut(layer, ranks[n - 1], spectra)
        return chains[n].error <= tol

    n = smallest(len(ranks), fits)
    return chains[n] if n in chains else _cut(layer, ranks[n - 1], spectra)


def full_rank(shape: tuple[int, int, int, int]) -> Pair:
    """The ranks of an exact chain for a group's weight: min(C, M kH kW), min(M, C kH kW)."""
    outputs, inputs, kH, kW = shape
    return min(inputs, outputs * kH * kW), min(outputs, inputs * kH * kW)


def mode_spectra(W: Array) -> tuple[Array, Array]:
    """Singular values of the unfoldings by input and by output channel, (G, .) each."""
    by_input, by_output = unfoldings(W)
    return (
        np.linalg.svd(by_input, compute_uv=False),
        np.linalg.svd(by_output, compute_uv=False),
    )


def unfoldings(W: Array) -> tuple[Array, Array]:
    """W (G, M, C, kH, kW) as matrices (G, C, M kH kW) and (G, M, C kH kW)."""
    G, M, C = W.shape[:3]
    return W.swapaxes(1, 2).reshape(G, C, -1), W.reshape(G, M, -1)


def exact_rank(W: Array, spectra: tuple[Array, Array], dtype: np.dtype[Any]) -> Pair:
    """The ranks beyond which only rounding in `dtype` is left."""
    by_input, by_output = unfoldings(W)
    return (
        numerical_rank(spectra[0], (by_input.shape[1], by_input.shape[2]), dtype),
        numerical_rank(spectra[1], (by_output.shape[1], by_output.shape[2]), dtype),
    )


def rank_path(spectra: tuple[Array, Array], most: Pair) -> list[Pair]:
    """Pairs of ranks from small to `most`, both modes losing about the same at each."""
    tails = [relative_tail(sigma)[1 : top + 1] for sigma, top in zip(spectra, most, strict=True)]
    path: list[Pair] = []
    for level in sorted({tail for mode in tails for tail in mode}, reverse=True):
        ranks = [
            next((r for r, t in enumerate(mode, 1) if t <= level), len(mode)) for mode in tails
        ]
        if not path or path[-1] != (ranks[0], ranks[1]):
            path.append((ranks[0], ranks[1]))
    if path[-1] != most:
        path.append(most)
    return path


def hooi(W: Array, rank: Pair) -> tuple[Array, Array, list[float]]:
    """Bases A (G, C, R_in) and U (G, M, R_out), and the kept energy after each sweep.

    The start is HOSVD's A with the best U for it. What A and U keep never falls.
    """
    G, M, C, kH, kW = W.shape
    by_input = unfoldings(W)[0]
    A = leading(by_input, rank[0])
    kept: list[float] = []
    while True:
        inner = (A.swapaxes(1, 2) @ by_input).reshape(G, rank[0], M, kH * kW)
        U = leading(inner.swapaxes(1, 2).reshape(G, M, -1), rank[1])
        core = U.swapaxes(1, 2) @ inner.swapaxes(1, 2).reshape(G, M, -1)
        kept.append(float(np.vdot(core, core)))
        if len(kept) > SWEEPS or (len(kept) > 1 and kept[-1] <= kept[-2] * (1 + STOP)):
            return A, U, kept
        outer = (U.swapaxes(1, 2) @ W.reshape(G, M, -1)).reshape(G, rank[1], C, kH * kW)
        A = leading(outer.swapaxes(1, 2).reshape(G, C, -1), rank[0])


def _cut(layer: Stage, rank: Pair, spectra: tuple[Array, Array]) -> Factorization:
    W, _ = grouped(layer)
    G, M, C, kH, kW = W.shape
    A, U, _ = hooi(W, rank)
    inner = (A.swapaxes(1, 2) @ unfoldings(W)[0]).reshape(G, rank[0], M, kH * kW)
    core = U.swapaxes(1, 2) @ inner.swapaxes(1, 2).reshape(G, M, -1)  # (G, R_out, R_in kH kW)
    losses = [
        relative_tail(sigma)[min(r, sigma.shape[1])] for sigma, r in zip(spectra, rank, strict=True)
    ]
    room = rounding((max(M, C), max(M, C) * kH * kW), max(rank), layer.weight.dtype)
    return chain(layer, A.swapaxes(1, 2), core, U, rank, min(math.hypot(*losses), 1.0) + room)


def chain(
    layer: Stage, A: Array, core: Array, U: Array, rank: Pair, bound: float | None
) -> Factorization:
    """The chain of A (G, R_in, C), the core (G, R_out, R_in kH kW) and U (G, M, R_out)."""
    W, exponent = grouped(layer)
    G, M, C, kH, kW = W.shape
    dtype = layer.weight.dtype
    parts = [stored(A, 0, dtype), stored(core, exponent, dtype), stored(U, 0, dtype)]
    A, core, U = recovered(parts[0], 0), recovered(parts[1], exponent), recovered(parts[2], 0)
    outer = (U @ core).reshape(G, M, rank[0], kH * kW)
    product = (A.swapaxes(1, 2)[:, None] @ outer).reshape(W.shape)
    stages = (
        Stage(parts[0].reshape(-1, C, 1, 1), groups=G),
        Stage(
            parts[1].reshape(-1, rank[0], kH, kW),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=G,
        ),
        Stage(parts[2].reshape(-1, rank[1], 1, 1), groups=G),
    )
    error = relative_error(W, product)
    return Factorization("tucker2", rank, stages, error, bound, layer.weight.shape)
