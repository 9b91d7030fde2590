"""Integers by ONNX Runtime's tools: close to the network, and on the safe side."""

import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from layer_cases import relative
from onnx_models import chain_for, frozen, small_net
from rankconv.onnx import OnnxNetwork, load, quantize, quantizing, save


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def images(rng, n):
    return rng.standard_normal((n, 3, 16, 16)).astype(np.float32)


def weights_of(network):
    """The integer weights of the network's convolutions."""
    found = [numpy_helper.to_array(t) for t in network.model.graph.initializer]
    return [w for w in found if w.dtype == np.int8 and w.ndim == 4]


@pytest.mark.parametrize("batch", ["batch", 3])
def test_the_result_is_close_and_works_like_a_network(rng, tmp_path, batch):
    network, x = OnnxNetwork(small_net(rng, batch=batch)), images(rng, 50)
    before = frozen(network.model)
    integers = quantize(network, (x,))
    expected = network.predict((x,))
    error = relative(integers.predict((x,)), expected)
    assert 1e-5 < error < 0.05
    assert frozen(network.model) == before
    assert integers.layers == ()
    assert set(integers.left_alone) == {"conv0", "conv1", "conv2", "classes"}
    integers.caller((x[:3],), threads=1)()
    kinds = {node.op_type for node in integers.model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert len(weights_of(integers)) == 3
    save(integers, tmp_path / "small.onnx")
    onnx.checker.check_model(str(tmp_path / "small.onnx"))
    with pytest.raises(ValueError, match="no convolution or linear layer that can be replaced"):
        load(tmp_path / "small.onnx")


def test_each_output_channel_has_a_scale(rng):
    original = small_net(rng, norms=False)
    weight = numpy_helper.to_array(original.graph.initializer[0]).copy()
    weight[0] *= 100
    original.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
    integers = quantize(OnnxNetwork(original), (images(rng, 8),), reduce_range=False)
    first = weights_of(integers)[0]
    assert (np.abs(first.astype(int)).max(axis=(1, 2, 3)) >= 127).all()


def test_seven_bits_where_sums_would_overflow(rng, monkeypatch):
    network, x = OnnxNetwork(small_net(rng)), images(rng, 8)
    for wide, largest in ((True, 127), (False, 64)):
        monkeypatch.setattr(quantizing, "sums_are_wide", lambda wide=wide: wide)
        automatic = weights_of(quantize(network, (x,)))
        told = weights_of(quantize(network, (x,), reduce_range=not wide))
        for a, b in zip(automatic, told, strict=True):
            assert np.array_equal(a, b)
            assert largest - 1 <= np.abs(a.astype(int)).max() <= largest + 1


@pytest.mark.parametrize(
    ("machine", "flags", "wide"),
    [
        ("x86_64", "fpu avx2 avx512f", False),
        ("AMD64", "fpu avx_vnni", True),
        ("x86_64", "fpu avx512_vnni sse", True),
        ("aarch64", "", True),
        ("x86_64", None, False),
    ],
)
def test_processors(monkeypatch, machine, flags, wide):
    def read(path):
        assert str(path) == "/proc/cpuinfo"
        if flags is None:
            raise OSError(2, "No such file")
        return f"processor\t: 0\nflags\t\t: {flags}\n"

    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("pathlib.Path.read_text", read)
    assert quantizing.sums_are_wide() is wide


def test_replaced_layers_are_quantised_too_and_still_named(rng):
    network, x = OnnxNetwork(small_net(rng)), images(rng, 20)
    swapped = network.swap({"conv1": chain_for(network.layers[1], "spatial_svd")})
    integers = quantize(swapped, (x,))
    assert len(weights_of(integers)) == 4
    assert relative(integers.predict((x,)), network.predict((x,))) < 0.1
    assert "rankconv.layers" in {p.key for p in integers.model.metadata_props}


def test_inputs_that_do_not_fit_and_logging(rng):
    network = OnnxNetwork(small_net(rng))
    with pytest.raises(ValueError, match=r"pass float32 \(N, 3, 16, 16\)"):
        quantize(network, (images(rng, 4)[:, :2],))
    handlers = list(logging.root.handlers)
    quantize(network, (images(rng, 4),))
    assert logging.root.handlers == handlers
