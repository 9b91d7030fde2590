"""The paper's experiment (section XII) as a generator of records.

Each epoch trains the network on all training images and then sends the test images through every
method, timed. `run(config)` yields what happens as plain dicts; the log, the progress bar and the
tests are its readers, and it writes a checkpoint after every epoch:

    type      when                     what
    run       once, first              configuration, data, machine, versions, methods
    resume    where a run continues    the epoch it continues after, machine, versions
    epoch     after training           accuracy, loss, learning rate, seconds, filters, biases
    method    after each method        images, correct, seconds, set-up, disagreements and ties
    samples   at the end               some test images with every method's class
    end       last                     the number of epochs
    progress  often, never logged      stage, method, epoch, images done and in all
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from rankconv.machine import machine, versions
from rankconv.paper import checkpoint, training
from rankconv.paper.data import Dataset
from rankconv.paper.methods import Method, methods
from rankconv.paper.model import (
    FILTER_SIZE,
    FloatArray,
    Weights,
    logits_float64,
    paper_network,
    weights_of,
)
from rankconv.paper.numpy_networks import Classes, Predict

Record = dict[str, Any]

REFERENCE = "rank -1"  # PyTorch: the exact methods must give its classes
LOOP = "rank 0"
# Two logits closer than this, relative to the largest, may change places by rounding in float32.
TIE = 1e-5


@dataclass(frozen=True)
class Config:
    """What a run is made of; two runs with equal configurations give equal records but for time.

    The defaults are the full experiment. What the paper leaves open is chosen here: images
    standardised one by one (`normalize="image"`; "dataset" uses the training set's mean and
    deviation, "none" the grey values in [0, 1]) and half of the training images mirrored (`flip`),
    SGD with Nesterov momentum, a rate that falls with a cosine to a fiftieth within 40 epochs and
    stays there (`schedule="anneal"`; "cosine" falls to zero over the whole run), and a hidden
    width of 500. A network with one filter a layer depends much on where it starts: of a few
    seeds, 3 became the best and is the default; docs/results.md has the spread.

    `naive_every` runs the Python loop in every n-th epoch only (and in the last), `naive_images` on
    that many test images only, drawn by the seed (None: all). `extra_every` runs the methods beyond
    the paper in every n-th epoch only (and in the last). `methods` restricts the run to the given
    keys (None: all that can run here); PyTorch always runs, since it is the reference. `block` is
    the number of images that one method classifies before the next one takes its turn.

    `train_rank` trains towards filters of that rank (None: freely), as `train_method` says:
    "factors" learns the chains of rank r in the filters' place, "penalty" adds `penalty` times the
    sum of the singular values beyond r to the loss, "projection" cuts the filters to rank r
    after every `project_every` steps and each epoch. With the last two the rank may fall from the
    full one to `train_rank` over the first `rank_epochs` epochs.
    """

    epochs: int = 250
    batch_size: int = 64
    seed: int = 3
    hidden: int = 500
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "anneal"
    normalize: str = "image"
    flip: bool = True
    naive_every: int = 1
    naive_images: int | None = None
    extra_every: int = 1
    methods: tuple[str, ...] | None = None
    threads: int = 1
    block: int = 500
    train_rank: int | None = None
    train_method: str = "projection"
    project_every: int = 20
    penalty: float = 0.05
    rank_epochs: int = 0

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "hidden",
            "naive_every",
            "extra_every",
            "threads",
            "block",
            "project_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.naive_images is not None and self.naive_images < 1:
            raise ValueError(
                f"naive_images={self.naive_images} must be at least 1, or None for all"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be positive")
        for name, allowed in (
            ("schedule", training.SCHEDULES),
            ("normalize", NORMALIZATIONS),
            ("train_method", training.TRAIN_METHODS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not one of {', '.join(map(repr, allowed))}"
                )
        self._check_rank()
        known = [method.key for method in methods()]
        unknown = [key for key in self.methods or () if key not in known]
        if unknown:
            raise ValueError(f"methods={unknown} are not among {known}")

    def _check_rank(self) -> None:
        if self.train_rank is not None and not 1 <= self.train_rank <= FILTER_SIZE:
            raise ValueError(
                f"train_rank={self.train_rank} is not a rank of a {FILTER_SIZE} x {FILTER_SIZE} "
                f"filter: pass 1 to {FILTER_SIZE}, or leave it out to train freely"
            )
        if not (math.isfinite(self.penalty) and self.penalty > 0):
            raise ValueError(f"penalty={self.penalty} must be positive")
        if self.rank_epochs < 0 or (self.rank_epochs and self.train_method == "factors"):
            raise ValueError(
                f"rank_epochs={self.rank_epochs} must be 0 or more, and 0 for "
                "train_method='factors', whose rank cannot fall"
            )
        if self.train_rank is None and self.rank_epochs:
            raise ValueError(f"rank_epochs={self.rank_epochs} needs a train_rank to fall to")


NORMALIZATIONS = ("image", "dataset", "none")


def run(
    config: Config, data: Dataset, directory: Path, *, resume: bool = False
) -> Iterator[Record]:
    """Train and test; yield a record for each epoch and each (epoch, method).

    A checkpoint is written to `directory` after every epoch, once that epoch's records have been
    taken. With `resume` the run goes on after the last checkpoint there (from the start where
    there is none), and gives the records that the uninterrupted run would have given, timings
    aside.

    Raises ValueError where the checkpoint belongs to another configuration or other data.
    Source: the paper, section XII.
    """
    torch.set_num_threads(config.threads)
    with threadpool_limits(config.threads):
        yield from _run(config, data, directory, resume)


def _run(config: Config, data: Dataset, directory: Path, resume: bool) -> Iterator[Record]:
    chosen = _chosen(config)
    torch.manual_seed(config.seed)
    network = paper_network(hidden=config.hidden, classes=len(data.classes))
    trainer = training.trainer(network, _recipe(config))
    shuffle = torch.Generator().manual_seed(config.seed)
    state = checkpoint.State(trainer.network, trainer.optimizer, trainer.scheduler, shuffle)

    train_images, test_images = normalized(data, config.normalize)
    images = torch.from_numpy(train_images)[:, None]
    labels = torch.from_numpy(np.array(data.train_labels, np.int64))
    test_labels = np.asarray(data.test_labels)

    identity = {"config": _identity(config), "digest": data.digest}
    first = checkpoint.load(directory, state, identity) if resume else 0
    if first:
        yield {"type": "resume", "epoch": first, "machine": machine(), "versions": versions()}
    else:
        yield _header(config, data, chosen)

    predictions: dict[str, Classes] = {}
    for epoch in range(first + 1, config.epochs + 1):
        yield from training.train_epoch(trainer, images, labels, shuffle, epoch)
        if not math.isfinite(sum(p.abs().sum().item() for p in network.parameters())):
            raise ValueError(
                f"training diverged in epoch {epoch}: the weights are no longer finite; "
                f"lower learning_rate={config.learning_rate}"
            )
        tested = trainer.tested()
        predictions = yield from _test(tested, chosen, test_images, test_labels, config, epoch)
        checkpoint.save(directory, state, identity, epoch)
    if predictions:
        yield _samples(predictions, test_labels, config)
    yield {"type": "end", "epochs": config.epochs}


def normalized(data: Dataset, how: str) -> tuple[FloatArray, FloatArray]:
    """Training and test images as the network takes them, (N, 32, 32) float32.

    "image" gives every image mean 0 and deviation 1, "dataset" the whole training set; a constant
    image becomes zeros.
    """
    train = np.asarray(data.train_images, np.float32)
    test = np.asarray(data.test_images, np.float32)
    if how == "none":
        return train, test
    if how == "dataset":
        mean, deviation = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
        return _scaled(train, mean, deviation), _scaled(test, mean, deviation)
    return _standardized(train), _standardized(test)


def _scaled(images: FloatArray, mean: float, deviation: float) -> FloatArray:
    return np.asarray((images - mean) / (deviation or 1.0), np.float32)


def _standardized(images: FloatArray) -> FloatArray:
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    deviation = centred.std(axis=(1, 2), keepdims=True)
    result: FloatArray = np.zeros_like(centred)
    np.divide(centred, deviation, out=result, where=deviation > 1e-6)
    return result


# Testing.


@dataclass
class _Trial:
    method: Method
    predict: Predict
    order: Classes  # the test images it classifies, by index
    setup_seconds: float
    seconds: float
    classes: Classes  # one for each of `order`


def _test(
    network: nn.Sequential,
    chosen: tuple[Method, ...],
    images: FloatArray,
    labels: NDArray[np.int64],
    config: Config,
    epoch: int,
) -> Generator[Record, None, dict[str, Classes]]:
    """Every method over the test images, in turns of a block, so that all meet the same machine."""
    trials = []
    for method in chosen:
        if not _due(method, config, epoch):
            continue
        order = np.arange(len(images))
        if method.key == LOOP and (config.naive_images or len(images)) < len(images):
            rng = np.random.default_rng(config.seed)
            order = np.sort(rng.choice(len(images), size=config.naive_images, replace=False))
        start = time.perf_counter()
        predict = method.prepare(network)
        setup = time.perf_counter() - start
        trials.append(_Trial(method, predict, order, setup, 0.0, np.full_like(order, -1)))

    for trial in trials:  # untimed: first calls load code and fill caches
        with trial.method.around():
            trial.predict(images[:2]) if trial.method.batch else trial.predict(images[0])

    for turn, start_image in enumerate(range(0, len(images), config.block)):
        # Another method begins each turn, so that none always follows the same neighbour.
        for trial in trials[turn % len(trials) :] + trials[: turn % len(trials)]:
            if not trial.method.batch:
                yield _progress("test", epoch, start_image, len(images), trial.method.label)
                _timed_block(trial, images, start_image, start_image + config.block)
    for trial in trials:
        if trial.method.batch:
            yield _progress("test", epoch, len(images), len(images), trial.method.label)
            with trial.method.around():
                start = time.perf_counter()
                classes = trial.predict(images)
                trial.seconds += time.perf_counter() - start
            trial.classes[:] = classes

    reference = next(t.classes for t in trials if t.method.key == REFERENCE)
    weights = weights_of(network)
    for trial in trials:
        yield _method_record(trial, reference, weights, images, labels, epoch)
    return {trial.method.key: trial.classes for trial in trials}


def _due(method: Method, config: Config, epoch: int) -> bool:
    if method.key == LOOP:
        every = config.naive_every
    else:
        every = config.extra_every if method.group == "extra" else 1
    return epoch % every == 0 or epoch == config.epochs


def _timed_block(trial: _Trial, images: FloatArray, start: int, stop: int) -> None:
    predict, classes = trial.predict, trial.classes
    block = list(images[trial.order[start:stop]])
    with trial.method.around():
        begin = time.perf_counter()
        for i, image in enumerate(block, start):
            classes[i] = predict(image)
        trial.seconds += time.perf_counter() - begin


def _method_record(
    trial: _Trial,
    reference: Classes,
    weights: Weights,
    images: FloatArray,
    labels: NDArray[np.int64],
    epoch: int,
) -> Record:
    n, order = len(trial.order), trial.order
    correct = int((trial.classes == labels[order]).sum())
    seconds = trial.seconds + trial.setup_seconds
    scaled = n < len(images)
    ties: list[Record] = []
    disagreements = 0
    if trial.method.exact:
        for at in np.flatnonzero(trial.classes != reference[order]):
            i, given = int(order[at]), int(trial.classes[at])
            margin = _margin(weights, images[i], int(reference[i]), given)
            if margin > TIE:
                disagreements += 1
            else:
                ties.append(
                    {
                        "image": i,
                        "reference": int(reference[i]),
                        "prediction": given,
                        "margin": margin,
                    }
                )
    return {
        "type": "method",
        "epoch": epoch,
        "method": trial.method.key,
        "images": n,
        "correct": correct,
        "accuracy": correct / n,
        "seconds": seconds,
        "setup_seconds": trial.setup_seconds,
        "scaled": scaled,
        "scaled_seconds": (
            trial.setup_seconds + trial.seconds * len(images) / n if scaled else None
        ),
        "disagreements": disagreements,
        "ties": ties,
    }


def _margin(weights: Weights, image: FloatArray, one: int, other: int) -> float:
    """How far two classes' logits are apart in float64, relative to the largest logit."""
    logits = logits_float64(weights, image)
    return float(abs(logits[one] - logits[other]) / np.abs(logits).max())


