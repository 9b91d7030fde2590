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


def _without_fast_products(factor: float) -> dict[str, tuple[float, ...]]:
    """Complex numbers and integers: whole-array passes a byte, products `factor` times float32's.

    Integers have no fast matrix product: NumPy multiplies them one by one.
    """
    product, tile = 0.0145e-9 * factor, 0.026e-9 * factor
    return {
        "loop": (6.0e-6, 0.3e-9),
        "direct": (_CALL, _STREAM, 0.0),
        "separable": (_CALL, _STREAM, 0.0),
        "toeplitz_terms": (8.0e-6, _CALL, 0.15e-9, product, _STREAM),
        "toeplitz": (8.0e-6, 0.15e-9, product),
        "toeplitz_blocked": (16.0e-6, 4.8e-6, 0.15e-6, tile, tile),
        "fft": (22.0e-6, 22.0e-6, 0.56e-9, 0.0, 0.0, 0.0),
    }


_OTHERS = {"F": 4.0, "D": 8.4, "i": 60.0}

FITTED: Seconds = {
    "loop": {
        "f": (3e-06, 8.09e-10),
        "d": (3.07e-06, 1.15e-09),
    },
    "direct": {
        "f": (7.63e-07, 7.5e-11, 2.7e-11),
        "d": (7.62e-07, 7.26e-11, 0.0),
    },
    "separable": {
        "f": (6.29e-07, 5.89e-11, 1.27e-10),
        "d": (6.43e-07, 6.01e-11, 1.6e-10),
    },
    "toeplitz_terms": {
        "f": (7.88e-06, 9.41e-07, 7.07e-12, 1.6e-11, 2.34e-10),
        "d": (0.0, 1.5e-06, 0.0, 3.8e-11, 2.61e-10),
    },
    "toeplitz": {
        "f": (9.99e-06, 1.63e-10, 1.36e-11),
        "d": (9.65e-06, 7.93e-11, 3.54e-11),
    },
    "toeplitz_blocked": {
        "f": (1.32e-05, 9.14e-06, 1.09e-07, 3.61e-11, 0.0),
        "d": (1.72e-05, 4.47e-06, 1.86e-07, 2.89e-11, 4.34e-11),
    },
    "fft": {
        "f": (4.4e-05, 0.0, 2.4e-10, 0.0, 4e-08, 3e-10),
        "d": (4.4e-05, 0.0, 2.7e-10, 0.0, 3e-08, 2e-10),
    },
    "native_separable": {
        "f": (
            2.65e-07,
            0.0,
            6.47e-09,
            1.13e-10,
            2.06e-10,
            2.29e-10,
            3.59e-12,
            7.34e-11,
            2.21e-09,
            2.4e-11,
            5.34e-10,
        ),
        "d": (
            2.57e-07,
            9.57e-10,
            2.03e-09,
            1.46e-10,
            2.63e-10,
            1.81e-10,
            0.0,
            1.46e-10,
            2.53e-09,
            2.56e-11,
            5.67e-10,
        ),
    },
    "native_direct": {
        "f": (3.26e-07, 4.06e-09, 2.38e-10, 1.22e-10, 1.7e-09, 5.01e-10, 1.71e-11),
        "d": (1e-07, 1.34e-08, 2.42e-10, 8.7e-11, 1.5e-10, 2.51e-10, 2.16e-11),
    },
}

SHIPPED = Constants(
    "shipped",
    {
        name: row
        | {
            char: others[name]
            for char, others in ((c, _without_fast_products(f)) for c, f in _OTHERS.items())
            if name in others
        }
        for name, row in FITTED.items()
    },
)
