"""What a layer was given and what it put out, summed up: means, covariances, cross-covariances.

A layer of 64 x 64 outputs an image has far more patches than its weight has unknowns, so the sums
run over a random part of them, as many from every image. The input may be another than the one
that the output was made of: that of the network with earlier layers replaced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.covariance import MEMORY_LIMIT, PatchCovariance, patch_windows
from rankconv.compress.network import Inputs, Layer, Network, batches
from rankconv.geometry import Pair, pad, sides
from rankconv.stages import Stage

Array = NDArray[Any]
SAMPLES = 40_000  # patches of a layer
WORK = 2**26  # bytes of patches cut out at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of pairs of an input patch x and an output y, float64; G groups of M outputs.

    A patch is (C_in / groups, kH, kW) flattened to D numbers, padding included. `mean` (G, D) of
    x; `covariance` (G, D, D) of x; `cross` (G, M, D), the mean of (y - mean y) (x - mean x)^T;
    `output_mean` and `output_variance` (G, M).
    """

    mean: Array
    covariance: Array
    cross: Array
    output_mean: Array
    output_variance: Array
    samples: int

    def residual(self, weight: Array) -> float:
        """The mean of |y - W x - b|^2 over one image position, for the best b.

        `weight` (C_out, C_in / groups, kH, kW), or any shape that holds (G, M, D).
        """
        W = weight.astype(np.float64).reshape(self.cross.shape)
        return max(
            float(self.output_variance.sum())
            - 2 * float(np.vdot(W, self.cross))
            + float(np.vdot(W @ self.covariance, W)),
            0.0,
        )


class LayerMoments:
    """Sums for the `Moments` of one layer, batch by batch, in float64.

    The sums and their copy stay within `memory_limit` bytes as those of `PatchCovariance` do;
    beside them stand at most 64 MiB of patches or those of one image.

    Raises ValueError where the limit is too low for the layer.
    """

    def __init__(self, layer: Stage, *, memory_limit: int = MEMORY_LIMIT) -> None:
        self._layer = layer
        self._inputs = PatchCovariance(
            layer.in_channels,
            layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            memory_limit=memory_limit,
        )
        G = layer.groups
        self._cross = np.zeros((G, layer.out_channels // G, math.prod(layer.weight.shape[1:])))
        self._outputs = np.zeros(self._cross.shape[:2])
        self._squares = np.zeros(self._cross.shape[:2])

    def update(self, images: Array, outputs: Array, positions: Array) -> None:
        """Add the patches of images (N, C_in, H, W) at `positions` (N, p), row-major indices.

        `outputs` (N, p, C_out) is what `outputs_at` takes from the layer's output. Raises
        ValueError, with nothing added, for values that are not finite.
        """
        for name, values in (("input", images), ("output", outputs)):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"the layer's {name} holds NaN or infinity: look for them in the calibration "
                    "data and in the weights of the layers before"
                )
        G, _, D = self._cross.shape
        step = max(1, WORK // (8 * G * D * positions.shape[1]))
        for start in range(0, images.shape[0], step):
            stop = start + step
            x = patches_at(self._layer, images[start:stop], positions[start:stop])
            y = outputs[start:stop].astype(np.float64).reshape(x.shape[2], G, -1)
            y = y.transpose(1, 2, 0)  # (G, M, count)
            self._inputs.add(x)
            self._cross += y @ x.swapaxes(1, 2)
            self._outputs += y.sum(axis=2)
            self._squares += (y * y).sum(axis=2)

    def result(self) -> Moments:
        """The moments of all that was added. Raises ValueError where nothing was."""
        mean, n = self._inputs.mean(), self._inputs.samples
        output_mean = self._outputs / n
        return Moments(
            mean=mean,
            covariance=self._inputs.covariance(),
            cross=self._cross / n - output_mean[..., None] * mean[:, None],
            output_mean=output_mean,
            output_variance=(self._squares / n - output_mean**2).clip(min=0),
            samples=n,
        )


def draw(shape: Pair, images: int, *, samples: int, seed: Sequence[int]) -> Array:
    """About `samples` of all output positions, equally many in each image: indices (images, p).

    No position of an image is drawn twice; `shape` is (rows, columns) of the layer's output.

    >>> draw((2, 2), 3, samples=6, seed=[0]).shape
    (3, 2)
    """
    total = shape[0] * shape[1]
    each = min(total, math.ceil(samples / images))
    if each == total:
        return np.broadcast_to(np.arange(total), (images, total))
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(total, each, replace=False) for _ in range(images)])


