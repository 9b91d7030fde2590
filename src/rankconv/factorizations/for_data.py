"""Chains fitted to what a layer puts out on real inputs, one line a kind in FOR_DATA.

A kind is a function `fit(layer, metric, plain, *, sweeps) -> (chain, bound)`: from the chain that
fits the weight alone, one of the same rank with a small |(W - W~) S^(1/2)|_F, and a proven bound
of that norm, or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv.factorizations import (
    channel_svd,
    cp,
    spatial_svd,
    tucker2,
    two_factors,
    two_factors_for_data,
)
from rankconv.factorizations.layers import as_layer, check_rank, group_shape
from rankconv.factorizations.outputs import Metric, OutputFit, as_metric, length, output_error
from rankconv.factorizations.tensors import grouped, leading, rounding, smallest
from rankconv.geometry import Pair
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
Fitted = tuple[Factorization, float | None]


def factorize_for_data(
    weight: ArrayLike,
    covariance: ArrayLike,
    *,
    rank: int | Sequence[int] | None = None,
    tol: float | None = None,
    kind: str = "spatial_svd",
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    ridge: float = 1e-6,
    sweeps: int = 10,
) -> OutputFit:
    """Split a weight so that the layer's output on real inputs changes least.

    Minimises |(W - W~) Sigma^(1/2)|_F with Sigma = `covariance`, (D, D) or (groups, D, D) for
    D = C_in / groups * kH * kW: the second moment of the input patches (or, where the bias is
    corrected afterwards, their centred covariance), as `rankconv.compress.covariance` collects
    it. channel_svd is the closed-form minimum; the other kinds start from whitened and from
    plain factors and take up to `sweeps` rounds of alternating least squares. The result is
    never worse on these data than that of `rankconv.factorize` at the same rank.

    `rank` and the layer's options are those of `rankconv.factorize`; `tol` takes a small rank
    whose relative *output* error is within it. With neither, the chain is exact up to rounding.
    Patches of few images leave Sigma deficient: `ridge` times its mean diagonal is added to the
    diagonal, which holds the weight near the original where the data say nothing.

    To give the original output from inputs that earlier approximations changed (Zhang et al.,
    2015, arXiv 1505.06798, section 3.3) pass the best linear map from the changed patches x~ to
    the original outputs y as the weight, E[y x~^T] Sigma~^-1, and the changed Sigma~.

    Raises ValueError for options out of range, for a kind that has no such fit, and for a
    covariance that does not fit, is not positive semidefinite, or is zero.
    Equivalent: none in SciPy or PyTorch.
    Source: Kalle et al. (2025, arXiv 2511.04494) for the norm.

    >>> weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3))
    >>> patches = np.random.default_rng(1).standard_normal((20, 36))
    >>> fit = factorize_for_data(weight, patches.T @ patches / 20, rank=6, padding=1)
    >>> [stage.weight.shape for stage in fit.chain.stages]
    [(6, 4, 3, 1), (8, 6, 1, 3)]
    >>> fit.output_error < fit.chain.error
    True
    """
    layer, shape = as_layer(
        weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    if layer.weight.dtype.kind == "c":
        raise ValueError(
            f"weight of dtype {layer.weight.dtype}: only real layers are fitted to data"
        )
    metric = as_metric(covariance, layer, ridge)
    result = fit_layer(layer, metric, rank=rank, tol=tol, kind=kind, sweeps=sweeps)
    return replace(result, chain=replace(result.chain, shape=shape))


def fit_layer(
    layer: Stage,
    metric: Metric,
    *,
    rank: int | Sequence[int] | None = None,
    tol: float | None = None,
    kind: str = "spatial_svd",
    sweeps: int = 10,
) -> OutputFit:
    """`factorize_for_data` of a layer whose metric is at hand: for many ranks of one layer."""
    if kind not in FOR_DATA:
        raise ValueError(
            f"kind={kind!r} is not one of {', '.join(map(repr, FOR_DATA))}, the kinds that are "
            "fitted to data (a depthwise layer's slice_svd is the chain of spatial_svd)"
        )
    if isinstance(sweeps, bool) or not isinstance(sweeps, int) or sweeps < 0:
        raise ValueError(f"sweeps={sweeps!r} is not an integer >= 0: leave it out for 10")
    plain_fit, full_rank, fit = FOR_DATA[kind]
    checked = check_rank(rank, tol, full_rank(group_shape(layer)))
    size = length(grouped(layer)[0], metric) or 1.0

    def at(rank: int | Pair | None) -> OutputFit:
        plain = plain_fit(layer, rank=rank, tol=None)
        alone = OutputFit(plain, output_error(layer, plain, metric) / size, None)
        if rank is None:
            return alone
        chain, most = fit(layer, metric, plain, sweeps=sweeps)
        fitted = OutputFit(chain, output_error(layer, chain, metric) / size, None)
        best = min(fitted, alone, key=lambda one: one.output_error)
        return replace(best, output_bound=None if most is None else most / size)

    if tol is None:
        return at(checked)
    exact = at(None)
    ranks = _path(layer, exact.chain.rank)
    fits: dict[int, OutputFit] = {len(ranks): exact}

    def enough(n: int) -> bool:
        if n not in fits:
            fits[n] = at(ranks[n - 1])
        return fits[n].output_error <= tol

    return fits[smallest(len(ranks), enough)]


def _path(layer: Stage, exact: int | Pair) -> Sequence[int | Pair]:
    if isinstance(exact, int):
        return range(1, exact + 1)
    return tucker2.rank_path(tucker2.mode_spectra(grouped(layer)[0]), exact)


def _two_factors(
    layer: Stage,
    metric: Metric,
    plain: Factorization,
    *,
    columns: int,
    build: two_factors.Build,
    sweeps: int,
) -> Fitted:
    weight, _ = grouped(layer)
    W = weight.reshape(*weight.shape[:2], -1, columns)
    start = plain.stages[0].weight.astype(np.float64).reshape(W.shape[0], -1, W.shape[2])
    H, V, _, bound = two_factors_for_data.fit(W, metric.S, start, sweeps=sweeps)
    size = np.sqrt(np.linalg.norm(H, axis=(1, 2)))  # (G, R); rows of V have norm 1
    size = np.where(size > 0, size, 1.0)
    H, V = H / size[:, None, None], V * size[..., None]
    if bound is not None:
        trace = float(np.trace(metric.S, axis1=1, axis2=2).max())
        room = rounding((W.shape[1] * columns, W.shape[2]), V.shape[1], layer.weight.dtype)
        bound += room * math.sqrt(trace) * float(np.linalg.norm(W))
    return two_factors.chain(layer, H, V, kind=plain.kind, build=build, bound=None), bound


def _spatial_svd(layer: Stage, metric: Metric, plain: Factorization, *, sweeps: int) -> Fitted:
    columns, build = layer.kernel[1], spatial_svd.stages
    return _two_factors(layer, metric, plain, columns=columns, build=build, sweeps=sweeps)


def _channel_svd(layer: Stage, metric: Metric, plain: Factorization, *, sweeps: int) -> Fitted:
    build = channel_svd.output_stages
    return _two_factors(layer, metric, plain, columns=1, build=build, sweeps=sweeps)


def _channel_svd_input(
    layer: Stage, metric: Metric, plain: Factorization, *, sweeps: int
) -> Fitted:
    columns, build = layer.kernel[0] * layer.kernel[1], channel_svd.input_stages
    return _two_factors(layer, metric, plain, columns=columns, build=build, sweeps=sweeps)


def _tucker2(layer: Stage, metric: Metric, plain: Factorization, *, sweeps: int) -> Fitted:
    weight, _ = grouped(layer)
    G, M, C, kH, kW = weight.shape
    W = weight.reshape(G, M, C, kH * kW)
    start = plain.stages[0].weight.astype(np.float64).reshape(G, -1, C)
    rank = start.shape[1], plain.stages[1].out_channels // G
    H, V, _, _ = two_factors_for_data.fit(W, metric.S, start, sweeps=sweeps, outer=rank[1])
    outer = H.swapaxes(2, 3).reshape(G, M, -1)  # (G, M, R_in kH kW)
    U = leading(outer, rank[1])
    return tucker2.chain(layer, V, U.swapaxes(1, 2) @ outer, U, rank, None), None


def _cp(layer: Stage, metric: Metric, plain: Factorization, *, sweeps: int) -> Fitted:
    W, _ = grouped(layer)
    factors, _ = cp.fit_outputs(W, metric.S, cp.factors_of(layer, plain), sweeps)
    return cp.chain(layer, factors), None


# The fit to the weight alone, the full rank, the fit to data.
FOR_DATA: dict[
    str,
    tuple[Callable[..., Factorization], Callable[..., int | Pair], Callable[..., Fitted]],
] = {
    "spatial_svd": (spatial_svd.factorize_layer, spatial_svd.full_rank, _spatial_svd),
    "channel_svd": (channel_svd.factorize_output, channel_svd.full_rank_output, _channel_svd),
    "channel_svd_input": (
        channel_svd.factorize_input,
        channel_svd.full_rank_input,
        _channel_svd_input,
    ),
    "tucker2": (tucker2.factorize_layer, tucker2.full_rank, _tucker2),
    "cp": (cp.factorize_layer, cp.full_rank, _cp),
}
