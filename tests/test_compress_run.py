"""Compressing from end to end: budgets, the answer, the report; on a clock that counts work."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from rankconv.compress import run
from rankconv.compress.data import Data
from rankconv.compress.layer_records import spectrum
from rankconv.compress.metrics import METRICS, custom
from rankconv.compress.network import Layer
from rankconv.compress.records import Option
from rankconv.compress.run import compress
from rankconv.compress.search import Budget, Candidate, expected_drop, search
from rankconv.stages import Stage
from small_network import images_for, low_rank, small_network, use_clock

COUNT = 100


def case(monkeypatch, seed=0, **options):
    network = small_network(seed, **options)
    use_clock(monkeypatch, network)
    images, labels = images_for(network, COUNT, seed + 1)
    return network, Data(images, labels)


def test_planted_ranks_are_found_and_told(monkeypatch):
    network, data = case(monkeypatch)
    seen = []
    found = compress(
        network, data, max_drop=4, command="rankconv compress", progress=lambda *a: seen.append(a)
    )
    report, chosen = found.report, found.report.points[found.report.chosen]
    assert set(found.replacements) >= {"conv1", "conv2"}
    assert report.points[0].source == "original"
    assert (report.points[0].drop, report.points[0].speedup) == (0, 1)
    assert chosen.source == "rankconv"
    assert chosen.drop <= 10  # of 30 images, 3.3 points each
    assert chosen.speedup == pytest.approx(report.points[0].seconds / chosen.seconds)
    assert chosen.speedup > 1.3
    assert found.network.replacements == found.replacements
    assert chosen.choices == {
        name: (r.chain.kind, r.chain.rank)
        for name, r in found.replacements.items()
        if r.chain.kind != "dense"
    }
    assert report.split == {"fit": 35, "choose": 35, "report": 30}
    assert report.metric == "top-1 (%)"
    assert report.budget == {"max_drop": 4}
    assert (report.command, report.engine) == ("rankconv compress", network.engine)
    assert report.left_alone == dict(network.left_alone)
    assert {"processor", "cores"} <= set(report.machine)
    assert {"rankconv", "numpy"} <= set(report.versions)
    assert all(isinstance(value, str) for value in report.machine.values())
    assert f"{chosen.speedup:.2f} times as fast" in report.verdict
    assert len(report.points) >= 3
    assert {"fitting layers", "timing layers", "verifying"} <= {what for what, _, _ in seen}
    records = {record.name: record for record in report.layers}
    assert list(records) == [layer.name for layer in network.layers]
    for layer in network.layers:
        record = records[layer.name]
        assert record.multiply_adds_before == layer.multiply_adds
        assert record.spectrum[0] == 1
        assert record.reason
        if layer.name in found.replacements:
            chain = found.replacements[layer.name].chain
            assert (record.kind, record.rank) == (chain.kind, chain.rank)
            adds = chain.multiply_adds(layer.input_shape[1:])
            assert record.multiply_adds_after == adds < record.multiply_adds_before
            assert record.seconds_after < record.seconds_before
            assert 0 < record.output_error < 1
        else:
            assert (record.kind, record.rank, record.output_error) == ("dense", None, 0)
            assert record.reason.startswith("left as it is")
    json.dumps([point.drop for point in report.points], allow_nan=False)


def test_the_drop_that_is_told_is_that_of_the_last_part_alone(monkeypatch):
    network, data = case(monkeypatch)
    found = compress(network, data, max_drop=4, seed=3)
    part = run.split(data, seed=3).report
    answers = found.network.predict(part.inputs).argmax(axis=1)
    point = found.report.points[found.report.chosen]
    assert point.score == pytest.approx(100 * float((answers == part.labels).mean()))


def test_a_looser_budget_is_no_slower(monkeypatch):
    network, data = case(monkeypatch, noise=0.3)
    tight = compress(network, data, max_drop=0.5).report
    loose = compress(network, data, max_drop=30).report
    assert loose.points[loose.chosen].speedup >= tight.points[tight.chosen].speedup
    assert loose.points[loose.chosen].speedup > 1.5


def test_a_speedup_and_a_time_are_reached(monkeypatch):
    network, data = case(monkeypatch, noise=0.2)
    quick = compress(network, data, speedup=1.5).report
    assert quick.points[quick.chosen].speedup >= 1.5
    assert quick.budget == {"speedup": 1.5}
    limit = quick.points[0].seconds / 1.4
    timed = compress(network, data, seconds=limit).report
    assert timed.points[timed.chosen].seconds <= limit
    enough = compress(network, data, seconds=quick.points[0].seconds * 2).report
    assert enough.chosen == 0
    assert "within the budget" in enough.verdict


def test_never_slower_than_the_original(monkeypatch):
    # In the layers the clock says faster; in the whole network it is not.
    network, data = case(monkeypatch)
    network.slower = 5.0
    found = compress(network, data, max_drop=50)
    assert found.network is network
    assert found.report.chosen == 0
    assert not found.replacements
    assert found.report.verdict.startswith("The original")
    assert all(record.kind == "dense" for record in found.report.layers)


def test_the_original_where_no_layer_can_be_faster(monkeypatch):
    network, data = case(monkeypatch)
    network.clock.a_stage = 10**7
    found = compress(network, data)
    assert found.network is network
    assert [point.source for point in found.report.points] == ["original"]
    assert "no layer has a chain" in found.report.verdict
    assert all("left as it is" in record.reason for record in found.report.layers)


def test_nothing_within_an_impossible_budget(monkeypatch):
    network, data = case(monkeypatch, noise=1.5, rank=16)
    found = compress(network, data, speedup=50)
    assert found.network is network
    assert "nothing that was tried" in found.report.verdict
    assert len(found.report.points) > 1  # what was tried is told


def test_without_labels_and_with_a_metric_of_ones_own(monkeypatch):
    network, data = case(monkeypatch)
    unlabelled = compress(network, Data(data.inputs), max_drop=5).report
    assert unlabelled.metric == "top-1 agreement with the original (%)"
    assert unlabelled.points[0].score == 100
    asked = []

    def score(one):
        asked.append(one)
        return -float(np.abs(one.predict(data.inputs) - network.predict(data.inputs)).mean())

    with pytest.raises(ValueError, match="own score likeness is not known, and a drop of 1 could"):
        compress(network, data, metric=custom(score, name="likeness"))
    own = compress(network, data, metric=custom(score, name="likeness"), max_drop=0.3)
    assert asked
    assert own.report.metric == "likeness"
    assert own.report.points[own.report.chosen].drop <= 0.3
    assert "by your own function; budget" in own.report.verdict
    assert "had not seen" not in own.report.verdict
    drop = own.report.points[own.report.chosen].drop
    assert f"at a drop of {drop:.3g} by your own" in own.report.verdict
    assert run._number(-1e-9, METRICS["psnr"]) == "0.00"


def test_targets_of_the_outputs_shape_are_scored_in_db(monkeypatch):
    network, data = case(monkeypatch)
    noise = 0.1 * np.random.default_rng(0).standard_normal((COUNT, network.layers[-1].bias.size))
    targets = network.predict(data.inputs) + noise
    found = compress(network, Data(data.inputs, targets), max_drop=3)
    assert found.report.metric == "PSNR (dB)"
    assert 19 < found.report.points[0].score < 22  # of noise of 0.1: 20 dB
    assert found.replacements


def quantize(network, inputs):
    """The network as it is, but four times as fast."""
    made = network.swap(network.replacements)
    whole = made.caller
    made.caller = lambda inputs, *, threads: lambda: _quarter(made.clock, whole(inputs, threads=1))
    return made


def _quarter(clock, call):
    start = clock.now
    call()
    clock.now = start + (clock.now - start) / 4


def test_int8_is_a_point_of_its_own_and_the_answer_only_if_asked(monkeypatch):
    network, data = case(monkeypatch)
    found = compress(network, data, max_drop=10, quantize=quantize)
    points = {point.source: point for point in found.report.points}
    assert {"original", "rankconv", "int8", "rankconv+int8"} == set(points)
    assert found.report.points[found.report.chosen].source == "rankconv"
    assert points["int8"].speedup == pytest.approx(4)
    asked = compress(network, data, max_drop=10, quantize=quantize, return_int8=True)
    point = asked.report.points[asked.report.chosen]
    assert point.source == "rankconv+int8"
    assert point.speedup > 4
    assert set(asked.replacements) >= set(point.choices)
    assert asked.network.replacements.keys() == asked.replacements.keys()
    with pytest.raises(ValueError, match="return_int8=True needs quantize"):
        compress(network, data, return_int8=True)


def test_an_int8_network_beyond_the_budget_is_not_the_answer(monkeypatch):
    network, data = case(monkeypatch)

    def spoil(one, inputs):
        made = quantize(one, inputs)
        made.predict = lambda inputs: np.roll(one.predict(inputs), 1, axis=1)
        return made

    found = compress(network, data, max_drop=10, quantize=spoil, return_int8=True).report
    assert found.points[found.chosen].source == "rankconv"
    assert "int8" in found.verdict


def test_an_int8_network_that_is_slower_is_not_the_answer(monkeypatch):
    network, data = case(monkeypatch)

    def slower(one, inputs):
        made = one.swap(one.replacements)
        whole = made.caller(inputs, threads=1)
        made.caller = lambda inputs, *, threads: lambda: [whole() for _ in range(4)]
        return made

    for budget in ({"max_drop": 10}, {"speedup": 1.2}):
        found = compress(network, data, quantize=slower, return_int8=True, **budget).report
        assert found.points[found.chosen].source == "rankconv"
        assert "No int8 network was faster within the budget" in found.verdict


def test_the_second_run_times_no_layer(monkeypatch, tmp_path):
    network, data = case(monkeypatch)
    calls = []
    monkeypatch.setattr(type(network), "layer_caller", _counted(type(network).layer_caller, calls))
    file = tmp_path / "times.json"
    first = compress(network, data, max_drop=4, tuning=file)
    assert calls
    calls.clear()
    again = compress(network, data, max_drop=4, tuning=file)
    assert not calls
    assert again.report.points[again.report.chosen].choices == (
        first.report.points[first.report.chosen].choices
    )
    assert [path.name for path in tmp_path.iterdir()] == ["times.json"]


def _counted(method, calls):
    def counting(*args, **options):
        calls.append(args)
        return method(*args, **options)

    return counting


def test_an_interrupted_run_leaves_nothing_half_written(monkeypatch, tmp_path):
    network, data = case(monkeypatch)

    def interrupt(what, done, total):
        if what == "timing layers" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(network, data, tuning=tmp_path / "times.json", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 1, "speedup": 2}, "exclude each other"),
        ({"speedup": 1, "seconds": 2}, "exclude each other"),
        ({"max_drop": -1}, "max_drop=-1 is not"),
        ({"max_drop": math.nan}, "max_drop=nan"),
        ({"speedup": 0.5}, "at least 1"),
        ({"seconds": 0}, "seconds=0"),
        ({"kinds": ["svd"]}, "kinds: 'svd' is not one of 'slice_svd'"),
        ({"kinds": ["dense"]}, "kinds: 'dense'"),
        ({"kinds": []}, "kinds is empty"),
        ({"threads": 0}, "threads=0"),
        ({"batch": 1.5}, "batch=1.5"),
        ({"metric": "f1"}, "metric='f1' is not one of"),
    ],
)
def test_bad_arguments(monkeypatch, options, message):
    network, data = case(monkeypatch)
    with pytest.raises(ValueError, match=message):
        compress(network, data, **options)


def test_bad_networks_and_data(monkeypatch):
    network, data = case(monkeypatch)
    with pytest.raises(ValueError, match="expected 0 to 3"):
        compress(network, Data(data.inputs, np.arange(COUNT) % 7))
    with pytest.raises(ValueError, match="too few"):
        compress(network, data.take(np.arange(5)))
    network.layers = ()
    with pytest.raises(ValueError, match=r"no layer that can be replaced \(pool: a mean"):
        compress(network, data)


def test_batches_repeat_few_images(monkeypatch):
    network, data = case(monkeypatch)
    found = compress(network, data.take(np.arange(20)), max_drop=50, batch=16).report
    assert found.batch == 16
    assert (
        found.points[0].seconds
        > 10 * compress(network, data.take(np.arange(20)), max_drop=50).report.points[0].seconds
    )


def candidate(choice, drop, loss, speedup):
    return Candidate(
        choice, {}, None, drop, loss, speedup,
        sum(o.damage for o in choice.values()), sum(o.seconds for o in choice.values()),
    )  # fmt: skip


def made_up(seed, layers=12):
    rng = np.random.default_rng(seed)
    for i in range(layers):
        dense = rng.uniform(1, 3)
        yield Option(f"l{i}", "dense", None, dense, 0.0, 0.0, 100, 100)
        harm = rng.exponential()
        for rank, share in enumerate(np.linspace(0.2, 0.8, 7), 1):
            yield Option(f"l{i}", "cp", rank, dense * share, 0.1, harm * (1 - share) ** 3, 9, 9)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("truth", [0.1, 1.0, 20.0])
def test_search_comes_near_the_budget_whatever_the_table_says_of_its_size(seed, truth):
    options = list(made_up(seed))
    dense = sum(o.seconds for o in options if o.rank is None)

    def evaluate(choice):
        harm = truth * sum(o.damage for o in choice.values()) ** 1.2
        return candidate(choice, harm, harm, dense / sum(o.seconds for o in choice.values()))

    worst = truth * sum(o.damage for o in options if o.rank == 1) ** 1.2
    limit = 0.2 * worst
    found = search(options, Budget(limit, None), evaluate)
    inside = [c for c in found if expected_drop(c, found) <= limit]
    assert 2 <= len(found) <= 7
    assert len({str(c.choice) for c in found}) == len(found)
    best = max(inside, key=lambda c: c.speedup)
    assert 0.6 * limit <= best.drop <= limit
    wanted = 1.6
    found = search(options, Budget(None, wanted), evaluate)
    best = min((c for c in found if c.speedup >= wanted), key=lambda c: c.loss)
    assert best.speedup < 1.08 * wanted


def test_the_expected_drop_is_steadied_where_images_are_counted():
    measured = [(0.0, 0.1), (2.0, 0.1), (4.0, 0.4)]
    found = [candidate({}, drop, loss, 1.0) for drop, loss in measured]
    assert [expected_drop(c, found) for c in found] == [0.0, 2.0, 4.0]
    found = [replace(c, counted=True) for c in found]
    assert [expected_drop(c, found) for c in found] == pytest.approx([0.5, 1.5, 4.0])


def test_spectrum_is_that_of_the_spatial_split():
    rng = np.random.default_rng(0)
    weight = low_rank(rng, 8, 8, 3, 3, noise=0)
    found = spectrum(Layer("a", Stage(weight), None, (8, 5, 5)))
    matrix = weight.transpose(0, 3, 1, 2).reshape(24, 24)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(found, expected / expected[0], atol=1e-12)
    assert found[3] < 1e-5
