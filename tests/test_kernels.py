"""Named, written and stored filters against the filters that SciPy applies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from rankconv.kernels import KERNELS, bell, gaussian, gaussian_line, gaussian_radius, parse_kernel


def applied(function, **settings) -> np.ndarray:
    """The filter that correlates like SciPy's `function`: its answer to a single pixel, turned."""
    pixel = np.zeros((81, 81))
    pixel[40, 40] = 1
    return function(pixel, **settings)[::-1, ::-1]


def centred(kernel: np.ndarray, size: int = 81) -> np.ndarray:
    before = [(size - n) // 2 for n in kernel.shape]
    return np.pad(kernel, [(b, size - n - b) for b, n in zip(before, kernel.shape, strict=True)])


@pytest.mark.parametrize(
    ("text", "function", "settings"),
    [
        ("gaussian:sigma=3", ndimage.gaussian_filter, {"sigma": 3}),
        ("gaussian:sigma=1.3", ndimage.gaussian_filter, {"sigma": 1.3}),
        ("gaussian:sigma=2, size=7", ndimage.gaussian_filter, {"sigma": 2, "radius": 3}),
        ("box:size=5", ndimage.uniform_filter, {"size": 5}),
        ("sobel", ndimage.sobel, {"axis": 0}),
        ("sobel:axis=1", ndimage.sobel, {"axis": 1}),
        ("prewitt", ndimage.prewitt, {"axis": 0}),
        ("prewitt:axis=1", ndimage.prewitt, {"axis": 1}),
        ("laplacian", ndimage.laplace, {}),
    ],
)
def test_named_filters_are_scipys(text: str, function, settings) -> None:
    kernel = parse_kernel(text)
    np.testing.assert_allclose(centred(kernel), applied(function, **settings), atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.7])
def test_derivatives_of_the_gaussian(sigma: float, order: int) -> None:
    radius = gaussian_radius(sigma)
    pixel = np.zeros(4 * radius + 1)
    pixel[2 * radius] = 1
    expected = ndimage.gaussian_filter1d(pixel, sigma, order=order)[radius : 3 * radius + 1]
    line = gaussian_line(sigma, radius, order)
    np.testing.assert_allclose(line, expected, rtol=1e-12, atol=1e-13 / sigma**order)
    assert not line.flags.writeable


def test_log_is_the_laplacian_of_a_gaussian_that_sums_to_zero() -> None:
    kernel = parse_kernel("log:sigma=2")
    assert abs(kernel.sum()) < 1e-15
    assert np.linalg.matrix_rank(kernel) == 2
    expected = applied(ndimage.gaussian_laplace, sigma=2)
    assert np.abs(centred(kernel) - expected).max() < 1e-3 * np.abs(expected).max()


def test_disk_and_even_sizes() -> None:
    disk = parse_kernel("disk:radius=2.5")
    assert disk.shape == (5, 5)
    assert np.count_nonzero(disk) == 21
    assert disk.sum() == pytest.approx(1)
    even = gaussian(sigma=1, size=4)
    np.testing.assert_allclose(even, even[::-1, ::-1])
    assert even[1, 1] == even[2, 2] == even.max()
    np.testing.assert_allclose(bell(np.array([-0.5, 0.5]), 1.0), [0.5, 0.5])


@pytest.mark.parametrize("text", ["1,0,-1;2,0,-2;1,0,-1", " 1 0 -1; 2 0 -2 ;1 0 -1; "])
def test_rows_of_numbers(text: str) -> None:
    np.testing.assert_array_equal(parse_kernel(text), [[1, 0, -1], [2, 0, -2], [1, 0, -1]])


def test_files(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    kernel = parse_kernel(str(tmp_path / "k.npy"))
    assert kernel.dtype == np.float64
    np.testing.assert_array_equal(kernel, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), "a filter is a real matrix"),
        (np.ones((0, 3)), "a filter is a real matrix"),
        (np.ones((2, 2), complex), "a filter is a real matrix"),
        (np.array([[1.0, np.nan]]), "holds NaN or infinity"),
        (np.array([[1, None]]), "is not a .npy array of numbers"),
    ],
)
def test_files_that_hold_no_filter(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "k.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as raised:
        parse_kernel(str(path))
    assert str(path) in str(raised.value)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "k.npy"
    with path.open("wb") as file:  # an archive under another name
        np.savez(file, a=np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"is not a \.npy array"):
        parse_kernel(str(path))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is not a \.npy array"):
        parse_kernel(str(path))
    with pytest.raises(ValueError, match="does not exist"):
        parse_kernel(str(tmp_path / "none.npy"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is none of gaussian, box"),
        (";", "is none of"),
        ("blur", "is none of"),
        ("1,2;3", "rows of [1, 2] numbers"),
        ("1,inf", "holds NaN or infinity"),
        ("gaussian", "takes the settings sigma, size (optional: size), not none"),
        ("gaussian:size=5", "takes the settings sigma, size (optional: size), not size"),
        ("gaussian:sigma=1,width=3", "not sigma, width"),
        ("gaussian:sigma=0", "sigma=0.0 must be above 0"),
        ("gaussian:sigma=nan", "sigma=nan must be above 0"),
        ("gaussian:sigma=1,sigma=2", "sigma is set twice"),
        ("box:size=2.5", "size=2.5 must be a whole number"),
        ("box:size=inf", "size=inf must be a whole number"),
        ("box:size=0", "size=0 must be between 1 and 4096"),
        ("sobel:axis=2", "sobel: axis=2 is not 0 or 1"),
        ("laplacian:size=3", "takes the settings none (optional: none), not size"),
        ("disk:radius=-1", "radius=-1.0 must be above 0"),
    ],
)
def test_what_is_not_understood_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is checked below
        parse_kernel(text)
    assert message in str(raised.value)


def test_every_name_is_in_the_help() -> None:
    assert all(name in (parse_kernel.__doc__ or "") for name in KERNELS)
