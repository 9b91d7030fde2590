"""The norm of a layer's output: covariances checked, a chain's weight composed, errors in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_numbers
from rankconv.factorizations.tensors import grouped
from rankconv.factorizations.two_factors_for_data import loss
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OutputFit:
    """A chain fitted to a layer's outputs.

    `chain.error` is the relative error of the weight, as everywhere. `output_error` is the
    measured relative error of the output on the data of the covariance,
    |(W - W~) Sigma^(1/2)|_F / |W Sigma^(1/2)|_F, and `output_bound` a proven upper bound of it
    (Eckart-Young in that norm), or None where only a search found the chain.
    """

    chain: Factorization
    output_error: float
    output_bound: float | None


@dataclass(frozen=True, eq=False)
class Metric:
    """The moment S (G, D, D) over its mean diagonal, plus `ridge` times the identity."""

    S: Array
    ridge: float


def as_metric(covariance: ArrayLike, layer: Stage, ridge: float) -> Metric:
    """The checked covariance (G, D, D), or (D, D) in one group, with its ridge.

    Raises ValueError where it does not fit the layer, is not symmetric positive semidefinite or
    is zero, and for a ridge that is not a finite number >= 0.
    """
    if isinstance(ridge, bool) or not isinstance(ridge, float | int) or not 0 <= ridge < math.inf:
        raise ValueError(f"ridge={ridge!r} is not a finite number >= 0: leave it out for 1e-6")
    array = as_numbers(covariance, "covariance")
    D = int(np.prod(layer.weight.shape[1:]))
    if array.ndim == 2 and layer.groups == 1:
        array = array[None]
    if array.shape != (layer.groups, D, D) or array.dtype.kind == "c":
        raise ValueError(
            f"covariance of shape {array.shape} and dtype {array.dtype} does not fit a weight of "
            f"shape {layer.weight.shape} in {layer.groups} groups: pass the real patch covariance "
            f"of shape {(layer.groups, D, D)}, patches in the order (C_in / groups, kH, kW)"
        )
    mean = float(np.trace(array, axis1=1, axis2=2).sum(dtype=np.float64)) / (layer.groups * D)
    if not math.isfinite(mean) or not np.isfinite(array).all():
        raise ValueError("covariance holds NaN or infinity: look for them in the input images")
    if mean <= 0:
        raise ValueError("covariance is zero or negative: the layer's input must not be all zero")
    S = np.divide(array, mean, dtype=np.float64)
    most = max(float(S.max()), -float(S.min()))
    halves = ((S[:, i : i + 256], S[:, :, i : i + 256]) for i in range(0, D, 256))
    if any(np.abs(a - b.swapaxes(1, 2)).max() > 1e-5 * most for a, b in halves):
        raise ValueError("covariance is not symmetric: pass the mean of x x^T over patches x")
    one = np.arange(D)
    S[:, one, one] += max(ridge, 1e-5)
    try:
        np.linalg.cholesky(S)
    except np.linalg.LinAlgError:
        raise ValueError(
            "covariance is not positive semidefinite: pass the mean of x x^T over patches x, "
            "summed in double precision"
        ) from None
    S[:, one, one] += ridge - max(ridge, 1e-5)
    return Metric(S, float(ridge))


def composed(chain: Factorization, groups: int) -> Array:
    """The weight (G, M, C, kH, kW) that a chain computes, in double precision.

    For chains in which each direction has at most one stage with more than one tap, and whose
    stages have the groups of the layer or one a channel.
    """
    product: Array | None = None
    for stage in chain.stages:
        weight = stage.weight.astype(np.float64).reshape(groups, -1, *stage.weight.shape[1:])
        if product is None:
            product = weight  # (G, m, c, kH, kW)
            continue
        _, n, c, *old = product.shape
        new = stage.kernel
        if stage.groups == groups:
            m = weight.shape[1]
            left = weight.transpose(0, 1, 3, 4, 2).reshape(groups, -1, n)  # rows (m, p, q)
            product = (left @ product.reshape(groups, n, -1)).reshape(groups, m, *new, c, *old)
        else:
            product = weight.reshape(groups, n, *new, 1, 1, 1) * product[:, :, None, None]
        product = product.transpose(0, 1, 4, 2, 5, 3, 6)
        product = product.reshape(*product.shape[:3], new[0] * old[0], new[1] * old[1])
    assert product is not None
    return product


def output_error(layer: Stage, chain: Factorization, metric: Metric) -> float:
    """Measured |(W - W~) Sigma^(1/2)|_F, in the scale of `length`."""
    W, exponent = grouped(layer)
    return length(W - np.ldexp(composed(chain, layer.groups), -exponent), metric)


def length(E: Array, metric: Metric) -> float:
    """|E Sigma^(1/2)|_F without the ridge, for E over the power of two of `grouped`."""
    square = loss(E, metric.S) - metric.ridge * float(np.vdot(E, E))
    return math.sqrt(max(square, 0.0))


def bias_shift(layer: Stage, chain: Factorization, mean: ArrayLike) -> Array:
    """What to add to the bias so that the chain's mean output is the layer's: (W - W~) mean.

    `mean` (groups, C_in / groups * kH * kW) is the mean patch; the result is (C_out,). After it,
    the error that is left is that of the centred covariance. Raises ValueError where the mean
    does not fit.
    """
    array = as_numbers(mean, "mean")
    W = layer.weight.astype(np.float64).reshape(layer.groups, -1, *layer.weight.shape[1:])
    rest = (W - composed(chain, layer.groups)).reshape(*W.shape[:2], -1)
    if array.shape != (layer.groups, rest.shape[2]):
        raise ValueError(
            f"mean of shape {array.shape} does not fit the layer: pass the mean patch of shape "
            f"{(layer.groups, rest.shape[2])}"
        )
    shift: Array = (rest @ array[..., None]).reshape(-1)
    return shift
