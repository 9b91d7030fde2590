"""Random filterings for the compiled kernels, and what they must give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from rankconv.correlate.native import compile_filter

Array = NDArray[Any]
PAD_MODES = {
    "fill": "constant",
    "nearest": "edge",
    "symm": "symmetric",
    "mirror": "reflect",
    "wrap": "wrap",
}
LAYOUTS = ("plain", "fortran", "reversed", "sparse", "swapped", "read-only", "unaligned", "last")


@dataclass(frozen=True, eq=False)
class Case:
    """An image, a filter (dense if `factors` is None) and what lies beyond the image's edges."""

    image: Array
    kernel: Array
    factors: tuple[Array, Array] | None
    padding: tuple[tuple[int, int], tuple[int, int]]
    boundary: str
    fillvalue: float
    keep_dtype: bool

    def filter(self, workers: int | None = 1) -> Any:
        """The compiled filter."""
        return compile_filter(
            self.kernel if self.factors is None else None,
            factors=self.factors,
            padding=self.padding,
            boundary=self.boundary,
            fillvalue=self.fillvalue,
            keep_dtype=self.keep_dtype,
            workers=workers,
        )

    def padded(self) -> Array:
        """The image in float64 with everything that the filter sees of it."""
        lead = [(0, 0)] * (self.image.ndim - 2)
        options = {"constant_values": self.fillvalue} if self.boundary == "fill" else {}
        mode: Any = PAD_MODES[self.boundary]
        padded: Array = np.pad(
            self.image.astype(np.float64), [*lead, *self.padding], mode=mode, **options
        )
        return padded

    def magnitudes(self) -> Array:
        """sum |F| |A| for each pixel, with the terms of separable filters one by one."""
        if self.factors is None:
            return correlate(np.abs(self.padded()), np.abs(self.kernel))
        f, g = (np.abs(part) for part in self.factors)
        return correlate(np.abs(self.padded()), f.T @ g)

    def steps(self) -> int:
        """Additions and multiplications that a pixel goes through one after the other."""
        if self.factors is None:
            return self.kernel.size
        return self.factors[0].size + self.factors[1].shape[1]


def correlate(image: Array, kernel: Array) -> Array:
    """SciPy's valid correlation of each image (..., H, W)."""
    flat = image.reshape(-1, *image.shape[-2:])
    maps = np.array([signal.correlate2d(one, kernel, mode="valid") for one in flat])
    return maps.reshape(*image.shape[:-2], *maps.shape[-2:])


def check(case: Case, result: Array) -> None:
    """`result` is within the documented bound of SciPy in float64."""
    expected = correlate(case.padded(), case.kernel)
    assert result.shape == expected.shape
    dtype = case.image.dtype.newbyteorder("=")
    double = dtype == np.float64
    unit = 2.0**-53 if double else 2.0**-24
    bound = (case.steps() + 4) * unit * case.magnitudes()
    if double:  # SciPy rounds as well
        bound *= 2
    # Below the normal numbers a step is off by an absolute error, which the column taps multiply.
    step = 2.0**-1074 if double else 2.0**-149
    bound += (
        case.steps()
        * step
        * (1 + np.abs(case.kernel if case.factors is None else case.factors[0]).sum())
    )
    if case.keep_dtype and dtype.kind == "u":
        assert result.dtype == dtype
        expected = np.clip(expected, 0, np.iinfo(dtype).max)
        bound += 0.5
    else:
        assert result.dtype == (np.float64 if double else np.float32)
    assert (np.abs(result.astype(np.float64) - expected) <= bound).all()


def random_case(rng: np.random.Generator) -> Case:
    """A case of any shape, dtype, layout, rank and boundary."""
    kH, kW = (int(n) for n in rng.integers(1, rng.choice([2, 6, 40]), 2, endpoint=True))
    lead = tuple(int(n) for n in rng.integers(1, 4, rng.choice([0, 0, 0, 1, 2])))
    H, W = (int(n) for n in rng.integers(1, rng.choice([1, 6, 40, 120]), 2, endpoint=True))
    padding = ((0, 0), (0, 0))
    if rng.random() < 0.6:
        top, bottom, left, right = (int(n) for n in rng.integers(0, [kH, kH + 3, kW, kW + 3]))
        if rng.random() < 0.1:
            top, left = top + 2 * H, left + 3 * W
        padding = ((top, bottom), (left, right))
    H = max(H, kH - sum(padding[0]))
    W = max(W, kW - sum(padding[1]))
    dtype = str(rng.choice(["float32", "float32", "float64", "uint8", "uint16"]))
    rank = int(rng.integers(0, min(kH, kW, 5), endpoint=True))
    columns, rows = rng.standard_normal((rank, kH)), rng.standard_normal((rank, kW))
    kernel = columns.T @ rows if rank else rng.standard_normal((kH, kW))
    scale = 1 / np.abs(kernel).sum()  # so that integer results saturate only now and then
    columns, kernel = columns * scale, kernel * scale
    return Case(
        image=lay_out(random_image(rng, (*lead, H, W), dtype), str(rng.choice(LAYOUTS))),
        kernel=kernel,
        factors=(columns, rows) if rank else None,
        padding=padding,
        boundary=str(rng.choice(list(PAD_MODES))),
        fillvalue=float(rng.choice([0.0, 1.0, -2.5])),
        keep_dtype=bool(rng.random() < 0.5),
    )


def random_image(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Noise that fills the range of integers; float images differ in size, down to sub-normals."""
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    scale = rng.choice([1.0, 1.0, 1e10, 1e-39 if dtype == "float32" else 1e-309])
    return (rng.standard_normal(shape) * scale).astype(dtype)


def lay_out(image: Array, layout: str) -> Array:
    """The same values in another arrangement in memory."""
    match layout:
        case "fortran":
            return np.asfortranarray(image)
        case "reversed":
            return np.ascontiguousarray(image[..., ::-1, ::-1])[..., ::-1, ::-1]
        case "sparse":
            return np.repeat(np.repeat(image, 2, -1), 3, -2)[..., ::3, ::2]
        case "swapped":
            return image.astype(image.dtype.newbyteorder())
        case "read-only":
            image = image.copy()
            image.flags.writeable = False
            return image
        case "unaligned":
            memory = np.empty(image.nbytes + 1, np.uint8)[1:]
            moved = memory.view(image.dtype).reshape(image.shape)
            moved[...] = image
            return moved
        case "last":  # the channels of an image that stores them last
            stored = np.stack([image, image], -1)
            return stored[..., 1]
        case _:
            return image
