"""A layer's weight as the matrices whose rank a kind cuts, as tensors with gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from rankconv.factorizations import full_rank
from rankconv.geometry import Pair
from rankconv.nn.low_rank import LowRankConv2d

KINDS = ("slice_svd", "spatial_svd", "channel_svd", "channel_svd_input", "tucker2")
Ranks = int | Pair | Mapping[str, int | Pair]


def matrices(weight: Tensor, kind: str, groups: int = 1) -> tuple[Tensor, ...]:
    """Batches of matrices (B, m, n) whose rank is the one that `kind` cuts; two for tucker2.

    `weight` is (C_out, C_in / groups, kH, kW), or (C_out, C_in) of a linear layer.
    Raises ValueError for another shape and a kind that is no cut of matrices.

    >>> weight = torch.ones(8, 4, 3, 5)
    >>> [tuple(matrices(weight, kind)[0].shape) for kind in ("slice_svd", "spatial_svd")]
    [(32, 3, 5), (1, 40, 12)]
    """
    check_kind(kind)
    if weight.ndim == 2:
        weight = weight[:, :, None, None]
    if weight.ndim != 4:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} is neither (C_out, C_in / groups, kH, kW) nor "
            "(C_out, C_in)"
        )
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(f"groups={groups} is not a divisor of {weight.shape[0]} output channels")
    if kind == "slice_svd":
        return (weight.flatten(0, 1),)
    W = weight.reshape(groups, -1, *weight.shape[1:])  # (G, M, C, kH, kW)
    by_output = W.flatten(2)
    by_input = W.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (G, M kH kW, C)
    if kind == "spatial_svd":
        return (W.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2),)  # (G, M kW, C kH)
    if kind == "tucker2":
        return by_input, by_output
    return (by_output if kind == "channel_svd" else by_input,)


def folded(matrix: Tensor, kind: str, shape: torch.Size, groups: int) -> Tensor:
    """The weight of `shape` whose one batch of matrices this is: the inverse of `matrices`."""
    outputs, inputs, kH, kW = shape if len(shape) == 4 else (*shape, 1, 1)
    M = outputs // groups
    if kind == "spatial_svd":
        W = matrix.reshape(groups, M, kW, inputs, kH).permute(0, 1, 3, 4, 2)
    elif kind == "channel_svd_input":
        W = matrix.reshape(groups, M, kH, kW, inputs).permute(0, 1, 4, 2, 3)
    else:
        W = matrix
    return W.reshape(shape)


def check_kind(kind: str) -> None:
    """ValueError unless the kind is a cut of matrices."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {', '.join(map(repr, KINDS))}")


def named_dense_layers(
    model: nn.Module, ranks: Ranks, kind: str
) -> Iterator[tuple[str, nn.Conv2d, Pair]]:
    """The plain `nn.Conv2d` of a model above their rank: name, layer and rank as (R_in, R_out).

    One rank is for every convolution, a mapping for those that it names. The parts of
    `LowRankConv2d` are none of them. Raises ValueError for a name that is no such layer and a
    rank that is no integer >= 1 or, for tucker2, no pair of them.
    """
    check_kind(kind)
    found = _convolutions(model)
    if isinstance(ranks, Mapping):
        unknown = [name for name in ranks if name not in found]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not a plain nn.Conv2d of the model: name one of {list(found)}"
            )
    for name, layer in found.items():
        rank = ranks.get(name) if isinstance(ranks, Mapping) else ranks
        if rank is None:
            continue
        pair = as_pair(rank, kind)
        shape = tuple(layer.weight.shape)
        full = full_rank((shape[0], shape[1], shape[2], shape[3]), kind=kind, groups=layer.groups)
        most = (full, full) if isinstance(full, int) else full
        if pair[0] < most[0] or pair[1] < most[1]:
            yield name, layer, (min(pair[0], most[0]), min(pair[1], most[1]))


def as_pair(rank: int | Pair, kind: str) -> Pair:
    """A rank as (R_in, R_out); ValueError for anything but integers >= 1."""
    both = rank if isinstance(rank, tuple) and kind == "tucker2" else (rank, rank)
    if len(both) != 2 or not all(
        isinstance(r, int) and not isinstance(r, bool) and r >= 1 for r in both
    ):
        raise ValueError(
            f"rank={rank!r} with kind={kind!r} is not an integer >= 1"
            + (", nor a pair of them" if kind == "tucker2" else "")
        )
    first, second = both
    assert isinstance(first, int)
    assert isinstance(second, int)
    return first, second


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    within = tuple(
        name + "." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, LowRankConv2d)
    )
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Conv2d and not (within and name.startswith(within))
    }
