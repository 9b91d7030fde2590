"""Filtering picture files, and the picture of what it did."""

from __future__ import annotations

import os
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from rankconv import compare_picture
from rankconv.cli import app
from rankconv.compare_picture import write_comparison
from rankconv.images import Picture, read_image
from rankconv.kernels import disk, gaussian, sobel
from rankconv.picture_filter import filter_picture

RNG = np.random.default_rng(0)
PHOTO = ndimage.gaussian_filter(RNG.random((3, 60, 80)) * 255, (0, 2, 2))
PHOTO = ((PHOTO - PHOTO.min()) / np.ptp(PHOTO) * 255).astype(np.uint8)


def test_every_band_is_filtered_and_rounded() -> None:
    done = filter_picture(Picture(PHOTO, "RGB"), gaussian(sigma=1.5))
    expected = ndimage.gaussian_filter(PHOTO.astype(float), (0, 1.5, 1.5))
    assert done.picture.pixels.dtype == np.uint8
    assert np.abs(done.picture.pixels - expected).max() < 0.501
    assert (done.error, done.clipped) == (None, 0)
    assert done.values is done.exact
    assert done.plan.rank == 1
    assert done.seconds > 0


def test_alpha_is_kept_as_it_is() -> None:
    pixels = np.concatenate([PHOTO, PHOTO[:1]])
    done = filter_picture(Picture(pixels, "RGBA"), np.ones((3, 3)) / 9, dtype="float32")
    np.testing.assert_array_equal(done.picture.pixels[3], pixels[3])
    assert done.values.shape == (3, 60, 80)
    expected = ndimage.uniform_filter(pixels[:3].astype(float), (1, 3, 3))
    np.testing.assert_allclose(done.picture.pixels[:3], expected, rtol=1e-5)
    pages = np.stack([PHOTO[:2], PHOTO[1:]])  # two pages of grey and alpha
    paged = filter_picture(Picture(pages, "LA", pages=True), sobel(), dtype="float32")
    np.testing.assert_array_equal(paged.picture.pixels[:, 1], pages[:, 1])
    expected = np.stack([ndimage.sobel(page.astype(float), 0) for page in pages[:, 0]])
    np.testing.assert_array_equal(paged.picture.pixels[:, 0], expected)


def test_the_error_of_a_cut_rank_is_measured() -> None:
    kernel = disk(radius=4)
    done = filter_picture(Picture(PHOTO[0].astype(np.float64)), kernel, rank=1, boundary="wrap")
    u, s, vt = np.linalg.svd(kernel)
    exact = ndimage.correlate(PHOTO[0].astype(float), kernel, mode="wrap")
    cut = ndimage.correlate(PHOTO[0].astype(float), s[0] * np.outer(u[:, 0], vt[0]), mode="wrap")
    assert done.error == pytest.approx(np.linalg.norm(cut - exact) / np.linalg.norm(exact))
    np.testing.assert_allclose(done.picture.pixels, cut, atol=1e-10)
    np.testing.assert_allclose(done.exact, exact, atol=1e-10)
    assert filter_picture(Picture(PHOTO[0]), kernel, tol=0.0).error == 0
    assert filter_picture(Picture(PHOTO[0]), 0 * kernel, rank=1).error == 0


@pytest.mark.parametrize(
    ("dtype", "work"),
    [("uint16", "float32"), ("float16", "float32"), ("int32", "float64"), ("bool", "float32")],
)
def test_types(dtype: str, work: str) -> None:
    image = (PHOTO[0] > 100).astype(dtype)
    done = filter_picture(Picture(image), np.ones((1, 2)))
    assert done.plan.dtype == work
    assert done.picture.pixels.dtype == ("float32" if dtype == "bool" else dtype)
    assert done.picture.pixels.max() == pytest.approx(2)
    floats = filter_picture(Picture(image), np.ones((1, 2)), dtype="float32").picture.pixels
    assert (floats.dtype, floats.max()) == (np.float32, pytest.approx(2))


def test_what_does_not_fit_is_counted() -> None:
    done = filter_picture(Picture(PHOTO[0]), sobel())
    outside = ndimage.sobel(PHOTO[0].astype(float), 0)
    assert done.clipped == pytest.approx(np.mean((outside < 0) | (outside > 255)))
    with pytest.raises(ValueError, match="dtype='float64' is not one of 'same', 'float32'"):
        filter_picture(Picture(PHOTO[0]), sobel(), dtype="float64")


def drawn(tmp_path: Path, picture: Picture, kernel: np.ndarray, **options) -> np.ndarray:
    done = filter_picture(picture, kernel, **options)
    write_comparison(tmp_path / "seen.png", picture, done, kernel, name="a $ b $")
    return np.asarray(Image.open(tmp_path / "seen.png").convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("picture", "kernel", "options"),
    [
        (Picture(PHOTO, "RGB"), gaussian(sigma=2), {}),
        (Picture(PHOTO[0], "L"), disk(radius=5), {"rank": 1}),
        (Picture(PHOTO, "RGB"), sobel(), {"dtype": "float32"}),
        (Picture(np.concatenate([PHOTO, PHOTO[:1]]), "RGBA"), sobel(), {}),
        (Picture(np.stack([PHOTO, PHOTO]), "RGB", pages=True), gaussian(sigma=1), {"tol": 0.5}),
        (Picture(PHOTO / 7.0 - 3), gaussian(sigma=1), {}),
        (Picture(np.full((40, 4), np.nan)), gaussian(sigma=1), {}),
        (Picture(np.zeros((1, 1), np.uint8)), np.zeros((2, 2)), {}),
        (Picture(np.zeros((5, 2000), np.uint16)), RNG.random((30, 31)), {"rank": 2}),
    ],
)
def test_the_picture_is_drawn(tmp_path: Path, picture, kernel, options) -> None:
    seen = drawn(tmp_path, picture, kernel, **options)
    assert seen.shape[1] > seen.shape[0] > 300
    assert (seen[0] == 255).all()  # a light ground up to the edge
    assert os.listdir(tmp_path) == ["seen.png"]


