"""Which algorithm filters an image: counted operations times constants, or a measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rankconv._checks import as_filter, as_numbers, check_rank_or_tol
from rankconv.calibration import current
from rankconv.correlate import ALGORITHMS, NATIVE, SplitKernel, takes
from rankconv.correlate.constants import Constants
from rankconv.correlate.costs import COUNTS, Job
from rankconv.geometry import Mode, check_boundary, output_shape, padding
from rankconv.splitting import Split, split_kernel

Array = NDArray[Any]

CONVERSION = 1.5e-9  # seconds to turn a sum in floats into an integer result


@dataclass(frozen=True)
class Candidate:
    """One algorithm's cost; `measured_seconds` is None where it was not run."""

    algorithm: str
    multiply_adds: int
    estimated_seconds: float
    measured_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """The measured time where there is one, the estimated time otherwise."""
        return self.estimated_seconds if self.measured_seconds is None else self.measured_seconds


@dataclass(frozen=True)
class Plan:
    """What would run, how exact it is, and what the others would cost; `print` it as a table.

    Estimates use the constants named by `constants`: 'shipped', or 'calibrated' and a date.
    `rank` of `full_rank` terms are used. `error` is the measured relative Frobenius error of the
    kernel used, `bound` the proven one, and the result B_m obeys
    |B - B_m|_F <= output_gain |A|_F, A being the padded image, up to rounding.
    """

    algorithm: str
    candidates: tuple[Candidate, ...]
    rank: int
    full_rank: int
    error: float
    bound: float
    output_gain: float
    image_shape: tuple[int, ...]
    kernel_shape: tuple[int, int]
    output_shape: tuple[int, ...]
    mode: str
    boundary: str
    dtype: str
    constants: str

    def __str__(self) -> str:
        """A table with the cheapest candidate first."""
        lines = [
            f"image {self.image_shape}, kernel {self.kernel_shape} -> {self.output_shape} "
            f"{self.dtype}, mode={self.mode!r}, boundary={self.boundary!r}",
            f"rank {self.rank} of {self.full_rank}: kernel error {self.error:.2g} measured, "
            f"{self.bound:.2g} proven; |B - B_m| <= {self.output_gain:.3g} |A|",
            f"  {'candidate':<17}{'multiply-adds':>14}  {'time':<20}{'kernel error':>12}",
        ]
        for c in sorted(self.candidates, key=lambda c: c.seconds):
            mark = ">" if c.algorithm == self.algorithm else " "
            kind = "estimated" if c.measured_seconds is None else "measured"
            took = f"{_seconds(c.seconds)} {kind}"
            lines.append(
                f"{mark} {c.algorithm:<17}{c.multiply_adds:>14.3g}  {took:<20}{self.error:>12.2g}"
            )
        lines.append(f"  one thread; estimates use the {self.constants} constants")
        return "\n".join(lines)


def plan(
    image_shape: Sequence[int],
    kernel: ArrayLike,
    *,
    mode: Mode = "full",
    boundary: str = "fill",
    dtype: DTypeLike = np.float64,
    rank: int | None = None,
    tol: float | None = None,
    measure: bool = False,
) -> Plan:
    """How `correlate2d` would filter images of `image_shape` (..., H, W) and `dtype`.

    Times are estimated for one thread, from operation counts and constants that `calibrate` fits
    to this machine; the choice does not depend on `workers`. With `measure=True` the candidates
    that are estimated within ten times the best are run on random images, and the fastest wins;
    pass `algorithm=plan.algorithm` to use that choice.

    Raises ValueError for the same arguments as `correlate2d`.
    Equivalent: `scipy.signal.choose_conv_method`.
    Source: the counts of multiply-adds follow the paper, sections IV to VIII.

    >>> box = plan((480, 640), np.ones((9, 9)), mode="same")
    >>> box.rank, box.output_shape
    (1, (480, 640))
    """
    shape = tuple(int(n) for n in image_shape)
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"image_shape={image_shape!r} is not (..., H, W) with all sizes above 0")
    taps = as_filter(kernel, "kernel", (2,))
    check_boundary(boundary)
    check_rank_or_tol(rank, tol, min(taps.shape))
    k = (taps.shape[0], taps.shape[1])
    output_shape((shape[-2], shape[-1]), k, mode)  # refuses a kernel that does not fit
    work = work_dtype(as_numbers(np.empty(0, dtype), "image").dtype, taps.dtype, rank, tol)
    split = split_kernel(taps.astype(work), rank, tol)
    floats = exact_floats(np.dtype(dtype), work, split.kernel)
    return plan_split(
        shape, split, mode=mode, boundary=boundary, work=work, floats=floats, measure=measure
    )