def patches_at(layer: Stage, images: Array, positions: Array) -> Array:
    """The patches behind the outputs at `positions` (N, p): (groups, D, N p), float64."""
    windows = patch_windows(
        pad(images, sides(layer.padding)), layer.kernel, layer.stride, layer.dilation
    )
    row, column = np.divmod(positions, windows.shape[3])
    image = np.arange(images.shape[0])[:, None]
    taken = windows[image, :, row, column]  # (N, p, C_in, kH, kW)
    count = positions.size
    patches: Array = np.ascontiguousarray(
        taken.reshape(count, layer.groups, -1).transpose(1, 2, 0), np.float64
    )
    return patches


def outputs_at(outputs: Array, positions: Array) -> Array:
    """What outputs (N, C_out, oH, oW) hold at `positions` (N, p): (N, p, C_out)."""
    flat = outputs.reshape(*outputs.shape[:2], -1)
    taken: Array = flat[np.arange(flat.shape[0])[:, None], :, positions]
    return taken


def collect(
    network: Network,
    inputs: Inputs,
    names: Sequence[str] | None = None,
    *,
    samples: int = SAMPLES,
    batch: int = 64,
    seed: int = 0,
    memory_limit: int = 2 * MEMORY_LIMIT,
) -> Iterator[tuple[str, Moments]]:
    """The moments of the named layers (all by default), in the order in which they run.

    As many layers at once as `memory_limit` bytes hold the sums of, one reading of the inputs
    for each lot. Raises ValueError for a name that is no layer and for values that are not finite.
    """
    waiting = chosen_layers(network, names)
    images = inputs[0].shape[0]
    while waiting:
        lot = [waiting.pop(0)]
        room = memory_limit - sums_size(lot[0].stage)
        while waiting and sums_size(waiting[0].stage) <= room:
            room -= sums_size(waiting[0].stage)
            lot.append(waiting.pop(0))
        sums = {one.name: LayerMoments(one.stage, memory_limit=memory_limit) for one in lot}
        drawn = {
            one.name: draw(output_shape(one), images, samples=samples, seed=[seed, i])
            for i, one in enumerate(network.layers)
            if one.name in sums
        }
        start = 0
        for piece in batches(inputs, batch):
            stop = start + piece[0].shape[0]
            for name, (given, made) in network.activations(piece, list(sums)).items():
                at = drawn[name][start:stop]
                sums[name].update(given, outputs_at(made, at), at)
            start = stop
        for name in list(sums):
            yield name, sums.pop(name).result()


def chosen_layers(network: Network, names: Sequence[str] | None) -> list[Layer]:
    """The named layers in running order. Raises ValueError for a name that is none of them."""
    known = [layer.name for layer in network.layers]
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"{name!r} is not one of the layers {', '.join(map(repr, known))}"
                + (f": {network.left_alone[name]}" if name in network.left_alone else "")
            )
    return [layer for layer in network.layers if names is None or layer.name in names]


def output_shape(layer: Layer) -> Pair:
    """Rows and columns of the layer's output for one image."""
    return layer.stage.output_shape(layer.input_shape[1:])


def sums_size(layer: Stage) -> int:
    """Bytes that the sums of a layer and their copy take."""
    D = math.prod(layer.weight.shape[1:])
    return 8 * layer.groups * D * (2 * D + min(512, D)) + 8 * layer.out_channels * D
