"""From the files of a data set to arrays of 32 x 32 RGB images."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rankconv.paper.data_pickle import BATCH_FILES, META_FILE, TRAIN_FILES, read_batch, read_names
from rankconv.paper.data_sources import (
    MAX_UNPACKED_BYTES,
    SPLITS,
    DataError,
    Member,
    members,
)

SIDE = 32
SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_IMAGE_BYTES = 1 << 20
MAX_BATCH_BYTES = 1 << 26
MAX_IMAGES = 200_000
PROGRESS_STEP = 500

Kind = Literal["images", "python", "digits"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Decoded:
    """The images of one source, ordered by class and within it by file name."""

    kind: Kind
    classes: tuple[str, ...]
    train_rgb: NDArray[np.uint8]  # (N, 32, 32, 3)
    train_labels: NDArray[np.int64]  # (N,)
    test_rgb: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def decode(path: Path, *, progress: Progress | None = None) -> Decoded:
    """Decode a folder or archive in the layout of CIFAR-10-images or of the python archive."""
    images, batches = _collect(path)
    if batches:
        return _from_batches(batches, path.name)
    return _from_images(images, path.name, progress)


def digest(decoded: Decoded) -> str:
    """SHA-256 over classes, labels and RGB pixels: the same for a folder and its archives."""
    hashed = hashlib.sha256(json.dumps(decoded.classes).encode())
    for array in (
        decoded.train_labels.astype("<i8"),
        decoded.train_rgb,
        decoded.test_labels.astype("<i8"),
        decoded.test_rgb,
    ):
        hashed.update(str(array.shape).encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


# ------------------------------------------------------------------ which file goes where
Images = dict[str, dict[str, dict[str, bytes]]]  # split -> class -> path -> file


def _collect(path: Path) -> tuple[Images, dict[str, bytes]]:
    images: Images = {}
    batches: dict[str, bytes] = {}
    tops: set[str] = set()
    count = total = 0
    for member in members(path):
        parts = member.name.split("/")
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue  # left behind by file managers
        if len(parts) <= 2 and parts[-1] in BATCH_FILES and not member.is_folder:
            batches[parts[-1]] = member.read(MAX_BATCH_BYTES)
            continue
        place = next((i for i in (0, 1) if parts[i : i + 1] and parts[i] in SPLITS), None)
        if place is None:
            continue  # a licence or a read-me beside the data
        tops.add("/".join(parts[:place]))
        if len(tops) > 1:
            raise DataError(
                f"{path.name!r} holds train and test folders in more than one place "
                f"({', '.join(map(repr, sorted(tops)))}); keep one"
            )
        stored = _class_files(images, parts[place:], member, path.name)
        if stored is not None:
            shown, files = stored
            files[shown] = member.read(MAX_IMAGE_BYTES)
            count, total = count + 1, total + len(files[shown])
        if count > MAX_IMAGES or total > MAX_UNPACKED_BYTES:
            raise DataError(
                f"{path.name!r} holds more than {MAX_IMAGES} images or "
                f"{MAX_UNPACKED_BYTES >> 20} MiB of them (at {member.name!r}); CIFAR-10 has 60000"
            )
    return images, batches


def _class_files(
    images: Images, parts: list[str], member: Member, source: str
) -> tuple[str, dict[str, bytes]] | None:
    classes = images.setdefault(parts[0], {})
    if member.is_folder and len(parts) <= 2:
        if len(parts) == 2:
            classes.setdefault(parts[1], {})
        return None
    if len(parts) != 3:
        raise DataError(
            f"{source!r}: {member.name!r} is out of place; wanted {parts[0]}/<class>/<image>.jpg"
        )
    if not parts[2].lower().endswith(SUFFIXES):
        raise DataError(
            f"{source!r}: {member.name!r} is not an image ({', '.join(SUFFIXES)}); "
            "remove it from the class folder"
        )
    files = classes.setdefault(parts[1], {})
    if member.name in files:
        raise DataError(f"{source!r}: {member.name!r} is there twice; pack the archive again")
    return member.name, files


# ------------------------------------------------------------------ the image layout
def _from_images(images: Images, source: str, progress: Progress | None) -> Decoded:
    for split in SPLITS:
        if not images.get(split):
            raise DataError(
                f"{source!r} has no {split}/<class>/ folders; wanted train/<class>/*.jpg and "
                "test/<class>/*.jpg, or the files of the CIFAR-10 python archive"
            )
        for name, files in images[split].items():
            if not files:
                raise DataError(
                    f"{source!r}: class folder '{split}/{name}' holds no image; "
                    "fill it, or remove the class from train and test"
                )
    only = sorted(set(images["train"]) ^ set(images["test"]))
    if only:
        here, there = SPLITS if only[0] in images["train"] else SPLITS[::-1]
        raise DataError(
            f"{source!r}: class {only[0]!r} is in {here} but not in {there}; "
            "both need the same class folders"
        )
    classes = tuple(sorted(images["train"]))
    total = sum(len(files) for split in images.values() for files in split.values())
    arrays = {}
    done = 0
    for split in SPLITS:
        labels = np.repeat(np.arange(len(classes)), [len(images[split][c]) for c in classes])
        rgb = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
        ordered = [
            (n, files[n]) for c in classes for files in [images[split][c]] for n in sorted(files)
        ]
        for i, (name, data) in enumerate(ordered):
            rgb[i] = _pixels(data, f"{source}: {name}")
            done += 1
            if progress is not None and (done % PROGRESS_STEP == 0 or done == total):
                progress(done, total)
        arrays[split] = rgb, labels.astype(np.int64)
    return Decoded("images", classes, *arrays["train"], *arrays["test"])


def _pixels(data: bytes, shown: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.size != (SIDE, SIDE):  # known from the header, before a pixel is decoded
                raise DataError(
                    f"{shown!r} is {image.size[0]} x {image.size[1]} pixels; "
                    f"resize it to {SIDE} x {SIDE}"
                )
            if image.mode not in ("RGB", "L"):
                raise DataError(
                    f"{shown!r} has the pixel format {image.mode}; save it as RGB or 8-bit gray"
                )
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,  # Pillow's word for a broken PNG
        EOFError,
        IndexError,
        OverflowError,
        TypeError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = "no image" if "BytesIO" in str(error) else error  # the name of a buffer: no help
        raise DataError(
            f"{shown!r} is not a readable JPEG or PNG image ({reason}); replace or remove it"
        ) from error


# ------------------------------------------------------------------ the python archive
def _from_batches(batches: dict[str, bytes], source: str) -> Decoded:
    missing = sorted(BATCH_FILES - set(batches))
    if missing:
        raise DataError(f"{source!r}: the file {missing[0]!r} is missing; fetch the archive again")
    names = read_names(batches[META_FILE], f"{source}: {META_FILE}")
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.argsort(order)  # the label in the file -> its place among the sorted names
    arrays = {}
    for split, files in (("train", TRAIN_FILES), ("test", ("test_batch",))):
        parts = [read_batch(batches[file], len(names), f"{source}: {file}") for file in files]
        labels = rank[np.concatenate([labels for _, labels in parts])]
        rgb = np.concatenate([images for images, _ in parts])
        by_class = np.argsort(labels, kind="stable")
        arrays[split] = rgb[by_class], labels[by_class].astype(np.int64)
        absent = sorted(set(range(len(names))) - set(labels.tolist()))
        if absent:
            raise DataError(
                f"{source!r}: no {split} image of the class {names[order[absent[0]]]!r}; "
                "fetch the archive again"
            )
    return Decoded("python", tuple(sorted(names)), *arrays["train"], *arrays["test"])
