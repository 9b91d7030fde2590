"""Every layer before and after, with the reason why it is as it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rankconv.compress.network import Layer, Network, Replacement
from rankconv.compress.profile import Profile
from rankconv.compress.records import LayerRecord, Option
from rankconv.compress.verify import Choices
from rankconv.factorizations import full_rank
from rankconv.factorizations.tensors import grouped
from rankconv.factorizations.two_factors import unfold

MOST_VALUES = 256


def layer_records(
    network: Network, table: Profile, choices: Choices, replacements: Mapping[str, Replacement]
) -> tuple[LayerRecord, ...]:
    """The record of each layer, for the choices (kind, rank) of those that are replaced."""
    return tuple(
        _record(layer, table, choices, replacements.get(layer.name)) for layer in network.layers
    )


def _record(
    layer: Layer, table: Profile, choices: Choices, replacement: Replacement | None
) -> LayerRecord:
    options = {(option.kind, option.rank): option for option in table.of(layer.name)}
    dense = options["dense", None]
    option = options[choices.get(layer.name, ("dense", None))]
    adds = option.multiply_adds
    if replacement is not None:
        adds = replacement.chain.multiply_adds(layer.input_shape[1:])
    return LayerRecord(
        name=layer.name,
        weight_shape=tuple(layer.stage.weight.shape),
        input_shape=layer.input_shape,
        kind=option.kind,
        rank=option.rank,
        full_rank=full_rank(layer.stage.weight.shape, kind=option.kind, groups=layer.stage.groups),
        seconds_before=dense.seconds,
        seconds_after=option.seconds,
        output_error=option.output_error,
        multiply_adds_before=dense.multiply_adds,
        multiply_adds_after=adds,
        reason=_reason(
            option,
            dense,
            list(options.values()),
            table.reasons.get(layer.name),
            "left as it is" if replacement is None else "keeps its shape, its weights fitted anew",
        ),
        spectrum=spectrum(layer),
    )


def _reason(
    option: Option, dense: Option, options: list[Option], why_none: str | None, kept: str
) -> str:
    if option.rank is not None:
        return (
            f"{dense.seconds / option.seconds:.2f} times as fast by itself at an output error of "
            f"{option.output_error:.1%}"
        )
    if why_none is not None:
        return f"{kept}: {why_none}"
    fastest = min(options, key=lambda o: o.seconds)
    nearest = min((o for o in options if o.rank is not None), key=lambda o: o.output_error)
    return (
        f"{kept}: the time saved was worth less than its accuracy within the budget "
        f"(the fastest chain is {dense.seconds / fastest.seconds:.2f} times as fast at an output "
        f"error of {fastest.output_error:.1%}, the nearest has {nearest.output_error:.1%})"
    )


def spectrum(layer: Layer) -> tuple[float, ...]:
    """Singular values of the layer's unfolding (C_out kW, C_in kH) over the largest, 256 at most.

    That of the spatial split; for groups the root of the mean square over them.
    """
    weight, _ = grouped(layer.stage)
    G, M, C, kH, kW = weight.shape
    values = np.linalg.svd(unfold(weight.reshape(G, M, C * kH, kW)), compute_uv=False)
    mean = np.sqrt((values**2).mean(axis=0))
    relative = mean / (mean[0] or 1.0)
    return tuple(float(value) for value in relative[:MOST_VALUES])
