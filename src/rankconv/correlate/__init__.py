"""Valid correlation of a padded image, one algorithm a file.

Every algorithm is a function `(image, kernel) -> result`: `image` (..., H, W), `kernel` a
`SplitKernel` of the same dtype, result (..., H - kH + 1, W - kW + 1). Padding, dtypes and
checks are the caller's. A new algorithm is one file and one line here, another in costs.py, and
one in DTYPE_KINDS where it does not take every dtype; the tests run over the dictionary.
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

# Kinds of dtype that an algorithm takes, where it is not all of "iufc".
DTYPE_KINDS: dict[str, str] = {
    "fft": "fc",  # rounds, and integers stay exact
}


def takes(name: str, dtype: np.dtype[Any]) -> bool:
    """Whether the algorithm works in `dtype`."""
    return dtype.kind in DTYPE_KINDS.get(name, "iufc")


__all__ = ["ALGORITHMS", "DTYPE_KINDS", "SplitKernel", "takes"]
