"""Refitting behind approximated layers, on small networks run by NumPy."""

import numpy as np
import pytest

from layer_cases import layer_by_torch
from rankconv.compress.fits import LayerFits
from rankconv.compress.moments import LayerMoments, collect, draw, outputs_at
from rankconv.compress.network import Replacement
from rankconv.compress.refit import refit, refitted, regression
from rankconv.factorizations import factorize
from rankconv.stages import Stage
from sequential import small_network, smooth_images, smooth_weight

CHOICES = {
    "conv0": ("spatial_svd", 6),
    "conv1": ("channel_svd", 10),
    "conv2": ("tucker2", (6, 7)),
    "conv3": ("channel_svd", 6),
}


def plain_replacements(network, choices):
    made = {}
    for layer in network.layers:
        kind, rank = choices[layer.name]
        s = layer.stage
        options = {name: getattr(s, name) for name in ("stride", "padding", "dilation", "groups")}
        chain = factorize(s.weight, rank=rank, kind=kind, **options)
        made[layer.name] = Replacement(chain, layer.bias)
    return made


def whitened_replacements(network, images, choices):
    layers = {layer.name: layer.stage for layer in network.layers}
    return {
        name: LayerFits(layers[name], moments).fit(*choices[name], sweeps=4).replacement
        for name, moments in collect(network, (images,), list(choices))
    }


def error(network, replacements, images):
    expected = network.predict((images,))
    rest = network.swap(replacements).predict((images,)) - expected
    return float(np.linalg.norm(rest) / np.linalg.norm(expected - expected.mean(axis=0)))


@pytest.mark.parametrize("seed", range(4))
def test_refitting_beats_fitting_alone_beats_plain_svd(seed):
    network = small_network(seed)
    calibration, fresh = smooth_images(10 * seed, 150), smooth_images(10 * seed + 1, 100)
    plain = error(network, plain_replacements(network, CHOICES), fresh)
    alone = error(network, whitened_replacements(network, calibration, CHOICES), fresh)
    both = error(network, refit(network, (calibration,), CHOICES), fresh)
    assert alone < 0.95 * plain
    assert both < 0.97 * alone


def test_the_last_layer_alone_takes_up_what_it_can():
    network, images = small_network(5), smooth_images(50, 150)
    cut = {name: CHOICES[name] for name in ("conv0", "conv1")}
    before = refit(network, (images,), cut)
    repaired = refit(network, (images,), cut | {"conv2": ("dense", None), "conv3": ("dense", None)})
    for name in cut:
        for one, other in zip(before[name].chain.stages, repaired[name].chain.stages, strict=True):
            np.testing.assert_array_equal(one.weight, other.weight)
    fresh = smooth_images(51, 100)
    assert error(network, repaired, fresh) < 0.95 * error(network, before, fresh)
    assert repaired["conv3"].chain.kind == "dense"
    assert len(repaired["conv3"].chain.stages) == 1


def test_full_ranks_give_the_network_itself():
    network, images = small_network(6), smooth_images(60, 20)
    kinds = ("spatial_svd", "channel_svd_input", "slice_svd", "channel_svd")
    choices = {f"conv{i}": (kind, None) for i, kind in enumerate(kinds)}
    assert error(network, refit(network, (images,), choices), images) < 1e-4


def test_means_are_kept_where_layers_have_no_bias():
    network, images = small_network(7), smooth_images(70, 40)
    layers = tuple(type(one)(one.name, one.stage, None, one.input_shape) for one in network.layers)
    network = type(network)(layers)
    found = refit(network, (images,), {"conv1": ("spatial_svd", 3)})
    made = network.swap(found).activations((images,), ["conv1"])["conv1"].output
    expected = network.activations((images,), ["conv1"])["conv1"].output
    np.testing.assert_allclose(made.mean(axis=(0, 2, 3)), expected.mean(axis=(0, 2, 3)), atol=1e-4)


