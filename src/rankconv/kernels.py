"""Filters by name, by file or by their numbers: what the command line calls a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]


def parse_kernel(text: str) -> Kernel:
    """The filter that `text` describes, float64 (kH, kW).

    Either a name with settings (`gaussian:sigma=3,size=13`, `box:size=5`, `sobel`, `sobel:axis=1`,
    `laplacian`, `log:sigma=2`, `disk:radius=4`), or the path of a `.npy` file, or rows of numbers
    separated by semicolons (`1,0,-1;2,0,-2;1,0,-1`).

    Raises ValueError that says what was not understood.

    >>> parse_kernel("1,0,-1;2,0,-2;1,0,-1")
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.],
           [ 1.,  0., -1.]])
    >>> parse_kernel("gaussian:sigma=1").shape
    (9, 9)
    """
    text = text.strip()
    name, _, settings = text.partition(":")
    if name in KERNELS:
        return _named(name, settings)
    if text.endswith(".npy"):
        return _from_file(Path(text))
    return _from_numbers(text)


def gaussian(*, sigma: float, size: int | None = None) -> Kernel:
    """A Gaussian of deviation `sigma` pixels, sum 1; `size` defaults to 4 sigma on each side."""
    bell = _bell(sigma, size)
    return np.asarray(np.outer(bell, bell))


def box(*, size: int) -> Kernel:
    """The mean over `size` x `size` pixels."""
    _odd_or_any(size, "size")
    return np.full((size, size), 1.0 / size**2)


def sobel(*, axis: int = 0) -> Kernel:
    """The 3 x 3 Sobel derivative along `axis`, with the signs of `scipy.ndimage.sobel`."""
    if axis not in (0, 1):
        raise ValueError(f"sobel: axis={axis} is not 0 or 1")
    kernel = np.outer([-1.0, 0.0, 1.0], [1.0, 2.0, 1.0])
    return kernel if axis == 0 else np.ascontiguousarray(kernel.T)


def laplacian() -> Kernel:
    """The 3 x 3 five-point Laplacian."""
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def log(*, sigma: float, size: int | None = None) -> Kernel:
    """The Laplacian of a Gaussian, shifted to sum to 0; its rank is 2."""
    g = _bell(sigma, size)
    x = np.arange(len(g)) - (len(g) - 1) / 2
    second = g * (x**2 / sigma**4 - 1 / sigma**2)
    second -= g * (second.sum() / g.sum())
    return np.asarray(np.outer(second, g) + np.outer(g, second))


def disk(*, radius: float) -> Kernel:
    """The mean over a disk, as an out-of-focus lens blurs."""
    if not radius > 0 or radius > 500:
        raise ValueError(f"disk: radius={radius} must be above 0 and at most 500 pixels")
    reach = math.floor(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = (x**2 + y**2 <= radius**2).astype(np.float64)
    return np.asarray(inside / inside.sum())


KERNELS: dict[str, Callable[..., Kernel]] = {
    "gaussian": gaussian,
    "box": box,
    "sobel": sobel,
    "laplacian": laplacian,
    "log": log,
    "disk": disk,
}


def _bell(sigma: float, size: int | None) -> Kernel:
    if not 0 < sigma <= 250:
        raise ValueError(f"sigma={sigma} must be above 0 and at most 250 pixels")
    size = 2 * math.ceil(4 * sigma) + 1 if size is None else size
    _odd_or_any(size, "size")
    x = np.arange(size) - (size - 1) / 2
    bell = np.exp(-0.5 * (x / sigma) ** 2)
    return np.asarray(bell / bell.sum(), np.float64)


def _odd_or_any(size: int, name: str) -> None:
    if not 1 <= size <= 4096:
        raise ValueError(f"{name}={size} must be between 1 and 4096 pixels")


def _named(name: str, settings: str) -> Kernel:
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in settings.split(","))):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            raise ValueError(
                f"kernel {name!r}: {part!r} is not a setting such as sigma=3"
            ) from None
        whole = key in ("size", "axis")
        if whole and number != int(number):
            raise ValueError(f"kernel {name!r}: {key}={value} must be a whole number")
        given[key] = int(number) if whole else number
    try:
        return KERNELS[name](**given)
    except TypeError:
        wanted = ", ".join(KERNELS[name].__kwdefaults__ or {}) or "none"
        allowed = KERNELS[name].__code__.co_varnames[: KERNELS[name].__code__.co_kwonlyargcount]
        raise ValueError(
            f"kernel {name!r} takes the settings {', '.join(allowed) or 'none'} "
            f"(optional: {wanted}), not {', '.join(given) or 'none'}"
        ) from None


def _from_file(path: Path) -> Kernel:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"kernel file {path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"kernel file {path} is not a .npy array of numbers: {error}") from None
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"kernel file {path} holds {array.dtype} of shape {array.shape}: "
            "a filter is a real matrix (kH, kW)"
        )
    return np.asarray(array, np.float64)


def _from_numbers(text: str) -> Kernel:
    try:
        rows = [[float(v) for v in row.split(",")] for row in text.strip(";").split(";")]
    except ValueError:
        raise ValueError(
            f"kernel {text!r} is none of {', '.join(KERNELS)}, no .npy file and no rows of "
            "numbers such as '1,0,-1;2,0,-2;1,0,-1'"
        ) from None
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"kernel {text!r} has rows of {sorted({len(r) for r in rows})} numbers")
    return np.array(rows)
