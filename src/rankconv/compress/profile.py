"""What every way to run every layer would cost: seconds, error of its output, harm to the network.

The seconds are measured, layer by layer, in the engine that will run the network. The errors are
those of the fits to what the layer sees. The harm is a second-order estimate: near the original
the smooth loss of the network's output grows with the square of the error of one layer's output,
and errors of several layers add up. Each layer's factor of that law is measured by exchanging the
layer alone for chains of two different errors; no option needs a run of the network of its own.

Source: Zhang et al. (2015, arXiv 1505.06798, section 3.4) choose ranks by the energy that each
layer keeps; here the factor and the clock stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.amounts import affordable
from rankconv.compress.blanks import Rank, ranks
from rankconv.compress.data import Data
from rankconv.compress.fits import LayerFits, kinds_for
from rankconv.compress.layer_times import LayerTimes, Progress, layer_times
from rankconv.compress.metrics import Metric, Part, surrogate
from rankconv.compress.moments import collect
from rankconv.compress.network import Network, Replacement, predictions
from rankconv.compress.records import Option
from rankconv.stages import Factorization

Array = NDArray[Any]
KINDS = ("spatial_svd", "channel_svd", "channel_svd_input", "tucker2", "slice_svd")
MOST_ERROR = 0.6  # of a layer's output: worse is of no use to any network
FASTER = 0.97  # of the layer's seconds: what is slower than that is no option
PROBES = (0.1, 0.3)  # errors at which the harm of a layer is measured
PROBE_WORK = 3e11  # multiply-adds of all probes together, about
PROBE_PIXELS = 2**16  # of their images, at least
FIT_WORK, FIT_PIXELS = 2e11, 2**17
SAMPLES = 15_000  # patches of a layer


@dataclass(frozen=True, eq=False)
class Profile:
    """The options of every layer, the layer as it is first, and why some have no other."""

    options: tuple[Option, ...]
    reasons: Mapping[str, str]

    def of(self, layer: str) -> tuple[Option, ...]:
        """The options of one layer."""
        return tuple(option for option in self.options if option.layer == layer)


def profile(
    network: Network,
    fit: Data,
    part: Part,
    metric: Metric,
    *,
    kinds: Sequence[str] = KINDS,
    batch: int = 1,
    threads: int = 1,
    known: dict[str, tuple[float, float]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Profile:
    """The table of options for `choose`: every layer, kind and rank that could pay.

    The errors are measured on `fit`, the harm on `part`, in the unit of `metric`. `known` are
    times of earlier runs (`tuning.load`) and is added to. `progress(what, done, total)`.
    """
    errors, probes = _errors(network, fit, kinds, seed=seed, progress=progress)
    times = layer_times(
        network,
        {name: [chain for chain, _ in found.values()] for name, found in errors.items()},
        batch=batch,
        threads=threads,
        known={} if known is None else known,
        progress=progress,
    )
    factors = _harm(network, part, metric, probes, progress=progress)
    options: list[Option] = []
    reasons: dict[str, str] = {}
    for layer in network.layers:
        own = times[layer.name]
        options.append(
            Option(
                layer.name,
                "dense",
                None,
                own.dense,
                0.0,
                0.0,
                layer.multiply_adds,
                layer.stage.parameters,
            )
        )
        faster = [
            Option(
                layer.name,
                kind,
                rank,
                own.chains[kind, rank],
                error,
                factors.get(layer.name, 0.0) * error**2,
                chain.multiply_adds(layer.input_shape[1:]),
                chain.parameters,
            )
            for (kind, rank), (chain, error) in errors[layer.name].items()
            if own.chains[kind, rank] < FASTER * own.dense
        ]
        if not faster:
            reasons[layer.name] = _why_none(own, len(errors[layer.name]))
        options += faster
    return Profile(tuple(options), reasons)


def rescaled(profile: Profile, factor: float) -> Profile:
    """The same table with every predicted harm times a factor."""
    return replace(
        profile, options=tuple(replace(o, damage=o.damage * factor) for o in profile.options)
    )


Table = dict[tuple[str, Rank], tuple[Factorization, float]]  # its blank chain and its error


def _errors(
    network: Network, fit: Data, kinds: Sequence[str], *, seed: int, progress: Progress | None
) -> tuple[dict[str, Table], dict[str, list[tuple[float, Replacement]]]]:
    """The error of every kind and rank of every layer, and a few fits to probe the network with."""
    layers = {layer.name: layer for layer in network.layers}
    found: dict[str, Table] = {}
    probes: dict[str, list[tuple[float, Replacement]]] = {}
    candidates = {
        name: [
            (kind, rank, chain)
            for kind in kinds_for(layer.stage)
            if kind in kinds
            for rank, chain in ranks(layer, kind)
        ]
        for name, layer in layers.items()
    }
    wanted = [name for name, some in candidates.items() if some]
    if progress is not None:
        progress("fitting layers", 0, len(wanted))
    adds = float(sum(layer.multiply_adds for layer in network.layers))
    images = affordable(network, len(fit), adds=adds, work=FIT_WORK, pixels=FIT_PIXELS)
    few = tuple(array[:images] for array in fit.inputs)
    read = collect(network, few, wanted, samples=SAMPLES, seed=seed)
    for done, (name, moments) in enumerate(read):
        if progress is not None:
            progress("fitting layers", done, len(wanted))
        one = LayerFits(layers[name].stage, moments)
        table: Table = {}
        for kind, rank, chain in candidates[name]:
            error = one.output_error(kind, rank)
            if error <= MOST_ERROR:
                table[kind, rank] = chain, error
        found[name] = table
        probes[name] = _probes(one, table)
    if progress is not None:
        progress("fitting layers", len(wanted), len(wanted))
    return {name: found.get(name, {}) for name in layers}, probes


def _probes(fits: LayerFits, table: Table) -> list[tuple[float, Replacement]]:
    """Fits whose errors are nearest to those wanted."""
    picked: dict[tuple[str, Rank], None] = {}
    sound = {at: error for at, (_, error) in table.items() if error > 0}
    for wanted in PROBES:
        if sound:
            picked[min(sound, key=lambda at: abs(math.log(sound[at] / wanted)))] = None
    found = [fits.fit(kind, rank) for kind, rank in picked]
    return [(fit.output_error, fit.replacement) for fit in found]


def _harm(
    network: Network,
    part: Part,
    metric: Metric,
    probes: Mapping[str, Sequence[tuple[float, Replacement]]],
    *,
    progress: Progress | None,
) -> dict[str, float]:
    """For each layer the factor s of: harm = s error^2, in the metric's unit."""
    runs = sum(map(len, probes.values()))
    if not runs:
        return {}
    adds = float(sum(layer.multiply_adds for layer in network.layers)) * runs
    images = affordable(network, len(part.data), adds=adds, work=PROBE_WORK, pixels=PROBE_PIXELS)
    few = part.data.take(np.arange(images))
    original = part.original[: len(few)]
    small = Part(few, original)
    base = None if metric.score is None else metric.measure(network, small, outputs=original)
    losses: dict[str, list[float]] = {}
    loss_sum = drop_sum = 0.0
    done = 0
    for name, some in probes.items():
        for error, replacement in some:
            if progress is not None:
                progress("probing the network", done, runs)
            done += 1
            outputs = predictions(network.swap({name: replacement}), few.inputs)
            loss = surrogate(outputs, original)
            if not math.isfinite(loss) or error <= 0:
                continue
            losses.setdefault(name, []).append(math.log(max(loss, 1e-12) / error**2))
            if base is not None:
                loss_sum += loss
                drop_sum += metric.drop(base, metric.measure(network, small, outputs=outputs))
    if progress is not None:
        progress("probing the network", runs, runs)
    unit = drop_sum / loss_sum if drop_sum > 0 and loss_sum > 0 else 1.0
    return {name: unit * math.exp(float(np.mean(some))) for name, some in losses.items()}


def _why_none(times: LayerTimes, tried: int) -> str:
    if not times.chains:
        return (
            f"no chain has clearly fewer multiply-adds and an output error below {MOST_ERROR:.0%}"
        )
    best = min(times.chains.values()) / times.dense
    return f"the fastest of {tried} chains takes {best:.2f} times the layer's own time"
