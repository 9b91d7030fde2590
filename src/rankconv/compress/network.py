"""What compressing needs of a trained network, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rankconv.stages import Factorization, Stage

Array = NDArray[Any]
Inputs = tuple[Array, ...]  # the network's inputs in their order, images along the first axis


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution of a network, or a linear layer as one of 1 x 1.

    `stage` is its weight with stride, padding, dilation and groups; `bias` (C_out,) or None.
    `input_shape` (C, H, W) is that of one image, as the convolution sees it. Where the network
    pads otherwise than by zeros, `stage.padding` is zero and the shape is that after padding.
    """

    name: str
    stage: Stage
    bias: Array | None
    input_shape: tuple[int, int, int]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return self.stage.multiply_adds(self.input_shape[1:])


@dataclass(frozen=True, eq=False)
class Replacement:
    """What stands in a layer's place: a chain, and the bias (C_out,) after its last stage."""

    chain: Factorization
    bias: Array | None


class Activation(NamedTuple):
    """What a layer was given (N, C_in, H, W) and what it, or its replacement, made of it."""

    input: Array
    output: Array


class Network(Protocol):
    """A face's view of a trained network. Nothing here changes the network itself."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that may be replaced, in the order in which they run."""

    @property
    def left_alone(self) -> Mapping[str, str]:
        """Layers that are not touched: name -> reason."""

    @property
    def engine(self) -> str:
        """The engine that runs and times the network, with its version."""

    def swap(self, replacements: Mapping[str, Replacement]) -> Network:
        """A copy of the original network with these layers replaced and no others."""

    def predict(self, inputs: Inputs) -> Array:
        """The network's (first) output (N, ...) for a batch."""

    def activations(self, inputs: Inputs, names: Sequence[str]) -> dict[str, Activation]:
        """Inputs and outputs of the named layers for a batch; nothing behind the last is run."""

    def caller(self, inputs: Inputs, *, threads: int) -> Callable[[], object]:
        """A call that runs the whole network once, ready to be timed."""

    def layer_caller(
        self, name: str, replacement: Replacement | None, *, batch: int, threads: int
    ) -> Callable[[], object]:
        """A call that runs one layer, or its replacement, once on its real input shape."""


def batches(inputs: Inputs, size: int) -> list[Inputs]:
    """The inputs in pieces of up to `size` images.

    >>> [piece[0].shape for piece in batches((np.ones((5, 3, 8, 8)),), 2)]
    [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]
    """
    count = inputs[0].shape[0]
    return [tuple(a[start : start + size] for a in inputs) for start in range(0, count, size)]


def predictions(network: Network, inputs: Inputs, *, batch: int = 64) -> Array:
    """The network's output for all inputs, computed in batches."""
    return np.concatenate([network.predict(piece) for piece in batches(inputs, batch)])
