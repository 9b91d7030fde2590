"""One layer fitted to its outputs by any kind at any rank, the costly parts done once.

Profiling asks one layer for many ranks of many kinds. Their errors come from one eigenvalue
problem and one Cholesky factorization a kind (`rankconv.factorizations.nested`); a chain's
weights are solved for when they are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.moments import Moments
from rankconv.compress.network import Replacement
from rankconv.factorizations import (
    FULL_RANKS,
    channel_svd,
    cp,
    slice_svd,
    slices_for_data,
    spatial_svd,
    tucker2,
    two_factors,
    two_factors_for_data,
)
from rankconv.factorizations.layers import check_rank, group_shape
from rankconv.factorizations.nested import Nested, nested
from rankconv.factorizations.tensors import grouped, leading, recovered, relative_error, stored
from rankconv.geometry import Pair
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
RIDGE = 1e-6  # of the covariance's mean diagonal
ROUNDING = 1e-15  # of the squared mean, in each of the numbers of a patch
STILL = 1e-14  # of the squared mean: what a variance may be by rounding alone
BUILDS: dict[str, two_factors.Build] = {
    "spatial_svd": spatial_svd.stages,
    "channel_svd": channel_svd.output_stages,
    "channel_svd_input": channel_svd.input_stages,
}


@dataclass(frozen=True, eq=False)
class Fit:
    """A replacement, its bias such that the mean output is the original's, and its error.

    `output_error` is the root of E |y - y~|^2 over that of E |y - mean y|^2, on the moments' data.
    """

    replacement: Replacement
    output_error: float


class LayerFits:
    """Fits of one layer to its moments, for all kinds of `rankconv.factorize`.

    `target` (C_out, C_in / groups, kH, kW) is the weight to come near, the layer's own by
    default; it is the weight that gives y from x, where x is not what the layer was trained on.
    The norm is that of the output, with `ridge` times the mean diagonal added to the covariance,
    which holds the weight where the data say nothing. dense is the target itself.

    Raises ValueError where the moments do not fit the layer.
    """

    def __init__(
        self,
        layer: Stage,
        moments: Moments,
        *,
        target: Array | None = None,
        ridge: float = RIDGE,
    ) -> None:
        weight, self._exponent = grouped(layer)
        expected = (*weight.shape[:2], math.prod(weight.shape[2:]))
        if moments.cross.shape != expected:
            raise ValueError(
                f"moments of a layer of shape {moments.cross.shape} (groups, outputs and numbers "
                f"a patch of a group) do not fit one of {expected}: pass those of this layer"
            )
        self._layer, self._moments = layer, moments
        self._W = weight if target is None else self._scaled(target).reshape(weight.shape)
        mean = float(np.trace(moments.covariance, axis1=1, axis2=2).sum())
        mean /= moments.mean.size
        S = moments.covariance / mean if mean > 0 else np.zeros_like(moments.covariance)
        # What rounding leaves of large means is lifted too; without variance that is all there is.
        blur = ROUNDING * S.shape[1] * float((moments.mean**2).mean())
        at = np.arange(S.shape[1])
        S[:, at, at] += ridge + blur / mean if mean > 0 else 1.0
        self._S = S
        self._nested: dict[str, Nested] = {}
        self._outputs: dict[int, tuple[Array, Array]] = {}

    def output_error(self, kind: str, rank: int | Pair | None) -> float:
        """The relative output error that `fit` reaches without sweeps, to the ridge's precision.

        Cheap for spatial_svd, channel_svd, channel_svd_input and tucker2; the others are fitted.
        """
        rank = self._check(kind, rank)
        if kind in BUILDS and isinstance(rank, int):
            found = self._path(kind, rank)
            return math.sqrt(found.loss(rank) / (found.total or 1.0))
        if kind == "tucker2" and isinstance(rank, tuple):
            total = self._path("channel_svd_input", rank[0]).total or 1.0
            energy = float(self._outer(rank[0])[0][..., : rank[1]].sum())
            return math.sqrt(max(1.0 - energy / total, 0.0))
        return self.fit(kind, rank).output_error

    def fit(self, kind: str, rank: int | Pair | None = None, *, sweeps: int = 0) -> Fit:
        """The chain of `kind` at `rank`, by up to `sweeps` rounds of alternating least squares.

        `rank` as in `rankconv.factorize`, None the full rank. Raises ValueError for an unknown
        kind and a rank out of range.
        """
        chain, product = self._chain(kind, self._check(kind, rank), sweeps)
        moments = self._moments
        near = np.ldexp(product, self._exponent).reshape(moments.cross.shape)
        total, rest = float(moments.output_variance.sum()), moments.residual(near)
        varied = total > STILL * float((moments.output_mean**2).sum())
        bias = moments.output_mean - (near @ moments.mean[..., None])[..., 0]
        return Fit(
            Replacement(chain, bias.reshape(-1).astype(self._layer.weight.dtype)),
            math.sqrt(rest / total) if varied else 0.0,
        )

    def _check(self, kind: str, rank: int | Pair | None) -> int | Pair:
        if kind not in FULL_RANKS:
            raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, FULL_RANKS))}")
        full = FULL_RANKS[kind](group_shape(self._layer))
        checked = check_rank(rank, None, full)
        return full if checked is None else checked

    def _chain(self, kind: str, rank: int | Pair, sweeps: int) -> tuple[Factorization, Array]:
        """The chain and the weight that it computes, over the power of two of `grouped`."""
        layer, W = self._layer, self._W
        G, M = W.shape[:2]
        if kind == "dense":
            return self._dense(rank)
        if kind == "slice_svd":
            assert isinstance(rank, int)
            return self._slices(rank, sweeps)
        if kind == "cp":
            assert isinstance(rank, int)
            terms = [factor[:, :rank] for factor in cp.exact_terms(W)[0]]
            factors, _ = cp.fit_outputs(W, self._S, terms, max(sweeps, 1))
            return cp.chain(layer, factors), cp.compose(factors)
        if isinstance(rank, tuple):
            U = self._outer(rank[0])[1][..., : rank[1]]
            H, V = self._path("channel_svd_input", rank[0]).factors(rank[0])
            H = (U @ (U.swapaxes(1, 2) @ H.reshape(G, M, -1))).reshape(H.shape)
            H, V = self._improved(H, V, "channel_svd_input", sweeps, rank[1])
            outer = H.swapaxes(2, 3).reshape(G, M, -1)  # of rank R_out
            U = leading(outer, rank[1])
            chain = tucker2.chain(layer, V, U.swapaxes(1, 2) @ outer, U, rank, None)
            return chain, two_factors.compose(H, V).reshape(W.shape)
        H, V = self._path(kind, rank).factors(rank)
        if kind != "channel_svd":  # which is at its minimum
            H, V = self._improved(H, V, kind, sweeps, None)
        size = np.sqrt(np.linalg.norm(H, axis=(1, 2)))  # (G, R); rows of V have norm 1
        size = np.where(size > 0, size, 1.0)
        H, V = H / size[:, None, None], V * size[..., None]
        chain = two_factors.chain(layer, H, V, kind=kind, build=BUILDS[kind], bound=None)
        return chain, two_factors.compose(H, V).reshape(W.shape)

    def _path(self, kind: str, rank: int) -> Nested:
        """All ranks of a two-stage form that save multiplications, or up to `rank`."""
        G, M, C, kH, kW = self._W.shape
        if kind not in self._nested or self._nested[kind].most < rank:
            A, B = self._split(kind)
            saving = math.ceil(M * C * kH * kW / (A + M * B)) - 1
            most = max(rank, min(saving, A, M * B))
            self._nested[kind] = nested(self._W.reshape(G, M, A, B), self._S, most)
        return self._nested[kind]

    def _split(self, kind: str) -> Pair:
        """How the D numbers of a patch fall to the first stage and are left to the second."""
        _, _, C, kH, kW = self._W.shape
        return {
            "spatial_svd": (C * kH, kW),
            "channel_svd": (C * kH * kW, 1),
            "channel_svd_input": (C, kH * kW),
        }[kind]

    def _outer(self, inner: int) -> tuple[Array, Array]:
        """Energies (G, M) and directions (G, M, M) of the outputs after `inner` channels."""
        if inner not in self._outputs:
            Z = self._path("channel_svd_input", inner).explained(inner)
            energy, U = np.linalg.eigh(Z.swapaxes(1, 2) @ Z)
            self._outputs[inner] = energy[..., ::-1].clip(min=0), U[..., ::-1]
        return self._outputs[inner]

    def _improved(
        self, H: Array, V: Array, kind: str, sweeps: int, outer: int | None
    ) -> tuple[Array, Array]:
        if not sweeps:
            return H, V
        W = self._W.reshape(*self._W.shape[:2], *self._split(kind))
        H, V, _ = two_factors_for_data.improve(W, self._S, H, V, sweeps=sweeps, outer=outer)
        return H, V

    def _slices(self, rank: int, sweeps: int) -> tuple[Factorization, Array]:
        layer = self._layer
        f, g = slices_for_data.fit_slices(self._W, self._S, rank, sweeps=max(sweeps, 4))
        shape = layer.weight.shape[:2]
        dtype, exponent = layer.weight.dtype, self._exponent
        f, g = stored(f, exponent, dtype), stored(g, 0, dtype)
        product = slices_for_data.compose(recovered(f, exponent), recovered(g, 0))
        stages = slice_svd.stages(
            layer, f.reshape(*shape, rank, f.shape[-1]), g.reshape(*shape, rank, g.shape[-1])
        )
        error = relative_error(grouped(layer)[0], product)
        chain = Factorization("slice_svd", rank, stages, error, None, layer.weight.shape)
        return chain, product

    def _dense(self, rank: int | Pair) -> tuple[Factorization, Array]:
        layer = self._layer
        weight = stored(self._W, self._exponent, layer.weight.dtype).reshape(layer.weight.shape)
        stage = Stage(weight, layer.stride, layer.padding, layer.dilation, layer.groups)
        error = relative_error(grouped(layer)[0], self._W)
        return Factorization("dense", rank, (stage,), error, None, weight.shape), self._W

    def _scaled(self, weight: Array) -> Array:
        return np.ldexp(weight.astype(np.float64), -self._exponent)


def kinds_for(layer: Stage) -> tuple[str, ...]:
    """The kinds that differ for a layer's shape, without dense.

    A depthwise layer has slices alone; a 1 x 1 layer is a matrix; a filter of one row or one
    column leaves nothing to the stage of the other direction.

    >>> kinds_for(Stage(np.ones((8, 4, 1, 1)))), kinds_for(Stage(np.ones((8, 1, 3, 3)), groups=8))
    (('channel_svd',), ('slice_svd',))
    """
    outputs, inputs, kH, kW = group_shape(layer)
    if outputs == 1 or inputs == 1:
        return ("slice_svd",) if min(kH, kW) > 1 else ()
    if (kH, kW) == (1, 1):
        return ("channel_svd",)
    sides = ("channel_svd", "channel_svd_input", "tucker2", "cp")
    if min(kH, kW) == 1:
        return sides
    return ("spatial_svd", *sides, *(("slice_svd",) if layer.groups > 1 else ()))
