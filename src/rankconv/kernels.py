"""Filters by name, by file or by their numbers: what the command line calls a kernel."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]


def parse_kernel(text: str) -> Kernel:
    """The filter that `text` describes, float64 (kH, kW).

    Either a name with settings (`gaussian:sigma=3,size=13`, `box:size=5`, `sobel`, `sobel:axis=1`,
    `prewitt`, `laplacian`, `log:sigma=2`, `disk:radius=4`), or the path of a `.npy` file, or rows
    of numbers with semicolons between rows (`1,0,-1;2,0,-2;1,0,-1` or `1 0 -1; 2 0 -2; 1 0 -1`).

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
    if name.strip() in KERNELS:
        return _named(name.strip(), settings)
    if text.lower().endswith(".npy"):
        return _from_file(Path(text))
    return _from_numbers(text)


def gaussian(*, sigma: float, size: int | None = None) -> Kernel:
    """A Gaussian of deviation `sigma` pixels, sum 1; `size` defaults to 4 sigma on each side.

    Equivalent: what `scipy.ndimage.gaussian_filter` applies.
    """
    bell = _bell(sigma, size)
    return np.asarray(np.outer(bell, bell))


def box(*, size: int) -> Kernel:
    """The mean over `size` x `size` pixels."""
    _check_size(size, "size")
    return np.full((size, size), 1.0 / size**2)


def sobel(*, axis: int = 0) -> Kernel:
    """The 3 x 3 Sobel derivative along `axis`, with the signs of `scipy.ndimage.sobel`."""
    return _derivative("sobel", [1.0, 2.0, 1.0], axis)


def prewitt(*, axis: int = 0) -> Kernel:
    """The 3 x 3 Prewitt derivative along `axis`, with the signs of `scipy.ndimage.prewitt`."""
    return _derivative("prewitt", [1.0, 1.0, 1.0], axis)


def laplacian() -> Kernel:
    """The 3 x 3 five-point Laplacian."""
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def log(*, sigma: float, size: int | None = None) -> Kernel:
    """The Laplacian of a Gaussian, shifted to sum to 0; its rank is 2."""
    g = _bell(sigma, size)
    second = bell(_places(len(g)), sigma, order=2)
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
    "prewitt": prewitt,
    "laplacian": laplacian,
    "log": log,
    "disk": disk,
}


def bell(places: Kernel, sigma: float, *, order: int = 0) -> Kernel:
    """A Gaussian at `places` (n,), sum 1, or its derivative of `order`.

    The derivative is a polynomial times the Gaussian: q_0 = 1, q_(n+1) = q_n' - x q_n / sigma^2.
    """
    weights = np.exp(-0.5 / (sigma * sigma) * places**2)
    weights = weights / weights.sum()
    slope = np.polynomial.Polynomial([0.0, -1.0 / (sigma * sigma)])
    factor = np.polynomial.Polynomial([1.0])
    for _ in range(order):
        factor = factor.deriv() + slope * factor
    powers = np.power.outer(places, np.arange(order + 1))
    return np.asarray(weights * (powers @ factor.coef) if order else weights, np.float64)


@lru_cache(maxsize=256)
def gaussian_line(sigma: float, radius: int, order: int = 0) -> Kernel:
    """`bell` at the whole numbers from -radius to radius, (2 radius + 1,), read-only."""
    weights = bell(np.arange(-radius, radius + 1, dtype=np.float64), sigma, order=order)
    weights.flags.writeable = False
    return weights


def gaussian_radius(sigma: float, truncate: float = 4.0) -> int:
    """Pixels on each side of the centre, as `scipy.ndimage.gaussian_filter` takes them."""
    return int(truncate * sigma + 0.5)


def _bell(sigma: float, size: int | None) -> Kernel:
    if not 0 < sigma <= 250:
        raise ValueError(f"sigma={sigma} must be above 0 and at most 250 pixels")
    size = 2 * gaussian_radius(sigma) + 1 if size is None else size
    _check_size(size, "size")
    return bell(_places(size), sigma)


def _places(size: int) -> Kernel:
    """Distances from the centre; between two pixels where `size` is even."""
    return np.asarray(np.arange(size) - (size - 1) / 2, np.float64)


def _derivative(name: str, across: list[float], axis: int) -> Kernel:
    if axis not in (0, 1):
        raise ValueError(f"{name}: axis={axis} is not 0 or 1")
    kernel = np.outer([-1.0, 0.0, 1.0], across)
    return kernel if axis == 0 else np.ascontiguousarray(kernel.T)


def _check_size(size: int, name: str) -> None:
    if not 1 <= size <= 4096:
        raise ValueError(f"{name}={size} must be between 1 and 4096 pixels")


def _named(name: str, settings: str) -> Kernel:
    allowed = inspect.signature(KERNELS[name]).parameters
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
        if whole and not number.is_integer():
            raise ValueError(f"kernel {name!r}: {key}={value} must be a whole number")
        if key in given:
            raise ValueError(f"kernel {name!r}: {key} is set twice")
        given[key] = int(number) if whole else number
    needed = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty]
    if not set(needed) <= set(given) <= set(allowed):
        optional = [key for key in allowed if key not in needed]
        raise ValueError(
            f"kernel {name!r} takes the settings {', '.join(allowed) or 'none'} "
            f"(optional: {', '.join(optional) or 'none'}), not {', '.join(given) or 'none'}"
        )
    return KERNELS[name](**given)


def _from_file(path: Path) -> Kernel:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"kernel file {path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"kernel file {path} is not a .npy array of numbers: {error}") from None
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"kernel file {path} holds {array.dtype} of shape {array.shape}: "
            "a filter is a real matrix (kH, kW)"
        )
    return _finite(np.asarray(array, np.float64), f"kernel file {path}")


def _from_numbers(text: str) -> Kernel:
    try:
        rows = [
            [float(v) for v in (row.split(",") if "," in row else row.split())]
            for row in text.strip("; ").split(";")
        ]
    except ValueError:
        rows = []
    if not rows or not all(rows):
        raise ValueError(
            f"kernel {text!r} is none of {', '.join(KERNELS)}, no .npy file and no rows of "
            "numbers such as '1,0,-1;2,0,-2;1,0,-1'"
        )
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"kernel {text!r} has rows of {sorted({len(r) for r in rows})} numbers")
    return _finite(np.array(rows), f"kernel {text!r}")


def _finite(kernel: Kernel, name: str) -> Kernel:
    if not np.isfinite(kernel).all():
        raise ValueError(f"{name} holds NaN or infinity: a filter is made of finite numbers")
    return kernel
