"""Images and labels as PyTorch's users have them, as `rankconv.compress.data.Data`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankconv.compress.data import Data
from rankconv.nn.chains import array

Array = NDArray[Any]
SAMPLES = 10_000  # images that are read from a loader, at most


def as_data(data: Any, labels: Any = None, *, samples: int = SAMPLES) -> Data:
    """Images, and labels where there are some, of any of the usual forms.

    `data` is a tensor or array (N, C, H, W); a tuple (inputs, labels), whose inputs may be a
    tuple of several; a loader, or any other iterable, of batches of these, read until `samples`
    images are there; or a `Data`. `labels`, classes (N,) or target images, go with images alone.

    Raises ValueError for other forms, for labels given twice, and as `Data` does.

    >>> loader = [(torch.zeros(4, 3, 8, 8), torch.arange(4))] * 3
    >>> data = as_data(loader, samples=8)
    >>> len(data), data.labels.tolist()
    (8, [0, 1, 2, 3, 0, 1, 2, 3])
    """
    if isinstance(data, Data):
        if labels is not None:
            raise ValueError("labels are given twice: leave them out where data is a Data")
        return data
    if _is_array(data):
        return Data(_numbers(data), None if labels is None else _numbers(labels))
    if labels is not None:
        raise ValueError(
            f"labels beside data of type {type(data).__name__}: pass the images as one tensor or "
            "array, or pairs (inputs, labels) without labels="
        )
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_inputs, data)):
        return _joined([data])
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        raise ValueError(
            f"data is {type(data).__name__}: pass a tensor or array (N, C, H, W), a tuple "
            "(inputs, labels), or a torch.utils.data.DataLoader of such batches"
        )
    read: list[Any] = []
    count = 0
    for batch in data:
        read.append(batch)
        count += _count(batch)
        if count >= samples:
            break
    if not read:
        raise ValueError("data holds no batch: pass at least 8 images")
    joined = _joined(read)
    return joined.take(np.arange(samples)) if len(joined) > samples else joined


def _joined(batches: list[Any]) -> Data:
    """Batches, each a tensor, [inputs] or (inputs, labels), as one."""
    parts = [_parted(batch) for batch in batches]
    if len({(len(inputs), labels is None) for inputs, labels in parts}) != 1:
        raise ValueError("some batches of data hold labels or more inputs and others do not")
    inputs = tuple(np.concatenate(arrays) for arrays in zip(*(p[0] for p in parts), strict=True))
    labels = [labels for _, labels in parts if labels is not None]
    return Data(inputs, np.concatenate(labels) if labels else None)


def _parted(batch: Any) -> tuple[tuple[Array, ...], Array | None]:
    if _is_array(batch):
        return (_numbers(batch),), None
    if not isinstance(batch, list | tuple) or not 1 <= len(batch) <= 2:
        raise ValueError(
            f"a batch of data is {type(batch).__name__}: it must be a tensor of images, or a pair "
            "(inputs, labels) of tensors"
        )
    inputs = batch[0] if isinstance(batch[0], list | tuple) else [batch[0]]
    if not all(_is_array(part) for part in (*inputs, *batch[1:])):
        raise ValueError(
            "data holds no tensors of many images: from a dataset make a "
            "torch.utils.data.DataLoader"
        )
    return tuple(map(_numbers, inputs)), _numbers(batch[1]) if len(batch) == 2 else None


def _count(batch: Any) -> int:
    while isinstance(batch, list | tuple) and batch:
        batch = batch[0]
    return len(batch) if _is_array(batch) else 0


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0


def _is_inputs(value: Any) -> bool:
    return _is_array(value) or (isinstance(value, tuple) and all(map(_is_array, value)))


def _numbers(value: Any) -> Array:
    return array(value) if isinstance(value, Tensor) else np.asarray(value)


def as_tensors(inputs: tuple[Array, ...], model: torch.nn.Module) -> tuple[Tensor, ...]:
    """Arrays on the model's device, floating ones in its dtype."""
    weight = next((p for p in model.parameters() if p.dtype.is_floating_point), torch.zeros(()))
    result = []
    for given in inputs:
        x = torch.from_numpy(np.ascontiguousarray(given))
        result.append(x.to(weight.device, weight.dtype if x.is_floating_point() else x.dtype))
    return tuple(result)


def first_output(output: Any) -> Tensor:
    """The tensor, or the first entry of a tuple, list or dict, that a model gives.

    Raises ValueError where there is none.
    """
    found = output
    if isinstance(found, Mapping):
        found = next(iter(found.values()), None)
    while isinstance(found, list | tuple) and found:
        found = found[0]
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the model's output is {type(output).__name__}: wrap the model in one that gives a "
            "tensor, or a tuple, list or dict with a tensor first"
        )
    return found
