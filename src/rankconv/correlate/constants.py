"""Seconds that each piece of counted work takes, by algorithm and dtype.

The shipped ones were fitted with one thread on a 2-core x86 server with AVX-512 (NumPy 2.4,
OpenBLAS) and are estimates elsewhere; what counts for a choice is their ratio, and
`rankconv.calibrate` replaces them by this machine's. Each row belongs to the counts of the
function of the same name in costs.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Seconds = dict[str, dict[str, tuple[float, ...]]]


@dataclass(frozen=True, eq=False)
class Constants:
    """Constants and where they come from; two are the same only if they are one object."""

    source: str
    seconds: Seconds

    def of(self, algorithm: str, dtype: np.dtype[Any]) -> tuple[float, ...]:
        """The row of one algorithm; integers of every width share one."""
        return self.seconds[algorithm][dtype.char if dtype.char in "fdFD" else "i"]


_CALL = 0.8e-6  # one NumPy call on a small array
_STREAM = 0.085e-9  # a byte of a multiply-add by whole-array passes


def _without_fast_products(factor: float) -> Seconds:
    """Complex numbers and integers: whole-array passes a byte, products `factor` times float32's.

    Integers have no fast matrix product: NumPy multiplies them one by one.
    """
    product, tile = 0.0145e-9 * factor, 0.026e-9 * factor
    return {
        "loop": {"": (6.0e-6, 0.3e-9)},
        "direct": {"": (_CALL, _STREAM, 0.0)},
        "separable": {"": (_CALL, _STREAM, 0.0)},
        "toeplitz_terms": {"": (8.0e-6, _CALL, 0.15e-9, product, _STREAM)},
        "toeplitz": {"": (8.0e-6, 0.15e-9, product)},
        "toeplitz_blocked": {"": (16.0e-6, 4.8e-6, 0.15e-6, tile, tile)},
        "fft": {"": (22.0e-6, 22.0e-6, 0.56e-9, 0.0, 0.0, 0.0)},
    }


FITTED: Seconds = {
    "loop": {"f": (6e-6, 0.3e-9), "d": (6e-6, 0.3e-9)},
    "direct": {"f": (8e-7, 8.5e-11, 0.0), "d": (8e-7, 8.5e-11, 0.0)},
    "separable": {"f": (8e-7, 8.5e-11, 0.0), "d": (8e-7, 8.5e-11, 0.0)},
    "toeplitz_terms": {
        "f": (8e-6, 8e-7, 1.5e-10, 1.45e-11, 8.5e-11),
        "d": (8e-6, 8e-7, 1.5e-10, 3.05e-11, 8.5e-11),
    },
    "toeplitz": {"f": (8e-6, 2e-10, 1.25e-11), "d": (8e-6, 1.2e-10, 3.06e-11)},
    "toeplitz_blocked": {
        "f": (1.9e-5, 9.2e-6, 5.8e-8, 3.45e-11, 3.1e-12),
        "d": (1.96e-5, 8.1e-6, 1.6e-7, 6.3e-11, 3.4e-12),
    },
    "fft": {
        "f": (4e-6, 4e-5, 2.25e-10, 0.0, 4e-8, 0.0),
        "d": (0.0, 4.4e-5, 2.75e-10, 0.0, 1.16e-8, 0.0),
    },
    "native_separable": {
        "f": (
            3.01e-07,
            0.00e00,
            1.09e-08,
            8.63e-11,
            2.94e-10,
            1.60e-10,
            0.00e00,
            0.00e00,
            1.89e-09,
            1.72e-11,
        ),
        "d": (
            1.58e-07,
            4.87e-09,
            6.61e-09,
            1.72e-10,
            2.16e-10,
            2.03e-10,
            2.19e-10,
            0.00e00,
            1.59e-09,
            1.83e-11,
        ),
    },
    "native_direct": {
        "f": (3.26e-07, 4.06e-09, 2.38e-10, 1.22e-10, 0.00e00, 5.01e-10, 1.71e-11),
        "d": (1e-7, 1.34e-08, 2.42e-10, 8.70e-11, 0.00e00, 2.51e-10, 2.16e-11),
    },
}

SHIPPED = Constants(
    "shipped",
    {
        name: row
        | {
            char: _without_fast_products(factor)[name][""]
            for char, factor in (("F", 4.0), ("D", 8.4), ("i", 60.0))
            if name in _without_fast_products(factor)
        }
        for name, row in FITTED.items()
    },
)
