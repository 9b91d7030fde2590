"""Images to compress on: read as they are, standardised as asked, refused with what is expected."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rankconv.compress.calibration_data import read_arrays
from rankconv.compress.calibration_folder import read_folder


class InputSpec(NamedTuple):
    """As the faces have them."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


FLOAT = np.dtype("float32")
SPEC = InputSpec("image", (None, 3, 8, 6), FLOAT)
ANY_SIZE = InputSpec("image", (None, 3, None, None), FLOAT)


def images(count: int = 10, shape: tuple[int, ...] = (3, 8, 6)) -> np.ndarray:
    return np.random.default_rng(count).random((count, *shape), np.float32)


def saved(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["x", "image"])
def test_arrays_with_labels(tmp_path: Path, name: str) -> None:
    x, y = images(), np.arange(10)
    data = read_arrays(saved(tmp_path / "a.npz", **{name: x, "y": y}), [SPEC])
    np.testing.assert_array_equal(data.inputs[0], x)
    np.testing.assert_array_equal(data.labels, y)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 5),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
)
def test_floats_come_in_the_dtype_of_the_model(
    tmp_path_factory, count, sides, stored, wanted, free
) -> None:
    x = np.random.default_rng(0).random((count, *sides)).astype(stored)
    shape = (None, *(None if free else side for side in sides))
    path = saved(tmp_path_factory.mktemp("npz") / "a.npz", x=x)
    data = read_arrays(path, [InputSpec("in", shape, np.dtype(wanted))])
    assert data.inputs[0].dtype == wanted
    assert data.labels is None
    np.testing.assert_array_equal(data.inputs[0], x.astype(wanted))


def test_several_inputs_keep_the_order_of_the_model(tmp_path: Path) -> None:
    left, right = images(9), images(9, (2,))
    specs = [InputSpec("right", (None, 2), FLOAT), InputSpec("y", (None, 3, 8, 6), FLOAT)]
    data = read_arrays(saved(tmp_path / "a.npz", y=left, right=right), specs)
    np.testing.assert_array_equal(data.inputs[0], right)
    np.testing.assert_array_equal(data.inputs[1], left)
    assert data.labels is None  # this y is an input of the model
    with pytest.raises(ValueError, match=r"no array for the model's input 'right'"):
        read_arrays(saved(tmp_path / "b.npz", y=left, x=right), specs)


