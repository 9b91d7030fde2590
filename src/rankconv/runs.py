"""What filters images of one shape and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankconv._checks import check_out
from rankconv.correlate.native import compile_filter
from rankconv.filtering import moved_back
from rankconv.prepared import READS, Prepared, apply

if TYPE_CHECKING:
    from rankconv._native import Filter

Array = NDArray[Any]


class Runs(NamedTuple):
    """What filters images of one shape and dtype.

    `general(image, out)` takes any `out`; `compiled(image, *, out=None)`, which does the same with
    an `out` of the dtype `result`, is None where the native filter leaves something to do.
    """

    compiled: Filter | None
    general: Callable[[Array, Array | None], Array]
    result: np.dtype[Any]


def make_runs(
    ready: Prepared,
    shape: tuple[int, ...],
    image: np.dtype[Any],
    result: np.dtype[Any],
    axes: tuple[int, int] | None,
) -> Runs:
    """`shape` (..., H, W) and `result` are those of the result; `axes` where H and W stand."""
    narrow = None
    if result.kind == "u" and ready.compiled is not None:
        separable = ready.algorithm == "native_separable"
        narrow = compile_filter(
            None if separable else ready.kernel.dense,
            factors=(ready.kernel.f, ready.kernel.g) if separable else None,
            padding=ready.pads,
            boundary=ready.boundary,
            fillvalue=ready.fillvalue.real,
            keep_dtype=True,
            workers=ready.workers,
        )

    def filtered(A: Array, out: Array | None) -> Array:
        if result.kind != "u":
            return apply(ready, A, out)
        if narrow is not None and (out is None or out.dtype == result):
            return narrow(A, out=out)
        B = narrow(A) if narrow is not None else _rounded(apply(ready, A), result)
        if out is None:
            return B
        np.copyto(out, B, casting="safe")
        return out

    def general(A: Array, out: Array | None = None) -> Array:
        if axes is None:
            if out is not None:
                check_out(out, shape, result)
            return filtered(A, out)
        if out is None:
            out = np.empty(moved_back(shape, axes), result)
        check_out(out, moved_back(shape, axes), result)
        filtered(np.moveaxis(A, axes, (-2, -1)), np.moveaxis(out, axes, (-2, -1)))
        return out

    reads = image.char in READS.get(ready.dtype.char, "")
    compiled = narrow if result.kind == "u" else ready.compiled if reads else None
    return Runs(compiled if axes is None else None, general, result)


def _rounded(B: Array, dtype: np.dtype[Any]) -> Array:
    """To nearest, ties to even, and saturated."""
    top = np.iinfo(dtype).max
    return np.asarray(np.rint(B).clip(0, top).astype(dtype))
