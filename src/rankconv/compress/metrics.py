"""What a network is worth: scores, how much worse one is than another, and a smooth stand-in.

The share of right answers moves in steps of one image and does not move at all for small
changes, so options are compared by `surrogate`, which is smooth: the Kullback-Leibler divergence
of the classes' probabilities from the original's, or the relative squared error of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.data import Data
from rankconv.compress.network import Network, predictions

Array = NDArray[Any]
Score = Callable[[Array, Array, Array | None], float]
SAME = 100.0  # dB: the most that is told, where nothing differs
SMALLEST = 1e-12  # of a probability


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the data with the original network's outputs (N, ...) on it."""

    data: Data
    original: Array


@dataclass(frozen=True)
class Metric:
    """A score of a network with its unit, and whether a higher one is better.

    `score(outputs, original outputs, labels)` or, for the user's own, `evaluate(network)`.
    """

    name: str
    unit: str
    higher_is_better: bool
    needs: str  # 'classes', 'scores' or nothing
    score: Score | None = None
    evaluate: Callable[[Network], float] | None = None

    @property
    def counted(self) -> bool:
        """Whether the score counts images, and so moves in steps and by chance."""
        return self.needs in ("classes", "scores")

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def measure(self, network: Network, part: Part, *, outputs: Array | None = None) -> float:
        """The score of a network on a part; its `outputs` there are computed if not passed.

        Raises ValueError where the score is not a finite number, or the user's function fails.
        """
        if self.evaluate is not None:
            value = self._own(network)
        else:
            assert self.score is not None
            if outputs is None:
                outputs = predictions(network, part.data.inputs)
            value = float(self.score(outputs, part.original, part.data.labels))
        if not math.isfinite(value):
            raise ValueError(
                f"{self.name} is {value}: the network's output on these images, or the function "
                "that measures it, is not finite"
            )
        return value

    def _own(self, network: Network) -> float:
        assert self.evaluate is not None
        try:
            value = self.evaluate(network)
        except Exception as error:
            raise ValueError(
                f"your function {self.name} failed with {type(error).__name__}: {error}"
            ) from error
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"your function {self.name} gave {type(value).__name__}: it must return one number"
            ) from None

    def drop(self, original: float, new: float) -> float:
        """How much worse `new` is, in the metric's unit; negative where it is better."""
        return original - new if self.higher_is_better else new - original


def surrogate(outputs: Array, original: Array) -> float:
    """A smooth loss >= 0, about quadratic in a small change of the outputs, 0 for none.

    For classes (N, K) the mean Kullback-Leibler divergence from the original's probabilities (in
    nats; outputs that are no probabilities are taken as logits), else the relative squared error.

    >>> logits = np.array([[2.0, 0.0, 0.0]])
    >>> round(surrogate(logits + [[0.2, 0, 0]], logits), 4)
    0.0032
    """
    new, old = outputs.astype(np.float64), original.astype(np.float64)
    if not np.isfinite(new).all():
        return math.inf
    if not is_classes(old):
        rest, size = float(np.vdot(new - old, new - old)), float(np.vdot(old, old))
        return rest / (size or 1.0)
    p, log_p = _probabilities(old)
    _, log_q = _probabilities(new)
    return max(float((p * (log_p - log_q)).sum(axis=1).mean()), 0.0)


def is_classes(outputs: Array) -> bool:
    """Whether outputs are one score a class: (N, K), or (N, K, 1, 1), with K of two and more."""
    return outputs.ndim >= 2 and outputs.shape[1] >= 2 and outputs[0, 0].size == 1


def _top1(outputs: Array, original: Array, labels: Array | None) -> float:
    assert labels is not None
    return 100 * float((_class(outputs) == labels).mean())


def _agreement(outputs: Array, original: Array, labels: Array | None) -> float:
    return 100 * float((_class(outputs) == _class(original)).mean())


def _output_error(outputs: Array, original: Array, labels: Array | None) -> float:
    old = original.astype(np.float64)
    return 100 * float(np.linalg.norm(outputs - old)) / (float(np.linalg.norm(old)) or 1.0)


