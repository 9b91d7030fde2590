"""One filtering that every competitor does, the ways to do it, and the check of what came out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIZES: dict[str, tuple[int, int]] = {
    "32": (32, 32),
    "256": (256, 256),
    "512": (512, 512),
    "1080p": (1080, 1920),
    "4096": (4096, 4096),
    "8192": (8192, 8192),
}
KERNELS = (3, 5, 7, 11, 15, 31, 63)
KINDS = ("rank 1", "gaussian", "rank 3", "full")


class MissingPeerError(Exception):
    """A competitor is not installed or cannot be built here."""


class WrongResultError(Exception):
    """A competitor does not compute what the others do: nothing may be timed."""


@dataclass(frozen=True, eq=False)
class Task:
    """Correlate `image` with `kernel`, float32, mode 'valid'.

    `kind` is 'rank 1', 'rank 3' (random factors, `columns` and `rows`), 'gaussian' (rank 1 and
    symmetric, which some competitors make use of) or 'full' (no factors: both are empty).
    """

    size: str
    k: int
    kind: str
    image: Array  # (H, W)
    kernel: Array  # (k, k)
    columns: Array  # (r, k)
    rows: Array  # (r, k)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        return self.image.shape[0] - self.k + 1, self.image.shape[1] - self.k + 1

    @cached_property
    def out(self) -> Array:
        """Memory for the result."""
        return _memory(self.shape)

    @cached_property
    def same(self) -> Array:
        """Memory for those that can only give a result of the image's size."""
        return _memory(self.image.shape)

    @cached_property
    def spare(self) -> Array:
        """More of it, for a first pass or a second term."""
        return _memory(self.image.shape)

    def valid(self, same: Array) -> Array:
        """The part of a result of the image's size that no boundary touches (a view)."""
        first, (height, width) = self.k // 2, self.shape
        return same[first : first + height, first : first + width]


@dataclass(frozen=True)
class Variant:
    """One way of a competitor to do a task: `view(call())` is the result.

    `around` is entered around every timed turn, for settings that are global.
    """

    name: str
    call: Callable[[], Any]
    view: Callable[[Any], Array]
    around: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)


def _memory(shape: tuple[int, ...]) -> Array:
    array = np.empty(shape, np.float32)
    array.fill(0)  # every page is there before anyone is timed
    return array


@lru_cache(maxsize=1)
def _image(shape: tuple[int, int]) -> Array:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def make_task(size: str, k: int, kind: str) -> Task:
    """The task of a cell, the same in every run."""
    rng = np.random.default_rng(k)
    if kind == "gaussian":
        reach = np.arange(k) - k // 2
        taps = np.exp(-(reach**2) / (2 * (0.3 * (k / 2 - 1) + 0.8) ** 2))
        columns = rows = (taps / taps.sum()).astype(np.float32)[None]
    else:
        rank = {"rank 1": 1, "rank 3": 3, "full": 0}[kind]
        columns, rows = rng.standard_normal((2, rank, k)).astype(np.float32)
    if kind == "full":
        kernel = rng.standard_normal((k, k)).astype(np.float32)
    else:
        kernel = np.einsum("ri,rj->ij", columns, rows, dtype=np.float64).astype(np.float32)
    return Task(size, k, kind, _image(SIZES[size]), kernel, columns.copy(), rows.copy())


def reference(task: Task) -> list[tuple[tuple[slice, slice], Array]]:
    """The result in float64, by SciPy, in the corners and in the middle (all of a small image)."""
    from scipy.signal import correlate2d, oaconvolve

    height, width = task.shape
    side = 40
    tops = sorted({0, max(0, height // 2 - side // 2), max(0, height - side)})
    lefts = sorted({0, max(0, width // 2 - side // 2), max(0, width - side)})
    kernel = task.kernel.astype(np.float64)
    found = []
    for top in tops:
        for left in lefts:
            bottom, right = min(height, top + side), min(width, left + side)
            piece = task.image[top : bottom + task.k - 1, left : right + task.k - 1]
            piece = piece.astype(np.float64)
            if task.k <= 15:
                expected = correlate2d(piece, kernel, mode="valid")
            else:
                expected = oaconvolve(piece, kernel[::-1, ::-1], mode="valid")
            found.append(((slice(top, bottom), slice(left, right)), expected))
    return found


def scale(task: Task) -> float:
    """The largest value that the result could have, to measure errors by."""
    return float(np.abs(task.kernel).sum() * np.abs(task.image[:512, :512]).max())


# float32 sums of up to 63 x 63 products, by transforms too; a wrong tap gives 1e-3 and more.
TOLERANCE = 3e-6


def check(
    task: Task,
    who: str,
    got: Array,
    expected: list[tuple[tuple[slice, slice], Array]],
    other: Array | None,
) -> float:
    """The largest error as a share of `scale`: against float64 in places, elsewhere `other`.

    Raises WrongResultError where it is above TOLERANCE, or the shape or type is another one.
    """
    where = f"{who} at {task.size}, k = {task.k}, {task.kind}"
    if got.shape != task.shape or got.dtype != np.float32:
        raise WrongResultError(f"{where}: {got.shape} {got.dtype} instead of {task.shape} float32")
    largest = scale(task)
    worst = max(float(np.abs(got[at] - right).max()) for at, right in expected) / largest
    if other is not None:
        for top in range(0, len(got), 256):
            rows = slice(top, top + 256)
            worst = max(worst, float(np.abs(got[rows] - other[rows]).max()) / largest)
    if not worst <= TOLERANCE:
        raise WrongResultError(f"{where}: off by {worst:.2g} of the largest possible value")
    return worst


def require(module: str) -> Any:
    """The module of a competitor; raises MissingPeerError where it is not installed."""
    try:
        return __import__(module)
    except ImportError as error:
        raise MissingPeerError(f"{module}: {error}") from error


def itself(result: Any) -> Array:
    """The view of a call that returns its result."""
    return np.asarray(result)
