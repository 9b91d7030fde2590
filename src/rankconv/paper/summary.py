"""What a log says in numbers: averages, spreads, ratios, the Pareto front, singular values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankconv.paper.reference import PYTORCH
from rankconv.paper.runlog import Log, Method, Trial


@dataclass(frozen=True)
class Summary:
    """One method over all the epochs in which it ran; seconds are for the whole test set."""

    method: Method
    epochs: int
    images: int  # timed in each epoch (the smallest number, if it changed)
    scaled: bool  # some of the seconds are estimated from a part of the images
    partial: bool  # it missed epochs, so its accuracy is an average over other ones
    seconds: float  # mean, as in the paper
    seconds_median: float
    seconds_low: float  # lower quartile
    seconds_high: float  # upper quartile
    setup_seconds: float  # mean; contained in `seconds`
    accuracy: float  # mean, as in the paper
    accuracy_matched: float  # PyTorch's mean and the mean difference from it in shared epochs
    accuracy_last: float
    predictions: int  # images predicted in all the epochs
    disagreements: int  # predictions other than PyTorch's, ties apart (exact methods only)
    ties: int  # predictions other than PyTorch's where rounding decides


def complete_epochs(log: Log) -> tuple[int, ...]:
    """The tested epochs, without the last one where a method that ran in all others is missing.

    So the averages of a run that was stopped between two methods compare like with like.
    """
    ran = [{trial.epoch for trial in log.of(method.key)} for method in log.methods]
    tested = sorted(set().union(*ran))
    regular = [epochs for epochs in ran if epochs and epochs >= set(tested[:-1])]
    cut = len(tested) > 1 and not all(tested[-1] in epochs for epochs in regular)
    return tuple(tested[:-1] if cut else tested)


def summarise(log: Log) -> tuple[Summary, ...]:
    """Average every method over the complete epochs, in the order of the run's declaration."""
    epochs = set(complete_epochs(log))
    kept = {m.key: [t for t in log.of(m.key) if t.epoch in epochs] for m in log.methods}
    pytorch = {trial.epoch: trial.accuracy for trial in kept.get(PYTORCH, ())}
    return tuple(_summary(m, kept[m.key], len(epochs), pytorch) for m in log.methods if kept[m.key])


def _summary(
    method: Method, trials: Sequence[Trial], epochs: int, pytorch: Mapping[int, float]
) -> Summary:
    seconds = np.array([trial.shown_seconds for trial in trials])
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return Summary(
        method=method,
        epochs=len(trials),
        images=min(trial.images for trial in trials),
        scaled=any(trial.scaled for trial in trials),
        partial=len(trials) < epochs,
        seconds=float(seconds.mean()),
        seconds_median=float(median),
        seconds_low=float(low),
        seconds_high=float(high),
        setup_seconds=float(np.mean([trial.setup_seconds for trial in trials])),
        accuracy=float(np.mean([trial.accuracy for trial in trials])),
        accuracy_matched=_matched(method, trials, pytorch),
        accuracy_last=trials[-1].accuracy,
        predictions=sum(trial.images for trial in trials),
        disagreements=sum(trial.disagreements for trial in trials),
        ties=sum(len(trial.ties) for trial in trials),
    )


def _matched(method: Method, trials: Sequence[Trial], pytorch: Mapping[int, float]) -> float:
    shared = [trial for trial in trials if trial.epoch in pytorch]
    if not shared:
        return float(np.mean([trial.accuracy for trial in trials]))
    # Where every class was PyTorch's there is no difference, even if only some images were seen.
    same = method.exact and not any(trial.disagreements or trial.ties for trial in trials)
    differences = [0.0 if same else t.accuracy - pytorch[t.epoch] for t in shared]
    return float(np.mean(list(pytorch.values())) + np.mean(differences))


def times_as_fast(log: Log, key: str, *, reference: str = PYTORCH) -> float | None:
    """Mean seconds of `reference` divided by those of `key`, over the epochs that both ran in.

    None where they share no epoch. Sharing matters for the loop, which runs in a few epochs only.
    """
    ours = {trial.epoch: trial.shown_seconds for trial in log.of(key)}
    theirs = {trial.epoch: trial.shown_seconds for trial in log.of(reference)}
    shared = sorted(ours.keys() & theirs.keys())
    total = sum(ours[epoch] for epoch in shared)
    return sum(theirs[epoch] for epoch in shared) / total if total > 0 else None


def accuracy_in_the_same_epochs(log: Log, key: str, *, of: str = PYTORCH) -> float | None:
    """Mean accuracy of `of` over the epochs in which `key` ran too; None if there are none."""
    epochs = {trial.epoch for trial in log.of(key)}
    shared = [trial.accuracy for trial in log.of(of) if trial.epoch in epochs]
    return float(np.mean(shared)) if shared else None


def pareto_front(seconds: Sequence[float], accuracy: Sequence[float]) -> tuple[int, ...]:
    """Positions of the points that no other point beats in both time and accuracy, fastest first.

    >>> pareto_front([1.0, 2.0, 3.0, 2.5], [0.2, 0.3, 0.4, 0.1])
    (0, 1, 2)
    """
    front: list[int] = []
    for i in sorted(range(len(seconds)), key=lambda i: (seconds[i], -accuracy[i])):
        if not front or accuracy[i] > accuracy[front[-1]]:
            front.append(i)
    return tuple(front)


def relative_singular_values(log: Log, layer: str) -> NDArray[np.float64]:
    """Singular values of a layer's filter in each epoch, divided by its Frobenius norm.

    Their squares are the shares of the filter's energy and add up to 1, so the first one's square
    is what a rank-1 filter keeps (Eckart-Young, the paper's section IX). Shape (epochs, k); the
    rows of a filter that is zero or not finite are NaN.
    """
    rows = []
    for epoch in log.epochs:
        matrix = epoch.filters[layer]
        norm = np.linalg.norm(matrix)
        usable = np.isfinite(norm) and norm > 0
        blank = np.full(min(matrix.shape), np.nan)
        rows.append(np.linalg.svd(matrix / norm, compute_uv=False) if usable else blank)
    return np.array(rows)  # (epochs, k)


def approximation(matrix: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """The nearest matrix of this rank in the Frobenius norm (Eckart-Young).

    >>> approximation(np.diag([3.0, 1.0]), 1)
    array([[3., 0.],
           [0., 0.]])
    """
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    nearest: NDArray[np.float64] = (u[:, :rank] * s[:rank]) @ vt[:rank]
    return nearest
