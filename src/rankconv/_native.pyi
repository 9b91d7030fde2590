"""The compiled module. Arrays are plain (native, aligned, C-contiguous) and of one dtype."""

from typing import Any, Self

from numpy.typing import NDArray

Array = NDArray[Any]

isa: str

class Net:
    def __new__(
        cls,
        height: int,
        width: int,
        kernel1: Array,
        columns1: Array | None,
        rows1: Array | None,
        bias1: float,
        kernel2: Array,
        columns2: Array | None,
        rows2: Array | None,
        bias2: float,
        weight1: Array,
        linear_bias1: Array,
        weight2: Array,
        linear_bias2: Array,
        /,
    ) -> Self: ...
    def __call__(self, image: Array, /) -> Array: ...
    def batch(self, images: Array, *, workers: int = 1) -> Array: ...
    def classify(self, image: Array, /) -> int: ...
    def classify_batch(self, images: Array, *, workers: int = 1) -> Array: ...

class Filter:
    def __new__(
        cls,
        columns: Array,
        rows: Array | None,
        top: int,
        bottom: int,
        left: int,
        right: int,
        boundary: int,
        constant: float,
        keep_dtype: bool,
        workers: int,
        /,
    ) -> Self: ...
    def __call__(self, image: Array, /, *, out: Array | None = None) -> Array: ...

class Planned:
    def _keep(
        self, filter: Filter, image_type: int, result_type: int, shape: tuple[int, ...], /
    ) -> None: ...

def conv_relu_pool(
    images: Array,
    kernel: Array,
    columns: Array | None,
    rows: Array | None,
    bias: float,
    out: Array,
    /,
) -> None: ...
