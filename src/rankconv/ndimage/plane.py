"""The one place where the filters of this package meet `rankconv.correlate2d`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.filtering import convolve2d, correlate2d
from rankconv.geometry import pad

Array = NDArray[Any]

FEW_TAPS = 9


@dataclass(frozen=True, eq=False, slots=True)
class Plane:
    """A real kernel (k0, k1) over two axes, its taps before the centre, a boundary for each."""

    axes: tuple[int, int]
    kernel: Array
    before: tuple[int, int]
    modes: tuple[str, str]


def correlate_plane(image: Array, plane: Plane, cval: float) -> Array:
    """Correlate an image over the two axes of `plane`; float32 or float64, as the image is."""
    if image.ndim == 1:
        return np.asarray(_correlate(image[None], plane, cval)[0])
    moved = np.moveaxis(image, plane.axes, (-2, -1))
    return np.moveaxis(_correlate(moved, plane, cval), (-2, -1), plane.axes)


def _correlate(image: Array, plane: Plane, cval: float) -> Array:
    kernel = plane.kernel.astype(image.dtype)
    (rows, columns), (above, left) = kernel.shape, plane.before
    # The factors of an SVD are rounded; few taps are as fast without, and whole numbers stay whole.
    algorithm = "direct" if kernel.size <= FEW_TAPS else "auto"
    # A boundary that no tap reaches is any boundary.
    boundary = plane.modes[0] if columns == 1 else plane.modes[1]
    if rows == 1 or columns == 1 or plane.modes[0] == plane.modes[1]:
        if plane.before == ((rows - 1) // 2, (columns - 1) // 2):
            return correlate2d(image, kernel, "same", boundary, cval, algorithm=algorithm)
        if plane.before == (rows // 2, columns // 2):
            return convolve2d(
                image, kernel[::-1, ::-1], "same", boundary, cval, algorithm=algorithm
            )
    image = pad(image, ((above, rows - 1 - above), (0, 0)), boundary=plane.modes[0], fillvalue=cval)
    image = pad(
        image, ((0, 0), (left, columns - 1 - left)), boundary=plane.modes[1], fillvalue=cval
    )
    return correlate2d(image, kernel, "valid", algorithm=algorithm)
