"""Filtering a picture as the command line does: in floats, measured, and stored in a type."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.filtering import correlate2d
from rankconv.images import Picture, in_type
from rankconv.planning import Plan, plan

Array = NDArray[Any]

DTYPES = ("same", "float32")


@dataclass(frozen=True, eq=False)
class FilteredPicture:
    """The result, its plan, and what was measured on the way.

    `values` and `exact` are the result in floats and that of the kernel at full rank, without an
    alpha band; `error` is |values - exact| / |exact| (Frobenius), `None` where the result is the
    exact one. `clipped` is the share of the values that the type of the result cannot hold.
    """

    picture: Picture
    values: Array
    exact: Array
    plan: Plan
    seconds: float
    error: float | None
    clipped: float


def filter_picture(
    picture: Picture,
    kernel: Array,
    *,
    boundary: str = "reflect",
    rank: int | None = None,
    tol: float | None = None,
    dtype: str = "same",
) -> FilteredPicture:
    """Correlate every band and page with `kernel`, and say how far the result is from exact.

    Images with up to 16 bits are filtered in float32, others in float64. `dtype` 'same' stores
    the result in the type of the picture, rounded and saturated; truth values become float32. An
    alpha band is kept as it is.

    Raises ValueError for options out of range.
    Equivalent: `scipy.ndimage.correlate` on each band.

    >>> done = filter_picture(Picture(np.eye(8, dtype=np.uint8) * 90), np.ones((3, 3)) / 9)
    >>> done.picture.pixels[0, :3].tolist(), done.plan.rank
    ([50, 30, 10], 1)
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(map(repr, DTYPES))}")
    pixels = picture.pixels
    alpha = picture.bands.endswith("A")
    colours = pixels[..., :-1, :, :] if alpha else pixels
    working = colours.astype(np.result_type(colours.dtype, np.float32), copy=False)
    taps = kernel.astype(working.dtype)
    planned = plan(
        working.shape, taps, mode="same", boundary=boundary, dtype=working.dtype,
        rank=rank, tol=tol,
    )  # fmt: skip
    start = time.perf_counter()
    values = correlate2d(working, taps, "same", boundary, rank=rank, tol=tol)
    seconds = time.perf_counter() - start
    exact, error = values, None
    if rank is not None or tol is not None:
        exact = correlate2d(working, taps, "same", boundary)
        error = _distance(values, exact)
    same = np.dtype(np.float32) if pixels.dtype.kind == "b" else pixels.dtype
    stored, clipped = in_type(values, same if dtype == "same" else np.dtype(np.float32))
    if alpha:  # it says how much of a pixel there is, and goes with the type of the colours
        stored = np.concatenate([stored, pixels[..., -1:, :, :].astype(stored.dtype)], axis=-3)
    return FilteredPicture(
        replace(picture, pixels=stored), values, exact, planned, seconds, error, clipped
    )


def _distance(values: Array, exact: Array) -> float:
    """|values - exact| / |exact| in double precision; 0 where both are 0."""
    off = float(np.linalg.norm(np.subtract(values, exact, dtype=np.float64)))
    return off / (float(np.linalg.norm(exact.astype(np.float64))) or 1.0) if off else 0.0
