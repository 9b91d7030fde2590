"""The small-image path: layers with ReLU and max-pool, and the paper's network."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from rankconv.correlate.native import SmallNet, available, conv_relu_pool


def layer(image, kernel, bias):
    """The specification: SciPy's correlation in float64, then bias, ReLU and max-pool."""
    maps = signal.correlate2d(image.astype(np.float64), kernel, mode="valid") + bias
    h, w = maps.shape[0] // 2, maps.shape[1] // 2
    return np.maximum(maps[: 2 * h, : 2 * w].reshape(h, 2, w, 2).max((1, 3)), 0)


def low_rank(kernel, rank):
    if rank is None:
        return kernel
    u, s, vt = np.linalg.svd(kernel.astype(np.float64))
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(2, 45),
    st.integers(2, 45),
    st.sampled_from(["f4", "f8"]),
    st.booleans(),
)
def test_layers_match_scipy(seed, kH, kW, oH, oW, dtype, separable):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, oH + kH - 1, oW + kW - 1)).astype(dtype)
    kernel = rng.standard_normal((kH, kW)).astype(dtype)
    rank = int(rng.integers(1, min(kH, kW), endpoint=True)) if separable else None
    result = conv_relu_pool(images, kernel, 0.5, rank=rank)
    expected = np.array([layer(image, low_rank(kernel, rank), 0.5) for image in images])
    assert result.dtype == dtype
    tolerance = 1e-12 if dtype == "f8" else 1e-5
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=100 * tolerance)


