"""Decoded images on disk, one folder for each content, mapped into memory at the next start."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.paper.data_decode import Decoded, Kind, digest

FORMAT = 1
ARRAYS = ("train_rgb", "train_gray", "train_labels", "test_rgb", "test_gray", "test_labels")
_CHUNK = 1000
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Entry:
    """One data set with both colour forms, in the cache or (``arrays``) in memory."""

    kind: Kind
    source: str
    digest: str
    classes: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


def read(folder: Path) -> Entry | None:
    """The entry in a folder of the cache, or None where there is none or a damaged one."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            return None
        # Mode 'c': a caller may write into the arrays, the file never changes.
        arrays = {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in ARRAYS
        }
        for name, array in arrays.items():
            if [str(array.dtype), list(array.shape)] != meta["arrays"][name]:
                return None
        return Entry(meta["kind"], meta["source"], meta["digest"], tuple(meta["classes"]), arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def entries(root: Path) -> Iterator[Entry]:
    """All whole entries of the cache, the newest first."""
    folders = [f for f in root.glob("*/") if not f.name.startswith(".")] if root.is_dir() else []
    for folder in sorted(folders, key=_modified, reverse=True):
        if (entry := read(folder)) is not None:
            yield entry


def store(root: Path, key: str, decoded: Decoded, source: str) -> Entry:
    """Write an entry beside its place, rename it there, and give it back mapped into memory.

    Where the cache cannot be written the entry stays in memory, with a warning.
    """
    entry = Entry(decoded.kind, source, digest(decoded), decoded.classes, _arrays(decoded))
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        with _folder_beside(root) as temporary:
            _write(temporary, entry)
            _publish(temporary, root / key)
    except OSError as error:
        warnings.warn(
            f"the cache folder {str(root)!r} cannot be written ({error.strerror}); the images are "
            "decoded again at the next start. Pass another cache_dir, or make room there",
            stacklevel=3,
        )
        return entry
    return read(root / key) or entry


def _arrays(decoded: Decoded) -> dict[str, NDArray[Any]]:
    return {
        "train_rgb": decoded.train_rgb,
        "train_gray": _gray(decoded.train_rgb),
        "train_labels": decoded.train_labels,
        "test_rgb": decoded.test_rgb,
        "test_gray": _gray(decoded.test_rgb),
        "test_labels": decoded.test_labels,
    }


def _gray(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    from skimage.color import rgb2gray

    gray = np.empty(rgb.shape[:3], np.float32)
    for i in range(0, len(rgb), _CHUNK):  # rgb2gray works in float64: 8 times the memory
        gray[i : i + _CHUNK] = rgb2gray(rgb[i : i + _CHUNK])
    return gray


def _write(folder: Path, entry: Entry) -> None:
    meta = {
        "format": FORMAT,
        "kind": entry.kind,
        "source": entry.source,
        "digest": entry.digest,
        "classes": entry.classes,
        "arrays": {name: [str(a.dtype), list(a.shape)] for name, a in entry.arrays.items()},
    }
    for name, array in entry.arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    with open(folder / "meta.json", "w", encoding="utf-8") as text:
        json.dump(meta, text)
        text.flush()
        os.fsync(text.fileno())


def _publish(temporary: Path, place: Path) -> None:
    for _ in range(10):
        try:
            os.replace(temporary, place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            if error.errno == errno.EACCES and not place.exists():
                raise
        if read(place) is not None:
            return  # another process was first, with the same content
        # A damaged entry: out of the way.
        with _folder_beside(place.parent) as aside, suppress(FileNotFoundError):
            os.replace(place, aside / "damaged")
    raise OSError(errno.EBUSY, "another process keeps changing it", str(place))


@contextmanager
def _folder_beside(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    # What a killed process left behind; a day is longer than any decoding takes.
    for folder in root.glob(".partial-*"):
        if time.time() - _modified(folder) > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
