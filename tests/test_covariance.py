"""Patch covariances against torch.nn.functional.unfold, and their memory limit."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_cases import LAYERS, build, padded_by_torch
from rankconv.compress.covariance import ROWS, PatchCovariance, patch_covariance


def patches(images, kernel, options):
    """(groups, D, samples) by PyTorch."""
    groups = options["groups"]
    unfolded = torch.nn.functional.unfold(
        padded_by_torch(images, options["padding"]),
        kernel,
        stride=options["stride"],
        dilation=options["dilation"],
    ).numpy()  # (N, C kH kW, L)
    n, _, length = unfolded.shape
    split = unfolded.reshape(n, groups, -1, length)
    return split.transpose(1, 2, 0, 3).reshape(groups, -1, n * length)


@settings(max_examples=100)
@given(case=LAYERS, batches=st.integers(1, 3))
def test_moments_are_those_of_unfolded_images(case, batches):
    weight, options, _, rng = build(case)
    channels, kernel = weight.shape[1] * options["groups"], weight.shape[2:]
    images = [rng.standard_normal((2, channels, 10, 9)) + 1 for _ in range(batches)]
    moments = patch_covariance(iter(images), kernel, **options)
    x = np.concatenate([patches(batch, kernel, options) for batch in images], axis=2)
    assert moments.samples == x.shape[2]
    second = x @ x.swapaxes(1, 2) / x.shape[2]
    mean = x.mean(axis=2)
    np.testing.assert_allclose(moments.second_moment(), second, atol=1e-12)
    np.testing.assert_allclose(moments.mean(), mean, atol=1e-13)
    centred = second - mean[:, :, None] * mean[:, None]
    np.testing.assert_allclose(moments.covariance(), centred, atol=1e-12)


def test_more_numbers_a_patch_than_rows_of_one_product():
    images = np.random.default_rng(0).standard_normal((2, 70, 5, 5))
    options = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    moments = patch_covariance([images], 3, **options)
    x = patches(images, (3, 3), options)
    assert ROWS < 70 * 9
    np.testing.assert_allclose(
        moments.second_moment(), x @ x.swapaxes(1, 2) / x.shape[2], atol=1e-12
    )
    assert np.linalg.norm(moments.covariance() - np.cov(x[0], bias=True)) < 1e-10


def test_float32_images_are_summed_in_double_precision():
    images = np.full((1, 1, 300, 300), 1.1, np.float32)
    moment = patch_covariance([images] * 3, 1).second_moment()
    assert moment.dtype == np.float64
    assert moment[0, 0, 0] == pytest.approx(float(np.float32(1.1)) ** 2, rel=1e-13)


def test_results_do_not_disturb_the_sums():
    moments = PatchCovariance(1, 2)
    images = np.random.default_rng(1).standard_normal((2, 1, 4, 4))
    moments.update(images)
    first = moments.second_moment()
    first[:] = np.nan
    moments.covariance()[:] = np.nan
    moments.update(images)
    np.testing.assert_allclose(
        moments.second_moment(), patch_covariance([images], 2).second_moment(), rtol=1e-14
    )


@pytest.mark.parametrize("extra", [200_000, 2_000_000])
def test_work_and_result_stay_within_the_memory_limit(extra):
    images = np.random.default_rng(2).standard_normal((40, 24, 33, 32)).astype(np.float32)
    D = 24 * 9
    limit = 16 * D * D + 8 * D * D + 8 * D * 32 + extra
    expected = patch_covariance([images], 3, padding=1).second_moment()
    tracemalloc.start()
    try:
        moments = PatchCovariance(24, 3, padding=1, memory_limit=limit)
        moments.update(images)
        result = moments.second_moment()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit + 20_000  # Python's own objects
    np.testing.assert_allclose(result, expected, atol=1e-13)


def test_a_limit_that_is_too_low_says_what_it_takes():
    with pytest.raises(ValueError, match=r"memory_limit=1000000 bytes is too low: .* pass more"):
        PatchCovariance(512, 3, memory_limit=1_000_000)
    moments = PatchCovariance(1, 3, memory_limit=10_000)
    with pytest.raises(ValueError, match=r"too low by .* bytes for images"):
        moments.update(np.ones((1, 1, 100, 100)))
    assert moments.samples == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels=0 is not an integer >= 1"),
        ({"channels": 2.0}, "channels=2.0"),
        ({"groups": 3}, "groups=3 is not a divisor of channels=4"),
        ({"groups": True}, "groups=True"),
        ({"kernel": 0}, "kernel=0 must be"),
        ({"stride": 0}, "stride=0 must be"),
        ({"padding": -1}, "padding=-1 must be"),
        ({"padding": ((0, 1, 2), 1)}, "padding=.* must be one integer or two"),
        ({"dilation": (1, 2, 3)}, "dilation="),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        PatchCovariance(**({"channels": 4, "kernel": 3} | options))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((2, 3, 5, 5)), "pass real images \\(N, 4, H, W\\)"),
        (np.ones((4, 5, 5)), "of shape \\(4, 5, 5\\)"),
        (np.ones((2, 4, 5, 5), complex), "complex128"),
        (np.full((2, 4, 5, 5), np.nan), "NaN or infinity"),
        (np.ones((2, 4, 2, 2)), "does not fit into an image"),
        (np.full((2, 4, 5, 5), "a"), "does not hold numbers"),
    ],
)
def test_bad_images_add_nothing(images, message):
    moments = PatchCovariance(4, 3)
    with pytest.raises(ValueError, match=message):
        moments.update(images)
    assert moments.samples == 0


def test_nothing_given():
    with pytest.raises(ValueError, match="batches is empty"):
        patch_covariance([], 3)
    for result in ("mean", "second_moment", "covariance"):
        with pytest.raises(ValueError, match="no images were given yet"):
            getattr(PatchCovariance(4, 3), result)()
