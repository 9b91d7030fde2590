"""Valid correlation of a padded image, one algorithm a file.

Every algorithm is a function `(image, kernel) -> result`: `image` (..., H, W), `kernel` a
`SplitKernel` of the same dtype, result (..., H - kH + 1, W - kW + 1). Padding, dtypes and
checks are the caller's. A new algorithm is one file and one line here, another in costs.py, and
one in DTYPES where it does not take every dtype; the tests run over the dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.direct import correlate_direct
from rankconv.correlate.fft import correlate_fft
from rankconv.correlate.kernel import SplitKernel
from rankconv.correlate.loop import correlate_split_loop
from rankconv.correlate.native import (
    available,
    correlate_native_direct,
    correlate_native_separable,
)
from rankconv.correlate.separable import correlate_separable
from rankconv.correlate.toeplitz import correlate_toeplitz, correlate_toeplitz_terms
from rankconv.correlate.toeplitz_blocked import correlate_toeplitz_blocked

Array = NDArray[Any]

ALGORITHMS: dict[str, Callable[[Array, SplitKernel], Array]] = {
    "loop": correlate_split_loop,
    "direct": correlate_direct,
    "separable": correlate_separable,
    "toeplitz_terms": correlate_toeplitz_terms,
    "toeplitz": correlate_toeplitz,
    "toeplitz_blocked": correlate_toeplitz_blocked,
    "fft": correlate_fft,
}

if available:
    ALGORITHMS["native_separable"] = correlate_native_separable
    ALGORITHMS["native_direct"] = correlate_native_direct

# These compute in floats, pad nothing and may use threads: see compile_filter.
NATIVE = ("native_separable", "native_direct")

# The dtypes (NumPy's characters) that an algorithm takes, where it does not take every one.
DTYPES: dict[str, str] = {
    "fft": "fdFD",  # rounds, and integers stay exact
    "native_separable": "fd",
    "native_direct": "fd",
}


def takes(name: str, dtype: np.dtype[Any]) -> bool:
    """Whether the algorithm works in `dtype`."""
    return dtype.char in DTYPES.get(name, dtype.char)


__all__ = ["ALGORITHMS", "DTYPES", "NATIVE", "SplitKernel", "takes"]
