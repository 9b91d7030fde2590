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
from rankconv.paper.model import FILTER_SIZE, weights_of

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


@dataclass(frozen=True)
class Trainer:
    """The network that learns, with what moves it."""

    recipe: Recipe
    network: nn.Sequential
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def rank(self, epoch: int) -> int | None:
        """The rank that training keeps to in an epoch (from 1); None where it is free."""
        recipe = self.recipe
        if recipe.train_rank is None or not recipe.rank_epochs:
            return recipe.train_rank
        schedule = RankSchedule(FILTER_SIZE, recipe.train_rank, recipe.rank_epochs)
        return schedule(epoch - 1)

    def tested(self) -> nn.Sequential:
        """The network with ordinary filters: itself, or the products of its factors."""
        if self.recipe.train_rank is None or self.recipe.train_method != "factors":
            return self.network
        dense = dense_copy(self.network)
        assert isinstance(dense, nn.Sequential)
        return dense.eval()


def trainer(network: nn.Sequential, recipe: Recipe) -> Trainer:
    """A trainer of `network`, whose filters become chains where the recipe wants factors."""
    if recipe.train_rank is not None and recipe.train_method == "factors":
        chains = low_rank_copy(network, recipe.train_rank)
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
    return Trainer(recipe, network, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor))


def train_epoch(
    trainer: Trainer,
    images: torch.Tensor,
    labels: torch.Tensor,
    shuffle: torch.Generator,
    epoch: int,
) -> Iterator[Record]:
    """One epoch of batches in a new order, cross entropy, accuracy and loss as they were met."""
    recipe, network = trainer.recipe, trainer.network
    start = time.perf_counter()
    rate = trainer.optimizer.param_groups[0]["lr"]
    rank = trainer.rank(epoch)
    order = torch.randperm(len(images), generator=shuffle)
    correct, loss_sum = 0, 0.0
    network.train()
    for number, batch in enumerate(torch.split(order, recipe.batch_size)):
        inputs = images[batch]
        if recipe.flip:
            mirrored = torch.rand(len(batch), generator=shuffle) < 0.5
            inputs[mirrored] = inputs[mirrored].flip(-1)
        logits = network(inputs)
        loss = nn.functional.cross_entropy(logits, labels[batch])
        loss_sum += loss.item() * len(batch)
        if rank is not None and recipe.train_method == "penalty":
            loss = loss + recipe.penalty * trailing_penalty(network, rank)
        trainer.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        if (
            rank is not None
            and recipe.train_method == "projection"
            and number % recipe.project_every == recipe.project_every - 1
        ):
            project_(network, rank)
        correct += int((logits.argmax(dim=1) == labels[batch]).sum())
        if number % 50 == 0:
            yield _progress(epoch, number * recipe.batch_size, len(images))
    if rank is not None and recipe.train_method == "projection":
        project_(network, rank)
    trainer.scheduler.step()
    network.eval()
    weights = weights_of(trainer.tested())
    yield {
        "type": "epoch",
        "epoch": epoch,
        "train_accuracy": correct / len(images),
        "train_loss": loss_sum / len(images),
        "learning_rate": rate,
        "train_seconds": time.perf_counter() - start,
        "rank": rank,
        "filters": {"conv1": weights.kernel1.tolist(), "conv2": weights.kernel2.tolist()},
        "biases": {"conv1": weights.bias1, "conv2": weights.bias2},
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