BAD = [
    ({"x": images(10, (3, 8, 7))}, r"'x' is float32 of shape \(10, 3, 8, 7\), and the model expects"
     r" image: float32 of shape \(N, 3, 8, 6\)"),
    ({"x": images(10, (8, 6, 3))}, r"channels stand last here: x.transpose\(0, 3, 1, 2\)"),
    ({"x": images(10, (3, 8))}, "the model expects"),
    ({"x": (images() * 255).astype(np.uint8)}, r"Scale the pixels as the model was trained"),
    ({"x": images().astype(complex)}, "is complex128 of shape"),
    ({"x": np.full((10, 3, 8, 6), "a")}, "is <U1 of shape"),
    ({"x": np.where(np.arange(10)[:, None, None, None] == 4, np.nan, images())}, "NaN or infinity"),
    ({"x": np.full((10, 3, 8, 6), 1e300)}, "NaN or infinity"),
    ({"z": images()}, r"holds 'z', and no array for the model's input 'image': expected image: "
     r"float32 of shape \(N, 3, 8, 6\) \(or named 'x'\)"),
    ({"x": images(), "labels": np.arange(10)}, r"'labels', which is no input.*'y' for labels"),
    ({"x": images(), "y": np.arange(9)}, r"labels of shape \(9,\) do not fit 10 images"),
    ({"x": images(), "y": np.arange(10) - 1}, "labels from -1 to 8"),
    ({"x": images(), "y": np.arange(10) + 0.5}, "labels from 0.5"),
    ({"x": images(0)}, "no images"),
    ({}, "holds nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("arrays", "complaint"), BAD)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays, complaint: str) -> None:
    path = saved(tmp_path / "bad.npz", **arrays)
    with np.errstate(all="raise"), pytest.raises(ValueError, match=complaint) as raised:
        read_arrays(path, [SPEC])
    assert "bad.npz" in str(raised.value)


def test_whole_numbers_must_fit_the_model(tmp_path: Path) -> None:
    spec = InputSpec("x", (None, 2), np.dtype("uint8"))
    fits = saved(tmp_path / "a.npz", x=np.array([[0, 255], [3, 4]], np.int64))
    assert read_arrays(fits, [spec]).inputs[0].dtype == np.uint8
    beyond = saved(tmp_path / "b.npz", x=np.array([[0, 256]], np.int64))
    with pytest.raises(ValueError, match="values from 0 to 256, which uint8 cannot hold"):
        read_arrays(beyond, [spec])


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.empty(1, object)
    trap[0] = Trap(sprung)
    pickled = tmp_path / "plain.npz"
    pickled.write_bytes(pickle.dumps(Trap(sprung)))
    for path in (saved(tmp_path / "a.npz", x=trap), pickled):
        with pytest.raises(ValueError, match="Python objects, which are not read"):
            read_arrays(path, [SPEC])
    assert not sprung.exists()
    pickle.loads(pickled.read_bytes())
    assert sprung.exists()  # the trap works


def test_files_that_are_missing_damaged_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.npz does not exist"):
        read_arrays(tmp_path / "nowhere.npz", [SPEC])
    np.save(tmp_path / "one.npy", images())
    with pytest.raises(ValueError, match=r"one array: save it with numpy.savez"):
        read_arrays(tmp_path / "one.npy", [SPEC])
    whole = saved(tmp_path / "a.npz", x=images()).read_bytes()
    for name, content in {"cut": whole[:-200], "empty": b"", "text": b"images, please"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            read_arrays(tmp_path / name, [SPEC])
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': 'quack'")
    with pytest.raises(ValueError, match="cannot be read"):
        read_arrays(tmp_path / "odd.npz", [SPEC])


# Folders of pictures.


def pictures(folder: Path, classes: tuple[str, ...], each: int, size=(6, 8)) -> Path:
    rng = np.random.default_rng(7)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_subfolders_are_the_classes_in_sorted_order(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ("zebra", "ape"), 4)
    (folder / ".thumbnails").mkdir()
    (folder / "ape/notes.txt").write_text("not a picture")
    seen = []
    data = read_folder(folder, SPEC, classes=2, progress=lambda *at: seen.append(at))
    assert seen[-1] == (8, 8)
    np.testing.assert_array_equal(data.labels, [0] * 4 + [1] * 4)
    first = np.asarray(Image.open(folder / "ape/0.png"), np.float64).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(data.inputs[0][0], first, atol=1e-7)
    assert data.inputs[0].dtype == np.float32


def test_standardised_scaled_and_cut_as_torchvision_would(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = pictures(tmp_path, ("a",), 3, size=(38, 26))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    data = read_folder(folder, ANY_SIZE, size=(13, 13), mean=mean, std=std)
    for i, found in enumerate(data.inputs[0]):
        pixels = np.array(Image.open(folder / f"a/{i}.png"))
        whole = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        small = torch.nn.functional.interpolate(
            whole, (13, 19), mode="bilinear", antialias=True, align_corners=False
        )
        wanted = (small[0, :, :, 3:16] / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(
            std
        )[:, None, None]
        np.testing.assert_allclose(found, wanted, atol=1.5 / 255 / min(std))


def test_a_part_drawn_by_the_seed_and_pictures_without_classes(tmp_path: Path) -> None:
    folder = pictures(tmp_path, ("flat",), 20) / "flat"
    whole = read_folder(folder, SPEC)
    assert whole.labels is None
    one, two = (read_folder(folder, SPEC, limit=9, seed=s).inputs[0] for s in (1, 2))
    again = read_folder(folder, SPEC, limit=9, seed=1).inputs[0]
    np.testing.assert_array_equal(one, again)
    assert one.shape == two.shape == (9, 3, 8, 6)
    assert not np.array_equal(one, two)
    rows = {row.tobytes() for row in whole.inputs[0]}
    assert all(row.tobytes() in rows for row in one)


def test_grey_models_rotated_photographs_and_palettes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    grey = InputSpec("x", (None, 1, 8, 6), np.dtype("float64"))
    data = read_folder(tmp_path, grey)
    np.testing.assert_allclose(data.inputs[0][0, 0], np.rot90(pixels, -1) / 255)
    (tmp_path / "turned.png").unlink()
    Image.fromarray(np.rot90(pixels)).convert("P").save(tmp_path / "palette.png")
    assert read_folder(tmp_path, SPEC).inputs[0].shape == (1, 3, 8, 6)


FOLDERS = [
    (SPEC, {"size": (9, 6)}, r"size=9x6 does not suit the model, which expects image: float32"),
    (ANY_SIZE, {}, "of any size.*pass --size"),
    (SPEC, {"mean": (0.1, 0.2)}, r"mean=\(0.1, 0.2\) does not suit 3 channels"),
    (SPEC, {"std": (0.1, 0.2, 0.0)}, "not positive"),
    (SPEC, {"std": (float("nan"),)}, "does not suit"),
    (SPEC, {"classes": 10}, "has 2 classes.*the model tells 10 apart"),
    (InputSpec("x", (None, 4, 8, 6), FLOAT), {}, "pass its arrays in an .npz"),
    (InputSpec("x", (None, 3, 8, 6), np.dtype("uint8")), {}, "pass its arrays in an .npz"),
    (InputSpec("x", (None, 48), FLOAT), {}, "pass its arrays in an .npz"),
]


@pytest.mark.parametrize(("spec", "options", "complaint"), FOLDERS)
def test_folders_that_do_not_suit_the_model(tmp_path: Path, spec, options, complaint) -> None:
    folder = pictures(tmp_path, ("a", "b"), 1)
    with pytest.raises(ValueError, match=complaint):
        read_folder(folder, spec, **options)


def test_folders_without_pictures_and_damaged_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        read_folder(tmp_path / "nowhere", SPEC)
    with pytest.raises(ValueError, match=r"has no pictures.*and no subfolders"):
        read_folder(tmp_path, SPEC)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no pictures"):
        read_folder(tmp_path, SPEC)
    buffer = io.BytesIO()
    Image.effect_noise((60, 80), 50).save(buffer, "PNG")
    (tmp_path / "empty/cut.png").write_bytes(buffer.getvalue()[:1000])
    with pytest.raises(ValueError, match=r"cut.png cannot be read"):
        read_folder(tmp_path, SPEC)
    Image.fromarray(np.zeros((8, 6), np.uint16)).save(tmp_path / "empty/cut.png")
    with pytest.raises(ValueError, match="more than 8 bits a channel"):
        read_folder(tmp_path, SPEC)
