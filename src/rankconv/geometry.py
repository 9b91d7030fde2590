"""Sizes: mode, boundary, stride, padding -> output shape, padding, padded array.

The only place that knows how large a result is and what an image looks like beyond its edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Padding = tuple[int | Pair, int | Pair]  # rows, columns: both ends alike, or (before, after)
Mode = Literal["full", "same", "valid"]
Boundary = Literal["fill", "wrap", "symm", "constant", "nearest", "reflect", "mirror"]

MODES: tuple[Mode, ...] = ("full", "same", "valid")
# SciPy's names (scipy.signal: fill, wrap, symm; scipy.ndimage: the others) -> one name each.
BOUNDARIES: dict[str, str] = {
    "fill": "fill",
    "constant": "fill",
    "wrap": "wrap",
    "symm": "symm",
    "reflect": "symm",
    "mirror": "mirror",
    "nearest": "nearest",
}


def check_mode(mode: str) -> None:
    """Raise ValueError unless `mode` is one of full, same, valid."""
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is not one of 'full', 'same', 'valid'")


def check_boundary(boundary: str) -> None:
    """Raise ValueError unless `boundary` is a known name."""
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"boundary={boundary!r} is not one of {', '.join(map(repr, BOUNDARIES))} "
            "(symm and reflect: d c b a | a b c d; mirror: d c b | a b c d)"
        )


def padding(kernel: Pair, mode: Mode, *, flipped: bool = False) -> tuple[Pair, Pair]:
    """Rows (above, below) and columns (left, right) that a valid correlation of `mode` needs.

    'same' centres as scipy.signal does: an even filter has one more tap after its centre in
    `correlate2d` and, because the filter was flipped, before it in `convolve2d` (`flipped`).
    """
    return _padding(kernel[0], mode, flipped), _padding(kernel[1], mode, flipped)


def _padding(k: int, mode: Mode, flipped: bool) -> Pair:
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return k - 1, k - 1
    return (k // 2, (k - 1) // 2) if flipped else ((k - 1) // 2, k // 2)


def output_shape(image: Pair, kernel: Pair, mode: Mode) -> Pair:
    """Rows and columns of the result: H + kH - 1, H or H - kH + 1 rows, columns likewise.

    Raises ValueError where no filter position is valid: unlike `scipy.signal.correlate2d`,
    the image and a larger filter are not swapped.
    """
    check_mode(mode)
    if mode == "valid" and (kernel[0] > image[0] or kernel[1] > image[1]):
        raise ValueError(
            f"a kernel of shape {kernel} does not fit into an image of shape {image} in "
            "mode='valid': use mode='same' or 'full', or swap the arguments"
        )
    (above, below), (left, right) = padding(kernel, mode)
    return image[0] + above + below - kernel[0] + 1, image[1] + left + right - kernel[1] + 1


def pad(
    image: Array,
    pads: tuple[Pair, Pair],
    *,
    boundary: str = "fill",
    fillvalue: Any = 0,
) -> Array:
    """The image (..., H, W) continued beyond its edges; without padding the image itself.

    Periodic boundaries continue for any width, also several images far.
    Equivalent: `numpy.pad` with mode constant, wrap, symmetric, reflect or edge.
    """
    (above, below), (left, right) = pads
    if not (above or below or left or right):
        return image
    *lead, H, W = image.shape
    out = np.empty((*lead, H + above + below, W + left + right), image.dtype)
    rows = out[..., above : above + H, :]
    rows[..., left : left + W] = image
    if BOUNDARIES[boundary] == "fill":
        rows[..., :left] = rows[..., left + W :] = fillvalue
        out[..., :above, :] = out[..., above + H :, :] = fillvalue
        return out
    before, after = _sources(W, left, right, boundary)
    rows[..., :left] = image[..., before]
    rows[..., left + W :] = image[..., after]
    before, after = _sources(H, above, below, boundary)
    out[..., :above, :] = rows[..., before, :]
    out[..., above + H :, :] = rows[..., after, :]
    return out


def _sources(n: int, before: int, after: int, boundary: str) -> tuple[Array, Array]:
    """For each sample before and after the n real ones, the index of the one it repeats."""
    at = np.concatenate([np.arange(-before, 0), np.arange(n, n + after)])
    match BOUNDARIES[boundary]:
        case "wrap":
            at %= n
        case "symm":
            at %= 2 * n
            at = np.minimum(at, 2 * n - 1 - at)
        case "mirror":
            period = max(2 * n - 2, 1)
            at %= period
            at = np.minimum(at, period - at) if n > 1 else at
        case _:
            at = at.clip(0, n - 1)
    return at[:before], at[before:]


def pair(value: int | Sequence[int], name: str, *, least: int) -> Pair:
    """`value` as (rows, columns): one integer stands for both.

    Raises ValueError for anything but one or two integers of at least `least`.
    """
    both = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int | np.integer) and v >= least for v in both):
        raise ValueError(f"{name}={value!r} must be one integer or two, each at least {least}")
    return int(both[0]), int(both[1])


def conv_padding(value: int | Sequence[int | Sequence[int]], name: str = "padding") -> Padding:
    """A layer's padding as (rows, columns), each one integer for both ends or (before, after).

    Raises ValueError for anything else, and for negative sizes.

    >>> conv_padding(1), conv_padding(((0, 1), (2, 2)))
    ((1, 1), ((0, 1), 2))
    """
    both = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    read = [_ends(side) for side in both]
    if len(read) != 2 or read[0] is None or read[1] is None:
        raise ValueError(
            f"{name}={value!r} must be one integer or two (rows, columns), each at least 0, or a "
            "pair (before, after) in the place of one: ((0, 1), 1)"
        )
    return read[0], read[1]


def _ends(side: Any) -> int | Pair | None:
    """One side in its shortest form, or None where it is no padding."""
    whole = isinstance(side, int | np.integer)
    ends = (side, side) if whole else tuple(side) if isinstance(side, Sequence) else ()
    if len(ends) != 2 or not all(isinstance(v, int | np.integer) and v >= 0 for v in ends):
        return None
    before, after = int(ends[0]), int(ends[1])
    return before if before == after else (before, after)


def sides(padding: Padding) -> tuple[Pair, Pair]:
    """A layer's padding end by end: ((top, bottom), (left, right)).

    >>> sides(((0, 1), 2))
    ((0, 1), (2, 2))
    """
    rows, columns = padding
    return (
        (rows, rows) if isinstance(rows, int) else rows,
        (columns, columns) if isinstance(columns, int) else columns,
    )


def conv_output_shape(
    image: Pair, kernel: Pair, *, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """Rows and columns that a convolution layer puts out (torch.nn.Conv2d's formula, its 2 padding
    being the sum of both ends).

    Raises ValueError where the padded image is smaller than the dilated filter.
    """
    shape = tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(image, kernel, stride, sides(padding), dilation, strict=True)
    )
    if min(shape) < 1:
        raise ValueError(
            f"a filter of shape {kernel} with dilation {dilation} does not fit into an image of "
            f"shape {image} with padding {padding}: pass a larger image or more padding"
        )
    return shape[0], shape[1]
