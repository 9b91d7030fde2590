"""Second moments of the patches that a convolution layer sees, batch by batch, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_numbers
from rankconv.geometry import Pair, conv_output_shape, conv_padding, pad, pair, sides

Array = NDArray[Any]
MEMORY_LIMIT = 2**30  # bytes
ROWS = 512  # of one product: the next part of S, its upper triangle alone


class PatchCovariance:
    """Sums of x and x x^T over all patches x of the images that `update` is given.

    A patch is what one output of the layer is computed from, (C_in / groups, kH, kW) flattened,
    padding included: E |E x|^2 = tr E S E^T is then the mean square error of the output when the
    weight is wrong by E. For another padding than by zeros pass padded images and `padding=0`.

    `channels` are the input channels of the layer; its options are those of `torch.nn.Conv2d`.
    All arrays at work and the result together stay within `memory_limit` bytes (1 GiB), the
    images themselves not counted. Sums, their copy and work take about
    16 groups D^2 + 8 D 512 bytes at the least, for D = C_in / groups * kH * kW: 0.4 GB for 512
    channels and 3 x 3. More memory means fewer, larger matrix products.

    Raises ValueError for options out of range and where the limit is too low for the layer.
    Equivalent: `torch.nn.functional.unfold` of every batch, x x^T of its columns.

    >>> moments = PatchCovariance(1, (1, 2))
    >>> moments.update([[[[1.0, 2.0, 3.0]]]])
    >>> moments.second_moment()  # patches (1, 2) and (2, 3)
    array([[[2.5, 4. ], [4. , 6.5]]])
    """

    def __init__(
        self,
        channels: int,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int | Sequence[int]] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        for name, value in (("channels", channels), ("groups", groups)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}={value!r} is not an integer >= 1")
        if channels % groups:
            raise ValueError(f"groups={groups} is not a divisor of channels={channels}")
        self.channels = int(channels)
        self.groups = int(groups)
        self.kernel = pair(kernel, "kernel", least=1)
        self.stride = pair(stride, "stride", least=1)
        self.padding = conv_padding(padding)
        self.dilation = pair(dilation, "dilation", least=1)
        self.samples = 0
        self._size = self.channels // self.groups * self.kernel[0] * self.kernel[1]
        D = self._size
        fixed = 16 * self.groups * D * D + 8 * self.groups * min(ROWS, D) * D
        self._room = int(memory_limit) - fixed
        if self._room < 0:
            raise ValueError(
                f"memory_limit={memory_limit} bytes is too low: sums and result for "
                f"{self.groups} groups of {D} numbers a patch take {fixed} bytes; pass more, or "
                "leave this layer as it is"
            )
        self._sum = np.zeros((self.groups, D))
        self._products = np.zeros((self.groups, D, D))  # the upper triangle alone is kept

    def update(self, images: ArrayLike) -> None:
        """Add the patches of images (N, C_in, H, W).

        Raises ValueError, with nothing added, for images that do not fit, hold NaN or infinity,
        or have rows of patches too long for the memory limit.
        """
        array = as_numbers(images, "images")
        if array.ndim != 4 or array.shape[1] != self.channels or array.dtype.kind == "c":
            raise ValueError(
                f"images of shape {array.shape} and dtype {array.dtype} do not fit: pass real "
                f"images (N, {self.channels}, H, W)"
            )
        if not all(np.isfinite(image).all() for image in array):
            raise ValueError("images hold NaN or infinity: look for them in the calibration data")
        rows, columns = conv_output_shape(
            (array.shape[2], array.shape[3]),
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        pads, itemsize = sides(self.padding), array.dtype.itemsize
        H, W = (n + sum(ends) for n, ends in zip(array.shape[2:], pads, strict=True))
        image = self.channels * H * W * itemsize
        row = 8 * self.groups * self._size * columns
        if self._room < image + row:
            missing = image + row - self._room
            raise ValueError(
                f"memory_limit is too low by {missing} bytes for images of shape {array.shape}: "
                "pass more, or smaller images"
            )
        together = max(1, self._room // (image + row * rows))
        at_once = min(rows, max(1, (self._room - image) // row))
        for start in range(0, array.shape[0], together):
            padded = pad(array[start : start + together], pads)
            windows = patch_windows(padded, self.kernel, self.stride, self.dilation)
            windows = windows.transpose(1, 4, 5, 0, 2, 3)  # (C_in, kH, kW, N, oH, oW)
            for top in range(0, rows, at_once):
                part = windows[:, :, :, :, top : top + at_once]
                # No name may hold the copy while the next one is made.
                self.add(part.astype(np.float64, order="C").reshape(self.groups, self._size, -1))

    def mean(self) -> Array:
        """The mean patch of each group, (groups, C_in / groups * kH * kW)."""
        self._check()
        mean: Array = self._sum / self.samples
        return mean

    def second_moment(self) -> Array:
        """The mean of x x^T of each group, (groups, D, D): for a layer whose bias stays."""
        self._check()
        lower = np.tril_indices(min(ROWS, self._size), -1)
        moment = self._products / self.samples
        for start in range(0, self._size, ROWS):
            stop = min(start + ROWS, self._size)
            block = moment[:, start:stop, start:stop]
            at = (
                lower
                if stop - start == min(ROWS, self._size)
                else np.tril_indices(stop - start, -1)
            )
            block[:, at[0], at[1]] = block[:, at[1], at[0]]
            moment[:, stop:, start:stop] = moment[:, start:stop, stop:].swapaxes(1, 2)
        return moment

    def covariance(self) -> Array:
        """The mean of (x - mean)(x - mean)^T, (groups, D, D): for a bias that is corrected."""
        moment, mean = self.second_moment(), self.mean()
        for g in range(self.groups):
            for start in range(0, self._size, ROWS):
                block = mean[g, start : start + ROWS]
                moment[g, start : start + ROWS] -= block[:, None] * mean[g]
        return moment

    def add(self, patches: Array) -> None:
        """Add patches that are cut out already, float64 of shape (groups, D, count)."""
        self._sum += patches.sum(axis=2)
        for start in range(0, self._size, ROWS):
            stop = start + ROWS
            across = patches[:, start:].swapaxes(1, 2)
            self._products[:, start:stop, start:] += patches[:, start:stop] @ across
        self.samples += patches.shape[2]

    def _check(self) -> None:
        if not self.samples:
            raise ValueError("no images were given yet: call update(images) first")


def patch_windows(padded: Array, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """All patches of padded images, (N, C_in, oH, oW, kH, kW), as a view."""
    (dH, dW), (sH, sW), (kH, kW) = dilation, stride, kernel
    extent = dH * (kH - 1) + 1, dW * (kW - 1) + 1
    return sliding_window_view(padded, extent, axis=(2, 3))[:, :, ::sH, ::sW, ::dH, ::dW]


def patch_covariance(
    batches: Iterable[ArrayLike],
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    memory_limit: int = MEMORY_LIMIT,
) -> PatchCovariance:
    """The `PatchCovariance` of all batches (N, C_in, H, W), read once and one at a time.

    Raises ValueError where there is no batch, and as `PatchCovariance` does.

    >>> batches = (np.ones((4, 3, 8, 8)) for _ in range(2))
    >>> moments = patch_covariance(batches, 3, padding=1)
    >>> moments.samples, moments.second_moment().shape
    (512, (1, 27, 27))
    """
    moments: PatchCovariance | None = None
    for batch in batches:
        array = as_numbers(batch, "images")
        if moments is None:
            moments = PatchCovariance(
                array.shape[1] if array.ndim == 4 else 1,
                kernel,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
                memory_limit=memory_limit,
            )
        moments.update(array)
    if moments is None:
        raise ValueError("batches is empty: pass at least one batch (N, C_in, H, W)")
    return moments
