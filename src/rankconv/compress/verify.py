"""Whole networks on the clock, in turn, and what their scores say: the points of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.blanks import Rank
from rankconv.compress.metrics import Metric, Part
from rankconv.compress.network import Inputs, Network, Replacement
from rankconv.compress.records import Point
from rankconv.compress.timing import interleaved

Array = NDArray[Any]
Choices = Mapping[str, tuple[str, Rank | None]]
ROUNDS, SECONDS = 60, 8.0  # of one comparison, at most
FEWEST_ROUNDS = 7


@dataclass(frozen=True, eq=False)
class Entry:
    """A network to be measured, and what it is made of."""

    source: str
    label: str
    network: Network
    replacements: Mapping[str, Replacement] = field(default_factory=dict)
    choices: Choices = field(default_factory=dict)


def timed(
    networks: Sequence[Network], inputs: Inputs, *, threads: int, seconds: float = SECONDS
) -> Array:
    """Seconds of one call of each network on a batch, (rounds, networks), called in turn.

    Raises ValueError for no network.
    """
    if not networks:
        raise ValueError("networks is empty: pass the original and what is compared with it")
    calls = [network.caller(inputs, threads=threads) for network in networks]
    return interleaved(calls, rounds=ROUNDS, limit=seconds, least=FEWEST_ROUNDS, threads=threads)


def speedups(seconds: Array) -> Array:
    """How many times faster than the first each column is, median against median."""
    medians = np.median(seconds, axis=0)
    ratios: Array = medians[0] / medians
    return ratios


def points(
    entries: Sequence[Entry], part: Part, metric: Metric, inputs: Inputs, *, threads: int
) -> list[Point]:
    """Each network's seconds, all in one comparison, and its score on `part`; the original first.

    `inputs` is one batch. Raises ValueError for no entry.
    """
    seconds = timed([entry.network for entry in entries], inputs, threads=threads)
    quick = speedups(seconds)
    found: list[Point] = []
    for i, entry in enumerate(entries):
        score = metric.measure(entry.network, part)
        low, middle, high = np.percentile(seconds[:, i], [25, 50, 75])
        adds, parameters = _size(entries[0].network, entry.replacements)
        found.append(
            Point(
                source=entry.source,
                label=entry.label,
                seconds=float(middle),
                quartiles=(float(low), float(high)),
                speedup=float(quick[i]),
                score=score,
                drop=metric.drop(found[0].score, score) if found else 0.0,
                multiply_adds=adds,
                parameters=parameters,
                choices=dict(entry.choices),
            )
        )
    return found


def _size(network: Network, replacements: Mapping[str, Replacement]) -> tuple[int, int]:
    """Multiply-adds of one image and weights, of the layers that may be replaced."""
    adds = parameters = 0
    for layer in network.layers:
        if layer.name in replacements:
            chain = replacements[layer.name].chain
            adds += chain.multiply_adds(layer.input_shape[1:])
            parameters += chain.parameters
        else:
            adds += layer.multiply_adds
            parameters += layer.stage.parameters
    return adds, parameters
