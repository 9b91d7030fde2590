"""Which layers of a compressed model are chains, and an empty model with the same chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from rankconv.compress.network import Replacement
from rankconv.factorizations import factorize
from rankconv.geometry import Pair
from rankconv.nn.chains import array
from rankconv.nn.converting import put
from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.network import stage_of
from rankconv.nn.other_layers import LowRankConv1d, LowRankLinear, standing_for
from rankconv.nn.tracing import PLAIN, copy_of

Structure = dict[str, tuple[str, int | Pair, bool]]


def structure(model: nn.Module) -> Structure:
    """The chains of a model: name -> (kind, rank, whether there is a bias).

    These are plain values, which `torch.save` writes and `torch.load(..., weights_only=True)`
    reads. With them `rebuild` makes a model that takes the `state_dict` of this one.

    Equivalent: none in PyTorch.

    >>> structure(nn.Sequential(nn.ReLU(), LowRankConv2d(3, 8, 3, rank=2)))
    {'1': ('spatial_svd', 2, True)}
    """
    return {
        name: (module.kind, module.rank, module.bias is not None)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, LowRankConv2d | LowRankConv1d | LowRankLinear)
    }


def rebuild(model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
    """A copy of an uncompressed model with the chains that `structure` tells, to load weights into.

    The chains are those of the model's own weights until `load_state_dict` fills them.

    Raises ValueError for a name that is no plain Conv2d, Conv1d or Linear of the model, and for
    kinds and ranks that do not fit it.
    Equivalent: none in PyTorch.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU())
    >>> smaller = nn.Sequential(LowRankConv2d(3, 8, 3, rank=2), nn.ReLU())
    >>> again = rebuild(network, structure(smaller))
    >>> again.load_state_dict(smaller.state_dict())
    <All keys matched successfully>
    >>> x = torch.randn(1, 3, 8, 8)
    >>> torch.equal(again(x), smaller(x))
    True
    """
    result = copy_of(model)
    modules = dict(result.named_modules(remove_duplicate=False))
    for name, (kind, rank, with_bias) in structure.items():
        layer = modules.get(name)
        if layer is None or type(layer) not in PLAIN:
            found = "nothing" if layer is None else type(layer).__name__
            raise ValueError(
                f"structure has a chain of kind {kind!r} for {name!r}, and the model has {found} "
                "there: pass the model as it was before compressing"
            )
        stage = stage_of(layer)
        chain = factorize(
            stage.weight,
            rank=rank,
            kind=kind,
            stride=stage.stride,
            padding=stage.padding,
            dilation=stage.dilation,
            groups=stage.groups,
        )
        bias = layer.bias
        known = np.zeros(stage.out_channels, stage.weight.dtype) if bias is None else array(bias)
        low = standing_for(layer, Replacement(chain, known if with_bias else None))
        result = put(result, name, low)
    return result
