"""The arguments that `scipy.ndimage` takes in many forms, brought into one."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rankconv._checks import as_numbers

Array = NDArray[Any]
Output = Array | DTypeLike | None

# SciPy's names -> the names of rankconv's boundaries. For filters, SciPy's grid names are aliases.
MODES: dict[str, str] = {
    "reflect": "reflect",
    "grid-mirror": "reflect",
    "constant": "constant",
    "grid-constant": "constant",
    "nearest": "nearest",
    "mirror": "mirror",
    "wrap": "wrap",
    "grid-wrap": "wrap",
}


def as_image(value: ArrayLike) -> Array:
    """`value` as an array of numbers of a kind that SciPy's filters take, too."""
    return as_numbers(value, "input")


def per_axis(value: Any, n: int, name: str) -> list[Any]:
    """One value for each of `n` axes: a single one stands for all."""
    if isinstance(value, str) or not np.iterable(value):
        return [value] * n
    values = list(value)
    if len(values) != n:
        raise ValueError(
            f"{name}={value!r} has {len(values)} values for {n} axes: pass one, or one for each"
        )
    return values


def check_axis(axis: Any, ndim: int) -> int:
    """`axis` counted from 0."""
    try:
        at = operator.index(axis)
    except TypeError:
        raise ValueError(f"axis={axis!r} is not an integer") from None
    if not -ndim <= at < ndim:
        raise ValueError(f"axis={axis} is not an axis of an image with {ndim} dimensions")
    return at % ndim


def check_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """`axes` counted from 0; `None` stands for all."""
    if axes is None:
        return tuple(range(ndim))
    chosen = tuple(check_axis(axis, ndim) for axis in (axes if np.iterable(axes) else (axes,)))
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"axes={axes!r} names an axis twice")
    return chosen


def check_mode(mode: Any) -> str:
    """The boundary that SciPy's `mode` means."""
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(f"mode={mode!r} is not one of {', '.join(map(repr, MODES))}")
    return MODES[mode]


def taps_before(origin: Any, size: int) -> int:
    """Taps before the centre of a filter of `size` that `origin` moves; 0 lies at size // 2."""
    try:
        before = size // 2 + operator.index(origin)
    except TypeError:
        raise ValueError(f"origin={origin!r} is not an integer") from None
    if not 0 <= before < size:
        raise ValueError(
            f"origin={origin} moves the centre out of a filter of {size} taps: "
            f"allowed are {-(size // 2)} to {(size - 1) // 2}"
        )
    return before


def check_cval(cval: Any, image: Array) -> complex:
    """`cval` as a number; a complex one only for complex images."""
    try:
        number = complex(cval)
    except (TypeError, ValueError):
        raise ValueError(f"cval={cval!r} is not a number") from None
    if image.dtype.kind == "c":
        return number
    if np.iscomplexobj(cval):
        raise ValueError(f"cval={cval!r} is complex and the image is real: pass a real cval")
    return number.real


def output_dtype(output: Output, image: Array, *, complex_result: bool) -> np.dtype[Any]:
    """The dtype of the result: that of `output`, or that of the image.

    Raises ValueError where `output` has another shape, or cannot hold a complex result.
    """
    if output is None:
        return np.promote_types(image.dtype, np.complex64) if complex_result else image.dtype
    if isinstance(output, np.ndarray):
        if output.shape != image.shape:
            raise ValueError(
                f"output of shape {output.shape} must have the shape {image.shape} of the image"
            )
        if not output.flags.writeable:
            raise ValueError("output is read-only: pass an array that may be written")
        dtype = output.dtype
    else:
        try:
            dtype = np.dtype(output)
        except TypeError:
            raise ValueError(f"output={output!r} is neither an array nor a dtype") from None
    as_numbers(np.empty(0, dtype), "output")
    if complex_result and dtype.kind != "c":
        raise ValueError(
            f"output of dtype {dtype} cannot hold a complex result: use complex64 or complex128"
        )
    return dtype.newbyteorder("=")


def deliver(result: Array, output: Output) -> Array:
    """`result` in the array that was passed as `output`, or as it is."""
    if isinstance(output, np.ndarray):
        output[...] = result
        return output
    return np.asarray(result, order="C")
