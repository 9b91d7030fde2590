"""The layer left as it is, as a chain of one stage: what every other kind is compared with."""

from __future__ import annotations

from rankconv.stages import Factorization, Stage


def factorize_layer(layer: Stage, *, rank: int | None, tol: float | None) -> Factorization:
    """The layer itself, without error, which is within any `tol`.

    Its `rank` is the full one of a group's matrix (M, C kH kW). Raises ValueError for another.
    """
    full = full_rank(_group(layer))
    if rank is not None and rank != full:
        raise ValueError(
            f"rank={rank} with kind='dense', which leaves the layer at its full rank {full}: "
            "leave rank out, or choose a kind that cuts"
        )
    return Factorization("dense", full, (layer,), 0.0, 0.0, layer.weight.shape)


def full_rank(shape: tuple[int, int, int, int]) -> int:
    """The rank of a group's matrix (M, C kH kW), at most."""
    outputs, inputs, kH, kW = shape
    return min(outputs, inputs * kH * kW)


def _group(layer: Stage) -> tuple[int, int, int, int]:
    outputs, inputs, kH, kW = layer.weight.shape
    return outputs // layer.groups, inputs, kH, kW
