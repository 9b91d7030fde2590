"""Image files: what goes in comes out, and what would lose something is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from rankconv.images import Picture, file_kind, in_type, read_image, write_image

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (4, 9, 7)).astype(np.uint8)  # (bands, H, W)
WORDS = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)


def png16(path: Path, pixels: np.ndarray, colour: int) -> None:
    """A PNG with 16 bits a channel, which Pillow cannot write in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("grey.png", Picture(BYTES[0], "L")),
        ("alpha.png", Picture(BYTES[:2], "LA")),
        ("colour.png", Picture(BYTES[:3], "RGB")),
        ("both.png", Picture(BYTES, "RGBA")),
        ("deep.png", Picture(WORDS, "L")),
        ("grey.tif", Picture(BYTES[0], "L")),
        ("both.tiff", Picture(BYTES, "RGBA")),
        ("deep.TIF", Picture(WORDS, "L")),
        ("signed.tif", Picture(WORDS.astype(np.int32) - 40000, "L")),
        ("float.tif", Picture(RNG.standard_normal((9, 7)).astype(np.float32), "L")),
        ("pages.tif", Picture(np.stack([WORDS, WORDS[::-1]]), "L", pages=True)),
        ("colours.tif", Picture(np.stack([BYTES[:3], BYTES[1:]]), "RGB", pages=True)),
        ("float64.npy", Picture(RNG.standard_normal((2, 9, 7)))),
        ("truth.npy", Picture(WORDS > 1000)),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, name: str, picture: Picture) -> None:
    write_image(tmp_path / name, picture)
    read = read_image(tmp_path / name)
    assert (read.bands, read.pages) == (picture.bands, picture.pages)
    assert read.pixels.dtype == picture.pixels.dtype
    np.testing.assert_array_equal(read.pixels, picture.pixels)
    assert os.listdir(tmp_path) == [name]


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    picture = Picture(np.stack([smooth, smooth[::-1], smooth]), "RGB")
    write_image(tmp_path / "photo.jpg", picture)
    read = read_image(tmp_path / "photo.jpg")
    assert read.bands == "RGB"
    assert np.abs(read.pixels.astype(int) - picture.pixels).max() < 12


def test_arrays_become_pictures_where_they_look_like_one(tmp_path: Path) -> None:
    write_image(tmp_path / "colour.png", Picture(BYTES[:3]))
    assert read_image(tmp_path / "colour.png").bands == "RGB"
    write_image(tmp_path / "pages.tif", Picture(np.stack([WORDS] * 3)))
    assert read_image(tmp_path / "pages.tif").pixels.shape == (3, 9, 7)
    swapped = WORDS.astype(">u2")
    np.save(tmp_path / "swapped.npy", swapped)
    read = read_image(tmp_path / "swapped.npy").pixels
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, WORDS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_come_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 24), np.uint8)
    upright[:4, :12] = 200
    turned = {  # EXIF 2.32, tag 274: where row 0 and column 0 of the file are seen
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright.T, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Maker"
    path = tmp_path / "in.jpg"
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif, quality=100)
    picture = read_image(path)
    assert picture.pixels.shape == (16, 24)
    assert np.abs(picture.pixels.astype(int) - upright).max() < 30
    for name in ("out.jpg", "out.png"):
        write_image(tmp_path / name, picture)
        with Image.open(tmp_path / name) as written:
            tags = written.getexif()
            assert tags[271] == "Maker"
            assert tags.get(274, 1) == 1


def test_profile_and_resolution_stay(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(BYTES[:3].transpose(1, 2, 0).copy())
    image.save(tmp_path / "in.png", icc_profile=profile, dpi=(300, 300))
    picture = read_image(tmp_path / "in.png")
    for name in ("out.png", "out.tif", "out.jpg"):
        write_image(tmp_path / name, picture)
        with Image.open(tmp_path / name) as written:
            assert written.info["icc_profile"] == profile
            assert [round(float(v)) for v in written.info["dpi"]] == [300, 300]


def test_palettes_inks_and_transparent_colours(tmp_path: Path) -> None:
    colour = Image.fromarray(BYTES[:3].transpose(1, 2, 0).copy())
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png").pixels,
        np.asarray(palette.convert("RGB")).transpose(2, 0, 1),
    )
    palette.save(tmp_path / "clear.png", transparency=2)
    clear = read_image(tmp_path / "clear.png")
    assert clear.bands == "RGBA"
    np.testing.assert_array_equal(clear.pixels[3] == 0, np.asarray(palette) == 2)
    colour.convert("CMYK").save(tmp_path / "inks.jpg", quality=100)
    assert read_image(tmp_path / "inks.jpg").bands == "RGB"
    Image.fromarray(BYTES[0] > 100).save(tmp_path / "bits.png")
    bits = read_image(tmp_path / "bits.png")
    np.testing.assert_array_equal(bits.pixels, np.where(BYTES[0] > 100, 255, 0))


TIFFS = {
    "rgb16.tif": (np.stack([WORDS] * 3, -1), "unsigned samples of 16 bits in 3 channel"),
    "u32.tif": (WORDS.astype(np.uint32), "unsigned samples of 32 bits"),
    "i8.tif": (BYTES[0].astype(np.int8), "signed samples of 8 bits"),
    "f64.tif": (WORDS.astype(np.float64), "no TIFF that Pillow knows"),
    "f16.tif": ((WORDS / 65536).astype(np.float16), "no TIFF that Pillow knows"),
}


