"""Image files in and out for the command line: PNG, JPEG, TIFF and .npy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PILLOW_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
SUFFIXES = (*PILLOW_FORMATS, ".npy")


def read_image(path: Path) -> Array:
    """An image as (H, W), or (C, H, W) for colour; type and range as in the file.

    Raises ValueError that names the file where it is missing, unknown or broken.
    """
    suffix = _suffix(path)
    if not path.is_file():
        raise ValueError(f"image {path} does not exist")
    try:
        if suffix == ".npy":
            image = np.load(path, allow_pickle=False)
        else:
            from PIL import Image

            with Image.open(path) as opened:
                opened.load()
                palette = opened.mode in ("P", "1", "CMYK", "YCbCr")
                image = np.asarray(opened.convert("RGB") if palette else opened)
    except Exception as error:  # Pillow raises many kinds for a broken file
        raise ValueError(f"image {path} cannot be read: {error}") from error
    if suffix != ".npy" and image.ndim == 3:
        image = image.transpose(2, 0, 1)
    if image.ndim < 2 or image.size == 0 or image.dtype.kind not in "fiub":
        raise ValueError(
            f"image {path} holds {image.dtype} of shape {image.shape}: "
            "an image is (..., H, W) and has at least one pixel"
        )
    return np.ascontiguousarray(image)


def write_image(path: Path, image: Array, *, like: Array) -> None:
    """Write `image` in the type of `like`, rounded and saturated; `.npy` keeps float results.

    The file is written beside its place and renamed over it.
    Raises ValueError where the kind of file cannot hold the image.
    """
    suffix = _suffix(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            if suffix == ".npy":
                np.save(file, image)
            else:
                _save(file, path, suffix, image, like)
        beside.replace(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} cannot be written: the folder does not exist") from error
    finally:
        beside.unlink(missing_ok=True)


def _save(file: Any, path: Path, suffix: str, image: Array, like: Array) -> None:
    from PIL import Image

    if like.dtype.kind in "iu":
        limits = np.iinfo(like.dtype)
        image = np.rint(image).clip(limits.min, limits.max).astype(like.dtype)
    elif like.dtype.kind == "b":
        image = (image.clip(0, 1) * 255).round().astype(np.uint8)
    elif suffix == ".tif" or suffix == ".tiff":
        image = image.astype(np.float32)
    else:
        raise ValueError(
            f"{path}: {suffix} holds no floating-point image; write .tif or .npy instead"
        )
    if image.ndim == 3 and image.shape[0] in (2, 3, 4):
        image = image.transpose(1, 2, 0)
    try:
        Image.fromarray(np.ascontiguousarray(image)).save(file, PILLOW_FORMATS[suffix])
    except (TypeError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}: {suffix} cannot hold {image.dtype} of shape {image.shape} ({error}); "
            "write .npy instead"
        ) from error


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} is of no known kind: use one of {', '.join(SUFFIXES)}")
    return suffix
