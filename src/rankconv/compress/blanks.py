"""Chains of the right shapes and of no meaning: what a rank costs is known before it is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.network import Layer
from rankconv.factorizations import FULL_RANKS, channel_svd, cp, slice_svd, spatial_svd, tucker2
from rankconv.factorizations.layers import group_shape
from rankconv.geometry import Pair
from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
Rank = int | Pair
STEP = 8  # channels that a vector of floats holds: engines fill whole blocks of them
STEP_SMALL = 4  # where there are fewer than three of those
GROWTH = 1.3  # from one rank to the next
MOST_WORK = 0.85  # of the layer's multiply-adds: above it no chain was ever faster


def blank(layer: Stage, kind: str, rank: Rank) -> Factorization:
    """A chain of random weights with the shapes that `kind` has at `rank`.

    Raises ValueError for a kind that has no such chain.

    >>> layer = Stage(np.ones((8, 4, 3, 3)), padding=(1, 1))
    >>> [stage.weight.shape for stage in blank(layer, "tucker2", (2, 3)).stages]
    [(2, 4, 1, 1), (3, 2, 3, 3), (8, 3, 1, 1)]
    """
    rng = np.random.default_rng(0)

    def some(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(layer.weight.dtype)

    M, C, kH, kW = group_shape(layer)
    G = layer.groups
    if kind == "tucker2":
        assert isinstance(rank, tuple)
        core = some(G, rank[1], rank[0] * kH * kW)
        return tucker2.chain(layer, some(G, rank[0], C), core, some(G, M, rank[1]), rank, None)
    assert isinstance(rank, int)
    if kind == "cp":
        return cp.chain(layer, [some(G, rank, n) for n in (M, C, kH, kW)])
    if kind == "slice_svd":
        return slice_svd.factorize_layer(layer, rank=rank, tol=None)
    stages: tuple[Stage, ...]
    if kind == "spatial_svd":
        stages = spatial_svd.stages(layer, some(G, rank, C * kH), some(G, M, kW, rank))
    elif kind == "channel_svd":
        stages = channel_svd.output_stages(layer, some(G, rank, C * kH * kW), some(G, M, 1, rank))
    elif kind == "channel_svd_input":
        stages = channel_svd.input_stages(layer, some(G, rank, C), some(G, M, kH * kW, rank))
    else:
        raise ValueError(f"kind={kind!r} has no chain of low rank")
    return Factorization(kind, rank, stages, 1.0, None, layer.weight.shape)


def ranks(layer: Layer, kind: str) -> Iterator[tuple[Rank, Factorization]]:
    """The ranks of a kind that can pay, the lowest first, each with its blank chain.

    Ranks whose channels are multiples of 8 (of 4 in small layers), each about 1.3 times the one
    before, while the chain needs at most 85 % of the layer's multiply-adds.

    >>> layer = Layer("a", Stage(np.ones((64, 64, 3, 3)), padding=(1, 1)), None, (64, 16, 16))
    >>> [rank for rank, _ in ranks(layer, "spatial_svd")]
    [8, 16, 24, 32, 40, 48, 64, 80]
    """
    shape = group_shape(layer.stage)
    full = FULL_RANKS[kind](shape)
    for rank in _pairs(full) if isinstance(full, tuple) else _grid(full, layer.stage.groups):
        chain = blank(layer.stage, kind, rank)
        if chain.multiply_adds(layer.input_shape[1:]) > MOST_WORK * layer.multiply_adds:
            return
        yield rank, chain


def _grid(full: int, groups: int) -> Iterator[int]:
    """Ranks a group from the lowest up, by multiples of the step in all groups together."""
    step = STEP if full * groups >= 3 * STEP else STEP_SMALL
    step = max(1, step // groups)
    rank = step
    while rank < full or (rank == full == 1):
        yield rank
        rank = max(rank + step, round(rank * GROWTH / step) * step)


def _pairs(full: Pair) -> Iterator[Pair]:
    """Pairs in the proportion of the full ranks, each side a multiple of the step."""
    seen: set[Pair] = set()
    for low in _grid(max(full), 1):
        share = low / max(full)
        pair = tuple(
            min(f, max(STEP_SMALL if f < 3 * STEP else STEP, round(share * f / STEP) * STEP))
            for f in full
        )
        if pair not in seen:
            seen.add((pair[0], pair[1]))
            yield pair[0], pair[1]
