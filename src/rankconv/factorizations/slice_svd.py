"""The paper's factorization: a singular value decomposition of each kH x kW slice (section IX).

A filter F = sum_i sigma_i u_i v_i^T becomes f_i = sigma_i u_i and g_i = v_i. The sum cut after m
terms is the nearest matrix of rank m (Eckart and Young, 1936, Psychometrika 1, 211-218).

What this does to a result: for B = A correlated with F and B_m with F_m, both valid,

    |B - B_m|_F  <=  sigma_(m+1) sqrt(kH kW) |A|_F        (A as padded)

Proof. Continue A by zeros to the whole plane; B - B_m is a part of the correlation of that with
E = F - F_m. By Parseval its norm is at most max |E^(w)| |A|_F, E^ being the transfer function
E^(w1, w2) = x^T E y with x_p = exp(i w1 p) and y_q = exp(i w2 q). As |x| = sqrt(kH),
|y| = sqrt(kW) and the spectral norm of E is sigma_(m+1), |E^| <= sigma_(m+1) sqrt(kH kW).
(By Cauchy-Schwarz over windows alone it would be |E|_F in the place of sigma_(m+1).)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.stages import Factorization, Stage

Array = NDArray[Any]


def factorize_layer(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """Cut every slice of `layer` to `rank` terms, or to as few as the relative error `tol` needs.

    With neither, the numerical rank is kept. The result is a chain of two grouped stages. The
    first gives each input channel its column filters, one for each (output, term). Between the
    two the channels change from the order (input, output, term) to (output, input, term), so
    that the second stage, with a group for each output, sums over its inputs and terms.
    """
    weight = layer.weight
    f, sigma, g = svd(weight)  # (O, I, full, kH), (O, I, full), (O, I, full, kW)
    if rank is None:
        rank = choose_rank(sigma, weight, tol)
    f = f[:, :, :rank].astype(weight.dtype)
    g = g[:, :, :rank].astype(weight.dtype)
    return Factorization(
        kind="slice_svd",
        rank=rank,
        stages=stages(layer, f, g),
        error=relative_error(weight, f, g),
        bound=relative_tail(sigma)[rank] + rounding(weight),
        shape=weight.shape,
    )


def stages(layer: Stage, f: Array, g: Array) -> tuple[Stage, Stage]:
    """The chain of f (C_out, C_in / groups, R, kH) and g (C_out, C_in / groups, R, kW)."""
    groups, (outputs, inputs, rank, kH) = layer.groups, f.shape
    per_group, kW = outputs // groups, g.shape[3]
    columns = f.reshape(groups, per_group, inputs, rank, kH).swapaxes(1, 2)
    channels = np.arange(groups * inputs * per_group * rank)
    order = channels.reshape(groups, inputs, per_group, rank).swapaxes(1, 2)
    first = Stage(
        np.ascontiguousarray(columns).reshape(-1, 1, kH, 1),
        stride=(layer.stride[0], 1),
        padding=(layer.padding[0], 0),
        dilation=(layer.dilation[0], 1),
        groups=groups * inputs,
    )
    second = Stage(
        g.reshape(outputs, inputs * rank, 1, kW),
        stride=(1, layer.stride[1]),
        padding=(0, layer.padding[1]),
        dilation=(1, layer.dilation[1]),
        groups=outputs,
        permute=None if inputs == 1 or per_group == 1 else tuple(order.ravel().tolist()),
    )
    return first, second


def svd(weight: Array) -> tuple[Array, Array, Array]:
    """For each slice (..., kH, kW): sigma_i u_i (..., r, kH), sigma (..., r), v_i (..., r, kW).

    In double precision, with r = min(kH, kW) and F = sum_i f_i g_i^T (no conjugate).
    """
    wide = np.complex128 if np.iscomplexobj(weight) else np.float64
    u, sigma, vt = np.linalg.svd(weight.astype(wide), full_matrices=False)
    return (u * sigma[..., None, :]).swapaxes(-1, -2), sigma, vt


def rounding(weight: Array) -> float:
    """Relative error that rounding alone may cause in a factorization of these slices.

    LAPACK's SVD is backward stable: its error is a modest multiple of k eps. Up to 7 k eps came
    up among 40,000 random filters; 32 leaves room.
    """
    return 32.0 * int(max(weight.shape[-2:])) * float(np.finfo(weight.dtype).eps)


def relative_tail(sigma: Array) -> list[float]:
    """Eckart-Young: the relative Frobenius error after 0, 1, ..., r terms of each slice."""
    scale = float(sigma.max()) or 1.0  # squares of the extremes would leave the range
    energy = ((sigma / scale) ** 2).reshape(-1, sigma.shape[-1]).sum(axis=0)
    tails = np.append(np.cumsum(energy[::-1])[::-1], 0.0)
    norm = float(tails[0]) or 1.0
    return [math.sqrt(float(tail) / norm) for tail in tails]


def numerical_rank(sigma: Array, weight: Array) -> int:
    """The largest rank of a slice that rounding in the dtype of `weight` cannot explain, or 1."""
    threshold = max(weight.shape[-2:]) * float(np.finfo(weight.dtype).eps) * sigma.max()
    return max(1, int((sigma > threshold).sum(axis=-1).max()))


def choose_rank(sigma: Array, weight: Array, tol: float | None) -> int:
    """The numerical rank, or the smallest rank whose relative error is within `tol`."""
    most = numerical_rank(sigma, weight)
    if tol is None:
        return most
    tails = relative_tail(sigma)
    return next((rank for rank in range(1, most) if tails[rank] <= tol), most)


def relative_error(weight: Array, f: Array, g: Array) -> float:
    """Measured |W - sum_i f_i g_i^T|_F / |W|_F, in double precision; 0 for a zero weight."""
    scale = float(np.abs(weight).max()) or 1.0
    wide = weight / np.asarray(scale, np.float64)
    product = (f / np.asarray(scale, np.float64)).swapaxes(-1, -2) @ g
    return float(np.linalg.norm(wide - product)) / (float(np.linalg.norm(wide)) or 1.0)


def output_gain(sigma: Array, rank: int, shape: tuple[int, int]) -> float:
    """The c of |B - B_m|_F <= c |A|_F for one filter of `shape` cut to `rank` terms."""
    return float(sigma[rank]) * math.sqrt(shape[0] * shape[1]) if rank < sigma.size else 0.0
