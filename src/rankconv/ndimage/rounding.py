"""Storing double-precision sums as SciPy does: floats rounded, integers cut towards zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def stored(sums: Array, dtype: np.dtype[Any], limit: float = np.inf) -> Array:
    """`sums`, none of them above `limit`, in the real `dtype`.

    An integer loses its fraction, and what the type cannot hold wraps around: 300.7 becomes 44 in
    uint8, -1 becomes 255. (C leaves that open; it is what SciPy's builds do for the types up to
    16 bits.) A truth value is True where the integer is not 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype.kind == "f":
            return sums.astype(dtype, copy=False)
        if dtype.kind == "b":
            return np.asarray(sums.astype(np.int64) != 0)
        if dtype == np.uint64:
            return np.asarray(
                np.maximum(sums, 0).astype(dtype) - np.maximum(-sums, 0).astype(dtype)
            )
        return sums.astype(np.int32 if limit < 2**31 else np.int64).astype(dtype)