def psnr(*, peak: float = 1.0) -> Metric:
    """The mean peak signal-to-noise ratio of the output images, in dB.

    Against the targets where the data have some. Without, against the original's outputs: the
    original then has 100 dB by convention, and a drop of 60 means 40 dB. `peak` is the largest
    value of an image; with targets the drop does not depend on it.

    Raises ValueError for a peak that is not positive.
    Equivalent: `skimage.metrics.peak_signal_noise_ratio`, image by image.

    >>> metric = psnr(peak=255)
    >>> round(metric.score(np.full((1, 1, 2, 2), 3.0), np.zeros((1, 1, 2, 2)), None), 2)
    38.59
    """
    if not 0 < peak < math.inf:
        raise ValueError(f"peak={peak!r} is not a positive number: pass 1 or 255")

    def score(outputs: Array, original: Array, labels: Array | None) -> float:
        wanted = (original if labels is None else labels).astype(np.float64)
        square = ((outputs - wanted) ** 2).reshape(len(wanted), -1).mean(axis=1)
        least = peak**2 * 10 ** (-SAME / 10)
        return float((10 * np.log10(peak**2 / square.clip(min=least))).mean())

    return Metric("PSNR", "dB", True, "", score)


def custom(
    function: Callable[[Any], float],
    *,
    name: str | None = None,
    unit: str = "",
    higher_is_better: bool = True,
) -> Metric:
    """Your own score, `function(network) -> float`, measured on whatever data it brings itself.

    It is given the face's network (its `.model` is the engine's own). The same function keeps
    the budget and tells the drop, as its data are not split.

    Raises ValueError for what cannot be called.

    >>> custom(lambda network: 0.5, name="mIoU").drop(0.7, 0.6) > 0
    True
    """
    if not callable(function):
        raise ValueError(f"{function!r} cannot be called: pass a function(network) -> float")
    label = name or str(getattr(function, "__name__", "score"))
    return Metric(label, unit, higher_is_better, "", None, function)


top1 = Metric("top-1", "%", True, "classes", _top1)
agreement = Metric("top-1 agreement with the original", "%", True, "scores", _agreement)
output_error = Metric("relative output error", "%", False, "", _output_error)
METRICS: dict[str, Metric] = {
    "top1": top1,
    "agreement": agreement,
    "output_error": output_error,
    "psnr": psnr(),
}


def as_metric(metric: str | Metric | None, part: Part) -> Metric:
    """The metric that was asked for, or the one that the outputs and the labels suggest.

    Classes as labels: top1. Target images: psnr. No labels: agreement for one score a class,
    output_error for anything else.

    Raises ValueError for an unknown name, and for a metric that the data cannot give.
    """
    scores = is_classes(part.original)
    if metric is None:
        if part.data.labels is not None:
            return top1 if part.data.classes is not None else METRICS["psnr"]
        return agreement if scores else output_error
    if isinstance(metric, str):
        if metric not in METRICS:
            raise ValueError(
                f"metric={metric!r} is not one of {', '.join(map(repr, METRICS))}: or pass "
                "rankconv.compress.metrics.custom(function)"
            )
        metric = METRICS[metric]
    if metric.needs == "classes" and part.data.classes is None:
        raise ValueError(
            f"metric {metric.name} needs labels, one class an image: pass them with the data, or "
            "metric='agreement', which compares with the original's answers"
        )
    if metric.needs and not scores:
        raise ValueError(
            f"metric {metric.name} needs one score a class, and the network's output is of shape "
            f"{part.original.shape}: pass metric='output_error' or 'psnr'"
        )
    if metric.name == "PSNR" and part.data.classes is not None:
        raise ValueError("metric PSNR compares images, and the labels are classes: pass none")
    return metric


def _class(outputs: Array) -> Array:
    answers: Array = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return answers


def _probabilities(outputs: Array) -> tuple[Array, Array]:
    """Probabilities (N, K) and their logarithms, of outputs that are those or logits."""
    flat = outputs.reshape(len(outputs), -1)
    if flat.min() >= 0 and np.abs(flat.sum(axis=1) - 1).max() < 1e-3:
        return flat, np.log(flat.clip(min=SMALLEST))
    shifted = flat - flat.max(axis=1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.exp(log), log
