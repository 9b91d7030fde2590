"""How a chain that is trained from scratch starts: as the cut of a dense layer's random weight.

Spectral initialisation: Khodak et al. (2021, arXiv 2105.01029, section 3.1). What the cut leaves
out is made up for by one factor, so that the chain's weight has the dense weight's variance at
any rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from rankconv.factorizations import factorize
from rankconv.geometry import Pair
from rankconv.stages import Factorization, Stage


def spectral_init(
    weight: ArrayLike,
    *,
    rank: int | Pair,
    kind: str = "spatial_svd",
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Factorization:
    """The chain of `weight` cut to `rank`, as large as `weight`, its stages of equal size.

    `weight` (C_out, C_in / groups, kH, kW) is one drawn for the dense layer. The chain of
    `rankconv.factorize` is balanced (`balanced`) and multiplied by |W| / |W~|. Its `error` is
    against `weight`, and no bound of it is claimed.

    Raises ValueError as `rankconv.factorize` does.
    Equivalent: none in PyTorch.
    Source: Khodak et al. (2021, arXiv 2105.01029, section 3.1), who keep the smaller norm.

    >>> weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3))
    >>> chain = spectral_init(weight, rank=2)
    >>> bool(np.isclose(np.linalg.norm(chain.dense()), np.linalg.norm(weight)))
    True
    """
    chain = factorize(
        weight,
        rank=rank,
        kind=kind,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    # Every kind projects the weight, so |W~|^2 = |W|^2 (1 - error^2).
    kept = math.sqrt(max(1.0 - chain.error**2, 0.0))
    factor = (1.0 / kept) ** (1.0 / len(chain.stages)) if kept else 1.0
    stages = [replace(s, weight=s.weight * s.weight.dtype.type(factor)) for s in chain.stages]
    error = math.sqrt(max(2.0 - 2.0 * kept, 0.0))
    return replace(chain, stages=balanced(stages), error=error, bound=None)


def balanced(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The same chain with each inner channel's filters of equal norm before and after it.

    Gradients then reach the stages alike, and no channel needs another step of quantisation
    than its neighbours. A channel that is zero on one side is left.
    """
    result = list(stages)
    for n in range(len(result) - 1):
        first, second = result[n], result[n + 1]
        outgoing = np.linalg.norm(first.weight.reshape(first.out_channels, -1), axis=1)
        split = second.weight.reshape(second.groups, -1, *second.weight.shape[1:])
        incoming = np.sqrt((np.abs(split) ** 2).sum(axis=(1, 3, 4))).reshape(-1)
        order = np.arange(incoming.size) if second.permute is None else np.array(second.permute)
        before = outgoing[order]
        usable = (before > 0) & (incoming > 0)
        scale = np.ones_like(before)
        scale[usable] = np.sqrt(incoming[usable] / before[usable])
        first_scale = np.empty_like(scale)
        first_scale[order] = scale
        shrink = scale.reshape(second.groups, 1, -1, 1, 1)
        result[n] = replace(first, weight=first.weight * first_scale[:, None, None, None])
        result[n + 1] = replace(second, weight=(split / shrink).reshape(second.weight.shape))
    return tuple(result)
