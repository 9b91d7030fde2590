"""Filtering Dask arrays: images beyond memory and beyond one machine, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    import dask.array as da
except ImportError as missing:
    raise ImportError(
        f"rankconv.dask needs the package {missing.name}: pip install 'rankconv[dask]'"
    ) from missing

from rankconv import filtering
from rankconv.geometry import BOUNDARIES, Mode, Pair, output_shape, pad, padding

Array = NDArray[Any]


def correlate2d(
    image: da.Array,
    kernel: ArrayLike,
    mode: Mode = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    *,
    rank: int | None = None,
    tol: float | None = None,
    algorithm: str = "auto",
) -> da.Array:
    """Correlate the Dask images (..., H, W) with a kernel (kH, kW), lazily and chunk by chunk.

    Arguments and result are those of `rankconv.correlate2d`; nothing is computed before the
    result is. Each chunk is read with the rows and columns around it that the kernel reaches,
    and planned by itself, so that results agree up to rounding, and integers exactly. Chunks of
    rows or columns that are smaller than the kernel are joined.

    Raises ValueError for what `rankconv.correlate2d` refuses, and TypeError where `image` is no
    Dask array.
    Equivalent: `scipy.signal.correlate2d` on the whole image; `dask_image.ndfilters.correlate`.

    >>> import dask.array as da
    >>> image = da.ones((4, 6), chunks=(2, 3))
    >>> correlate2d(image, [[1.0, 1.0]], mode="valid").compute()[0]
    array([2., 2., 2., 2., 2.])
    """
    return _filter(
        filtering.correlate2d, image, kernel, mode, boundary, fillvalue,
        rank=rank, tol=tol, algorithm=algorithm,
    )  # fmt: skip


def convolve2d(
    image: da.Array,
    kernel: ArrayLike,
    mode: Mode = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    *,
    rank: int | None = None,
    tol: float | None = None,
    algorithm: str = "auto",
) -> da.Array:
    """Convolve the Dask images (..., H, W) with a kernel (kH, kW), lazily and chunk by chunk.

    Arguments, result and errors are those of `correlate2d` and of `rankconv.convolve2d`.
    Equivalent: `scipy.signal.convolve2d` on the whole image; `dask_image.ndfilters.convolve`.

    >>> import dask.array as da
    >>> convolve2d(da.arange(4, chunks=2)[None], [[1, -1]], boundary="wrap").compute()
    array([[-3,  1,  1,  1, -3]])
    """
    return _filter(
        filtering.convolve2d, image, kernel, mode, boundary, fillvalue,
        rank=rank, tol=tol, algorithm=algorithm,
    )  # fmt: skip


def _filter(
    function: Any,
    image: da.Array,
    kernel: ArrayLike,
    mode: Mode,
    boundary: str,
    fillvalue: complex,
    **options: Any,
) -> da.Array:
    if not isinstance(image, da.Array):
        raise TypeError(
            f"image is a {type(image).__name__}: pass a Dask array, e.g. "
            "dask.array.from_array(image, chunks=2048), or use rankconv.correlate2d"
        )
    if image.ndim < 2 or any(not n > 0 for n in image.shape):  # a NaN is an unknown size
        raise ValueError(
            f"image of shape {image.shape} is not (..., H, W) with known sizes above 0"
        )
    # One window through the function for arrays: it checks the arguments and tells the dtype.
    taps = np.asarray(kernel)
    window = np.zeros(taps.shape if taps.ndim == 2 else (1, 1), image.dtype)
    dtype = function(window, taps, mode, boundary, fillvalue, **options).dtype
    kH, kW = taps.shape
    output_shape((int(image.shape[-2]), int(image.shape[-1])), (kH, kW), mode)  # or it is refused
    flipped = function is filtering.convolve2d
    chunks = [_joined(image.chunks[i - 2], taps.shape[i]) for i in (0, 1)]
    rows, columns = (
        _plan(chunks[i], edge, reach, boundary)
        for i, edge, reach in zip(
            (0, 1),
            padding((kH, kW), mode, flipped=flipped),
            padding((kH, kW), "same", flipped=flipped),
            strict=True,
        )
    )
    work = partial(
        _filter_chunk, function=function, taps=taps, boundary=boundary, fillvalue=fillvalue,
        options=options, rows=rows, columns=columns, dtype=dtype,
    )  # fmt: skip
    last = image.ndim - 1
    joined: Any = image  # Dask's own annotations are partial
    map_overlap: Any = da.map_overlap
    result: da.Array = map_overlap(
        work,
        joined.rechunk({last - 1: chunks[0], last: chunks[1]}),
        depth={last - 1: rows.depth, last: columns.depth},
        boundary={last - 1: rows.beyond, last: columns.beyond},
        trim=False,
        allow_rechunk=False,
        chunks=(*image.chunks[:-2], rows.chunks, columns.chunks),
        meta=np.empty((0,) * image.ndim, dtype),
    )
    return result


@dataclass(frozen=True)
class Axis:
    """How the chunks of one axis are filtered.

    Each chunk gets `depth` pixels of its neighbours, and at the ends of the image none or, with
    `beyond` 'periodic', those of the other end. Then `inner` pixels (before, after) are added
    within the image and `outer` ones at its ends, by the boundary; a negative number removes
    pixels. The chunks of the result are `chunks` long.
    """

    depth: int | Pair
    beyond: str
    inner: Pair
    outer: Pair
    chunks: tuple[int, ...]

    def pads(self, at: int) -> Pair:
        """Pixels to add before and after the chunk number `at`."""
        first, last = at == 0, at == len(self.chunks) - 1
        return self.outer[0] if first else self.inner[0], self.outer[1] if last else self.inner[1]


def _plan(chunks: tuple[int, ...], edge: Pair, reach: Pair, boundary: str) -> Axis:
    """`edge` pixels continue the image; a window reaches `reach` pixels before and after."""
    sizes = list(chunks)
    sizes[0] += edge[0] - reach[0]
    sizes[-1] += edge[1] - reach[1]
    if len(chunks) == 1:
        return Axis(0, "none", (0, 0), edge, tuple(sizes))
    if BOUNDARIES[boundary] == "wrap" and edge != (0, 0):
        depth = max(*edge, *reach)  # Dask's periodic boundary has one depth for both sides
        return Axis(
            depth,
            "periodic",
            (reach[0] - depth, reach[1] - depth),
            (edge[0] - depth, edge[1] - depth),
            tuple(sizes),
        )
    return Axis(reach, "none", (0, 0), edge, tuple(sizes))


def _joined(chunks: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Neighbouring chunks put together until each has `least` pixels, or the image is one."""
    sizes: list[int] = []
    gathered = 0
    for chunk in chunks:
        gathered += int(chunk)
        if gathered >= least:
            sizes.append(gathered)
            gathered = 0
    if gathered:
        sizes = [*sizes[:-1], sizes[-1] + gathered] if sizes else [gathered]
    return tuple(sizes)


def _filter_chunk(
    chunk: Array,
    block_id: Sequence[int],
    *,
    function: Any,
    taps: Array,
    boundary: str,
    fillvalue: complex,
    options: dict[str, Any],
    rows: Axis,
    columns: Axis,
    dtype: np.dtype[Any],
) -> Array:
    """The part of the result that belongs to one chunk, which comes with its surroundings."""
    (above, below), (left, right) = rows.pads(block_id[-2]), columns.pads(block_id[-1])
    chunk = chunk[..., _kept(above, below), _kept(left, right)]
    pads = (max(above, 0), max(below, 0)), (max(left, 0), max(right, 0))
    if BOUNDARIES[boundary] == "fill" and pads != ((0, 0), (0, 0)):
        chunk = chunk.astype(dtype, copy=False)  # which can hold the fillvalue
    chunk = pad(chunk, pads, boundary=boundary, fillvalue=fillvalue)
    # Dask's scheduler decides how many chunks go at once; each takes one thread.
    return np.asarray(function(chunk, taps, "valid", workers=1, **options))


def _kept(before: int, after: int) -> slice:
    return slice(max(-before, 0), min(after, 0) or None)
