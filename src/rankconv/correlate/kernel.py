"""The filter as every algorithm takes it: the matrix and its factors side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class SplitKernel:
    """A filter F and factors with F = sum_i f_i g_i^T, all of one dtype.

    `dense` (kH, kW); `f` (r, kH), the column filters; `g` (r, kW), the row filters.
    An algorithm uses either `dense` or the factors and gives the same result.
    """

    dense: Array
    f: Array
    g: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the filter."""
        return self.f.shape[1], self.g.shape[1]

    @property
    def rank(self) -> int:
        """Number of terms f_i g_i^T."""
        return int(self.f.shape[0])
