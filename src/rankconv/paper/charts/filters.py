"""The learned filters as charts: why rank 1 falls, the approximations, and sample images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rankconv.paper import reference
from rankconv.paper.charts import (
    Answer,
    FilterChart,
    FilterFrame,
    Line,
    LineChart,
    Sample,
    SampleChart,
)
from rankconv.paper.runlog import Epoch, Log
from rankconv.paper.summary import approximation, relative_singular_values

_NAMED = 4  # the largest group of methods with one answer is named only up to this size
_FRAMES = 21  # the interactive picture offers at most so many epochs


def layers(log: Log) -> tuple[str, ...]:
    """The names of the layers whose filters the log holds."""
    return tuple(log.epochs[0].filters) if log.epochs else ()


def rank_1_energy(log: Log) -> LineChart | None:
    """How much of each filter rank 1 keeps, beside how much of the accuracy it keeps."""
    if not layers(log):
        return None
    epochs = tuple(epoch.epoch for epoch in log.epochs)
    shares = [relative_singular_values(log, layer)[:, 0] ** 2 for layer in layers(log)]
    lines = [
        Line(f"energy of {layer} in σ₁", epochs, tuple(map(float, share)), f"rank {4 - i % 3}")
        for i, (layer, share) in enumerate(zip(layers(log), shares, strict=True))
    ]
    exact = {trial.epoch: trial.accuracy for trial in log.of(reference.PYTORCH)}
    kept = [
        (trial.epoch, trial.accuracy / exact[trial.epoch])
        for trial in log.of("rank 1")
        if exact.get(trial.epoch)
    ]
    if kept:
        x, y = zip(*kept, strict=True)
        lines.append(Line("accuracy of rank 1 / PyTorch", x, y, "rank 1", width=2.4))
    return LineChart(
        key="rank-1-energy",
        title="What rank 1 keeps",
        caption=(
            "Energy: σ₁² over the sum of all σᵢ², the part of a filter that its best rank-1 "
            "approximation holds (Eckart–Young). Accuracy: that of rank 1 as a part of "
            "PyTorch's after the same epoch."
        ),
        x_label="Epoch",
        y_label="Share kept at rank 1",
        lines=tuple(lines),
        unit="%",
    )


def singular_values(log: Log) -> tuple[LineChart, ...]:
    """Every singular value of each filter over the epochs, relative to the filter's norm."""
    epochs = tuple(epoch.epoch for epoch in log.epochs)
    return tuple(
        LineChart(
            key=f"singular-values-{position}",
            title=f"Singular values of {layer}",
            caption="Each divided by the filter's Frobenius norm, so that their squares add to 1.",
            x_label="Epoch",
            y_label="σᵢ / ‖F‖",
            lines=tuple(
                Line(f"σ{'₀₁₂₃₄₅₆₇₈₉'[i + 1] if i < 9 else i + 1}", epochs, values, colour)
                for i, values in enumerate(
                    tuple(map(float, column)) for column in relative_singular_values(log, layer).T
                )
                for colour in (f"rank {i + 1}" if i < 5 else "extra 7",)
            ),
        )
        for position, layer in enumerate(layers(log), start=1)
    )


def filters(log: Log) -> FilterChart | None:
    """The filters as trained and their approximations, in up to 21 epochs evenly apart."""
    if not layers(log):
        return None
    positions = np.unique(np.linspace(0, len(log.epochs) - 1, _FRAMES).round().astype(int))
    ranks = max(min(f.shape) for f in log.epochs[0].filters.values())
    usable = [
        log.epochs[i]
        for i in positions
        if all(np.isfinite(f).all() for f in log.epochs[i].filters.values())
    ]
    if not usable:
        return None
    return FilterChart(
        key="filters",
        title="The filters and their approximations",
        caption=(
            "Red is positive, blue is negative, and all pictures share one scale. Below each, "
            "the relative Frobenius error of the approximation."
        ),
        layers=layers(log),
        columns=("as trained", *(f"rank {rank}" for rank in range(1, ranks + 1))),
        frames=tuple(_frame(epoch, ranks) for epoch in usable),
    )


def _frame(epoch: Epoch, ranks: int) -> FilterFrame:
    tiles, errors = [], []
    for matrix in epoch.filters.values():
        row = (matrix, *(approximation(matrix, rank) for rank in range(1, ranks + 1)))
        norm = float(np.linalg.norm(matrix)) or 1.0
        tiles.append(row)
        errors.append(tuple(float(np.linalg.norm(matrix - tile)) / norm for tile in row))
    return FilterFrame(epoch.epoch, tuple(tiles), tuple(errors))


def samples(log: Log, test_images: NDArray[np.generic] | None = None) -> SampleChart | None:
    """The logged sample images with the classes that the methods gave them.

    Args:
        log: the run.
        test_images: the test images (N, height, width) that the indices point into, or None for
            a chart without pictures.

    Raises:
        ValueError: the images are not three-dimensional, or an index lies outside them.
    """
    if log.samples is None or not log.samples.images:
        return None
    chosen = log.samples
    pictures = None if test_images is None else _pictures(test_images, chosen.images)
    return SampleChart(
        key="samples",
        title=f"Sample images after epoch {chosen.epoch}",
        caption="Methods that gave the same answer stand together.",
        samples=tuple(
            Sample(
                index=index,
                truth=log.classes[chosen.labels[i]],
                answers=_answers(log, chosen.labels[i], chosen.predictions, i),
                picture=None if pictures is None else pictures[i],
            )
            for i, index in enumerate(chosen.images)
        ),
    )


def _answers(
    log: Log, truth: int, predictions: Mapping[str, Sequence[int]], i: int
) -> tuple[Answer, ...]:
    by_class: dict[int, list[str]] = {}
    for method in log.methods:
        if method.key in predictions:
            by_class.setdefault(predictions[method.key][i], []).append(method.label)
    order = sorted(by_class, key=lambda chosen: (chosen != truth, -len(by_class[chosen])))
    largest = max(by_class, key=lambda chosen: len(by_class[chosen]))
    if (size := len(by_class[largest])) > _NAMED:
        by_class[largest] = [f"{'all' if len(by_class) == 1 else 'the other'} {size} methods"]
    return tuple(
        Answer(log.classes[chosen], chosen == truth, tuple(by_class[chosen])) for chosen in order
    )


def _pictures(test_images: NDArray[np.generic], indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    if test_images.ndim != 3:
        raise ValueError(
            f"test_images has shape {test_images.shape}; pass grey images (N, height, width)"
        )
    if max(indices) >= len(test_images):
        raise ValueError(
            f"the log names test image {max(indices)}, but test_images holds {len(test_images)}; "
            "pass the test set of the same run"
        )
    chosen = test_images[list(indices)]
    if chosen.dtype == np.uint8:
        return list(np.asarray(chosen, dtype=np.uint8))
    grey = chosen.astype(np.float64)
    low, high = min(0.0, float(grey.min())), max(1.0, float(grey.max()))
    return list(((grey - low) / (high - low) * 255).round().astype(np.uint8))
