"""What is timed is the layer as it stands in the network; no time decides a test."""

import numpy as np
import onnx
import pytest
from onnx import helper

from layer_cases import relative
from onnx_models import chain_for, model, one_conv, small_net, tensor
from rankconv.onnx import OnnxNetwork, sessions, timing


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def timed(monkeypatch):
    """The models that were made ready to be timed, and their inputs."""
    seen = []
    ready = sessions.bound_call

    def watch(session, feed):
        seen.append((session, feed))
        return ready(session, feed)

    monkeypatch.setattr(timing, "bound_call", watch)
    models = []
    make = sessions.session

    def keep(model, **options):
        models.append(model)
        return make(model, **options)

    monkeypatch.setattr(timing, "session", keep)
    return seen, models


def wide_net(rng):
    return small_net(rng, widths=(32, 64, 32))


def ops(model):
    return [node.op_type for node in model.graph.node]


def test_a_layer_inside_runs_without_its_neighbours_and_without_reordering(rng, timed):
    network = OnnxNetwork(wide_net(rng))
    seen, models = timed
    network.layer_caller("conv1", None, batch=2, threads=1)()
    ((_, feed),) = seen
    (x,) = feed.values()
    assert x.size == 2 * 32 * 16 * 16
    assert ops(models[-1]) == ["Conv"]  # the activation is in it
    layer = network.layers[1]
    network.layer_caller("conv1", chain_for(layer, "spatial_svd", 16), batch=2, threads=1)()
    assert ops(models[-1]) == ["Conv", "Conv"]
    network.layer_caller("conv2", None, batch=1, threads=1)()
    assert "Conv" in ops(models[-1])
    assert len(seen) == 3


def test_the_first_and_the_last_layer_pay_for_what_they_pay_in_the_network(rng, timed):
    network = OnnxNetwork(wide_net(rng))
    seen, models = timed
    network.layer_caller("conv0", None, batch=1, threads=1)()
    assert next(iter(seen[-1][1].values())).shape == (1, 3, 16, 16)
    network.layer_caller("classes", None, batch=4, threads=1)()
    assert next(iter(seen[-1][1].values())).shape == (4, 32)
    assert ops(models[-1]) == ["Gemm"]
    alone = OnnxNetwork(one_conv(rng.standard_normal((32, 32, 3, 3)), ["n", 32, 8, 8]))
    alone.layer_caller("layer", None, batch=1, threads=1)()
    assert next(iter(seen[-1][1].values())).shape == (1, 32, 8, 8)


@pytest.mark.parametrize("kind", [None, "spatial_svd", "slice_svd", "tucker2", "cp"])
@pytest.mark.parametrize("name", ["conv0", "conv1", "conv2", "classes"])
def test_every_layer_and_kind_can_be_timed(rng, name, kind):
    network = OnnxNetwork(wide_net(rng))
    layer = next(layer for layer in network.layers if layer.name == name)
    replacement = None if kind is None else chain_for(layer, kind, 1)
    call = network.layer_caller(name, replacement, batch=1, threads=1)
    call()
    call()


@pytest.mark.parametrize("activation", ["Relu", "Clip", "Sigmoid", "Softplus"])
def test_the_activation_that_follows_is_in_what_is_timed(rng, timed, activation):
    ends = {"Clip": ["low", "high"]}.get(activation, [])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node(activation, ["c", *ends], ["y"]),
    ]
    tensors = [tensor("w", rng.standard_normal((5, 3, 3, 3))), tensor("low", 0), tensor("high", 6)]
    network = OnnxNetwork(model(nodes, tensors, ["n", 3, 8, 8]))
    network.layer_caller("layer", None, batch=1, threads=1)()
    sandwich = timed[1][0]
    assert (activation in ops(sandwich)) == (activation != "Softplus")
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    got = sessions.session(sandwich, threads=1).run(None, {"rankconv.x": x})[0]
    end = network.predict((x,))
    if activation == "Softplus":
        end = network.activations((x,), ["layer"])["layer"].output
    assert relative(got, end) < 1e-6


def test_what_is_timed_computes_the_layer(rng, timed):
    """In blocks of channels or not: the same numbers as the network, in another order."""
    network = OnnxNetwork(wide_net(rng))
    seen, models = timed
    chain = chain_for(network.layers[1], "spatial_svd", 16)
    for replacement in (None, chain):
        network.layer_caller("conv1", replacement, batch=1, threads=1)
        session, feed = seen[-1]
        got = session.run(None, feed)[0]
        sandwich = models[-3]
        whole = onnx.ModelProto()
        whole.CopyFrom(sandwich)
        x = np.random.default_rng(0).standard_normal((1, 32, 16, 16)).astype(np.float32)
        inner = next(n for n in whole.graph.node if n.op_type == "Relu").output[0]
        whole.graph.output.append(onnx.ValueInfoProto(name=inner))
        expected = sessions.session(whole, threads=1).run([inner], {"rankconv.x": x})[0]
        assert got.size == expected.size
        assert np.allclose(np.sort(got.ravel()), np.sort(expected.ravel()), atol=1e-4)


def test_the_whole_network_is_called_on_what_it_is_given(rng):
    network = OnnxNetwork(wide_net(rng))
    x = rng.standard_normal((3, 3, 16, 16)).astype(np.float32)
    for threads in (1, 2):
        network.caller((x,), threads=threads)()


def test_layers_between_other_things_than_blocks_are_timed_with_the_reordering(rng, timed):
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Softmax", ["a"], ["s"], axis=1),
        helper.make_node("Conv", ["s", "w1"], ["y"], name="second"),
    ]
    tensors = [tensor(f"w{i}", rng.standard_normal((32, 32, 3, 3))) for i in range(2)]
    network = OnnxNetwork(model(nodes, tensors, ["n", 32, 9, 9]))
    seen, models = timed
    for name, size in (("first", 9), ("second", 7)):
        network.layer_caller(name, None, batch=1, threads=1)()
        assert next(iter(seen[-1][1].values())).shape == (1, 32, size, size)
        assert ops(models[-1]) == ["Conv"]  # not optimised yet: reordering is put around it


def test_names_of_a_chain_that_the_network_has_already(rng):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["y"], name="first/rankconv_0"),
    ]
    network = OnnxNetwork(
        model(nodes, [tensor("w", rng.standard_normal((8, 8, 3, 3)))], ["n", 8, 9, 9])
    )
    chain = chain_for(network.layers[0], "spatial_svd", 2)
    network.layer_caller("first", chain, batch=1, threads=1)()
    assert len(network.swap({"first": chain}).model.graph.node) == 3
