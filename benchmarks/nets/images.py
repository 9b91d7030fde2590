"""CIFAR-10 as every network of the benchmark takes it: float32 (N, 3, 32, 32), normalised.

One normalisation for all, that of the ResNets made by others: mean and standard deviation of
ImageNet's channels. So one file of images serves every network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankconv.paper.data import Dataset, load

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
CALIBRATION = 6000
SEED = 0


class Labelled(NamedTuple):
    """Images float32 (N, 3, 32, 32), normalised, and labels int64 (N,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


def cifar10(path: str | None = None) -> Dataset:
    """CIFAR-10 in colour from `path` or the file named by RANKCONV_DATA; never the digits."""
    data = load(path, color="rgb")
    if not data.name.startswith("CIFAR-10"):
        raise SystemExit(
            f"found {data.name}, the networks need CIFAR-10: pass --data or set RANKCONV_DATA"
        )
    return data


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels uint8 (N, 32, 32, 3) as the networks take them, float32 (N, 3, 32, 32)."""
    scaled = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def calibration(data: Dataset, count: int = CALIBRATION) -> Labelled:
    """The first training images in an order drawn from SEED; the test images are not touched."""
    chosen = np.random.default_rng(SEED).permutation(len(data.train_labels))[:count]
    return Labelled(normalise(data.train_images[chosen]), data.train_labels[chosen])


def test_images(data: Dataset) -> Labelled:
    """The 10,000 test images, on which accuracy is reported."""
    return Labelled(normalise(data.test_images), data.test_labels)