@pytest.mark.parametrize("name", sorted(TIFFS))
def test_tiffs_that_pillow_would_change_are_refused(tmp_path: Path, name: str) -> None:
    pixels, message = TIFFS[name]
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / name, pixels, photometric=kind)
    with pytest.raises(ValueError, match=message) as raised:
        read_image(tmp_path / name)
    assert name in str(raised.value)


def test_signed_tiffs_are_read(tmp_path: Path) -> None:
    signed = WORDS.astype(np.int64) - 32768
    tifffile.imwrite(tmp_path / "i16.tif", signed.astype(np.int16))
    np.testing.assert_array_equal(read_image(tmp_path / "i16.tif").pixels, signed)


@pytest.mark.parametrize(("colour", "bands"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_pngs_are_refused(tmp_path: Path, colour: int, bands: int) -> None:
    png16(tmp_path / "deep.png", np.stack([WORDS] * bands, -1), colour)
    with pytest.raises(ValueError, match="16 bits a channel in colour or with alpha"):
        read_image(tmp_path / "deep.png")
    png16(tmp_path / "grey.png", WORDS, 0)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png").pixels, WORDS)


def test_what_is_no_single_picture_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(BYTES[i]) for i in (0, 1)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animation of 2 pictures"):
        read_image(tmp_path / "film.png")
    small = Image.fromarray(BYTES[0, :4, :4].copy())
    frames[0].save(tmp_path / "sizes.tif", save_all=True, append_images=[small])
    with pytest.raises(ValueError, match="pages of different kinds"):
        read_image(tmp_path / "sizes.tif")
    lab = Image.fromarray(BYTES[:3].transpose(1, 2, 0).copy(), mode="RGB").convert("RGB")
    lab = ImageCms.profileToProfile(
        lab, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "lab.tif")
    with pytest.raises(ValueError, match="mode LAB is not supported"):
        read_image(tmp_path / "lab.tif")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("line.npy", np.ones(4), "an image is "),
        ("none.npy", np.ones((0, 4)), "at least one pixel"),
        ("complex.npy", np.ones((4, 4), complex), "complex128"),
        ("last.npy", np.ones((8, 9, 3)), "has its colours last"),
        ("things.npy", np.array([[1, None]]), "cannot be read"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, name, array, message: str) -> None:
    np.save(tmp_path / name, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as raised:
        read_image(tmp_path / name)
    assert name in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="no known kind: use one of"):
        read_image(tmp_path / "image.gif")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="no JPEG that Pillow knows"):
        read_image(tmp_path / "text.jpg")
    Image.fromarray(BYTES[0]).save(tmp_path / "other.tif", "PNG")
    with pytest.raises(ValueError, match="no TIFF that Pillow knows"):
        read_image(tmp_path / "other.tif")
    Image.fromarray(RNG.integers(0, 255, (99, 99), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"half\.png cannot be read"):
        read_image(tmp_path / "half.png")
    assert file_kind(Path("A.JPEG")) == "JPEG"


@pytest.mark.parametrize(
    ("name", "picture", "message"),
    [
        ("a.jpg", Picture(BYTES, "RGBA"), "JPEG holds uint8 RGB, uint8 L, not uint8 RGBA"),
        ("a.jpg", Picture(WORDS, "L"), "not uint16 L"),
        ("a.png", Picture(WORDS.astype(np.float32), "L"), "not float32 L; write .tif or .npy"),
        ("a.png", Picture(np.stack([WORDS] * 3), "RGB"), "not uint16 RGB"),
        ("a.tif", Picture(WORDS.astype(np.float64)), "not float64 L"),
        ("a.tif", Picture(np.ones((3, 4, 4), np.float32), "RGB"), "not float32 RGB"),
        ("a.png", Picture(np.stack([WORDS] * 2)), r"cannot hold an image of shape \(2, 9, 7\)"),
        ("a.tif", Picture(np.ones((2, 2, 4, 4), np.uint8)), "write .npy instead"),
        ("none/a.png", Picture(BYTES[0], "L"), "the folder does not exist"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, name, picture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, picture)
    assert not os.listdir(tmp_path)


def test_an_old_file_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(file, array) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    (tmp_path / "kept.npy").write_text("old")
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(ValueError, match="cannot be written: No space left"):
        write_image(tmp_path / "kept.npy", Picture(WORDS))
    assert (tmp_path / "kept.npy").read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.npy"]


@pytest.mark.parametrize(
    ("values", "dtype", "expected", "clipped"),
    [
        ([-1.2, 0.4, 0.6, 254.6, 255.4, 300], "uint8", [0, 0, 1, 255, 255, 255], 1 / 3),
        ([-40000.0, 1.5, 2.5], "int16", [-32768, 2, 2], 1 / 3),
        ([-1.0, 2.0**64], "uint64", [0, 2**64 - 2048], 1),
        ([2.0**63, -(2.0**63)], "int64", [2**63 - 1024, -(2**63)], 0.5),
        ([-1.5, 1e9], "float32", [-1.5, 1e9], 0),
    ],
)
def test_rounding_and_saturation(values, dtype: str, expected, clipped: float) -> None:
    stored, share = in_type(np.array(values, np.float64), np.dtype(dtype))
    assert stored.dtype == dtype
    assert stored.tolist() == expected
    assert share == pytest.approx(clipped)


def test_the_first_of_several_pictures_in_a_jpeg(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (40, 200)]
    frames[0].save(tmp_path / "pair.jpg", "MPO", save_all=True, append_images=frames[1:])
    picture = read_image(tmp_path / "pair.jpg")
    assert picture.pixels.shape == (8, 8)
    assert np.abs(picture.pixels.astype(int) - 40).max() <= 1
