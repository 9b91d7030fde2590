"""CP: 1 x 1 to R channels, kH x 1 and 1 x kW on each channel by itself, 1 x 1 to C_out.

W[o, i, p, q] = sum_r a[o, r] b[r, i] c[r, p] d[r, q] by alternating least squares (Carroll and
Chang, 1970, Psychometrika 35, 283-319) as the chain of Lebedev et al. (2015, arXiv 1412.6553,
section 3). The best CP of a rank need not exist and none is proven here: `bound` is None.

Each of the four factors is the solution of a linear problem while the others rest. It is found
by conjugate gradients from the present one, so that no step can raise the error and a singular
problem, which CP often has, moves nothing that it does not have to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.factorizations.tensors import (
    descend,
    grouped,
    inverse_of,
    recovered,
    relative_error,
    smallest,
    stored,
)
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
Factors = list[Array]  # a (G, R, M), b (G, R, C), c (G, R, kH), d (G, R, kW)
SWEEPS = 200  # at most
STOP_OUTPUTS = 1e-3  # relative fall of the loss that ends the sweeps for data
STOP = 1e-3  # relative fall of the squared error in ten sweeps that ends them


def factorize_layer(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """Fit `rank` terms a group, or as few as the relative error `tol` needs.

    With neither, the terms of an exact form that are not zero.
    """
    W, _ = grouped(layer)
    terms, sizes = exact_terms(W)
    eps = float(np.finfo(layer.weight.dtype).eps)
    exact = max(1, int((sizes > eps * sizes.max()).sum(axis=1).max()))
    if rank is not None:
        return chain(layer, fit(W, terms, rank)[0])
    if tol is None:
        return chain(layer, [factor[:, :exact] for factor in terms])
    chains: dict[int, Factorization] = {}

    def fits(rank: int) -> bool:
        chains[rank] = chain(layer, fit(W, terms, rank)[0])
        return chains[rank].error <= tol

    rank = smallest(exact, fits)
    return chains.get(rank) or chain(layer, [factor[:, :exact] for factor in terms])


def full_rank(shape: tuple[int, int, int, int]) -> int:
    """The terms of an exact form of a group's weight: M C kH kW over the largest of them."""
    return int(np.prod(shape)) // max(shape)


def exact_terms(W: Array) -> tuple[Factors, Array]:
    """Terms that sum to W exactly, the largest first, and their norms (G, terms).

    Slices over the two largest modes, one for each index of the other two, and the SVD of each.
    """
    G = W.shape[0]
    order = np.argsort([-n for n in W.shape[1:]], kind="stable")
    modes = np.transpose(W, (0, *(int(m) + 1 for m in order[[2, 3, 0, 1]])))
    shape = modes.shape[1:]  # two small modes, then the two of a slice
    u, sigma, vt = np.linalg.svd(modes, full_matrices=False)
    most = sigma.shape[-1]
    index = np.indices((shape[0], shape[1], most)).reshape(3, -1)
    flat = [
        np.broadcast_to(np.eye(shape[0])[index[0]], (G, index.shape[1], shape[0])),
        np.broadcast_to(np.eye(shape[1])[index[1]], (G, index.shape[1], shape[1])),
        u.swapaxes(-1, -2).reshape(G, -1, shape[2]),
        vt.reshape(G, -1, shape[3]),
    ]
    sizes = sigma.reshape(G, -1)
    rank = np.argsort(-sizes, axis=1, kind="stable")
    share = np.take_along_axis(sizes, rank, 1)[..., None] ** 0.25
    factors: Factors = [np.empty(0)] * 4
    for mode, factor in zip(order[[2, 3, 0, 1]], flat, strict=True):
        factors[int(mode)] = np.take_along_axis(factor, rank[..., None], 1) * share
    return factors, np.take_along_axis(sizes, rank, 1)


def fit(W: Array, terms: Factors, rank: int) -> tuple[Factors, list[float]]:
    """Alternating least squares from the `rank` largest terms; the squared error of each sweep."""
    factors = [factor[:, :rank].copy() for factor in terms]
    errors = [_loss(W, factors)]
    floor = 1e-28 * float(np.vdot(W, W))
    while len(errors) <= SWEEPS and errors[-1] > floor:
        for mode in range(4):
            factors[mode] = update(W, None, factors, mode, steps=2)
        factors = balance(factors)
        errors.append(_loss(W, factors))
        if len(errors) > 10 and errors[-1] > errors[-11] * (1 - STOP):
            break
    return factors, errors


def fit_outputs(W: Array, S: Array, factors: Factors, sweeps: int) -> tuple[Factors, list[float]]:
    """Alternating least squares in the norm tr E S E^T; the loss at the start and of each sweep."""
    WS = (W.reshape(*W.shape[:2], -1) @ S).reshape(W.shape)
    losses = [_loss(W, factors, S)]
    floor = 1e-28 * float(np.vdot(WS, W))
    for _ in range(sweeps):
        if losses[-1] <= floor:
            break
        moved = list(factors)
        for mode in range(4):
            moved[mode] = update(WS, S, moved, mode, steps=4)
        moved = balance(moved)
        now = _loss(W, moved, S)
        if not now < losses[-1]:
            break  # only rounding is left
        factors = moved
        losses.append(now)
        if now > losses[-2] * (1 - STOP_OUTPUTS):
            break
    return factors, losses


