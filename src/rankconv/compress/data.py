"""Images to compress a network on, checked, and their split into three parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankconv._checks import as_numbers
from rankconv.compress.network import Inputs

Array = NDArray[Any]
FEWEST = 8  # images: two in each part, and more for the factors
SHARES = (0.35, 0.35)  # for the factors, for the budget; the rest for the drop that is told
MOST = (4096, 2048)  # images in the first two parts


@dataclass(frozen=True, eq=False)
class Data:
    """Images (N, C, H, W), and what the network should make of them where that is known.

    `inputs` is an array, or one for each input of the network, images along the first axis.
    `labels` are classes (N,), integers from 0; or target images (N, ...) of the output's shape.

    Raises ValueError for empty, non-numeric, non-finite or complex inputs, for inputs and labels
    of different lengths, and for labels that are not integers >= 0 where there is one an image.
    Equivalent: `torch.utils.data.TensorDataset`.

    >>> data = Data(np.zeros((10, 3, 8, 8), "float32"), np.arange(10))
    >>> len(data), data.inputs[0].shape
    (10, (10, 3, 8, 8))
    """

    inputs: Inputs
    labels: Array | None = None

    def __init__(
        self, inputs: ArrayLike | Sequence[ArrayLike], labels: ArrayLike | None = None
    ) -> None:
        many = inputs if isinstance(inputs, tuple) else (inputs,)
        if not many:
            raise ValueError("inputs is empty: pass the images (N, C, H, W)")
        names = ["inputs"] if len(many) == 1 else [f"inputs[{i}]" for i in range(len(many))]
        arrays = tuple(_images(a, name) for a, name in zip(many, names, strict=True))
        for array, name in zip(arrays, names, strict=True):
            if len(array) != len(arrays[0]):
                raise ValueError(
                    f"{name} holds {len(array)} images and {names[0]} {len(arrays[0])}: pass as "
                    "many in each, image i of the one beside image i of the other"
                )
        object.__setattr__(self, "inputs", arrays)
        object.__setattr__(
            self, "labels", None if labels is None else _labels(labels, len(arrays[0]))
        )

    def __len__(self) -> int:
        return int(self.inputs[0].shape[0])

    @property
    def classes(self) -> Array | None:
        """The labels where they are classes (N,), else None."""
        return self.labels if self.labels is not None and self.labels.ndim == 1 else None

    def take(self, index: Array) -> Data:
        """The images of an index, in its order."""
        labels = None if self.labels is None else self.labels[index]
        inputs = tuple(array[index] for array in self.inputs)
        taken = object.__new__(Data)
        object.__setattr__(taken, "inputs", inputs)
        object.__setattr__(taken, "labels", labels)
        return taken


class Split(NamedTuple):
    """Three parts that share no image, each in random order: its first images stand for all.

    The factors are fitted on `fit`, the budget is kept on `choose`, and the drop that is told is
    measured on `report`, at which nothing looks before the choice is made.
    """

    fit: Data
    choose: Data
    report: Data

    @property
    def sizes(self) -> dict[str, int]:
        """How many images each part has."""
        return {"fit": len(self.fit), "choose": len(self.choose), "report": len(self.report)}


def split(data: Data, *, seed: int) -> Split:
    """Shuffle the images by `seed` and deal them out: 35 % fit, 35 % choose, the rest report.

    Shuffled, because files are often in the order of their classes. Of many images fit gets at
    most 4096 and choose 2048; few are dealt out in the same shares, each part at least two. The
    drop measured on n images is known to about 1 / sqrt(n): a hundred images decide little.

    Raises ValueError for fewer than 8 images.
    Equivalent: `torch.utils.data.random_split`.

    >>> split(Data(np.zeros((100, 1, 4, 4))), seed=0).sizes
    {'fit': 35, 'choose': 35, 'report': 30}
    """
    count = len(data)
    if count < FEWEST:
        raise ValueError(
            f"{count} images are too few to fit, choose and report on different ones: pass at "
            f"least {FEWEST}; some hundreds make the measured drop worth something"
        )
    order = np.random.default_rng(seed).permutation(count)
    ends = np.cumsum([max(2, min(int(s * count), m)) for s, m in zip(SHARES, MOST, strict=True)])
    return Split(*(data.take(part) for part in np.split(order, ends)))


def _images(value: ArrayLike, name: str) -> Array:
    array = as_numbers(value, name)
    if array.ndim < 2 or array.size == 0 or array.dtype.kind == "c":
        raise ValueError(
            f"{name} of shape {array.shape} and dtype {array.dtype} are no images: pass real "
            "numbers (N, C, H, W), images along the first axis"
        )
    for start in range(0, len(array), 64):
        if array.dtype.kind == "f" and not np.isfinite(array[start : start + 64]).all():
            raise ValueError(
                f"{name} hold NaN or infinity, first among images {start} to "
                f"{min(start + 64, len(array)) - 1}: leave those images out"
            )
    return array


def _labels(value: ArrayLike, count: int) -> Array:
    array = as_numbers(value, "labels")
    if array.ndim == 0 or len(array) != count:
        raise ValueError(
            f"labels of shape {array.shape} do not fit {count} images: pass one class an image, "
            f"({count},), or target images ({count}, ...)"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "c" or not np.isfinite(array).all():
        raise ValueError(f"labels of dtype {array.dtype} hold NaN, infinity or complex numbers")
    if array.ndim == 1:
        whole = array.astype(np.int64)
        if (whole != array).any() or whole.min() < 0:
            raise ValueError(
                f"labels from {array.min()} to {array.max()} of dtype {array.dtype}: pass classes "
                "as integers, counted from 0"
            )
        return whole
    return array


def check_labels(data: Data, outputs: Array) -> None:
    """ValueError where the labels do not fit the network's outputs (N, classes, ...).

    The outputs may be those of some of the images only.

    >>> check_labels(Data(np.zeros((2, 1, 4, 4)), [0, 12]), np.zeros((2, 10)))
    Traceback (most recent call last):
      ...
    ValueError: labels go up to 12, and the network tells 10 classes apart: expected 0 to 9
    """
    if data.labels is None:
        return
    if data.classes is None:
        if data.labels.shape[1:] != outputs.shape[1:]:
            raise ValueError(
                f"labels of shape {data.labels.shape} do not fit the network's output of shape "
                f"{outputs.shape}: pass targets of that shape, or one class an image"
            )
        if data.labels.ndim == 2 and _one_hot(data.labels):
            raise ValueError(
                f"labels of shape {data.labels.shape} are 1 at one place of each row: pass the "
                "classes themselves, labels.argmax(axis=1)"
            )
        return
    if outputs.ndim < 2 or outputs.shape[1] < 2 or outputs[0, 0].size != 1:
        raise ValueError(
            f"labels are classes, and the network's output of shape {outputs.shape} is not one "
            "score a class: pass target images of that shape, or no labels"
        )
    most, classes = int(data.classes.max()), int(outputs.shape[1])
    if most >= classes:
        raise ValueError(
            f"labels go up to {most}, and the network tells {classes} classes apart: "
            f"expected 0 to {classes - 1}"
        )


def _one_hot(labels: Array) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
