"""Moments of a layer's inputs and outputs, against torch.nn.functional.unfold and numpy.cov."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_cases import LAYERS, build, layer_by_torch
from rankconv.compress.moments import (
    LayerMoments,
    chosen_layers,
    collect,
    draw,
    outputs_at,
    patches_at,
    sums_size,
)
from rankconv.stages import Stage
from sequential import small_network, smooth_images
from test_covariance import patches


@settings(max_examples=60)
@given(case=LAYERS, part=st.floats(0.1, 1), batches=st.integers(1, 3))
def test_moments_are_those_of_the_chosen_patches(case, part, batches):
    weight, options, _, rng = build(case)
    layer = Stage(weight, **options)
    G, D = layer.groups, weight[0].size
    shape = layer.output_shape((10, 9))
    sums, x, y = LayerMoments(layer), [], []
    for i in range(batches):
        images = rng.standard_normal((2, layer.in_channels, 10, 9)) + 1
        made = layer_by_torch(weight, options, images)
        changed = images + 0.3 * rng.standard_normal(images.shape)
        at = draw(shape, 2, samples=round(2 * part * shape[0] * shape[1]), seed=[case["seed"], i])
        sums.update(changed, outputs_at(made, at), at)
        cut = patches(changed, weight.shape[2:], options).reshape(G, D, 2, -1)
        flat = made.reshape(2, G, -1, shape[0] * shape[1])
        for n in range(2):
            assert len(set(at[n])) == at.shape[1]
            x.append(cut[:, :, n, at[n]])
            y.append(flat[n][..., at[n]])
    found = sums.result()
    x, y = np.concatenate(x, axis=2), np.concatenate(y, axis=2)
    assert found.samples == x.shape[2]
    for g in range(G):
        joint = np.cov(np.concatenate([x[g], y[g]]), bias=True).reshape(D + y.shape[1], -1)
        np.testing.assert_allclose(found.covariance[g], joint[:D, :D], atol=1e-11)
        np.testing.assert_allclose(found.cross[g], joint[D:, :D], atol=1e-11)
        np.testing.assert_allclose(found.output_variance[g], np.diag(joint)[D:], atol=1e-11)
    np.testing.assert_allclose(found.mean, x.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(found.output_mean, y.mean(axis=2), atol=1e-12)
    near = weight.reshape(G, -1, D) + 0.1 * rng.standard_normal((G, y.shape[1], D))
    rest = y - near @ x
    rest -= rest.mean(axis=2, keepdims=True)
    assert found.residual(near) == pytest.approx((rest**2).sum(axis=(0, 1)).mean(), rel=1e-9)


def test_every_image_has_its_share():
    at = draw((8, 8), 50, samples=1000, seed=[0, 1])
    assert at.shape == (50, 20)
    assert all(len(set(row)) == 20 and max(row) < 64 for row in at)
    np.testing.assert_array_equal(at, draw((8, 8), 50, samples=1000, seed=[0, 1]))
    assert (at != draw((8, 8), 50, samples=1000, seed=[0, 2])).any()
    assert draw((2, 3), 4, samples=1000, seed=[0]).tolist() == [list(range(6))] * 4


def test_patches_are_cut_out_in_pieces_without_a_difference(monkeypatch):
    layer = Stage(np.ones((4, 3, 3, 3)), padding=((0, 1), 1))
    images = np.random.default_rng(0).standard_normal((7, 3, 6, 6))
    at = draw(layer.output_shape((6, 6)), 7, samples=70, seed=[1])
    made = np.random.default_rng(1).standard_normal((7, 10, 4))
    whole, pieces = LayerMoments(layer), LayerMoments(layer)
    whole.update(images, made, at)
    monkeypatch.setattr("rankconv.compress.moments.WORK", 2 * 8 * 27 * 10)
    pieces.update(images, made, at)
    np.testing.assert_allclose(whole.result().cross, pieces.result().cross, atol=1e-12)
    np.testing.assert_allclose(whole.result().covariance, pieces.result().covariance, atol=1e-12)
    assert patches_at(layer, images, at).shape == (1, 27, 70)


def test_collect_reads_the_network_in_lots_that_fit():
    network, images = small_network(), smooth_images(1, 20)
    lots = []

    class Watched(type(network)):
        def activations(self, inputs, names):
            lots.append((len(inputs[0]), tuple(names)))
            return super().activations(inputs, names)

    watched = Watched(network.layers)
    at_once = dict(collect(watched, (images,), samples=400, batch=8))
    names = tuple(layer.name for layer in network.layers)
    assert lots == [(8, names), (8, names), (4, names)]
    lots.clear()
    sizes = {layer.name: sums_size(layer.stage) for layer in network.layers}
    limit = max(sizes.values()) + sizes["conv3"]
    found = dict(collect(watched, (images,), samples=400, batch=20, memory_limit=limit))
    assert 1 < len(lots) < 4
    assert sum((lot for _, lot in lots), ()) == names
    assert all(sum(sizes[name] for name in lot) <= limit for _, lot in lots)
    assert list(found) == list(names)
    for name in names:
        np.testing.assert_array_equal(found[name].samples, at_once[name].samples)
        np.testing.assert_allclose(found[name].cross, at_once[name].cross, atol=1e-10)
    for layer in network.layers:  # y is W x + b itself
        one = found[layer.name]
        assert one.residual(layer.stage.weight) < 1e-10 * one.output_variance.sum()
        assert one.samples >= 400 or one.samples == 20 * 36


def test_bad_values_and_names():
    network = small_network()
    images = smooth_images(0, 4)
    images[1, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="the layer's input holds NaN or infinity"):
        list(collect(network, (images,), ["conv0"]))
    with pytest.raises(ValueError, match="'conv9' is not one of the layers 'conv0', 'conv1'"):
        chosen_layers(network, ["conv9"])
    with pytest.raises(ValueError, match="memory_limit=1000 bytes is too low"):
        list(collect(network, (smooth_images(0, 4),), memory_limit=1000))
    with pytest.raises(ValueError, match="no images were given yet"):
        LayerMoments(network.layers[0].stage).result()
