"""Ways to train towards low rank, each a small function for an ordinary training loop.

- Factors as parameters: `rankconv.nn.LowRankConv2d`, with `frobenius_decay` in the place of weight
  decay.
- A dense filter and a penalty: `loss + strength * trailing_penalty(model, rank)`, or with
  `stable_rank`.
- A dense filter, projected every n steps: `if step % n == 0: project_(model, rank)`.

With `RankSchedule` the rank falls as the training goes on. At the end `project_` makes the rank
exact, and `rankconv.nn.low_rank_copy` takes the chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rankconv.factorizations import factorize
from rankconv.nn.chains import array, tensor
from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.singular import Ranks, as_pair, folded, matrices, named_dense_layers


def trailing_penalty(
    target: nn.Module | Tensor, rank: Ranks, *, kind: str = "slice_svd", groups: int = 1
) -> Tensor:
    """The sum of all singular values beyond `rank`: the nuclear norm of what a cut would lose.

    `target` is a weight (C_out, C_in / groups, kH, kW), or a model, whose plain `nn.Conv2d` are
    summed; `rank` is one for all or, for a model, a mapping from names. The singular values are
    those that `kind` cuts: of each kH x kW slice for slice_svd, the paper's form. It is zero for
    a weight of that rank, and its gradient does not reach the leading part.

    Raises ValueError for an unknown kind or name, a rank below 1, and `groups` with a model.
    Equivalent: `torch.linalg.svdvals(matrix)[rank:].sum()`.
    Source: Fazel et al. (2001, American Control Conference) for the nuclear norm; without the
    leading values, Hu et al. (2013, IEEE TPAMI 35, 2117-2130).

    >>> weight = torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None, None]
    >>> trailing_penalty(weight, 1)
    tensor(3.)
    """
    if isinstance(target, Tensor):
        if not isinstance(rank, int | tuple):
            raise ValueError(f"rank={rank!r} is for a model; for one weight pass an integer")
        return _trailing(target, as_pair(rank, kind), kind, groups)
    if groups != 1:
        raise ValueError(f"groups={groups} with a model, whose layers have their own: leave it out")
    parts = [
        _trailing(layer.weight, pair, kind, layer.groups)
        for _, layer, pair in named_dense_layers(target, rank, kind)
    ]
    return torch.stack(parts).sum() if parts else _zero(target)


def stable_rank(weight: Tensor, *, kind: str = "slice_svd", groups: int = 1) -> Tensor:
    """The mean of |M|_F^2 / |M|_2^2 over the matrices of `weight`: a smooth measure of rank.

    `weight` is (C_out, C_in / groups, kH, kW); the matrices are those that `kind` cuts. From 1
    (rank 1) to the full rank, never above the rank; a zero matrix counts as 0.

    Raises ValueError for an unknown kind.
    Equivalent: `(torch.linalg.svdvals(matrix) ** 2).sum() / torch.linalg.matrix_norm(matrix, 2)
    ** 2`.
    Source: Rudelson and Vershynin (2007, J. ACM 54 (4), 21).

    >>> stable_rank(torch.eye(3)[None, None])
    tensor(3.)
    """
    means = []
    for batch in matrices(weight, kind, groups):
        energy = torch.linalg.svdvals(batch).square()
        largest = energy[:, :1]
        scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        means.append((energy / scale).sum(dim=1).mean())
    return torch.stack(means).mean()


def frobenius_decay(model: nn.Module) -> Tensor:
    """The sum of |W~|_F^2 over the `LowRankConv2d` of a model, W~ the weight of each chain.

    It decays what weight decay decays in the dense net; on the factors, weight decay is the
    nuclear norm of the product, and too strong.

    Source: Khodak et al. (2021, arXiv 2105.01029, section 3.2).

    >>> layer = LowRankConv2d(4, 8, 3, rank=2)
    >>> bool(torch.isclose(frobenius_decay(layer), layer.to_dense().weight.square().sum()))
    True
    """
    layers = [m for m in model.modules() if isinstance(m, LowRankConv2d)]
    parts = [layer.dense_weight().square().sum() for layer in layers]
    return torch.stack(parts).sum() if parts else _zero(model)


def project_(model: nn.Module, rank: Ranks, *, kind: str = "slice_svd") -> dict[str, float]:
    """Replace the weights of a model's plain `nn.Conv2d`, in place, by their nearest of `rank`.

    `rank` is one for all layers or a mapping from names; layers already within it are left. The
    result is the relative change |W - W_r|_F / |W|_F of each layer that was cut. For tucker2 it
    is near, not nearest (HOOI). Optimisers keep their state: the parameters are the same objects.

    Raises ValueError for an unknown kind or name and a rank below 1.
    Source: Xu et al. (2020, arXiv 2004.13527), trained rank pruning.

    >>> conv = nn.Conv2d(3, 8, 5)
    >>> changed = project_(conv, 2)
    >>> torch.linalg.matrix_rank(conv.weight.detach(), rtol=1e-5).max()
    tensor(2)
    """
    changes = {}
    with torch.no_grad():
        for name, layer, pair in named_dense_layers(model, rank, kind):
            before = layer.weight.double()
            if kind == "tucker2":
                chain = factorize(array(before), rank=pair, kind=kind, groups=layer.groups)
                after = tensor(chain.dense()).to(before.device)
            else:
                (batch,) = matrices(before, kind, layer.groups)
                u, sigma, vh = torch.linalg.svd(batch, full_matrices=False)
                r = pair[0]
                cut = (u[..., :r] * sigma[:, None, :r]) @ vh[:, :r]
                after = folded(cut, kind, before.shape, layer.groups)
            layer.weight.copy_(after)
            size = float(before.norm())
            changes[name] = float((before - after).norm()) / size if size else 0.0
    return changes


@dataclass(frozen=True)
class RankSchedule:
    """The rank at each step: `full` until `begin`, then evenly down to `rank` in `steps` steps.

    Raises ValueError unless full >= rank >= 1, steps >= 1 and begin >= 0.

    >>> schedule = RankSchedule(5, 1, steps=100, begin=10)
    >>> [schedule(step) for step in (0, 10, 11, 36, 60, 109, 110, 1000)]
    [5, 5, 5, 4, 3, 2, 1, 1]
    """

    full: int
    rank: int
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        if not self.full >= self.rank >= 1 or self.steps < 1 or self.begin < 0:
            raise ValueError(
                f"{self} does not fall: full >= rank >= 1, steps >= 1 and begin >= 0 are needed"
            )

    def __call__(self, step: int) -> int:
        """The rank at this step, counted from 0."""
        left = min(max(self.begin + self.steps - step, 0), self.steps)
        return self.rank + math.ceil((self.full - self.rank) * left / self.steps)


def _trailing(weight: Tensor, pair: tuple[int, int], kind: str, groups: int) -> Tensor:
    parts = [
        torch.linalg.svdvals(batch)[:, rank:].sum()
        for batch, rank in zip(matrices(weight, kind, groups), pair, strict=False)
    ]
    return torch.stack(parts).sum()


def _zero(model: nn.Module) -> Tensor:
    return next((p.new_zeros(()) for p in model.parameters()), torch.zeros(()))
