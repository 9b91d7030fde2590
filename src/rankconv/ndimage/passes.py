"""What a separable filter is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """out[i] = sum_j weights[j] image[i + j - before] along `axis`; weights (k,).

    With `mean` the weights are ones, and the sum is divided by k.
    """

    axis: int
    weights: Array
    before: int
    mode: str
    mean: bool = False

    def line(self) -> Array:
        """The weights, for a mean 1 / k each."""
        return self.weights / len(self.weights) if self.mean else self.weights


# Passes along different axes, one after the other. A filter is a sum of terms.
Term = Sequence[Pass]
