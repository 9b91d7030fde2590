"""How many images a step of the work takes: as many as help, not more than the time allows."""

from __future__ import annotations

from rankconv.compress.network import Network

FEWEST = 4  # images, whatever they cost


def affordable(network: Network, available: int, *, adds: float, work: float, pixels: int) -> int:
    """Images for a step that costs `adds` multiply-adds an image and may cost about `work`.

    Never so few that together they have less than `pixels` positions in the widest layer, as far
    as so many are available.

    >>> from types import SimpleNamespace
    >>> wide = SimpleNamespace(layers=[SimpleNamespace(input_shape=(3, 32, 32))])
    >>> affordable(wide, 1000, adds=1e6, work=1e8, pixels=2**16)
    100
    >>> affordable(wide, 1000, adds=1e9, work=1e8, pixels=2**16)
    64
    """
    widest = max((s[1] * s[2] for s in (layer.input_shape for layer in network.layers)), default=1)
    least = max(FEWEST, -(-pixels // widest))
    return min(available, max(least, int(work / max(adds, 1.0))))