def changed_moments(seed, samples=None):
    """A layer whose input was mixed and blurred, its original outputs, and both as arrays."""
    rng = np.random.default_rng(seed)
    weight = smooth_weight(rng, 8, 6, (3, 3), dtype=np.float64)
    layer = Stage(weight, padding=(1, 1))
    images = smooth_images(seed, 30, (6, 10, 10)).astype(np.float64)
    outputs = layer_by_torch(weight, {"padding": 1}, images)
    changed = 0.8 * images + 0.2 * np.roll(images, 1, axis=1)
    changed += 0.3 * rng.standard_normal(images.shape)
    at = draw((10, 10), 30, samples=samples or 3000, seed=[seed])
    sums = LayerMoments(layer)
    sums.update(changed, outputs_at(outputs, at), at)
    return layer, sums.result(), changed, outputs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        ("spatial_svd", 6), ("channel_svd", 3), ("channel_svd_input", 3), ("tucker2", (3, 4)),
        ("cp", 8), ("slice_svd", 1), ("dense", None),
    ],
)  # fmt: skip
def test_no_layer_is_worse_on_its_data_than_without_regard_to_the_change(seed, kind, rank):
    layer, moments, *_ = changed_moments(seed)
    alone = LayerFits(layer, moments).fit(kind, rank, sweeps=2)
    both = refitted(layer, moments, kind, rank, sweeps=2)
    assert both.output_error <= alone.output_error
    if kind == "dense":
        assert both.output_error < 0.9 * alone.output_error


def test_the_regression_is_that_of_least_squares():
    layer, moments, changed, outputs = changed_moments(9)
    columns = np.lib.stride_tricks.sliding_window_view(
        np.pad(changed, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )
    x = columns.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 54)
    y = outputs.transpose(0, 2, 3, 1).reshape(-1, 8)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    best = np.linalg.lstsq(x, y, rcond=None)[0].T
    target = regression(layer, moments).reshape(8, 54)
    least = np.linalg.norm(x @ best.T - y)
    assert np.linalg.norm(x @ target.T - y) <= 1.001 * least
    assert np.linalg.norm(x @ layer.weight.reshape(8, 54).T - y) > 1.1 * least


def test_few_patches_do_not_draw_the_weight_away():
    """Forty patches of 54 numbers: least squares would fit them exactly, and nothing else."""
    layer, moments, *_ = changed_moments(3, samples=40)
    assert moments.samples == 60
    target = regression(layer, moments)
    whole = changed_moments(3)[1]
    blind = moments.cross @ np.linalg.pinv(moments.covariance)
    assert whole.residual(blind) > 1.5 * whole.residual(layer.weight)
    assert whole.residual(layer.weight if target is None else target) < 1.05 * whole.residual(
        layer.weight
    )


def test_unchanged_inputs_need_no_regression():
    network, images = small_network(8), smooth_images(80, 10)
    ((_, moments),) = collect(network, (images,), ["conv1"])
    assert regression(network.layers[1].stage, moments) is None


def test_progress_seed_and_order():
    network, images = small_network(9), smooth_images(90, 30)
    seen = []
    choices = {name: CHOICES[name] for name in ("conv3", "conv1")}
    options = {"samples": 300, "batch": 7, "progress": lambda *told: seen.append(told)}
    first = refit(network, (images,), choices, **options)
    assert seen == [(1, 2, "conv1"), (2, 2, "conv3")]
    again = refit(network, (images,), choices, samples=300, batch=30)
    other = refit(network, (images,), choices, samples=300, seed=1)
    at_once = first["conv1"].chain.stages[0].weight
    np.testing.assert_allclose(again["conv1"].chain.stages[0].weight, at_once, atol=1e-4)
    assert np.abs(other["conv1"].chain.stages[0].weight - at_once).max() > 1e-3
    assert refit(network, (images,), {}) == {}


def test_the_network_is_not_changed():
    network, images = small_network(10), smooth_images(100, 20)
    before = [layer.stage.weight.copy() for layer in network.layers]
    expected = network.predict((images,))
    refit(network, (images,), CHOICES)
    for layer, weight in zip(network.layers, before, strict=True):
        np.testing.assert_array_equal(layer.stage.weight, weight)
    np.testing.assert_array_equal(network.predict((images,)), expected)


def test_bad_input_is_refused_with_the_way_out():
    network, images = small_network(), smooth_images(0, 5)
    with pytest.raises(ValueError, match="'conv7' is not one of the layers"):
        refit(network, (images,), {"conv7": ("spatial_svd", 2)})
    with pytest.raises(ValueError, match="kind='svd' is not one of"):
        refit(network, (images,), {"conv0": ("svd", 2)})
    with pytest.raises(ValueError, match="rank=100 is not an integer from 1 to"):
        refit(network, (images,), {"conv0": ("spatial_svd", 100)})
    images[0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        refit(network, (images,), {"conv0": ("spatial_svd", 2)})
