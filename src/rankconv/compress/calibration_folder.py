"""Images to compress on, from a folder of pictures whose subfolders are the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.calibration_data import InputSpec, described
from rankconv.compress.data import Data

Progress = Callable[[int, int], None]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def read_folder(
    folder: Path | str,
    spec: InputSpec,
    *,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    limit: int | None = None,
    seed: int = 0,
    classes: int | None = None,
    progress: Progress | None = None,
) -> Data:
    """The pictures of a folder as (N, C, H, W); its subfolders, in sorted order, are the classes.

    A folder of pictures without subfolders has no labels. Each picture is scaled and cut in the
    middle to `size` (rows, columns; default: the model's), brought to 0..1, and then standardised
    by `mean` and `std`, one number or one a channel. Grey or colour is as the model has 1 or 3
    channels. `limit` takes that many pictures, drawn by `seed`. `classes` is the number of
    classes that the model knows, which must be that of the subfolders.

    Raises ValueError for an input that is not (N, 1 or 3, H, W) of floats, an empty folder, a
    damaged picture (named), and sizes, means or numbers of classes that do not fit.
    Equivalent: `torchvision.datasets.ImageFolder` with Resize, CenterCrop, ToTensor, Normalize.

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> from PIL import Image
    >>> spec = SimpleNamespace(name="x", dtype=np.dtype("float32"), shape=(None, 3, None, None))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (40, 30)).save(Path(folder, name, "one.png"))
    ...     data = read_folder(folder, spec, size=(16, 16), mean=[0.5], std=[0.5])
    >>> data.inputs[0].shape, data.labels.tolist()
    ((2, 3, 16, 16), [0, 1])
    """
    folder = Path(folder)
    channels, (rows, columns) = _picture_shape(spec, size)
    shift, scale = _per_channel(mean, channels, "mean"), _per_channel(std, channels, "std")
    if not (scale > 0).all():
        raise ValueError(f"std={tuple(std)} has a number that is not positive: pass the spread")
    files, labels = _listed(folder, classes)
    if limit is not None and limit < len(files):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:limit])
        files = [files[i] for i in chosen]
        labels = None if labels is None else labels[chosen]
    images = np.empty((len(files), channels, rows, columns), np.float32)
    for i, file in enumerate(files):
        pixels = _pixels(file, "L" if channels == 1 else "RGB", (columns, rows))
        images[i] = (pixels.reshape(rows, columns, channels).transpose(2, 0, 1) - shift) / scale
        if progress is not None:
            progress(i + 1, len(files))
    return Data(images.astype(spec.dtype, copy=False), labels)


def _picture_shape(spec: InputSpec, size: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    shape = spec.shape
    if len(shape) != 4 or shape[1] not in (1, 3) or spec.dtype.kind != "f":
        raise ValueError(
            "pictures suit an input of floats (N, 1 or 3, H, W), and the model expects "
            f"{described(spec)}: pass its arrays in an .npz"
        )
    own = shape[2], shape[3]
    if size is None:
        if None in own:
            raise ValueError(
                f"the model takes pictures of any size ({described(spec)}): pass --size, as 224"
            )
        size = own[0] or 0, own[1] or 0
    for side, wanted in zip(size, own, strict=True):
        if side < 1 or wanted not in (None, side):
            raise ValueError(
                f"size={size[0]}x{size[1]} does not suit the model, which expects {described(spec)}"
            )
    return shape[1] or 0, size


def _per_channel(values: Sequence[float], channels: int, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size not in (1, channels) or not np.isfinite(array).all():
        raise ValueError(
            f"{name}={tuple(values)} does not suit {channels} channels: pass one number, or "
            f"{channels} of them"
        )
    return array.reshape(-1, 1, 1)


def _listed(folder: Path, classes: int | None) -> tuple[list[Path], NDArray[np.int64] | None]:
    """All pictures, and their classes where there are subfolders."""
    if not folder.is_dir():
        raise ValueError(f"calibration data {folder} is no folder: pass an .npz or a folder")
    groups = sorted(entry for entry in folder.iterdir() if entry.is_dir() and _shown(entry))
    if not groups:
        files = _pictures(folder)
        if not files:
            raise ValueError(f"{folder} has no pictures ({', '.join(PICTURES)}) and no subfolders")
        return files, None
    if classes is not None and len(groups) != classes:
        raise ValueError(
            f"{folder} has {len(groups)} classes (subfolders), and the model tells {classes} "
            "apart: make one for each class, so that their sorted names are in the order of the "
            "model's outputs"
        )
    found = [_pictures(group) for group in groups]
    for group, pictures in zip(groups, found, strict=True):
        if not pictures:
            raise ValueError(f"{group} has no pictures ({', '.join(PICTURES)})")
    labels = np.repeat(np.arange(len(groups)), [len(pictures) for pictures in found])
    return [file for pictures in found for file in pictures], labels


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in PICTURES and _shown(entry) and entry.is_file()
    )


def _shown(entry: Path) -> bool:
    return not entry.name.startswith(".")


def _pixels(file: Path, mode: str, size: tuple[int, int]) -> NDArray[np.float64]:
    """One picture upright, scaled and cut in the middle to `size` (columns, rows), in 0..1."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"picture {file} cannot be read: {error}") from error
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"picture {file} has more than 8 bits a channel ({picture.mode}): pass such in an .npz"
        )
    fitted = picture.convert(mode)
    if fitted.size != size:
        fitted = ImageOps.fit(fitted, size, method=Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.float64) / 255
