"""A choice made into a network: fitted, and measured on the images that choose and on the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.amounts import affordable
from rankconv.compress.blanks import Rank
from rankconv.compress.data import Data
from rankconv.compress.metrics import Metric, Part, surrogate
from rankconv.compress.moments import SAMPLES, output_shape
from rankconv.compress.network import Inputs, Network, Replacement, predictions
from rankconv.compress.refit import refit
from rankconv.compress.search import Candidate, Choice
from rankconv.compress.verify import speedups, timed

Array = NDArray[Any]
CHECK_SECONDS = 0.7  # of timing for each candidate
REFIT_WORK = 1e11  # multiply-adds of the network in one refit, about
LAST_WORK = 2e12  # the same for the refit of the best
REFIT_PIXELS = 2**17  # at least, of all its images
SEARCH_SAMPLES = 20_000  # patches of a layer, where only some of the images are seen
SEARCH_SWEEPS, SWEEPS = 1, 4
ENOUGH = 4  # patches for each unknown of an output, for a layer to be fitted that need not be


@dataclass(frozen=True, eq=False)
class Bench:
    """What all candidates are fitted and measured on; `base` is the original's score on `part`."""

    network: Network
    fit: Data
    part: Part
    metric: Metric
    base: float
    inputs: Inputs  # one batch, for the clock
    threads: int
    seed: int


def evaluate(bench: Bench, choice: Choice, *, images: int | None = None) -> Candidate:
    """The candidate of a choice, fitted to the first `images` of those to fit to, or to all."""
    network = bench.network
    wanted = {name: (o.kind, o.rank) for name, o in choice.items() if o.rank is not None}
    few = tuple(array[:images] for array in bench.fit.inputs)
    last = len(few[0]) >= images_for(bench, choice, work=LAST_WORK)
    replacements = fitted(
        network,
        few,
        wanted,
        samples=SAMPLES if last else SEARCH_SAMPLES,
        sweeps=SWEEPS if last else SEARCH_SWEEPS,
        seed=bench.seed,
    )
    made = network.swap(replacements)
    outputs = predictions(made, bench.part.data.inputs)
    score = bench.metric.measure(made, bench.part, outputs=outputs)
    both = timed([network, made], bench.inputs, threads=bench.threads, seconds=CHECK_SECONDS)
    return Candidate(
        choice=choice,
        replacements=replacements,
        network=made,
        drop=bench.metric.drop(bench.base, score),
        loss=surrogate(outputs, bench.part.original),
        speedup=float(speedups(both)[1]),
        predicted=sum(option.damage for option in choice.values()),
        seconds=sum(option.seconds for option in choice.values()),
        counted=bench.metric.counted,
    )


def fitted(
    network: Network,
    inputs: Inputs,
    choices: Mapping[str, tuple[str, Rank | None]],
    *,
    samples: int = SAMPLES,
    sweeps: int = SWEEPS,
    seed: int,
) -> dict[str, Replacement]:
    """Refitted replacements for the choices, and new weights for the layers kept behind the first.

    A layer that keeps its shape costs no time, and takes up some of the error of those before it.
    Where there are too few patches to fit it to, its weights stay as they are.
    """
    wanted: dict[str, tuple[str, Rank | None]] = {}
    for layer in network.layers:
        if layer.name in choices:
            wanted[layer.name] = choices[layer.name]
        elif wanted:
            patches = min(samples, len(inputs[0]) * math.prod(output_shape(layer)))
            if patches >= ENOUGH * math.prod(layer.stage.weight.shape[1:]):
                wanted[layer.name] = "dense", None
    return refit(network, inputs, wanted, samples=samples, sweeps=sweeps, seed=seed)


def images_for(bench: Bench, choice: Choice, *, work: float = REFIT_WORK) -> int:
    """How many images a refit of that `work` may see: each layer runs all before it anew."""
    adds = np.cumsum([layer.multiply_adds for layer in bench.network.layers])
    replaced = [choice[layer.name].rank is not None for layer in bench.network.layers]
    each = float(adds[int(np.argmax(replaced)) :].sum())  # from the first of them on
    return affordable(bench.network, len(bench.fit), adds=each, work=work, pixels=REFIT_PIXELS)
