"""Images to compress on, from a file of arrays, checked against what a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.data import Data

Array = NDArray[Any]
LABELS = "y"


class InputSpec(Protocol):
    """What a face says of an input of its network; None is a side of any size."""

    @property
    def name(self) -> str:
        """As the arrays in a file are called."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the network takes."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """With the images along the first axis."""


def described(spec: InputSpec) -> str:
    """An input in words, for errors.

    >>> from types import SimpleNamespace
    >>> described(SimpleNamespace(name="x", dtype=np.dtype("float32"), shape=(None, 3, 32, None)))
    'x: float32 of shape (N, 3, 32, ?)'
    """
    sides = ["?" if side is None else str(side) for side in spec.shape[1:]]
    return f"{spec.name}: {spec.dtype} of shape ({', '.join(['N', *sides])})"


def read_arrays(path: Path | str, inputs: Sequence[InputSpec]) -> Data:
    """The images in an `.npz`, and the labels or target images `y` where it has them.

    The images are called as the model's inputs are, or `x` where there is only one. Nothing in
    the file is run: an array of Python objects is refused.

    Raises ValueError that names the file, the array and what is expected: a missing or damaged
    file, missing arrays, a shape or dtype that does not fit, NaN, labels of another length.
    Equivalent: `numpy.load`.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> spec = SimpleNamespace(name="image", dtype=np.dtype("float32"), shape=(None, 1, 4, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/calib.npz", x=np.zeros((9, 1, 4, 4)), y=np.arange(9))
    ...     data = read_arrays(f"{folder}/calib.npz", [spec])
    >>> len(data), data.inputs[0].dtype
    (9, dtype('float32'))
    """
    path = Path(path)
    arrays = _load(path)
    names = {spec.name: _key(spec, arrays, inputs, path) for spec in inputs}
    unknown = sorted(set(arrays) - set(names.values()) - {LABELS})
    if unknown:
        raise ValueError(
            f"{path} holds the array {unknown[0]!r}, which is no input of the model: "
            f"expected {_expected(inputs)}, and {LABELS!r} for labels"
        )
    images = tuple(
        _fitting(arrays[names[spec.name]], spec, names[spec.name], path) for spec in inputs
    )
    labels = arrays.get(LABELS) if LABELS not in names.values() else None
    try:
        return Data(images, labels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _load(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise ValueError(f"calibration data {path} does not exist: pass an .npz or a folder")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array: save it with numpy.savez(path, x=array)")
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # a damaged file makes zipfile, zlib and numpy raise anything
        told = str(error)
        if "allow_pickle" in told or "pickled" in told:
            told = (
                "it is no .npz, or an array in it is of Python objects, which are not read; "
                "pass numbers"
            )
        raise ValueError(f"calibration data {path} cannot be read: {told}") from error


def _key(spec: InputSpec, arrays: dict[str, Array], inputs: Sequence[InputSpec], path: Path) -> str:
    if spec.name in arrays:
        return spec.name
    if len(inputs) == 1 and "x" in arrays:
        return "x"
    found = ", ".join(map(repr, arrays)) or "nothing"
    raise ValueError(
        f"{path} holds {found}, and no array for the model's input {spec.name!r}: "
        f"expected {_expected(inputs)}"
    )


def _expected(inputs: Sequence[InputSpec]) -> str:
    told = "; ".join(map(described, inputs))
    return f"{told} (or named 'x')" if len(inputs) == 1 else told


def _fitting(array: Array, spec: InputSpec, name: str, path: Path) -> Array:
    """The array in the input's dtype, or an error that names the expected shape and dtype."""
    fits = array.ndim == len(spec.shape) and all(
        side in (None, got) for side, got in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    same_kind = array.dtype.kind == spec.dtype.kind or (array.dtype.kind + spec.dtype.kind) in (
        "ui",
        "iu",
    )
    if not fits or not same_kind:
        hint = ""
        if fits and spec.dtype.kind == "f" and array.dtype.kind in "iub":
            hint = ". Scale the pixels as the model was trained, such as x.astype('float32') / 255"
        elif not fits and _channels_last(array, spec):
            hint = ". The channels stand last here: x.transpose(0, 3, 1, 2)"
        raise ValueError(
            f"{path}: {name!r} is {array.dtype} of shape {array.shape}, and the model expects "
            f"{described(spec)}{hint}"
        )
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype, copy=False)
    if spec.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise ValueError(f"{path}: {name!r} has values from {array.min()} to {array.max()}, "
                         f"which {spec.dtype} cannot hold")  # fmt: skip
    return cast


def _channels_last(array: Array, spec: InputSpec) -> bool:
    if array.ndim != 4 or len(spec.shape) != 4:
        return False
    turned = (array.shape[3], *array.shape[1:3])
    return all(side in (None, got) for side, got in zip(spec.shape[1:], turned, strict=True))
