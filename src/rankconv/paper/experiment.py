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

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from rankconv.machine import machine, versions
from rankconv.paper import checkpoint, training
from rankconv.paper.config import Config
from rankconv.paper.data import Dataset
from rankconv.paper.methods import Method, methods
from rankconv.paper.model import FloatArray, logits_float64, weights_of
from rankconv.paper.networks import build
from rankconv.paper.numpy_networks import Classes, Predict
from rankconv.paper.preparing import prepared
from rankconv.paper.workers import Workers, joined

__all__ = ["Config", "run"]

Record = dict[str, Any]
Referee = Callable[[FloatArray], NDArray[np.float64]]

REFERENCE = "rank -1"  # PyTorch: the exact methods must give its classes
LOOP = "rank 0"
# Two logits closer than this, relative to the largest, may change places by rounding in float32.
TIE = 1e-5


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
    with threadpool_limits(config.threads), joined() as workers:
        records = _run(config, data, directory, resume, workers)
        if workers.first:
            yield from records
        else:
            deque(records, maxlen=0)


def _run(
    config: Config, data: Dataset, directory: Path, resume: bool, workers: Workers
) -> Iterator[Record]:
    chosen = _chosen(config)
    torch.manual_seed(config.seed)
    network = build(
        config.model,
        filter_size=config.filter_size,
        image_size=config.image_size,
        hidden=config.hidden,
        classes=len(data.classes),
    )
    trainer = training.trainer(network, config.recipe, workers)
    shuffle = torch.Generator().manual_seed(config.seed)
    state = checkpoint.State(trainer.network, trainer.optimizer, trainer.scheduler, shuffle)

    train_images, test_images = prepared(data, config.normalize, config.image_size)
    images = torch.from_numpy(train_images)
    images = images[:, None] if images.ndim == 3 else images
    labels = torch.from_numpy(np.array(data.train_labels, np.int64))
    test_labels = np.asarray(data.test_labels)

    identity = {"config": _identity(config), "digest": data.digest}
    first = checkpoint.load(directory, state, identity, workers) if resume else 0
    if first:
        yield {"type": "resume", "epoch": first, "machine": machine(), "versions": versions()}
    else:
        yield _header(config, data, chosen, workers)

    predictions: dict[str, Classes] = {}
    for epoch in range(first + 1, config.epochs + 1):
        yield from training.train_epoch(trainer, images, labels, shuffle, epoch)
        if not math.isfinite(sum(p.abs().sum().item() for p in network.parameters())):
            raise ValueError(
                f"training diverged in epoch {epoch}: the weights are no longer finite; "
                f"lower learning_rate={config.learning_rate}"
            )
        if not workers.first:
            continue
        tested = trainer.tested()
        predictions = yield from _test(tested, chosen, test_images, test_labels, config, epoch)
        checkpoint.save(directory, state, identity, epoch)
    if predictions:
        yield _samples(predictions, test_labels, config)
    yield {"type": "end", "epochs": config.epochs}


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
    referee = _referee(network, config)
    for trial in trials:
        yield _method_record(trial, reference, referee, images, labels, epoch)
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
    referee: Referee,
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
            margin = _margin(referee(images[i]), int(reference[i]), given)
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


def _referee(network: nn.Sequential, config: Config) -> Referee:
    """The logits of an image in float64, for when exact methods differ."""
    if config.model == "paper":
        weights = weights_of(network)
        return lambda image: logits_float64(weights, image)
    double = copy.deepcopy(network).double()

    def logits(image: FloatArray) -> NDArray[np.float64]:
        x = torch.from_numpy(image).double().reshape(1, -1, *image.shape[-2:])
        with torch.inference_mode():
            found: NDArray[np.float64] = double(x)[0].numpy()
        return found

    return logits


def _margin(logits: NDArray[np.float64], one: int, other: int) -> float:
    """How far two classes' logits are apart, relative to the largest logit."""
    return float(abs(logits[one] - logits[other]) / np.abs(logits).max())


# The records around them.


def _chosen(config: Config) -> tuple[Method, ...]:
    keys = config.methods
    known = methods(config.model, config.filter_size, config.image_size)
    return tuple(m for m in known if keys is None or m.key in keys or m.key == REFERENCE)


def _identity(config: Config) -> Record:
    """The part of a configuration that decides the results: all of it, as JSON would give it."""
    settings = asdict(config)
    settings["methods"] = None if config.methods is None else list(config.methods)
    return settings


def _header(config: Config, data: Dataset, chosen: tuple[Method, ...], workers: Workers) -> Record:
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
        "workers": workers.count,
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
