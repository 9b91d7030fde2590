"""Times and their file, blank chains, the table of options: on a clock that counts work."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings

from layer_cases import LAYERS, build
from rankconv import factorize
from rankconv.compress import timing
from rankconv.compress.blanks import MOST_WORK, blank, ranks
from rankconv.compress.data import Data
from rankconv.compress.fits import LayerFits
from rankconv.compress.layer_times import layer_times
from rankconv.compress.metrics import Part, surrogate, top1
from rankconv.compress.moments import collect
from rankconv.compress.network import Layer, Replacement
from rankconv.compress.profile import FASTER, profile
from rankconv.compress.tuning import key, load, save, tuning_file
from rankconv.compress.verify import Entry, points, speedups, timed
from rankconv.factorizations import FULL_RANKS
from rankconv.factorizations.layers import as_layer, group_shape
from rankconv.machine import machine
from small_network import images_for, small_network, use_clock


@settings(max_examples=60, deadline=None)
@given(LAYERS)
def test_blanks_have_the_shapes_of_the_real_chains(case):
    weight, options, _, _ = build(case)
    layer, _ = as_layer(weight, **options)
    for kind, full_rank in FULL_RANKS.items():
        full = full_rank(group_shape(layer))
        if kind == "dense":
            continue
        rank = 1 if isinstance(full, int) else (1, min(2, full[1]))
        made, real = blank(layer, kind, rank), factorize(weight, kind=kind, rank=rank, **options)
        assert [_options(s) for s in made.stages] == [_options(s) for s in real.stages]
        assert all(np.isfinite(s.weight).all() and s.weight.any() for s in made.stages)
    with pytest.raises(ValueError, match="kind='dense'"):
        blank(layer, "dense", 1)


def _options(stage):
    return stage.weight.shape, stage.stride, stage.padding, stage.dilation, stage.groups


@pytest.mark.parametrize("kind", ["spatial_svd", "channel_svd", "channel_svd_input", "tucker2"])
@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (16, 16, 3, 3), (96, 32, 5, 5), (8, 3, 3, 3)])
def test_ranks_fill_vectors_and_save_work(kind, shape):
    stage, _ = as_layer(np.ones(shape), stride=1, padding=1, dilation=1, groups=1)
    layer = Layer("a", stage, None, (shape[1], 12, 12))
    found = list(ranks(layer, kind))
    full = FULL_RANKS[kind](shape)
    for rank, chain in found:
        for r, f in zip(np.atleast_1d(rank), np.atleast_1d(full), strict=True):
            assert r <= f
            assert r % 4 == 0 or r == f
        assert chain.multiply_adds((12, 12)) <= MOST_WORK * layer.multiply_adds
    assert len(found) <= 12
    assert len({str(rank) for rank, _ in found}) == len(found)
    if shape == (64, 64, 3, 3):
        assert len(found) >= 4


def test_interleaving_takes_turns_and_repeats_short_calls(monkeypatch):
    now, order = [0.0], []

    def call(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds

        return run

    monkeypatch.setattr(timing, "clock", lambda: now[0])
    found = timing.interleaved([call("a", 1e-3), call("b", 5e-5), call("c", 2e-3)], rounds=4)
    np.testing.assert_allclose(found, [[1e-3, 5e-5, 2e-3]] * 4)
    assert "".join(order).endswith("abbbbc" * 4)
    assert timing.relative_medians(found)[2] == pytest.approx(2)
    short = timing.interleaved([call("a", 1.0)], rounds=100, limit=5.5, least=2)
    assert len(short) == 6
    assert len(timing.interleaved([call("a", 1.0)], rounds=9, limit=0, least=3)) == 3


def test_speedups_are_medians_against_medians():
    seconds = np.array([[2.0, 1.0], [2.0, 1.0], [9.0, 8.0]])
    np.testing.assert_allclose(speedups(seconds), [1, 2])
    with pytest.raises(ValueError, match="networks is empty"):
        timed([], (), threads=1)


def test_layers_are_timed_once_and_come_back_from_the_file(tmp_path, monkeypatch):
    network = small_network()
    use_clock(monkeypatch, network)
    calls = []
    whole = network.layer_caller
    network.layer_caller = lambda *a, **k: (calls.append(a), whole(*a, **k))[1]
    chains = {
        layer.name: [blank(layer.stage, "spatial_svd", r) for r in (4, 8)]
        for layer in network.layers[:3]
    }
    known = {}
    args = {"batch": 2, "threads": 1}
    first = layer_times(network, chains, known=known, **args)
    assert len(calls) == 1 + 2 + 1 + 2 + 1  # conv2 has the shapes of conv1
    for layer in network.layers[:3]:
        adds = layer.multiply_adds * 2
        assert first[layer.name].dense == pytest.approx((adds + 200) * 1e-7)
        for chain in chains[layer.name]:
            adds = chain.multiply_adds(layer.input_shape[1:]) * 2
            found = first[layer.name].chains[chain.kind, chain.rank]
            assert found == pytest.approx((adds + 400) * 1e-7)
    file = tmp_path / "folder" / "times.json"
    save(file, known)
    calls.clear()
    again = layer_times(network, chains, known=load(file), **args)
    assert not calls
    assert again == first
    layer_times(network, chains, known=load(file), batch=3, threads=1)
    assert calls


def test_key_tells_apart_what_a_time_depends_on():
    layers = small_network().layers
    chain = blank(layers[1].stage, "spatial_svd", 4)
    usual = {"engine": "e 1", "batch": 1, "threads": 1}
    keys = [
        key(layers[1], chain, **usual),
        key(layers[0], blank(layers[0].stage, "spatial_svd", 4), **usual),
        key(layers[1], blank(layers[1].stage, "spatial_svd", 8), **usual),
        key(layers[1], blank(layers[1].stage, "channel_svd", 4), **usual),
        *(
            key(layers[1], chain, **{**usual, **change})
            for change in ({"engine": "e 2"}, {"batch": 2}, {"threads": 2})
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert key(layers[2], blank(layers[2].stage, "spatial_svd", 4), **usual) == keys[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "machine": {}, "seconds": {}}',
        "[" * 100_000,
        "\ufeff\x00",
    ],
)
def test_a_damaged_file_is_left_aside(tmp_path, text):
    file = tmp_path / "times.json"
    file.write_text(text, encoding="utf-8")
    with pytest.warns(RuntimeWarning, match="is left aside"):
        assert load(file) == {}
    save(file, {"a": (1.0, 2.0)})
    assert load(file) == {"a": (1.0, 2.0)}


def test_the_file_of_another_machine_or_with_bad_times(tmp_path):
    file = tmp_path / "times.json"
    save(file, {"a": (1.0, 2.0)})
    content = json.loads(file.read_text())
    for wrong in (
        {**content, "machine": {**machine(), "processor": "another"}},
        {**content, "seconds": {"a": [1.0, -2.0]}},
        {**content, "seconds": {"a": [1.0]}},
        {**content, "seconds": {"a": [1.0, math.inf]}},
    ):
        file.write_text(json.dumps(wrong))
        with pytest.warns(RuntimeWarning, match="is left aside"):
            assert load(file) == {}
    assert load(tmp_path / "none.json") == {}
    assert load(None) == {}
    save(None, {"a": (1.0, 2.0)})
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        save(tmp_path / "taken" / "times.json", {"a": (1.0, 2.0)})
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_the_file_stands_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert tmp_path in tuning_file().parents


def table(network, images, labels, **options):
    data = Data(images, labels)
    part = Part(data, network.predict((images,)))
    return profile(network, data, part, top1, **options), part


def test_the_table_of_options(monkeypatch):
    network = small_network()
    use_clock(monkeypatch, network)
    images, labels = images_for(network, 60)
    seen = []
    found, _ = table(network, images, labels, progress=lambda *a: seen.append(a))
    by_layer = {layer.name: found.of(layer.name) for layer in network.layers}
    for layer in network.layers:
        dense, *others = by_layer[layer.name]
        assert (dense.kind, dense.rank, dense.output_error, dense.damage) == ("dense", None, 0, 0)
        assert dense.seconds == pytest.approx((layer.multiply_adds + 200) * 1e-7)
        assert all(o.seconds < FASTER * dense.seconds for o in others)
        assert all(o.multiply_adds < dense.multiply_adds for o in others)
        assert (layer.name in found.reasons) == (not others)
    planted = {o.rank: o for o in by_layer["conv1"] if o.kind == "spatial_svd"}
    assert planted[8].output_error < 0.1
    # The law of the harm, and its size: what the network's output really loses, in points.
    for name in ("conv1", "conv2"):
        options = by_layer[name][1:]
        factors = [o.damage / o.output_error**2 for o in options]
        np.testing.assert_allclose(factors, factors[0])
        assert factors[0] > 0
    whats = dict.fromkeys(what for what, _, _ in seen)
    assert list(whats) == ["fitting layers", "timing layers", "probing the network"]
    assert all(0 <= done <= total for _, done, total in seen)


def test_the_harm_ranks_layers_as_single_exchanges_do(monkeypatch):
    network = small_network(1, noise=0.3, rank=6)
    use_clock(monkeypatch, network)
    images, labels = images_for(network, 120)
    found, part = table(network, images, labels, kinds=["channel_svd", "spatial_svd"])
    predicted, real = [], []
    moments = dict(collect(network, (images,)))
    for layer in network.layers[1:3]:
        for option in found.of(layer.name)[1:]:
            fit = LayerFits(layer.stage, moments[layer.name]).fit(option.kind, option.rank)
            outputs = network.swap({layer.name: fit.replacement}).predict((images,))
            predicted.append(option.damage)
            real.append(surrogate(outputs, part.original))
    assert len(real) >= 3
    assert np.corrcoef(np.log(predicted), np.log(real))[0, 1] > 0.9
    ratio = np.array(real) / predicted  # one factor from the loss to points, for all options
    assert ratio.max() / ratio.min() < 5


def test_why_a_layer_has_no_options(monkeypatch):
    network = small_network(noise=1.0, rank=16)
    network.clock.a_stage = 10**6  # each further stage costs more than any layer
    use_clock(monkeypatch, network)
    found, _ = table(network, *images_for(network, 40))
    assert all(option.kind == "dense" for option in found.options)
    assert "times the layer's own time" in found.reasons["conv1"]
    assert "no chain" in found.reasons["classes"]


def test_points_tell_speed_and_drop(monkeypatch):
    network = small_network()
    use_clock(monkeypatch, network)
    images, labels = images_for(network, 50)
    layer = network.layers[1]
    chain = factorize(layer.stage.weight, kind="spatial_svd", rank=8, padding=1)
    rough = factorize(layer.stage.weight, kind="spatial_svd", rank=1, padding=1)
    entries = [
        Entry("original", "original", network),
        *(
            Entry("rankconv", str(c.rank), network.swap({"conv1": r}), {"conv1": r})
            for c in (chain, rough)
            for r in [Replacement(c, layer.bias)]
        ),
    ]
    part = Part(Data(images, labels), network.predict((images,)))
    found = points(entries, part, top1, (images[:2],), threads=1)
    assert (found[0].score, found[0].drop, found[0].speedup) == (100, 0, 1)
    saved = layer.multiply_adds - chain.multiply_adds((8, 8))
    assert found[0].multiply_adds - found[1].multiply_adds == saved
    assert found[0].parameters - found[1].parameters == layer.stage.parameters - chain.parameters
    assert found[1].speedup == pytest.approx(found[0].seconds / found[1].seconds)
    assert found[2].speedup > found[1].speedup > 1
    assert found[2].drop == 100 - found[2].score > 0
    assert found[1].quartiles == pytest.approx((found[1].seconds,) * 2)
