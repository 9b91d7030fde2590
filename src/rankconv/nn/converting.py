"""A whole model between its dense form and chains: copies, the model itself is not changed."""

from __future__ import annotations

import copy

from torch import nn

from rankconv.geometry import Pair
from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.singular import Ranks, named_dense_layers


def low_rank_copy(model: nn.Module, rank: Ranks, *, kind: str = "slice_svd") -> nn.Module:
    """A copy of a model whose plain `nn.Conv2d` are `LowRankConv2d` of `rank`.

    `rank` is one for all layers or a mapping from names; layers already within it are left.
    Raises ValueError for an unknown kind or name and a rank below 1.

    >>> model = nn.Sequential(nn.Conv2d(1, 1, 5), nn.ReLU())
    >>> low_rank_copy(model, 1)[0].rank
    1
    """
    result = copy.deepcopy(model)
    for name, layer, pair in list(named_dense_layers(result, rank, kind)):
        wanted: int | Pair = pair if kind == "tucker2" else pair[0]
        result = put(result, name, LowRankConv2d.from_conv(layer, rank=wanted, kind=kind))
    return result


def dense_copy(model: nn.Module) -> nn.Module:
    """A copy of a model whose `LowRankConv2d` are plain `nn.Conv2d` again.

    >>> dense_copy(nn.Sequential(LowRankConv2d(1, 1, 5, rank=1)))
    Sequential(
      (0): Conv2d(1, 1, kernel_size=(5, 5), stride=(1, 1))
    )
    """
    result = copy.deepcopy(model)
    for name, module in list(result.named_modules(remove_duplicate=False)):
        if isinstance(module, LowRankConv2d):
            result = put(result, name, module.to_dense())
    return result


def put(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """The model with `module` as its submodule `name`, or `module` itself for the name ''."""
    if not name:
        return module
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
    return model
