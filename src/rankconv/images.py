"""Image files in and out for the command line: PNG, JPEG, TIFF and .npy.

What Pillow would read or write with a loss, such as 16 bits a channel in colour, is refused by
name. Pictures come upright: an orientation stored in the file is applied to the pixels.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PILLOW_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
SUFFIXES = (*PILLOW_FORMATS, ".npy")

# Pillow's modes that are read as they are: name -> bands.
BANDS = {
    "L": "L", "I;16": "L", "I;16L": "L", "I;16B": "L", "I;16N": "L", "I": "L", "F": "L",
    "LA": "LA", "RGB": "RGB", "RGBA": "RGBA",
}  # fmt: skip
CONVERTED = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}
TRANSPARENT = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}

# What a kind of file can hold: (dtype, bands).
DEEP = {("uint8", bands) for bands in ("L", "LA", "RGB", "RGBA")} | {("uint16", "L")}
HELD = {
    "JPEG": {("uint8", "L"), ("uint8", "RGB")},
    "PNG": DEEP,
    "TIFF": DEEP | {("int32", "L"), ("float32", "L")},
}


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels (..., H, W) and what they are.

    `bands` is L, LA, RGB or RGBA, with the bands in the axis before H where there are several, or
    nothing for an array whose leading axes have no names. `pages` says that the first axis counts
    the pages of a TIFF. `info` is what a file tells beside its pixels: colour profile, resolution
    and EXIF.
    """

    pixels: Array
    bands: str = ""
    pages: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


def read_image(path: Path) -> Picture:
    """The picture in a file; type and range of the pixels as in the file.

    Raises ValueError that names the file where it is missing, unknown, broken, or holds what
    cannot be read without loss.
    """
    kind = file_kind(path)
    if not path.is_file():
        raise ValueError(f"image {path} does not exist")
    picture = _read_npy(path) if kind == "NPY" else _read_pillow(path, kind)
    pixels = picture.pixels
    if pixels.ndim < 2 or pixels.size == 0 or pixels.dtype.kind not in "fiub":
        raise ValueError(
            f"image {path} holds {pixels.dtype} of shape {pixels.shape}: "
            "an image is (..., H, W) and has at least one pixel"
        )
    return picture


def write_image(path: Path, picture: Picture) -> None:
    """Write a picture as it is, beside its place, and rename it over it.

    Raises ValueError where this kind of file cannot hold it.
    """
    kind = file_kind(path)
    pages = [] if kind == "NPY" else _pages(path, kind, picture)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w+b") as file:
            if kind == "NPY":
                np.save(file, picture.pixels)
            else:
                _save(file, kind, pages, picture.info)
        beside.replace(path)
    except OSError as error:
        reason = "the folder does not exist" if not path.parent.is_dir() else str(error)
        raise ValueError(f"{path} cannot be written: {reason}") from error
    finally:
        beside.unlink(missing_ok=True)


