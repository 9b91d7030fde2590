"""Compressing an ONNX model from end to end: what comes back runs, says what it is, and is near."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnx_models import model, tensor
from rankconv.compress import timing
from rankconv.compress.data import Data
from rankconv.compress.run import compress
from rankconv.onnx import OnnxNetwork, load, quantize, save
from small_network import Clock, images_for, small_network


def as_onnx(network):
    """The small network in NumPy as an ONNX model."""
    nodes, tensors, at = [], [], "x"
    for i, layer in enumerate(network.layers):
        tensors += [tensor(f"w{i}", layer.stage.weight), tensor(f"b{i}", layer.bias)]
        if layer.name == "classes":
            nodes.append(helper.make_node("GlobalAveragePool", [at], ["pooled"]))
            nodes.append(helper.make_node("Conv", ["pooled", f"w{i}", f"b{i}"], ["scores"]))
            nodes.append(helper.make_node("Flatten", ["scores"], ["y"]))
            break
        ends = [f"c{i}", f"r{i}"]
        nodes.append(
            helper.make_node("Conv", [at, f"w{i}", f"b{i}"], ends[:1], layer.name, pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", ends[:1], ends[1:]))
        at = ends[1]
    return model(nodes, tensors, ["n", *network.layers[0].input_shape])


@pytest.fixture
def counted(monkeypatch):
    """ONNX Runtime on a clock that counts weights, as all layers but the last see one size."""
    clock = Clock(a_stage=0)

    def caller(self, inputs, *, threads):
        weights = sum(int(np.prod(t.dims)) for t in self.model.graph.initializer)
        return lambda: clock.run(1000 * weights, 0)

    def layer_caller(self, name, replacement, *, batch, threads):
        layer = next(layer for layer in self.layers if layer.name == name)
        weights = (replacement.chain if replacement else layer.stage).parameters
        return lambda: clock.run(1000 * weights, 0)

    monkeypatch.setattr(OnnxNetwork, "caller", caller)
    monkeypatch.setattr(OnnxNetwork, "layer_caller", layer_caller)
    monkeypatch.setattr(timing, "clock", clock)


def test_a_planted_model(counted, tmp_path):
    small = small_network(2)
    images, labels = images_for(small, 90)
    made = as_onnx(small)
    before = made.SerializeToString(deterministic=True)
    network = OnnxNetwork(made)
    np.testing.assert_allclose(
        network.predict((images,)), small.predict((images,)), rtol=1e-4, atol=1e-4
    )
    found = compress(network, Data(images, labels), max_drop=10, quantize=quantize)
    assert made.SerializeToString(deterministic=True) == before
    assert {"conv1", "conv2"} <= set(found.replacements)
    sources = [point.source for point in found.report.points]
    assert {"original", "rankconv", "int8", "rankconv+int8"} == set(sources)
    assert found.report.engine.startswith("onnxruntime")
    chosen = found.report.points[found.report.chosen]
    assert chosen.source == "rankconv"
    assert chosen.speedup > 1.2
    save(found.network, tmp_path / "fast.onnx")
    onnx.checker.check_model(str(tmp_path / "fast.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "fast.onnx"))
    outputs = session.run(None, {"x": images})[0]
    answers = outputs.argmax(axis=1)
    assert (answers == labels).mean() > 0.85
    again = load(tmp_path / "fast.onnx")
    np.testing.assert_allclose(again.predict((images,)), outputs, rtol=1e-3, atol=1e-4)


def test_on_the_real_clock_nothing_slower_comes_back():
    small = small_network(3, width=32, size=16)
    images, labels = images_for(small, 40)
    network = OnnxNetwork(as_onnx(small))
    found = compress(network, Data(images, labels), max_drop=20)
    chosen = found.report.points[found.report.chosen]
    assert chosen.speedup >= 1
    assert (found.network is network) == (chosen.source == "original") == (not found.replacements)
    assert all(point.seconds > 0 for point in found.report.points)
    assert all(record.seconds_before > 0 for record in found.report.layers)
