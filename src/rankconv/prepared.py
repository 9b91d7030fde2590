"""A filtering made ready for images of one shape and dtype: what does not depend on pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate import ALGORITHMS, NATIVE, SplitKernel, takes
from rankconv.correlate.native import compile_filter
from rankconv.geometry import Pair, pad
from rankconv.planning import choose, exact_floats

if TYPE_CHECKING:
    from rankconv._native import Filter

Array = NDArray[Any]

# What a compiled filter reads without converting the whole image first, by the dtype of its sums.
READS = {"f": "fBH", "d": "d"}
# Zeros of a matrix times NaN are NaN: the other forms carry NaN out of the windows that see it.
KEEPS_NAN_IN_ITS_WINDOWS = ("loop", "direct", "native_direct", "native_separable")


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """How to filter images (..., H, W) of one shape.

    `dtype` is that of the result; a native form computes in `floats`. `guarded`: an image that
    holds NaN or infinity goes to a direct form instead. `compiled` is the native filter, edges
    and threads included, if `algorithm` is native.
    """

    algorithm: str
    kernel: SplitKernel
    dtype: np.dtype[Any]
    floats: np.dtype[Any]
    pads: tuple[Pair, Pair]
    boundary: str
    fillvalue: complex
    workers: int | None
    guarded: bool
    compiled: Filter | None


def prepare(
    kernel: SplitKernel,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    image_dtype: np.dtype[Any],
    pads: tuple[Pair, Pair],
    boundary: str,
    fillvalue: complex,
    algorithm: str,
    workers: int | None,
    exact_infinities: bool,
) -> Prepared:
    """Choose and set up an algorithm; `exact_infinities` also where several terms could make NaN.

    The sum of a separable filter's terms may be infinity minus infinity where the direct sum is
    infinite; only a direct form gives that as SciPy does.
    """
    guarded = False
    floats = exact_floats(image_dtype, dtype, kernel, fillvalue)
    if algorithm == "auto":
        (above, below), (left, right) = pads
        padded = (*shape[:-2], shape[-2] + above + below, shape[-1] + left + right)
        algorithm = choose(padded, kernel.shape, kernel.rank, dtype, floats)
        exact = algorithm != "native_separable" or kernel.rank == 1 or not exact_infinities
        guarded = dtype.kind in "fc" and not (algorithm in KEEPS_NAN_IN_ITS_WINDOWS and exact)
    compiled = _compiled(algorithm, kernel, pads, boundary, fillvalue, workers)
    edges = (pads, boundary, fillvalue)
    return Prepared(algorithm, kernel, dtype, floats or dtype, *edges, workers, guarded, compiled)


def apply(prepared: Prepared, image: Array, out: Array | None = None) -> Array:
    """Filter an image (..., H, W); with `out`, an array that takes the result safely, into it."""
    p = prepared
    algorithm, compiled = p.algorithm, p.compiled
    if p.guarded and not (np.isfinite(p.fillvalue) and _is_finite(image)):
        algorithm = "direct"
        if "native_direct" in ALGORITHMS and takes("native_direct", p.dtype):
            algorithm = "native_direct"
        compiled = _compiled(algorithm, p.kernel, p.pads, p.boundary, p.fillvalue, p.workers)
    if compiled is not None:
        if image.dtype.char not in READS[p.floats.char]:
            image = image.astype(p.floats)
        if p.floats == p.dtype and (out is None or out.dtype == p.dtype):
            return compiled(image, out=out)
        result = compiled(image)
        if p.floats != p.dtype:  # whole numbers that wrap around in the result's dtype
            result = result.astype(np.int64).astype(p.dtype, copy=False)
    else:
        image = image.astype(p.dtype, copy=False)
        padded = pad(
            image, p.pads, boundary=p.boundary, fillvalue=np.asarray(p.fillvalue).astype(p.dtype)
        )
        result = ALGORITHMS[algorithm](padded, p.kernel)
    if out is None:
        return result
    np.copyto(out, result, casting="safe")
    return out


def _compiled(
    algorithm: str,
    kernel: SplitKernel,
    pads: tuple[Pair, Pair],
    boundary: str,
    fillvalue: complex,
    workers: int | None,
) -> Filter | None:
    if algorithm not in NATIVE:
        return None
    separable = algorithm == "native_separable"
    return compile_filter(
        None if separable else kernel.dense,
        factors=(kernel.f, kernel.g) if separable else None,
        padding=pads,
        boundary=boundary,
        fillvalue=fillvalue.real,
        workers=workers,
    )


def _is_finite(image: Array) -> bool:
    if image.dtype.kind not in "fc":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        total = image.sum()
    # A sum may overflow without an infinity in the image: then look at every pixel.
    return bool(np.isfinite(total)) or bool(np.isfinite(image).all())