def file_kind(path: Path) -> str:
    """PNG, JPEG, TIFF or NPY by the end of the name; ValueError for any other."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} is of no known kind: use one of {', '.join(SUFFIXES)}")
    return PILLOW_FORMATS.get(suffix, "NPY")


def in_type(values: Array, dtype: np.dtype[Any]) -> tuple[Array, float]:
    """`values` in `dtype`, integers rounded and saturated, and the share that was out of range."""
    if dtype.kind not in "iu":
        return values.astype(dtype, copy=False), 0.0
    limits = np.iinfo(dtype)
    rounded = np.rint(values)
    # A float cannot hold the largest 64-bit numbers: the nearest one below them is the limit.
    top = rounded.dtype.type(limits.max)
    top = np.nextafter(top, rounded.dtype.type(0)) if int(top) > limits.max else top
    clipped = float(np.mean((rounded < limits.min) | (rounded > top)))
    return np.clip(rounded, limits.min, top).astype(dtype), clipped


def _read_npy(path: Path) -> Picture:
    try:
        with path.open("rb") as file:
            pixels = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"image {path} cannot be read: {error}") from error
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and min(pixels.shape[:2]) > 4:
        raise ValueError(
            f"image {path} of shape {pixels.shape} has its colours last, and an image is "
            "(..., H, W): save numpy.moveaxis(image, -1, 0)"
        )
    native = pixels.dtype.newbyteorder("=")
    return Picture(np.ascontiguousarray(pixels.astype(native, copy=False)))


def _read_pillow(path: Path, kind: str) -> Picture:
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # The file is the user's own, and Pillow refuses twice that size by itself.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=(kind,)) as opened:
                frames = getattr(opened, "n_frames", 1)
                if frames > 1 and kind == "PNG":
                    raise ValueError(f"it is an animation of {frames} pictures: save one of them")
                several = frames > 1 and kind == "TIFF"
                pages = [
                    _page(path, page)
                    for page in (ImageSequence.Iterator(opened) if several else (opened,))
                ]
    except UnidentifiedImageError:
        raise ValueError(
            f"image {path} cannot be read: it is no {kind} that Pillow knows (nor does it know "
            "TIFF with floats of 16 or 64 bits or in colour); save the pixels as .npy"
        ) from None
    except Exception as error:  # ours, and the many kinds that Pillow raises for a broken file
        raise ValueError(f"image {path} cannot be read: {error}") from error
    kinds = sorted({f"{p.bands} {p.pixels.dtype} {p.pixels.shape}" for p in pages})
    if len(kinds) > 1:
        raise ValueError(
            f"image {path} has pages of different kinds ({'; '.join(kinds)}): save one of them"
        )
    if not several:
        return pages[0]
    first = pages[0]
    return Picture(np.stack([p.pixels for p in pages]), first.bands, True, first.info)


def _page(path: Path, image: Any) -> Picture:
    """One page upright, with its bands first."""
    from PIL import ImageOps

    image.load()
    _check_samples(path, image)
    info = {key: image.info[key] for key in ("icc_profile", "dpi") if image.info.get(key)}
    tells_exif = image.format in ("JPEG", "MPO", "PNG")
    if image.mode == "CMYK":
        info.pop("icc_profile", None)  # it describes inks
    if "transparency" in image.info:
        if image.mode not in TRANSPARENT:
            raise ValueError(f"it has a transparent colour in mode {image.mode}: save it without")
        image = image.convert(TRANSPARENT[image.mode])
    elif image.mode in CONVERTED:
        image = image.convert(CONVERTED[image.mode])
    elif image.mode not in BANDS:
        raise ValueError(f"mode {image.mode} is not supported: save it as grey or RGB")
    upright = ImageOps.exif_transpose(image)
    exif = upright.getexif()
    if tells_exif and len(exif):
        info["exif"] = exif.tobytes()
    pixels = np.asarray(upright)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    native = pixels.dtype.newbyteorder("=")
    return Picture(
        np.ascontiguousarray(pixels.astype(native, copy=False)), BANDS[upright.mode], info=info
    )


def _check_samples(path: Path, image: Any) -> None:
    """Refuse samples that Pillow reads with fewer bits or another sign than the file has."""
    if image.format == "PNG":
        with path.open("rb") as file:
            depth, colour = file.read(26)[24:26]  # of the header chunk, PNG specification 11.2.2
        if depth == 16 and colour != 0:
            raise ValueError(
                "it has 16 bits a channel in colour or with alpha, of which 8 would be lost: save "
                "each channel as 16-bit grey, or the pixels as .npy"
            )
    elif image.format == "TIFF":
        bits, formats = image.tag_v2.get(258, (1,)), image.tag_v2.get(339, (1,))
        kind = {1: "unsigned", 2: "signed", 3: "float"}.get(formats[0], f"format {formats[0]}")
        unsigned = kind == "unsigned" and max(bits) <= (16 if image.mode.startswith("I;16") else 8)
        signed = kind == "signed" and image.mode == "I"
        if not (unsigned or signed or (kind == "float" and bits == (32,))):
            raise ValueError(
                f"{kind} samples of {max(bits)} bits in {len(bits)} channel(s) cannot be read "
                "without loss: save the pixels as .npy"
            )


def _pages(path: Path, kind: str, picture: Picture) -> list[Array]:
    """The picture as arrays (H, W) or (H, W, bands) that the kind of file can hold."""
    pixels, bands, dtype = picture.pixels, picture.bands, picture.pixels.dtype.name
    if not bands:  # an array: colour where it looks like colour, otherwise pages
        colour = {3: "RGB", 4: "RGBA"}.get(pixels.shape[0]) if pixels.ndim == 3 else None
        bands = colour if colour and dtype == "uint8" else "L"
    if (dtype, bands) not in HELD[kind]:
        held = ", ".join(f"{t} {b}" for t, b in sorted(HELD[kind], reverse=True))
        raise ValueError(
            f"{path}: {kind} holds {held}, not {dtype} {bands}; write .tif or .npy, or another "
            "type with --dtype"
        )
    count = len(bands)
    lead = pixels.ndim - (2 if count == 1 else 3)
    if lead > 1 or (lead == 1 and kind != "TIFF"):
        raise ValueError(
            f"{path}: {kind} cannot hold an image of shape {pixels.shape}; write "
            f"{'.npy' if lead > 1 else '.tif or .npy'} instead"
        )
    pages = pixels if lead else pixels[None]
    return [np.ascontiguousarray(p if count == 1 else p.transpose(1, 2, 0)) for p in pages]


def _save(file: Any, kind: str, pages: list[Array], info: Mapping[str, Any]) -> None:
    from PIL import Image

    first, *others = [Image.fromarray(page) for page in pages]
    options = dict(info)
    if kind == "TIFF":
        options.pop("exif", None)  # its tags would contradict those of the new file
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    if others:
        options |= {"save_all": True, "append_images": others}
    first.save(file, kind, **options)
