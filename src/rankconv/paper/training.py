"""Training the paper's network: freely, or towards filters of low rank (its future work).

Three ways towards rank r, each of `rankconv.nn`: the filters are chains of rank r from the start
("factors"); a penalty on the singular values beyond r is added to the loss ("penalty"); the
filters are cut to rank r every few steps and at the end of each epoch ("projection"). The methods
are always tested on a network with ordinary filters, which `Trainer.tested` gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rankconv.nn import RankSchedule, dense_copy, low_rank_copy, project_, trailing_penalty
from rankconv.nn.singular import Ranks
from rankconv.paper.chains import spatial_rank
from rankconv.paper.workers import ALONE, Workers

Record = dict[str, Any]

SCHEDULES = ("anneal", "cosine", "constant")
ANNEAL_EPOCHS, ANNEAL_FLOOR = 40, 0.02
TRAIN_METHODS = ("factors", "penalty", "projection")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the words are those of `experiment.Config`."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    flip: bool
    train_rank: int | None
    train_method: str
    project_every: int
    penalty: float
    rank_epochs: int
    train_share: float | None
    filter_size: int

    @property
    def towards_low_rank(self) -> bool:
        """Whether the filters are held to a rank."""
        return self.train_rank is not None or self.train_share is not None


@dataclass(frozen=True)
class Trainer:
    """The network that learns, with what moves it.

    `learner` is called in training: the network itself, or the network in
    DistributedDataParallel, which gives all processes the mean of their gradients.
    """

    recipe: Recipe
    network: nn.Sequential
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    workers: Workers

    def rank(self, epoch: int) -> int | None:
        """The rank that training keeps to in an epoch (from 1); None where it is free."""
        recipe = self.recipe
        if recipe.train_rank is None or not recipe.rank_epochs:
            return recipe.train_rank
        schedule = RankSchedule(recipe.filter_size, recipe.train_rank, recipe.rank_epochs)
        return schedule(epoch - 1)

    def tested(self) -> nn.Sequential:
        """The network with ordinary filters: itself, or the products of its factors."""
        if not self.recipe.towards_low_rank or self.recipe.train_method != "factors":
            return self.network
        dense = dense_copy(self.network)
        assert isinstance(dense, nn.Sequential)
        return dense.eval()


def trainer(network: nn.Sequential, recipe: Recipe, workers: Workers = ALONE) -> Trainer:
    """A trainer of `network`, whose filters become chains where the recipe wants factors."""
    if recipe.towards_low_rank and recipe.train_method == "factors":
        ranks, kind = _target(network, recipe, recipe.train_rank)
        chains = low_rank_copy(network, ranks, kind=kind)
        assert isinstance(chains, nn.Sequential)
        network = chains
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    factor = {
        "anneal": lambda done: _anneal(min(done / ANNEAL_EPOCHS, 1.0), ANNEAL_FLOOR),
        "cosine": lambda done: _anneal(done / recipe.epochs, 0.0),
        "constant": lambda done: 1.0,
    }[recipe.schedule]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return Trainer(recipe, network, workers.wrap(network), optimizer, scheduler, workers)


def train_epoch(
    trainer: Trainer,
    images: torch.Tensor,
    labels: torch.Tensor,
    shuffle: torch.Generator,
    epoch: int,
) -> Iterator[Record]:
    """One epoch of batches in a new order, cross entropy, accuracy and loss as they were met.

    Every process draws the same batches and takes its share of each.
    """
    recipe, network, workers = trainer.recipe, trainer.network, trainer.workers
    start = time.perf_counter()
    rate = trainer.optimizer.param_groups[0]["lr"]
    rank = trainer.rank(epoch)
    ranks, kind = _target(network, recipe, rank)
    penalised = recipe.towards_low_rank and recipe.train_method == "penalty"
    projected = recipe.towards_low_rank and recipe.train_method == "projection"
    order = torch.randperm(len(images), generator=shuffle)
    met = torch.zeros(2, dtype=torch.float64)  # right answers, sum of losses
    trainer.learner.train()
    for number, batch in enumerate(torch.split(order, recipe.batch_size)):
        mirrored = torch.rand(len(batch), generator=shuffle) < 0.5 if recipe.flip else None
        mine = workers.share(len(batch))
        inputs, classes = images[batch[mine]], labels[batch[mine]]
        if mirrored is not None:
            inputs[mirrored[mine]] = inputs[mirrored[mine]].flip(-1)
        logits = trainer.learner(inputs)
        losses = nn.functional.cross_entropy(logits, classes, reduction="sum")
        # The mean over all processes' gradients is that of the whole batch's mean loss.
        loss = losses * (workers.count / len(batch))
        if penalised:
            loss = loss + recipe.penalty * trailing_penalty(network, ranks, kind=kind)
        trainer.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        if projected and number % recipe.project_every == recipe.project_every - 1:
            project_(network, ranks, kind=kind)
        met[0] += (logits.argmax(dim=1) == classes).sum()
        met[1] += losses.detach()
        if number % 50 == 0:
            yield _progress(epoch, number * recipe.batch_size, len(images))
    if projected:
        project_(network, ranks, kind=kind)
    trainer.scheduler.step()
    trainer.learner.eval()
    workers.add_up(met)
    yield {
        "type": "epoch",
        "epoch": epoch,
        "train_accuracy": int(met[0]) / len(images),
        "train_loss": float(met[1]) / len(images),
        "learning_rate": rate,
        "train_seconds": time.perf_counter() - start,
        "rank": rank,
        **_filters(trainer.tested()),
    }


def _target(network: nn.Module, recipe: Recipe, rank: int | None) -> tuple[Ranks, str]:
    """The ranks of the convolutions and the kind of decomposition that they are of."""
    if recipe.train_share is None:
        return rank or recipe.filter_size, "slice_svd"
    ranks = {
        name: spatial_rank(layer, recipe.train_share)
        for name, layer in network.named_modules()
        if type(layer) is nn.Conv2d
    }
    return {name: rank for name, rank in ranks.items() if rank is not None}, "spatial_svd"


def _filters(network: nn.Sequential) -> Record:
    """The filters and biases of a network with one filter a layer; nothing of wider ones."""
    found = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    if any(layer.weight.shape[:2] != (1, 1) for layer in found):
        return {"filters": {}, "biases": {}}
    named = {f"conv{i}": layer for i, layer in enumerate(found, 1)}
    biases = {name: layer.bias for name, layer in named.items()}
    return {
        "filters": {name: layer.weight[0, 0].tolist() for name, layer in named.items()},
        "biases": {name: bias.item() for name, bias in biases.items() if bias is not None},
    }


def _anneal(share: float, floor: float) -> float:
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def _progress(epoch: int, done: int, total: int) -> Record:
    return {
        "type": "progress",
        "stage": "train",
        "epoch": epoch,
        "done": done,
        "total": total,
        "method": "",
    }
