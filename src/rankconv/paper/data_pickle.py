"""The batches of the CIFAR-10 python archive, read so that nothing in them can run.

The format (https://www.cs.toronto.edu/~kriz/cifar.html): each batch is a pickled dictionary with
``data``, uint8 of shape (10000, 3072) with the red, green and blue planes one after the other, and
``labels``, a list of 10,000 numbers from 0 to 9; ``batches.meta`` holds ``label_names``.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.paper.data_sources import DataError

TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
META_FILE = "batches.meta"
BATCH_FILES = frozenset({*TRAIN_FILES, "test_batch", META_FILE})
PIXELS = 3 * 32 * 32


def read_batch(
    content: bytes, n_classes: int, shown: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and labels (N,) of one batch file."""
    batch = _dictionary(content, shown)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, _Array) or data.shape[1:] != (PIXELS,) or data.shape[0] == 0:
        raise DataError(f"{shown!r}: 'data' is not an array of N x {PIXELS} bytes; {_WAY_OUT}")
    if (
        not isinstance(labels, list)
        or len(labels) != data.shape[0]
        or not all(type(label) is int and 0 <= label < n_classes for label in labels)
    ):
        raise DataError(
            f"{shown!r}: 'labels' is not a list of {data.shape[0]} numbers below {n_classes}; "
            + _WAY_OUT
        )
    planes = np.frombuffer(data.raw, np.uint8).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, np.int64)


def read_names(content: bytes, shown: str) -> tuple[str, ...]:
    """Class names of the file ``batches.meta``, in the order of the labels."""
    names = _dictionary(content, shown).get("label_names")
    if isinstance(names, list) and names and all(isinstance(n, (bytes, str)) for n in names):
        texts = tuple(n if isinstance(n, str) else n.decode("latin-1") for n in names)
        if len(set(texts)) == len(texts):
            return texts
    raise DataError(f"{shown!r}: 'label_names' is not a list of different names; {_WAY_OUT}")


_WAY_OUT = "fetch the archive again from its source"


def _dictionary(content: bytes, shown: str) -> dict[str, Any]:
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{shown!r} is not a CIFAR-10 batch: {error}; {_WAY_OUT}") from error
    except Exception as error:  # a broken pickle can fail with nearly any exception
        raise DataError(
            f"{shown!r} is a damaged pickle ({type(error).__name__}); {_WAY_OUT}"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"{shown!r} holds no dictionary; {_WAY_OUT}")
    return {k.decode("latin-1") if isinstance(k, bytes) else str(k): v for k, v in loaded.items()}


class _Array:
    """Stands where the pickle asks for a NumPy array: the shape and the bytes, checked."""

    __slots__ = ("raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.raw = b""

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), (int(rows), int(columns)), _Dtype(code="u1"), False | 0, bytes(raw)):
                if rows >= 0 and columns >= 0 and rows * columns == len(raw):
                    self.shape, self.raw = (rows, columns), raw
                    return
        raise pickle.UnpicklingError("an array that is not a plain table of bytes")


class _Dtype:
    __slots__ = ("code",)

    def __init__(self, code: object) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: nothing that one byte a pixel depends on."""


class _Callable:
    """What a global name of the pickle becomes: callable, and nothing of it can be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *args: object) -> object:
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function with a state")


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("text in an unknown encoding")
    return text.encode("latin-1")


_GLOBALS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): lambda *_: _Array(),
    ("numpy", "dtype"): lambda code, *_: _Dtype(code),
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in protocol 2
}


# The pure Python reader: the one in C reserves memory for whatever index a file names.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> object:
        make = _GLOBALS.get((module, name))
        if make is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return _Callable(make)