def update(
    target: Array, S: Array | None, factors: Sequence[Array], mode: int, *, steps: int
) -> Array:
    """One factor, closer to its least-squares solution for the others.

    `target` is W (G, M, C, kH, kW), or with S (G, D, D) the product W S: the norm is then
    that of the layer's output.
    """
    a, b, c, d = factors
    G, rank, M = a.shape
    kernel = (b.shape[2], c.shape[2], d.shape[2])
    flat = target.reshape(G, M, -1)

    def rows(b: Array, c: Array, d: Array) -> Array:
        return (b[..., None, None] * c[:, :, None, :, None] * d[:, :, None, None, :]).reshape(
            G, b.shape[1], -1
        )

    if mode == 0:
        P = rows(b, c, d)
        K = (P if S is None else P @ S) @ P.swapaxes(1, 2)
        inverse = inverse_of(K)
        return descend(lambda x: K @ x, lambda x: inverse @ x, a, P @ flat.swapaxes(1, 2), steps)

    def gathered(Q: Array) -> Array:
        """Rows (G, R, D) against the two resting filters: what is left is one factor's shape."""
        Q = Q.reshape(G, rank, *kernel)
        if mode == 1:
            Q = (Q @ d[:, :, None, :, None])[..., 0]
            return (Q @ c[..., None])[..., 0]
        Q = (b[:, :, None, :] @ Q.reshape(G, rank, kernel[0], -1)).reshape(G, rank, *kernel[1:])
        resting = d[..., None] if mode == 2 else c[..., None]
        result: Array = ((Q if mode == 2 else Q.swapaxes(2, 3)) @ resting)[..., 0]
        return result

    def operator(x: Array) -> Array:
        if S is None:
            return normal @ x
        moved = [x if m == mode else factors[m] for m in (1, 2, 3)]
        return gathered(gram @ rows(*moved) @ S)

    gram = a @ a.swapaxes(1, 2)
    normal = gram.copy()
    for other in {1, 2, 3} - {mode}:
        normal *= factors[other] @ factors[other].swapaxes(1, 2)
    inverse = inverse_of(normal)
    metric = None if S is None else inverse_of(_marginal(S, kernel, mode))
    return descend(
        operator,
        lambda x: inverse @ x if metric is None else inverse @ x @ metric,
        factors[mode],
        gathered(a @ flat),
        steps,
    )


def balance(factors: Factors) -> Factors:
    """The same terms with four vectors of equal norm in each; a zero term is left."""
    norms = [np.linalg.norm(factor, axis=2, keepdims=True) for factor in factors]
    mean = (norms[0] * norms[1] * norms[2] * norms[3]) ** 0.25
    scale = [np.divide(mean, n, out=np.zeros_like(n), where=n > 0) for n in norms]
    return [factor * s for factor, s in zip(factors, scale, strict=True)]


def compose(factors: Sequence[Array]) -> Array:
    """The weight (G, M, C, kH, kW) of the factors."""
    a, b, c, d = factors
    G, _, M = a.shape
    rows = b[..., None, None] * c[:, :, None, :, None] * d[:, :, None, None, :]
    product: Array = a.swapaxes(1, 2) @ rows.reshape(G, a.shape[1], -1)
    return product.reshape(G, M, b.shape[2], c.shape[2], d.shape[2])


def factors_of(layer: Stage, chain: Factorization) -> Factors:
    """The factors that `chain` stored."""
    powers = _powers(grouped(layer)[1])
    b, c, d, a = (stage.weight for stage in chain.stages)
    G, R = layer.groups, b.shape[0] // layer.groups
    parts = [a.reshape(G, -1, R).swapaxes(1, 2), *(x.reshape(G, R, -1) for x in (b, c, d))]
    return [recovered(part, power) for part, power in zip(parts, powers, strict=True)]


def chain(layer: Stage, factors: Factors) -> Factorization:
    """The four stages of the factors of a weight as `grouped` gives it."""
    W, exponent = grouped(layer)
    G, _, C, kH, kW = W.shape
    rank, dtype = factors[0].shape[1], layer.weight.dtype
    powers = _powers(exponent)
    parts = [stored(factor, power, dtype) for factor, power in zip(factors, powers, strict=True)]
    product = compose([recovered(part, power) for part, power in zip(parts, powers, strict=True)])
    a, b, c, d = parts
    stages = (
        Stage(b.reshape(-1, C, 1, 1), groups=G),
        Stage(
            c.reshape(-1, 1, kH, 1),
            stride=(layer.stride[0], 1),
            padding=(layer.padding[0], 0),
            dilation=(layer.dilation[0], 1),
            groups=G * rank,
        ),
        Stage(
            d.reshape(-1, 1, 1, kW),
            stride=(1, layer.stride[1]),
            padding=(0, layer.padding[1]),
            dilation=(1, layer.dilation[1]),
            groups=G * rank,
        ),
        Stage(np.ascontiguousarray(a.swapaxes(1, 2)).reshape(-1, rank, 1, 1), groups=G),
    )
    error = relative_error(W, product)
    return Factorization("cp", rank, stages, error, None, layer.weight.shape)


def _powers(exponent: int) -> tuple[int, int, int, int]:
    """The weight's scale 2^e, shared by the two factors of channels."""
    return exponent - exponent // 2, exponent // 2, 0, 0


def _marginal(S: Array, kernel: tuple[int, int, int], mode: int) -> Array:
    """The mean of S over the two other input modes' diagonals, (G, n, n) for the mode's n."""
    split = S.reshape(S.shape[0], *kernel, *kernel)
    marginal: Array = np.einsum(
        {1: "gipqjpq->gij", 2: "gipqirq->gpr", 3: "gipqips->gqs"}[mode], split
    )
    return marginal * kernel[mode - 1] / np.prod(kernel)


def _loss(W: Array, factors: Sequence[Array], S: Array | None = None) -> float:
    rest = (W - compose(factors)).reshape(*W.shape[:2], -1)
    return max(float(np.vdot(rest if S is None else rest @ S, rest)), 0.0)