def test_the_panels_show_what_they_say(tmp_path: Path) -> None:
    image = np.zeros((400, 400), np.uint8)
    image[:, 200:] = 255
    done = filter_picture(Picture(image, "L"), np.array([[1.0]]))
    figure = compare_picture._draw(Picture(image, "L"), done, np.array([[1.0]]), "none")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [
        "Original", "Result", "Result − original", "Singular values", "Transfer function |K|",
    ]  # fmt: skip
    shown = {axes.get_title(loc="left"): axes.images[0] for axes in figure.axes if axes.images}
    np.testing.assert_array_equal(shown["Original"].get_array(), image)
    np.testing.assert_array_equal(shown["Result"].get_array(), image)
    assert not np.any(shown["Result − original"].get_array())
    np.testing.assert_allclose(shown["Transfer function |K|"].get_array(), 1)

    kernel = disk(radius=3)
    cut = filter_picture(Picture(image, "L"), kernel, rank=1)
    figure = compare_picture._draw(Picture(image, "L"), cut, kernel, "disk")
    shown = {axes.get_title(loc="left"): axes.images[0] for axes in figure.axes if axes.images}
    np.testing.assert_allclose(
        shown["Result − exact result"].get_array(), cut.values - cut.exact, atol=1e-5
    )
    bars = next(a for a in figure.axes if a.get_title(loc="left") == "Singular values").patches
    sigma = np.linalg.svd(kernel, compute_uv=False)
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_allclose(heights, (sigma / sigma[0])[: len(heights)], rtol=1e-6)
    assert bars[0].get_facecolor() != bars[1].get_facecolor() == bars[2].get_facecolor()
    assert "rank 1 of 7, relative error of the result" in figure.texts[0].get_text()


def test_large_images_are_shown_as_means() -> None:
    image = RNG.random((1700, 30))
    shown = compare_picture._shown(image)
    assert shown.shape == (566, 10)
    np.testing.assert_allclose(shown[0, 0], image[:3, :3].mean())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(
        app, ["filter", *map(str, arguments)], catch_exceptions=True
    )


def test_the_command_tells_plan_error_and_time(run, tmp_path: Path) -> None:
    Image.fromarray(PHOTO.transpose(1, 2, 0).copy()).save("in.png")
    done = run("in.png", "out.tif", "-k", "disk:radius=4", "--rank", 1, "--compare", "seen.svg")
    assert done.exit_code == 0, done.output
    for part in (
        "rank 1 of 9: kernel error", "measured", "proven",
        "result: relative error", "against the exact filter",
        "filtered in", "written to out.tif: 3 x 60 x 80 uint8 RGB", "compared in seen.svg",
    ):  # fmt: skip
        assert part in done.output
    assert read_image(tmp_path / "out.tif").bands == "RGB"
    root = xml.etree.ElementTree.parse(tmp_path / "seen.svg").getroot()
    assert root.tag.endswith("svg")


def test_the_command_keeps_floats_and_names_saturation(run, tmp_path: Path) -> None:
    Image.fromarray(PHOTO[0]).save("in.png")
    done = run("in.png", "out.png", "-k", "sobel")
    assert "of the values are beyond uint8 and were saturated; --dtype float32" in done.output
    done = run("in.png", "out.npy", "-k", "sobel", "--dtype", "float32")
    assert "saturated" not in done.output
    result = np.load(tmp_path / "out.npy")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, ndimage.sobel(PHOTO[0].astype(float), 0))
    sixteen = PHOTO[0].astype(np.uint16) * 200
    Image.fromarray(sixteen).save("deep.png")
    assert run("deep.png", "deep.tif", "-k", "gaussian:sigma=1").exit_code == 0
    expected = ndimage.gaussian_filter(sixteen.astype(float), 1)
    assert np.abs(read_image(tmp_path / "deep.tif").pixels - expected).max() < 0.51


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in.png", "out.gif", "-k", "sobel"), "out.gif is of no known kind"),
        (("in.png", "out.png", "-k", "sobel", "--compare", "seen.gif"), "seen.gif is of no known"),
        (("in.png", "out.png", "-k", "sobel", "--dtype", "int8"), "dtype='int8'"),
        (("in.png", "out.png", "-k", "sobel", "--dtype", "float32"), "not float32 L"),
        (("in.png", "out.png", "-k", "sobel", "--boundary", "edge"), "boundary='edge'"),
        (("in.png", "out.png", "-k", "sobel", "--rank", 1, "--tol", 0.1), "exclude each other"),
        (("in.png", "out.png", "-k", "sobel", "--compare", "no/seen.png"), "does not exist"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_named(run, arguments, message: str) -> None:
    Image.fromarray(PHOTO[0]).save("in.png")
    done = run(*arguments)
    assert isinstance(done.exception, ValueError)
    assert message in str(done.exception)
    assert not [name for name in os.listdir() if "part" in name]