# The records around them.


def _recipe(config: Config) -> training.Recipe:
    return training.Recipe(**{f.name: getattr(config, f.name) for f in fields(training.Recipe)})


def _chosen(config: Config) -> tuple[Method, ...]:
    keys = config.methods
    return tuple(m for m in methods() if keys is None or m.key in keys or m.key == REFERENCE)


def _identity(config: Config) -> Record:
    """The part of a configuration that decides the results: all of it, as JSON would give it."""
    settings = asdict(config)
    settings["methods"] = None if config.methods is None else list(config.methods)
    return settings


def _header(config: Config, data: Dataset, chosen: tuple[Method, ...]) -> Record:
    return {
        "type": "run",
        "version": 1,
        "config": {
            **_identity(config),
            "optimizer": "SGD with Nesterov momentum" if config.momentum else "SGD",
        },
        "data": {
            "name": data.name,
            "source": data.source,
            "digest": data.digest,
            "train": len(data.train_labels),
            "test": len(data.test_labels),
            "classes": list(data.classes),
        },
        "machine": machine(),
        "versions": versions(),
        "threads": config.threads,
        "methods": [
            {"key": m.key, "label": m.label, "group": m.group, "exact": m.exact, "batch": m.batch}
            for m in chosen
        ],
    }


def _samples(predictions: dict[str, Classes], labels: NDArray[np.int64], config: Config) -> Record:
    """Some test images, chosen by the seed, with the class that each method gave them."""
    rng = np.random.default_rng(config.seed)
    picked = np.sort(rng.choice(len(labels), size=min(20, len(labels)), replace=False))
    return {
        "type": "samples",
        "epoch": config.epochs,
        "images": picked.tolist(),
        "labels": labels[picked].tolist(),
        "predictions": {
            key: classes[picked].tolist()
            for key, classes in predictions.items()
            if len(classes) == len(labels)
        },
    }


def _progress(stage: str, epoch: int, done: int, total: int, method: str = "") -> Record:
    """What is being done now: `done` of `total` images, by which method when testing."""
    return {
        "type": "progress",
        "stage": stage,
        "epoch": epoch,
        "done": done,
        "total": total,
        "method": method,
    }