def plan_split(
    shape: tuple[int, ...],
    split: Split,
    *,
    mode: Mode,
    boundary: str,
    work: np.dtype[Any],
    floats: np.dtype[Any] | None = None,
    measure: bool = False,
) -> Plan:
    """The plan for a kernel that is split already; its arguments are checked."""
    k = split.kernel.shape
    out = output_shape((shape[-2], shape[-1]), k, mode)
    pads = padding(k, mode)
    padded = (*shape[:-2], shape[-2] + sum(pads[0]), shape[-1] + sum(pads[1]))
    constants = current()
    options = candidates(padded, k, split.kernel.rank, work, constants, floats)
    if measure:
        options = _measured(options, padded, split.kernel, floats)
    return Plan(
        algorithm=_best(options),
        candidates=options,
        rank=split.kernel.rank,
        full_rank=min(k),
        error=split.error,
        bound=split.bound,
        output_gain=split.output_gain,
        image_shape=shape,
        kernel_shape=k,
        output_shape=(*shape[:-2], *out),
        mode=mode,
        boundary=boundary,
        dtype=work.name,
        constants=constants.source,
    )


def work_dtype(
    image: np.dtype[Any], kernel: np.dtype[Any], rank: int | None, tol: float | None
) -> np.dtype[Any]:
    """The dtype of the computation and of its result: NumPy's promotion of both.

    A low-rank approximation of an integer kernel has fractions, so it counts as float64.
    """
    if kernel.kind in "biu" and not (rank is None and tol is None):
        kernel = np.dtype(np.float64)
    work = np.result_type(image, kernel)
    return np.result_type(work, np.uint8) if work.kind == "b" else work


@lru_cache(maxsize=1024)
def candidates(
    padded: tuple[int, ...],
    kernel: tuple[int, int],
    rank: int,
    dtype: np.dtype[Any],
    constants: Constants,
    floats: np.dtype[Any] | None = None,
) -> tuple[Candidate, ...]:
    """Every algorithm that gives the stated accuracy, with its estimated time.

    `floats` is a dtype in which the native forms give the integers of `dtype` exactly.
    """
    job = Job(math.prod(padded[:-2]), padded[-2], padded[-1], *kernel, rank, dtype)
    options = []
    for name in ALGORITHMS:
        if takes(name, dtype):
            options.append(_candidate(name, job, constants))
        elif floats is not None and name in NATIVE:
            option = _candidate(name, job._replace(dtype=floats), constants)
            seconds = option.estimated_seconds + CONVERSION * math.prod(padded)
            options.append(replace(option, estimated_seconds=seconds))
    return tuple(options)


def _candidate(name: str, job: Job, constants: Constants) -> Candidate:
    multiply_adds, counts = COUNTS[name](job)
    row = constants.of(name, job.dtype)
    seconds = sum(count * each for count, each in zip(counts, row, strict=True))
    return Candidate(name, multiply_adds, seconds)


def choose(
    padded: tuple[int, ...],
    kernel: tuple[int, int],
    rank: int,
    dtype: np.dtype[Any],
    floats: np.dtype[Any] | None = None,
) -> str:
    """The algorithm with the smallest estimated time."""
    return _best(candidates(padded, kernel, rank, dtype, current(), floats))


def exact_floats(
    image: np.dtype[Any], work: np.dtype[Any], kernel: SplitKernel, fillvalue: complex = 0
) -> np.dtype[Any] | None:
    """The narrowest floating dtype that holds every sum of products of integers, or None.

    All sums are whole numbers up to the largest pixel times the sum of the taps' sizes.
    """
    if work.kind not in "iu" or image.kind not in "biu" or image.itemsize > 4:
        return None
    largest = 1 if image.kind == "b" else max(-int(np.iinfo(image).min), np.iinfo(image).max)
    f, g = (np.abs(part.astype(float)).sum(axis=1) for part in (kernel.f, kernel.g))
    sums = max(largest, abs(fillvalue)) * max(float(f @ g), 1.0)
    if sums < 2**24:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if sums < 2**53 else None


def _best(options: tuple[Candidate, ...]) -> str:
    return min(options, key=lambda c: (c.measured_seconds is None, c.seconds)).algorithm


def _measured(
    options: tuple[Candidate, ...],
    padded: tuple[int, ...],
    kernel: SplitKernel,
    floats: np.dtype[Any] | None,
) -> tuple[Candidate, ...]:
    """Median times of interleaved runs of the candidates near the best estimate."""
    plain = np.random.default_rng(0).integers(0, 100, padded).astype(kernel.dense.dtype)
    images = dict.fromkeys(ALGORITHMS, plain)
    if floats is not None:
        images |= dict.fromkeys(NATIVE, plain.astype(floats))
    limit = 10 * min(c.estimated_seconds for c in options)
    near = [c.algorithm for c in options if c.estimated_seconds <= limit]
    times: dict[str, list[float]] = {name: [] for name in near}
    for name in near:  # warm up
        ALGORITHMS[name](images[name], kernel)
    for _ in range(5):
        for name, taken in times.items():
            start = time.perf_counter()
            ALGORITHMS[name](images[name], kernel)
            taken.append(time.perf_counter() - start)
    return tuple(
        Candidate(
            c.algorithm,
            c.multiply_adds,
            c.estimated_seconds,
            float(np.median(times[c.algorithm])) if c.algorithm in times else None,
        )
        for c in options
    )


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"
