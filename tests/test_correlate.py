"""Every algorithm of the dictionary against scipy.signal in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, signal

from rankconv import extended_slide
from rankconv.correlate import ALGORITHMS, DTYPES, SplitKernel, takes
from rankconv.correlate.costs import COUNTS, Job
from rankconv.correlate.fft import good_size
from rankconv.correlate.toeplitz import (
    apply_stacked,
    apply_terms,
    stacked_matrices,
    term_matrices,
)

sizes = st.integers(1, 40)


def taken(dtypes):
    return [
        (name, dtype) for name in ALGORITHMS for dtype in dtypes if takes(name, np.dtype(dtype))
    ]


def split(rng, kH, kW, rank, dtype):
    f = rng.standard_normal((rank, kH)).astype(dtype)
    g = rng.standard_normal((rank, kW)).astype(dtype)
    if np.iscomplexobj(f):
        f += 1j * rng.standard_normal((rank, kH)).astype(f.real.dtype)
    return SplitKernel(f.T @ g, f, g)


def reference(image, kernel):
    planes = image.reshape(-1, *image.shape[-2:])
    dense = kernel.dense.conj()  # SciPy conjugates it back
    results = [signal.correlate2d(plane, dense, "valid") for plane in planes]
    return np.array(results).reshape(*image.shape[:-2], *results[0].shape)


def assert_close(actual, expected, image, kernel):
    eps = np.finfo(image.dtype).eps
    size = np.abs(kernel.f).T @ np.abs(kernel.g)
    scale = size.sum() * np.abs(image).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=40 * eps * scale)


@pytest.mark.parametrize(
    ("name", "dtype"), taken([np.float64, np.float32, np.complex64, np.complex128])
)
@settings(max_examples=40)
@given(
    H=sizes, W=sizes, kH=sizes, kW=sizes, rank=st.integers(1, 4),
    lead=st.sampled_from([(), (1,), (3,), (2, 2)]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_algorithm_is_scipys_correlation(name, dtype, H, W, kH, kW, rank, lead, seed):
    rng = np.random.default_rng(seed)
    kernel = split(rng, min(kH, H), min(kW, W), rank, dtype)
    image = rng.standard_normal((*lead, H, W)).astype(dtype)
    wide = SplitKernel(*(a.astype(np.result_type(dtype, float)) for a in _arrays(kernel)))
    result = ALGORITHMS[name](image, kernel)
    assert result.dtype == dtype
    assert_close(result, reference(image.astype(wide.dense.dtype), wide), image, kernel)


def _arrays(kernel):
    return kernel.dense, kernel.f, kernel.g


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(
    ("shape", "k"),
    [((700, 90), (9, 5)), ((90, 1100), (3, 40)), ((420, 430), (70, 1)), ((2, 260, 300), (2, 33))],
)
def test_large_images_over_several_tiles(name, shape, k):
    if name == "loop":
        shape = (*shape[:-2], min(shape[-2], 90), min(shape[-1], 90))
    rng = np.random.default_rng(5)
    kernel = split(rng, *k, 2, np.float64)
    image = rng.standard_normal(shape)
    expected = np.array(
        [signal.oaconvolve(p, kernel.dense[::-1, ::-1], "valid") for p in np.atleast_3d(image)]
        if image.ndim == 3
        else signal.oaconvolve(image, kernel.dense[::-1, ::-1], "valid")
    )
    assert_close(ALGORITHMS[name](image, kernel), expected, image, kernel)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1, ::-1],
        lambda a: a[::2, ::3],
        lambda a: a.T,
        np.asfortranarray,
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
    ids=["reversed", "strided", "transposed", "fortran", "broadcast"],
)
def test_memory_layout_does_not_matter(name, view):
    rng = np.random.default_rng(6)
    kernel = split(rng, 4, 3, 2, np.float64)
    image = view(rng.standard_normal((50, 60)))
    image.flags.writeable = False
    result = ALGORITHMS[name](image, kernel)
    np.testing.assert_allclose(result, ALGORITHMS[name](image.copy(), kernel), rtol=1e-13)
    assert_close(result, reference(image, kernel), image, kernel)


@pytest.mark.parametrize(("name", "dtype"), taken([np.uint8, np.int16, np.int64]))
def test_integers_are_exact_and_wrap_as_in_scipy(name, dtype):
    rng = np.random.default_rng(7)
    taps = rng.integers(0, 100, (4, 3)).astype(dtype)
    image = rng.integers(0, 200, (30, 20)).astype(dtype)
    kernel = SplitKernel(taps, np.eye(4, dtype=dtype), taps)
    result = ALGORITHMS[name](image, kernel)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, signal.correlate2d(image, taps, "valid"))


def test_only_direct_forms_keep_nan_in_its_windows():
    image = np.ones((20, 20))
    image[10, 10] = np.nan
    taps = np.ones((3, 3))
    kernel = SplitKernel(taps, np.ones((1, 3)), np.ones((1, 3)))
    for name in ("loop", "direct", "separable"):
        assert np.isnan(ALGORITHMS[name](image, kernel)).sum() == 9


@given(v=st.lists(st.integers(-9, 9), min_size=1, max_size=8), extra=st.integers(0, 8))
def test_extended_slide_is_a_banded_toeplitz_matrix(v, extra):
    n = len(v) + extra
    row = np.zeros(n, int)
    row[: len(v)] = v
    expected = linalg.toeplitz(np.r_[v[0], np.zeros(extra, int)], row)
    result = extended_slide(v, n)
    assert result.dtype == np.asarray(v).dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.complex128, bool])
def test_extended_slide_keeps_the_dtype(dtype):
    assert extended_slide(np.ones(2, dtype), 4).dtype == dtype


@pytest.mark.parametrize(("v", "n"), [([], 3), ([1, 2], 1), ([[1]], 3), (1, 3)])
def test_extended_slide_refuses(v, n):
    with pytest.raises(ValueError, match="pass a 1-D v with"):
        extended_slide(v, n)


def test_prepared_matrices_serve_many_images():
    rng = np.random.default_rng(8)
    kernel = split(rng, 5, 4, 3, np.float64)
    images = rng.standard_normal((6, 32, 31))
    F, G = stacked_matrices(kernel.f, kernel.g, (32, 31))
    assert F.shape == (28, 32 * 3)
    assert G.shape == (31, 3 * 28)
    f_stars, g_stars = term_matrices(kernel.f, kernel.g, (32, 31))
    np.testing.assert_array_equal(f_stars[1], extended_slide(kernel.f[1], 32))
    np.testing.assert_array_equal(g_stars[2], extended_slide(kernel.g[2], 31).T)
    expected = reference(images, kernel)
    np.testing.assert_allclose(apply_stacked(images, F, G), expected, atol=1e-12)
    np.testing.assert_allclose(apply_terms(images, f_stars, g_stars), expected, atol=1e-12)


def test_good_size_is_the_next_5_smooth_number():
    def smooth(n):
        for p in (2, 3, 5):
            while n % p == 0:
                n //= p
        return n == 1

    for n in range(1, 2000):
        assert good_size(n) == next(m for m in range(n, 3 * n) if smooth(m))


def test_every_algorithm_has_a_cost():
    assert set(COUNTS) >= set(ALGORITHMS)
    assert set(COUNTS) >= set(DTYPES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocked_separable_and_fft_costs_are_linear_in_pixels(dtype):
    def count(name, n):
        return COUNTS[name](Job(1, n, n, 7, 7, 3, np.dtype(dtype))).multiply_adds

    for name in ("direct", "separable", "toeplitz_blocked", "fft"):
        assert count(name, 4096) / count(name, 1024) == pytest.approx(16, rel=0.15)
    assert count("toeplitz", 4096) / count("toeplitz", 1024) == pytest.approx(64, rel=0.05)
