"""The one place where the filters of this package meet `rankconv.correlate2d`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.native import available
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


def correlate_plane(
    image: Array, plane: Plane, cval: float, dtype: np.dtype[Any], *, direct: bool = False
) -> Array:
    """Correlate an image over the two axes of `plane` in `dtype`, which holds its values.

    With `direct` each sum is that of its products, and not one of factors or a transform.
    """
    if image.ndim == 1:
        return np.asarray(_correlate(image[None], plane, cval, dtype, direct)[0])
    return _correlate(image, plane, cval, dtype, direct)


def _correlate(
    image: Array, plane: Plane, cval: float, dtype: np.dtype[Any], direct: bool
) -> Array:
    kernel = plane.kernel.astype(dtype)
    (rows, columns), (above, left) = kernel.shape, plane.before
    axes = (0, 1) if image.ndim == 2 else plane.axes
    # The factors of an SVD are rounded; few taps are as fast without, and whole numbers stay whole.
    algorithm = "auto"
    if direct or kernel.size <= FEW_TAPS:
        algorithm = "native_direct" if available else "direct"
    # A boundary that no tap reaches is any boundary.
    boundary = plane.modes[0] if columns == 1 else plane.modes[1]
    if rows == 1 or columns == 1 or plane.modes[0] == plane.modes[1]:
        options: dict[str, Any] = {"axes": axes, "algorithm": algorithm}
        if plane.before == ((rows - 1) // 2, (columns - 1) // 2):
            return correlate2d(image, kernel, "same", boundary, cval, **options)
        if plane.before == (rows // 2, columns // 2):
            return convolve2d(image, kernel[::-1, ::-1], "same", boundary, cval, **options)
    image = np.moveaxis(image.astype(dtype, copy=False), axes, (-2, -1))
    for pads, mode in (
        (((above, rows - 1 - above), (0, 0)), plane.modes[0]),
        (((0, 0), (left, columns - 1 - left)), plane.modes[1]),
    ):
        image = pad(image, pads, boundary=mode, fillvalue=cval)
    return np.moveaxis(correlate2d(image, kernel, "valid", algorithm=algorithm), (-2, -1), axes)
