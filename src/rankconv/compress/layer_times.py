"""Measured seconds of every layer and of the chains that could stand in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankconv.compress.blanks import Rank
from rankconv.compress.network import Layer, Network, Replacement
from rankconv.compress.timing import interleaved, relative_medians
from rankconv.compress.tuning import key
from rankconv.stages import Factorization

Progress = Callable[[str, int, int], None]
FIRST_ROUNDS, ROUNDS = 3, 15
FIRST_SECONDS, SECONDS = 2.0, 3.0  # of one layer, about
HOPELESS = 1.1  # times the layer's own seconds after the first rounds
AT_ONCE = 24  # chains that are ready to run at the same time


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of a layer as it is, and of each chain (kind, rank)."""

    dense: float
    chains: Mapping[tuple[str, Rank], float]


def layer_times(
    network: Network,
    candidates: Mapping[str, Sequence[Factorization]],
    *,
    batch: int,
    threads: int,
    known: dict[str, tuple[float, float]],
    progress: Progress | None = None,
) -> dict[str, LayerTimes]:
    """Time every layer against its candidate chains, in turn, on its real input shape.

    Layers of the same shapes are measured once. `known` holds the times of earlier runs by
    `tuning.key` and is added to. What is clearly slower than the layer after three rounds is
    measured no further.
    """
    found: dict[str, LayerTimes] = {}
    for done, layer in enumerate(network.layers):
        if progress is not None:
            progress("timing layers", done, len(network.layers))
        chains = list(candidates.get(layer.name, ()))
        keys = [key(layer, c, engine=network.engine, batch=batch, threads=threads) for c in chains]
        own = key(layer, _itself(layer), engine=network.engine, batch=batch, threads=threads)
        missing = [c for c, name in zip(chains, keys, strict=True) if name not in known]
        if missing or own not in known:
            _measure(network, layer, missing, batch=batch, threads=threads, known=known)
        dense = known[own][0]
        found[layer.name] = LayerTimes(
            dense,
            {
                (chain.kind, chain.rank): dense * known[name][1] / known[name][0]
                for chain, name in zip(chains, keys, strict=True)
            },
        )
    if progress is not None:
        progress("timing layers", len(network.layers), len(network.layers))
    return found


def _measure(
    network: Network,
    layer: Layer,
    chains: Sequence[Factorization],
    *,
    batch: int,
    threads: int,
    known: dict[str, tuple[float, float]],
) -> None:
    def keep(chain: Factorization, before: float, after: float) -> None:
        name = key(layer, chain, engine=network.engine, batch=batch, threads=threads)
        known[name] = before, after

    itself = network.layer_caller(layer.name, None, batch=batch, threads=threads)
    before = float(
        np.median(interleaved([itself], rounds=ROUNDS, limit=SECONDS / 10, threads=threads))
    )
    for start in range(0, len(chains), AT_ONCE):
        part = chains[start : start + AT_ONCE]
        calls = [
            network.layer_caller(
                layer.name, Replacement(chain, layer.bias), batch=batch, threads=threads
            )
            for chain in part
        ]
        first = interleaved(
            [itself, *calls], rounds=FIRST_ROUNDS, limit=FIRST_SECONDS, least=1, threads=threads
        )
        ratios = relative_medians(first)[1:]
        hopeful = [i for i in range(len(part)) if ratios[i] <= HOPELESS]
        if hopeful:
            again = interleaved(
                [itself, *(calls[i] for i in hopeful)],
                rounds=ROUNDS,
                limit=SECONDS,
                threads=threads,
            )
            ratios[hopeful] = relative_medians(again)[1:]
            before = float(np.median(again[:, 0]))
        for chain, ratio in zip(part, ratios, strict=True):
            keep(chain, before, before * float(ratio))
    keep(_itself(layer), before, before)


def _itself(layer: Layer) -> Factorization:
    stage = layer.stage
    return Factorization("dense", 1, (stage,), 0.0, 0.0, stage.weight.shape)
