"""The small-image path: one-filter layers with bias, ReLU and max-pool, and the paper's network.

Compiled where the native module could be built, in NumPy elsewhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._native_module import native as _module

if TYPE_CHECKING:
    from rankconv import _native
    from rankconv._native import Net as _Net
else:
    _native = _module

Array = NDArray[Any]
available: bool = _module is not None


def conv_relu_pool(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: float,
    *,
    rank: int | None = None,
    out: Array | None = None,
) -> Array:
    """Valid correlation, plus a bias, ReLU and 2x2 max-pool, in one pass over small images.

    `image` (..., H, W) and `kernel` (kH, kW) give (..., (H - kH + 1) // 2, (W - kW + 1) // 2), in
    float64 if the image is float64 and in float32 otherwise. With `rank` the kernel is replaced by
    its best separable approximation of that rank (Eckart-Young); `None` correlates with the
    kernel as it is. NaN stays NaN.

    Raises ValueError for an image that is too small, a rank below 1, or an `out` of another shape
    or type. Equivalent to PyTorch's
    `max_pool2d(relu(conv2d(image, kernel, bias)), 2)` and to steps 1 to 3 of the paper's network
    (section X).

    >>> import numpy as np
    >>> conv_relu_pool(np.eye(4), np.ones((3, 3)), -1.0)
    array([[2.]])
    """
    images = np.asarray(image)
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    images = np.ascontiguousarray(images, dtype)
    taps = np.ascontiguousarray(kernel, dtype)
    if images.ndim < 2 or taps.ndim != 2 or taps.size == 0:
        raise ValueError(
            f"image of shape {images.shape} and kernel of shape {taps.shape}; "
            "an image is (..., H, W) and a kernel (kH, kW) with at least one tap"
        )
    H, W = images.shape[-2:]
    kH, kW = taps.shape
    pooled = ((H - kH + 1) // 2, (W - kW + 1) // 2)
    if min(pooled) < 1:
        raise ValueError(
            f"image of shape {images.shape}; with a kernel of {kH} x {kW} and a 2 x 2 pool "
            f"it must be at least {kH + 1} x {kW + 1}"
        )
    shape = (*images.shape[:-2], *pooled)
    if out is not None and (out.shape != shape or out.dtype != dtype):
        raise ValueError(
            f"out of shape {out.shape} and type {out.dtype}; this needs {shape} and "
            f"{np.dtype(dtype)}"
        )
    columns, rows = (None, None) if rank is None else _factors(taps, rank)
    direct = out is not None and _is_plain(out) and not np.may_share_memory(out, images)
    target = out if out is not None and direct else np.empty(shape, dtype)
    if available:
        _native.conv_relu_pool(
            images.reshape(-1, H, W),
            taps,
            columns,
            rows,
            float(bias),
            target.reshape(-1, *pooled),
        )
    else:
        target[...] = _layer(images, _approximation(taps, columns, rows), float(bias))
    if out is None or direct:
        return target
    out[...] = target
    return out


def _is_plain(array: Array) -> bool:
    return bool(array.flags.carray and array.dtype.isnative)


def _factors(kernel: Array, rank: int) -> tuple[Array, Array]:
    """The best factors of that rank: columns (r, kH) and rows (r, kW)."""
    most = min(kernel.shape)
    if not 1 <= rank <= most:
        raise ValueError(f"rank={rank} is not one of 1 to {most}, the ranks of this kernel")
    return _cached_factors(kernel.tobytes(), kernel.shape, kernel.dtype.char, rank)


@lru_cache(maxsize=256)
def _cached_factors(
    data: bytes, shape: tuple[int, int], dtype: str, rank: int
) -> tuple[Array, Array]:
    kernel = np.frombuffer(data, dtype).reshape(shape).astype(np.float64)
    u, s, vt = np.linalg.svd(kernel, full_matrices=False)  # (kH, R), (R,), (R, kW)
    root = np.sqrt(s[:rank, None])
    return (
        np.ascontiguousarray(root * u.T[:rank], dtype),
        np.ascontiguousarray(root * vt[:rank], dtype),
    )


def _approximation(kernel: Array, columns: Array | None, rows: Array | None) -> Array:
    return kernel if columns is None or rows is None else columns.T @ rows


def _layer(images: Array, kernel: Array, bias: float) -> Array:
    """`conv_relu_pool` in NumPy, for (..., H, W)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, kernel.shape, (-2, -1))
    maps = np.tensordot(windows, kernel, 2) + images.dtype.type(bias)
    H, W = maps.shape[-2] // 2 * 2, maps.shape[-1] // 2 * 2
    pairs = maps[..., :H, :W].reshape(*maps.shape[:-2], H // 2, 2, W // 2, 2)
    pooled: Array = np.maximum(pairs.max((-3, -1)), 0)
    return pooled


class _NumpyNet:
    """`_native.Net` without the compiled module."""

    def __new__(cls, height: int, width: int, *weights: Any) -> _NumpyNet:
        net = super().__new__(cls)
        net._shape = (height, width)
        net._layers = tuple((_approximation(*weights[i : i + 3]), weights[i + 3]) for i in (0, 4))
        net._linear = weights[8:]
        return net

    _shape: tuple[int, int]
    _layers: tuple[tuple[Array, float], ...]
    _linear: tuple[Array, ...]

    def __call__(self, image: Array, /) -> Array:
        return self._run(np.asarray(image, self._linear[0].dtype), 2)

    def batch(self, images: Array, *, workers: int = 1) -> Array:
        if workers < 1:
            raise ValueError(f"workers={workers} is not 1 or more")
        return self._run(np.asarray(images, self._linear[0].dtype), 3)

    def classify(self, image: Array, /) -> int:
        return int(self(image).argmax())

    def classify_batch(self, images: Array, *, workers: int = 1) -> Array:
        classes: Array = self.batch(images, workers=workers).argmax(1)
        return classes

    def _run(self, images: Array, dimensions: int) -> Array:
        if images.ndim != dimensions or images.shape[-2:] != self._shape:
            expected = f"({'n, ' * (dimensions - 2)}{self._shape[0]}, {self._shape[1]})"
            raise ValueError(f"images of shape {images.shape}; this network takes {expected}")
        maps = images
        for kernel, bias in self._layers:
            maps = _layer(maps, kernel, bias)
        w1, b1, w2, b2 = self._linear
        features = maps.reshape(*images.shape[:-2], w1.shape[1])
        logits: Array = np.maximum(features @ w1.T + b1, 0) @ w2.T + b2
        return logits


if not TYPE_CHECKING:
    _Net = _native.Net if available else _NumpyNet


class SmallNet(_Net):
    """The paper's network (section X), with its weights laid out once for many calls.

    Two layers of one-filter correlation, bias, ReLU and 2x2 max-pool, then a linear layer, ReLU
    and a linear layer. Kernels are (kH, kW), biases of the kernels are numbers; `w1`
    (hidden, features) and `w2` (outputs, hidden) are as in `torch.nn.Linear`. The network
    computes in float64 if `conv1_kernel` is float64 and in float32 otherwise. `rank` replaces
    each kernel by its best separable approximation; `None` is exact.

    `net(image)` gives logits (outputs,) of one image `shape`; `net.batch(images, workers=1)` gives
    (n, outputs), to the same bits. `net.classify` and `net.classify_batch` give the index of the
    largest logit instead, as `argmax` does, at less than its cost. Inputs of another type are
    converted. Raises ValueError where shapes do not fit together.

    >>> import numpy as np
    >>> k, w1, w2 = np.ones((5, 5)), np.ones((2, 25)), np.ones((3, 2))
    >>> net = SmallNet(k, 0.0, k, 0.0, w1, np.zeros(2), w2, np.zeros(3))
    >>> net(np.ones((32, 32)))
    array([31250., 31250., 31250.])
    >>> net.batch(np.ones((4, 32, 32))).shape
    (4, 3)
    >>> net.classify(np.ones((32, 32)))
    0
    """

    def __new__(
        cls,
        conv1_kernel: ArrayLike,
        conv1_bias: float,
        conv2_kernel: ArrayLike,
        conv2_bias: float,
        w1: ArrayLike,
        b1: ArrayLike,
        w2: ArrayLike,
        b2: ArrayLike,
        *,
        rank: int | None = None,
        shape: tuple[int, int] = (32, 32),
    ) -> SmallNet:
        first = np.asarray(conv1_kernel)
        dtype = np.float64 if first.dtype == np.float64 else np.float32
        kernels = [np.ascontiguousarray(k, dtype) for k in (first, conv2_kernel)]
        for kernel in kernels:
            if kernel.ndim != 2 or kernel.size == 0:
                raise ValueError(f"kernel of shape {kernel.shape}; a kernel is (kH, kW)")
        layers = [
            (k, *((None, None) if rank is None else _factors(k, rank)), float(np.asarray(b).item()))
            for k, b in zip(kernels, (conv1_bias, conv2_bias), strict=True)
        ]
        linear = [np.ascontiguousarray(w, dtype) for w in (w1, b1, w2, b2)]
        features = _pooled(_pooled(shape, kernels[0]), kernels[1])
        _check_linear(features[0] * features[1], *linear)
        net: SmallNet = super().__new__(cls, *shape, *layers[0], *layers[1], *linear)
        return net


def _pooled(shape: tuple[int, int], kernel: Array) -> tuple[int, int]:
    height, width = ((n - k + 1) // 2 for n, k in zip(shape, kernel.shape, strict=True))
    if height < 1 or width < 1:
        raise ValueError(
            f"an image of {shape[0]} x {shape[1]} is too small for a kernel of shape "
            f"{kernel.shape} and a 2 x 2 pool"
        )
    return height, width


def _check_linear(features: int, w1: Array, b1: Array, w2: Array, b2: Array) -> None:
    good = (
        (w1.ndim, b1.ndim, w2.ndim, b2.ndim) == (2, 1, 2, 1)
        and w1.shape == (b1.shape[0], features)
        and w2.shape == (b2.shape[0], b1.shape[0])
        and w1.size > 0
        and w2.size > 0
    )
    if not good:
        raise ValueError(
            f"w1 {w1.shape}, b1 {b1.shape}, w2 {w2.shape}, b2 {b2.shape}; these must be "
            f"(hidden, {features}), (hidden,), (outputs, hidden), (outputs,)"
        )
