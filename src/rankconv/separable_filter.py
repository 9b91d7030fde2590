"""Filters that are split and planned once and called many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rankconv._checks import (
    as_filter,
    as_numbers,
    check_rank_or_tol,
    check_workers,
    filtered_axes,
    held_by,
)
from rankconv._native_module import native
from rankconv.correlate import SplitKernel
from rankconv.filtering import check_algorithm
from rankconv.geometry import Mode, check_boundary, check_mode, output_shape, padding
from rankconv.planning import Plan, plan_split
from rankconv.prepared import prepare
from rankconv.runs import Runs, make_runs
from rankconv.splitting import Split, split_kernel

Array = NDArray[Any]

if TYPE_CHECKING:
    from rankconv._native import Planned
elif native is not None:
    Planned = native.Planned
else:

    class Planned:
        """What the native one does, which knows a quick way for the last shape."""

        def __call__(self, image: ArrayLike, *, out: Array | None = None) -> Array:
            return self._filtered(image, out=out)


RESULTS = ("float32", "float64", "complex64", "complex128", "uint8", "uint16")
# Shapes whose preparation is kept; a filter that meets more starts anew.
MOST_SHAPES = 64


class SeparableFilter(Planned):
    """Correlation with one kernel (kH, kW), planned once for each image shape and dtype.

    `filter(image, *, out=None)` filters images (..., H, W) as `correlate2d` does, whose options
    these are. Other than there, the image decides the precision: uint8, uint16 and float32 images
    give float32 and float64 images float64, whatever the dtype of the kernel. `dtype` asks for
    another: 'float32' computes in float32 also for float64 images; 'uint8' and 'uint16', for
    images of that type, round the result to nearest and saturate it. The kernel's rank is judged
    in the precision of the computation; where it is full the plan may take a direct form or FFTs.

    An instance may be called from many threads at once. The kernel is copied: later changes of
    it are not seen. Where an image holds infinity, windows that see it may be NaN instead.

    Raises ValueError as `correlate2d` does.
    Equivalent: `scipy.signal.correlate2d`; `cv2.sepFilter2D` for `from_factors`.
    Source: the paper, sections VIII and IX.

    >>> blur = SeparableFilter(np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="valid")
    >>> blur(np.full((3, 4), 200, np.uint8))
    array([[200., 200.]], dtype=float32)
    >>> SeparableFilter.from_factors([-1, 0, 1], [1, 2, 1], mode="valid")(np.eye(3))
    array([[0.]])
    """

    def __init__(
        self,
        kernel: ArrayLike,
        *,
        rank: int | None = None,
        tol: float | None = None,
        mode: Mode = "full",
        boundary: str = "fill",
        fillvalue: complex = 0,
        dtype: DTypeLike | None = None,
        axes: tuple[int, int] = (-2, -1),
        workers: int | None = None,
        algorithm: str = "auto",
    ) -> None:
        taps = as_filter(kernel, "kernel", (2,)).conj()
        check_rank_or_tol(rank, tol, min(taps.shape))
        self._taps = np.array(taps, np.result_type(taps, np.float32))
        self._factors: tuple[Array, Array] | None = None
        self._accuracy = (rank, tol)
        self._set_options(mode, boundary, fillvalue, dtype, axes, workers, algorithm)

    @classmethod
    def from_factors(
        cls,
        f: ArrayLike,
        g: ArrayLike,
        *,
        mode: Mode = "full",
        boundary: str = "fill",
        fillvalue: complex = 0,
        dtype: DTypeLike | None = None,
        axes: tuple[int, int] = (-2, -1),
        workers: int | None = None,
        algorithm: str = "auto",
    ) -> Self:
        """The filter sum_i f_i g_i^T: columns `f` (kH,) or (r, kH), rows `g` (kW,) or (r, kW).

        The factors are used as they are, without an SVD. `cv2.sepFilter2D` takes them in the
        other order, `g` (its kernelX) first.

        Raises ValueError where the factors do not belong together, and as `SeparableFilter` does.

        >>> SeparableFilter.from_factors([1, 1], [1, 0, -1]).kernel
        array([[ 1.,  0., -1.],
               [ 1.,  0., -1.]])
        """
        columns = np.atleast_2d(as_filter(f, "f", (1, 2))).conj()
        rows = np.atleast_2d(as_filter(g, "g", (1, 2)))
        if len(columns) != len(rows):
            raise ValueError(
                f"f of shape {np.shape(f)} and g of shape {np.shape(g)} have {len(columns)} and "
                f"{len(rows)} terms: pass as many rows of g as of f"
            )
        made = cls.__new__(cls)
        precision = np.result_type(columns, rows, np.float32)
        made._factors = columns.astype(precision), rows.astype(precision).conj()
        made._taps = np.array(made._factors[0].T @ made._factors[1])
        made._accuracy = (None, None)
        made._set_options(mode, boundary, fillvalue, dtype, axes, workers, algorithm)
        return made

    def _set_options(
        self,
        mode: Mode,
        boundary: str,
        fillvalue: complex,
        dtype: DTypeLike | None,
        axes: tuple[int, int],
        workers: int | None,
        algorithm: str,
    ) -> None:
        check_mode(mode)
        check_boundary(boundary)
        self._mode, self._boundary, self._fillvalue = mode, boundary, fillvalue
        self._dtype = None if dtype is None else _result_dtype(dtype, self._taps.dtype)
        self._axes = axes
        self._workers = check_workers(workers)
        self._algorithm = algorithm
        if self._dtype is not None:
            held_by(fillvalue, self._dtype)
        self._ready: dict[tuple[tuple[int, ...], np.dtype[Any]], Runs] = {}

    @property
    def kernel(self) -> Array:
        """The kernel (kH, kW) that was given, or the sum of the factors' terms."""
        return np.array(self._taps.conj())

    if TYPE_CHECKING:  # a call is Planned's; what it has no quick way for comes to _filtered

        def __call__(self, image: ArrayLike, *, out: Array | None = None) -> Array:
            """Filter images (..., H, W), into `out` if that is given."""

    def plan(self, image_shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Plan:
        """What would run on images (..., H, W) of `dtype`; a printable table, as `plan` gives."""
        image = as_numbers(np.empty(0, dtype), "image").dtype
        work, _ = self._dtypes(image)
        shape = tuple(int(n) for n in image_shape)
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(f"image_shape={image_shape!r} is not (..., H, W), all sizes above 0")
        split = self._split(work)
        return plan_split(shape, split, mode=self._mode, boundary=self._boundary, work=work)

    def __repr__(self) -> str:
        """Shape of the kernel and options."""
        kind = "x".join(map(str, self._taps.shape))
        return f"<SeparableFilter {kind}, mode={self._mode!r}, boundary={self._boundary!r}>"

    def __getstate__(self) -> dict[str, Any]:
        """What was planned stays here: another process or machine plans anew."""
        return self.__dict__ | {"_ready": {}}

    def _filtered(self, image: ArrayLike, *, out: Array | None = None) -> Array:
        A = as_numbers(image, "image")
        runs = self._ready.get((A.shape, A.dtype)) or self._prepare(A)
        if runs.compiled is not None:
            self._keep(runs.compiled, A.dtype.num, runs.result.num, A.shape)
        return runs.general(A, out)

    def _dtypes(self, image: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
        """The dtypes of the computation and of the result."""
        result = self._dtype
        if result is None:
            result = np.result_type(image, np.float32)
            if self._taps.dtype.kind == "c":
                result = np.result_type(result, np.complex64)
        if result.kind == "u":
            if image != result:
                raise ValueError(
                    f"an image of dtype {image} cannot be filtered with dtype={result.name!r}: "
                    f"pass {result} images, or a filter with dtype='float32'"
                )
            return np.dtype(np.float32), result
        if image.kind == "c" and result.kind != "c":
            raise ValueError(
                f"an image of dtype {image} cannot be filtered with dtype={result.name!r}: pass "
                "a filter with dtype=None or a complex one"
            )
        return result, result

    def _split(self, work: np.dtype[Any]) -> Split:
        if self._factors is None:
            return split_kernel(self._taps.astype(work), *self._accuracy)
        f, g = (np.ascontiguousarray(part.astype(work)) for part in self._factors)
        return Split(SplitKernel(self._taps.astype(work), f, g), 0.0, 0.0, 0.0)

    def _prepare(self, image: Array) -> Runs:
        """What filters images of this shape and dtype, kept for the next one."""
        if image.ndim < 2 or image.size == 0:
            raise ValueError(
                f"image of shape {image.shape} is not (..., H, W) with all sizes above 0"
            )
        work, result = self._dtypes(image.dtype)
        check_algorithm(self._algorithm, work)
        fill = held_by(self._fillvalue, result)
        axes = filtered_axes(self._axes, image.ndim)
        A = image if axes is None else np.moveaxis(image, axes, (-2, -1))
        k = (self._taps.shape[0], self._taps.shape[1])
        shape = (*A.shape[:-2], *output_shape((A.shape[-2], A.shape[-1]), k, self._mode))
        ready = prepare(
            self._split(work).kernel,
            A.shape,
            work,
            image_dtype=image.dtype,
            pads=padding(k, self._mode),
            boundary=self._boundary,
            fillvalue=fill,
            algorithm=self._algorithm,
            workers=self._workers,
            exact_infinities=False,
        )
        if len(self._ready) >= MOST_SHAPES:
            self._ready.clear()
        runs = make_runs(ready, shape, image.dtype, result, axes)
        self._ready[image.shape, image.dtype] = runs
        return runs


def _result_dtype(dtype: DTypeLike, taps: np.dtype[Any]) -> np.dtype[Any]:
    result = np.dtype(dtype)
    if result.name not in RESULTS:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(map(repr, RESULTS))} or None")
    if taps.kind == "c" and result.kind != "c":
        raise ValueError(
            f"dtype={dtype!r} cannot hold the results of a complex kernel: pass 'complex64' or "
            "'complex128', or the kernel's real part"
        )
    return result
