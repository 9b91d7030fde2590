"""The images as the network takes them: resampled, and standardised."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from rankconv.paper.data import Dataset
from rankconv.paper.model import FloatArray


def prepared(data: Dataset, how: str, size: int) -> tuple[FloatArray, FloatArray]:
    """Training and test images, (N, size, size) of grey images or (N, 3, size, size) of RGB.

    Images of another size are resampled (bilinear, antialiased). "image" gives every image mean 0
    and deviation 1 (over its channels together), "dataset" the whole training set; a constant
    image becomes zeros; "none" keeps the values in [0, 1].
    """
    train, test = (_sized(_planes(part), size) for part in (data.train_images, data.test_images))
    if how == "none":
        return train, test
    if how == "dataset":
        mean, deviation = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
        return _scaled(train, mean, deviation), _scaled(test, mean, deviation)
    return _standardized(train), _standardized(test)


def _planes(images: np.ndarray) -> FloatArray:
    """(N, H, W) as it is; (N, H, W, 3) of bytes as (N, 3, H, W) in [0, 1]."""
    if images.ndim == 3:
        return np.asarray(images, np.float32)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    planes /= 255
    return planes


def _sized(images: FloatArray, size: int) -> FloatArray:
    if images.shape[-2:] == (size, size):
        return images
    four = images.reshape(len(images), -1, *images.shape[-2:])
    done = [
        functional.interpolate(
            torch.from_numpy(four[i : i + 1000]), (size, size), mode="bilinear", antialias=True
        ).numpy()
        for i in range(0, len(four), 1000)
    ]
    return np.concatenate(done).reshape(*images.shape[:-2], size, size)


def _scaled(images: FloatArray, mean: float, deviation: float) -> FloatArray:
    return np.asarray((images - mean) / (deviation or 1.0), np.float32)


def _standardized(images: FloatArray) -> FloatArray:
    axes = tuple(range(1, images.ndim))
    centred = images - images.mean(axis=axes, keepdims=True)
    deviation = centred.std(axis=axes, keepdims=True)
    result: FloatArray = np.zeros_like(centred)
    np.divide(centred, deviation, out=result, where=deviation > 1e-6)
    return result
