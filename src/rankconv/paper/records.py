"""What one run wrote down, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Method:
    """One way to compute the test predictions, as the run declared it."""

    key: str
    label: str
    group: str  # 'paper' (its seven) or 'extra'
    exact: bool  # computes the filters unchanged, so must agree with PyTorch
    batch: bool  # all images at once, so not comparable with the one-by-one methods


@dataclass(frozen=True)
class Epoch:
    """What training reported after one epoch, with the two filters as they then were."""

    epoch: int
    train_accuracy: float
    train_loss: float
    learning_rate: float
    train_seconds: float
    filters: Mapping[str, NDArray[np.float64]]  # layer -> (k, k)
    biases: Mapping[str, float]


@dataclass(frozen=True)
class Tie:
    """An image on which a method and PyTorch chose differently, and by how little."""

    image: int
    reference: int
    prediction: int
    margin: float | None


@dataclass(frozen=True)
class Trial:
    """One method over the test images after one epoch."""

    epoch: int
    method: str
    images: int
    correct: int
    accuracy: float
    seconds: float  # measured over `images`, set-up included
    setup_seconds: float
    scaled_seconds: float | None  # estimated for the whole test set, None if all were timed
    disagreements: int
    ties: tuple[Tie, ...]

    @property
    def shown_seconds(self) -> float:
        """Seconds for the whole test set: measured, or scaled where `scaled` is true."""
        return self.seconds if self.scaled_seconds is None else self.scaled_seconds

    @property
    def scaled(self) -> bool:
        """Whether `shown_seconds` is an estimate from a part of the images."""
        return self.scaled_seconds is not None


@dataclass(frozen=True)
class Samples:
    """A few test images with every method's prediction."""

    epoch: int
    images: tuple[int, ...]
    labels: tuple[int, ...]
    predictions: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Resume:
    """The run was continued after this epoch, on this machine."""

    epoch: int
    machine: Mapping[str, Any]
    versions: Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """Everything one run wrote down; `notes` tells what the reader had to pass over."""

    path: Path
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, Any]
    threads: int
    methods: tuple[Method, ...]
    epochs: tuple[Epoch, ...]
    trials: tuple[Trial, ...]
    samples: Samples | None
    resumes: tuple[Resume, ...]
    finished: bool
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return tuple(self.data["classes"])

    def method(self, key: str) -> Method:
        """The declared method with this key; KeyError if there is none."""
        for method in self.methods:
            if method.key == key:
                return method
        raise KeyError(key)

    def has(self, key: str) -> bool:
        """Whether the run declared a method with this key."""
        return any(method.key == key for method in self.methods)

    def of(self, key: str) -> tuple[Trial, ...]:
        """The trials of one method, by epoch."""
        return tuple(trial for trial in self.trials if trial.method == key)