def test_layer_takes_any_layout_and_writes_into_out():
    rng = np.random.default_rng(0)
    image, kernel = rng.random((2, 3, 20, 22)), rng.random((3, 3))
    expected = conv_relu_pool(image, kernel, -4.0)
    assert expected.shape == (2, 3, 9, 10)
    for other in (np.asfortranarray(image), image[..., ::-1][..., ::-1], image.astype(">f8")):
        np.testing.assert_array_equal(conv_relu_pool(other, kernel, -4.0), expected)
    for out in (np.empty_like(expected), np.empty_like(expected, order="F"), image[..., :9, :10]):
        assert conv_relu_pool(image, kernel, -4.0, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_nan_passes_the_relu_and_the_pool():
    for at in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        image = np.zeros((4, 40))
        image[at] = np.nan
        pooled = conv_relu_pool(image, [[1.0]], -1.0)
        assert np.isnan(pooled[0, 0])
        assert not pooled[0, 1:].any()
        assert not pooled[1].any()


def test_layer_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(5, 9\).*at least 6 x 6"):
        conv_relu_pool(np.ones((5, 9)), np.ones((5, 5)), 0.0)
    with pytest.raises(ValueError, match="rank=4 is not one of 1 to 3"):
        conv_relu_pool(np.ones((9, 9)), np.ones((3, 3)), 0.0, rank=4)
    with pytest.raises(ValueError, match=r"\(3, 3\).*\(3, 4\)"):
        conv_relu_pool(np.ones((9, 10)), np.ones((3, 3)), 0.0, out=np.ones((3, 3)))


def weights(rng, hidden=60, features=25, outputs=10, k=5, dtype=np.float32):
    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return (
        draw(k, k),
        0.3,
        draw(k, k),
        -0.2,
        draw(hidden, features),
        draw(hidden),
        draw(outputs, hidden),
        draw(outputs),
    )


def reference(image, w, rank):
    maps = layer(image, low_rank(w[0], rank), w[1])
    features = layer(maps, low_rank(w[2], rank), w[3]).ravel()
    w1, b1, w2, b2 = (part.astype(np.float64) for part in w[4:])
    return w2 @ np.maximum(w1 @ features + b1, 0) + b2


@pytest.mark.parametrize("rank", [None, 1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network_matches_scipy(rank, dtype):
    rng = np.random.default_rng(1)
    w = weights(rng, dtype=dtype)
    net = SmallNet(*w, rank=rank)
    images = rng.random((21, 32, 32)).astype(dtype)
    expected = np.array([reference(image, w, rank) for image in images])
    result = net.batch(images)
    assert result.dtype == dtype
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(
        result, expected, rtol=tolerance, atol=tolerance * abs(expected).max()
    )
    single = np.array([net(image) for image in images])
    if available:
        np.testing.assert_array_equal(single, result)
        np.testing.assert_array_equal(net.batch(np.repeat(images, 9, 0), workers=3)[::9], result)
    np.testing.assert_allclose(single, result, rtol=1e-4)


def test_classes_are_the_largest_logits():
    rng = np.random.default_rng(5)
    w = weights(rng)
    net = SmallNet(*w)
    images = rng.random((150, 32, 32), dtype=np.float32)
    images[7, 3, 4] = np.nan
    expected = net.batch(images).argmax(1)
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(net.classify_batch(images), expected)
    np.testing.assert_array_equal(net.classify_batch(images, workers=3), expected)
    assert [net.classify(image) for image in images] == expected.tolist()
    tie = SmallNet(*w[:4], w[4] * 0, w[5], np.zeros_like(w[6]), np.array([1.0, 3.0, 3.0] + 7 * [2]))
    assert tie.classify(images[0]) == 1


@pytest.mark.parametrize(("shape", "k", "features"), [((28, 28), 5, 16), ((21, 40), 3, 24)])
def test_network_takes_other_sizes(shape, k, features):
    rng = np.random.default_rng(2)
    w = weights(rng, hidden=7, features=features, outputs=3, k=k, dtype=np.float64)
    images = rng.random((5, *shape))
    net = SmallNet(*w, shape=shape)
    expected = [reference(image, w, None) for image in images]
    np.testing.assert_allclose(net.batch(images), expected)
    np.testing.assert_allclose(net(np.asfortranarray(images[0])), expected[0])


def test_network_refuses_what_does_not_fit():
    w = weights(np.random.default_rng(3))
    net = SmallNet(*w)
    with pytest.raises(ValueError, match=r"\(28, 28\)"):
        net(np.ones((28, 28)))
    with pytest.raises(ValueError, match=r"\(32, 32\)"):
        net.batch(np.ones((32, 32)))
    with pytest.raises(ValueError, match="workers=0"):
        net.batch(np.ones((1, 32, 32)), workers=0)
    with pytest.raises(ValueError, match=r"\(hidden, 16\)"):
        SmallNet(*w, shape=(28, 28))
    with pytest.raises(ValueError, match="too small"):
        SmallNet(*w, shape=(9, 9))
    with pytest.raises(ValueError, match="rank=6"):
        SmallNet(*w, rank=6)


WITHOUT = """
import sys, warnings
sys.modules["rankconv._native"] = None
warnings.simplefilter("ignore")
import numpy as np
from rankconv.correlate import native
assert not native.available
rng = np.random.default_rng(4)
k = rng.standard_normal((5, 5))
w = k, 0.3, k, 0.2, rng.random((9, 25)), rng.random(9), rng.random((4, 9)), rng.random(4)
images = rng.random((3, 32, 32))
net = native.SmallNet(*w, rank=2)
result = net.batch(images)
assert np.allclose(result, [net(image) for image in images])
np.save(sys.argv[1], result)
layer = native.conv_relu_pool(images, k, 0.1, rank=1)
np.save(sys.argv[2], layer)
try:
    native.compile_filter(k)
except ImportError as error:
    assert "compiler" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.skipif(not available, reason="there is nothing to compare with")
def test_without_the_native_module_the_results_are_the_same(tmp_path):
    paths = [tmp_path / "net.npy", tmp_path / "layer.npy"]
    subprocess.run([sys.executable, "-c", WITHOUT, *paths], check=True)
    rng = np.random.default_rng(4)
    k = rng.standard_normal((5, 5))
    w = k, 0.3, k, 0.2, rng.random((9, 25)), rng.random(9), rng.random((4, 9)), rng.random(4)
    images = rng.random((3, 32, 32))
    np.testing.assert_allclose(SmallNet(*w, rank=2).batch(images), np.load(paths[0]))
    np.testing.assert_allclose(conv_relu_pool(images, k, 0.1, rank=1), np.load(paths[1]))
