"""Whole ONNX networks: what is folded, swapped, left alone, and what has to stay as it was."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from layer_cases import relative
from onnx_models import chain_for, frozen, model, one_conv, small_net, tensor
from rankconv.onnx import OnnxNetwork, load, save
from rankconv.onnx.folding import fold_batch_norms


def by_runtime(model, x, output=0):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[output]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def images(rng, n, shape=(3, 16, 16)):
    return rng.standard_normal((n, *shape)).astype(np.float32)


def test_batch_norms_are_folded_and_nothing_else_is_touched(rng):
    original, x = small_net(rng), images(rng, 3)
    before = frozen(original)
    network = OnnxNetwork(original)
    assert [n.op_type for n in network.model.graph.node] == [
        *["Conv", "Relu"] * 3, "GlobalAveragePool", "Flatten", "Gemm",
    ]  # fmt: skip
    names = {t.name for t in network.model.graph.initializer}
    assert not names & {"w0", "s0", "m0", "t0", "v0"}
    assert relative(network.predict((x,)), by_runtime(original, x)) < 1e-5
    assert [layer.name for layer in network.layers] == ["conv0", "conv1", "conv2", "classes"]
    assert frozen(original) == before


def test_folding_is_exact_in_double_precision(rng):
    original = small_net(rng, widths=(5,))
    scale, shift, mean, var = (numpy_helper.to_array(t) for t in original.graph.initializer[2:6])
    weight, bias = (numpy_helper.to_array(t).astype(float) for t in original.graph.initializer[:2])
    s = scale / np.sqrt(var.astype(float) + 1e-3)
    layer = OnnxNetwork(original).layers[0]
    np.testing.assert_allclose(layer.stage.weight, weight * s[:, None, None, None], rtol=1e-6)
    np.testing.assert_allclose(layer.bias, (bias - mean) * s + shift, rtol=1e-5, atol=1e-6)


def test_a_norm_that_is_read_elsewhere_or_trains_stays(rng):
    weight, x = rng.standard_normal((4, 3, 3, 3)), images(rng, 2, (3, 6, 6))
    parts = [tensor(k, rng.uniform(0.5, 1, 4)) for k in "smtv"]
    norm = helper.make_node("BatchNormalization", ["c", *"smtv"], ["n"])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        norm,
        helper.make_node("Add", ["c", "n"], ["y"]),
    ]
    original = model(nodes, [tensor("w", weight), *parts], ["batch", 3, 6, 6])
    network = OnnxNetwork(original)
    assert len(network.model.graph.node) == 3
    assert relative(network.predict((x,)), by_runtime(original, x)) < 1e-6
    as_output = model(nodes[:2], [tensor("w", weight), *parts], ["batch", 3, 6, 6], outputs="nc")
    assert len(OnnxNetwork(as_output).model.graph.node) == 2


def test_a_norm_in_training_mode_is_not_folded():
    parts = [tensor(k, np.ones(4)) for k in "smtv"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *"smtv"], ["y", "m2", "v2"], training_mode=1),
    ]
    weight = tensor("w", np.ones((4, 3, 1, 1)))
    training = model(nodes, [weight, *parts], ["batch", 3, 6, 6], opset=14)
    before = frozen(training)
    fold_batch_norms(training)
    assert frozen(training) == before


def test_swap_starts_from_the_original_and_keeps_names(rng):
    original, x = small_net(rng), images(rng, 2)
    network = OnnxNetwork(original)
    reference, before = network.predict((x,)), frozen(network.model)
    conv1, conv2 = network.layers[1:3]
    first = network.swap({"conv1": chain_for(conv1, "spatial_svd", 1)})
    assert relative(first.predict((x,)), reference) > 1e-3
    second = first.swap({"conv2": chain_for(conv2, "channel_svd")})
    assert relative(second.predict((x,)), reference) < 1e-5
    assert frozen(network.model) == before
    assert frozen(first.swap({}).model) == before
    node_names = [n.name for n in second.model.graph.node]
    assert "conv1" in node_names
    assert "conv2" not in node_names
    assert "conv2/rankconv_1" in node_names
    assert second.model.graph.input == original.graph.input
    assert [o.name for o in second.model.graph.output] == ["y"]
    assert [layer.name for layer in second.layers] == [layer.name for layer in network.layers]
    weights = [t for t in first.model.graph.initializer if tuple(t.dims) == (12, 8, 3, 3)]
    assert not weights  # the dense weight went


def test_activations_are_those_of_the_network_and_nothing_behind_runs(rng):
    network, x = OnnxNetwork(small_net(rng)), images(rng, 3)
    found = network.activations((x,), ["conv0", "conv2", "classes"])
    assert np.array_equal(found["conv0"].input, x)
    for layer in network.layers:
        if layer.name in found:
            got = found[layer.name]
            expected = torch.nn.functional.conv2d(
                torch.from_numpy(got.input),
                torch.from_numpy(np.array(layer.stage.weight)),
                torch.from_numpy(np.array(layer.bias)),
                padding=layer.stage.padding,
            )
            assert relative(got.output, expected.numpy()) < 1e-5
    swapped = network.swap({"conv0": chain_for(network.layers[0], "spatial_svd", 1)})
    assert (
        relative(swapped.activations((x,), ["conv2"])["conv2"].input, found["conv2"].input) > 0.01
    )
    # What stands behind the layer cannot even run here: an index out of range.
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Gather", ["c", "at"], ["y"], axis=0),
    ]
    at = helper.make_tensor("at", TensorProto.INT64, [1], [1000])
    broken = OnnxNetwork(
        model(nodes, [tensor("w", np.ones((1, 3, 1, 1))), at], ["batch", 3, 16, 16])
    )
    assert broken.activations((x,), ["layer"])["layer"].output.shape == (3, 1, 16, 16)
    with pytest.raises(ValueError, match="ONNX Runtime failed"):
        broken.predict((x,))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_run_in_pieces(rng, batch):
    x = images(rng, 5)
    seed = np.random.default_rng(1)
    fixed = OnnxNetwork(small_net(seed, batch=batch))
    free = OnnxNetwork(small_net(np.random.default_rng(1)))
    assert (fixed.batch, free.batch) == (batch, None)
    assert relative(fixed.predict((x,)), free.predict((x,))) < 1e-5
    names = ["conv1", "classes"]
    ours, theirs = fixed.activations((x,), names), free.activations((x,), names)
    for name in names:
        assert ours[name].output.shape == theirs[name].output.shape
        assert relative(ours[name].output, theirs[name].output) < 1e-5
    fixed.caller((x,), threads=1)()
    fixed.layer_caller("conv1", None, batch=5, threads=1)()


@pytest.mark.parametrize("to", [[1, 64], [1, -1]])
def test_a_batch_that_only_a_node_fixes_is_found(rng, to):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Reshape", ["c", "to"], ["y"]),
    ]
    shape = helper.make_tensor("to", TensorProto.INT64, [2], to)
    network = OnnxNetwork(
        model(nodes, [tensor("w", np.ones((4, 3, 1, 1))), shape], ["batch", 3, 4, 4])
    )
    assert network.batch == 1
    x = images(rng, 3, (3, 4, 4))
    expected = np.repeat(x.sum(axis=1, keepdims=True), 4, axis=1).reshape(3, 64)
    np.testing.assert_allclose(network.predict((x,)), expected, atol=1e-5)


def test_open_sizes_need_a_sample(rng):
    original = one_conv(rng.standard_normal((4, 3, 3, 3)), ["n", 3, "h", "w"], strides=[2, 2])
    network = OnnxNetwork(original)
    assert network.replaceable == ("layer",)
    x = images(rng, 2, (3, 20, 13))
    assert network.predict((x,)).shape == (2, 4, 9, 6)
    with pytest.raises(ValueError, match=r"size of its images open .*x: \(None, 3, None, None\)"):
        _ = network.layers
    for sized in (network.sized((x,)), OnnxNetwork(original, sample=(x,))):
        assert sized.layers[0].input_shape == (3, 20, 13)


def test_shared_weights_are_replaced_where_they_are_named_and_nowhere_else(rng):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="one", pads=[1] * 4),
        helper.make_node("Identity", ["w"], ["copy"]),
        helper.make_node("Conv", ["a", "copy"], ["y"], name="two", pads=[1] * 4),
    ]
    weight = rng.standard_normal((3, 3, 3, 3)).astype(np.float32)
    original, x = model(nodes, [tensor("w", weight)], ["batch", 3, 8, 8]), images(rng, 2, (3, 8, 8))
    network = OnnxNetwork(original)
    swapped = network.swap({"one": chain_for(network.layers[0], "spatial_svd")})
    assert relative(swapped.predict((x,)), by_runtime(original, x)) < 1e-4
    assert [n.name for n in swapped.model.graph.node if n.op_type == "Conv"][-1] == "two"
    both = {layer.name: chain_for(layer, "tucker2") for layer in network.layers}
    swapped = network.swap(both)
    assert relative(swapped.predict((x,)), by_runtime(original, x)) < 1e-4
    assert "w" not in {t.name for t in swapped.model.graph.initializer}
    assert "Identity" not in {n.op_type for n in swapped.model.graph.node}


def test_weights_in_constant_nodes_and_among_the_inputs(rng):
    weight, bias = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    x = images(rng, 2, (3, 8, 8))
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="layer")
    constant = helper.make_node("Constant", [], ["w"], value=tensor("v", weight))
    in_node = model([constant, conv], [tensor("b", bias)], ["batch", 3, 8, 8])
    among = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3])]
    listed = model(
        [conv], [tensor("w", weight), tensor("b", bias)], ["batch", 3, 8, 8], inputs=among
    )
    for original in (in_node, listed):
        network = OnnxNetwork(original)
        assert [spec.name for spec in network.inputs] == ["x"]
        swapped = network.swap({"layer": chain_for(network.layers[0], "spatial_svd")})
        assert [value.name for value in swapped.model.graph.input] == ["x"]
        assert {n.op_type for n in swapped.model.graph.node} == {"Conv"}
        onnx.checker.check_model(swapped.model)
        assert relative(swapped.predict((x,)), by_runtime(original, x)) < 1e-4
    passed = model([conv], [tensor("b", bias)], ["batch", 3, 8, 8], inputs=among)
    network = OnnxNetwork(passed)
    assert network.layers == ()
    assert "not known before the run" in network.left_alone["layer"]


def test_what_is_left_alone_is_named(rng):
    half = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float16), "half")
    scale, zero = tensor("scale", 0.1), numpy_helper.from_array(np.int8(0), "zero")
    small = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.int8), "small")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="fine"),
        helper.make_node("ConvTranspose", ["a", "t"], ["b"], name="up"),
        helper.make_node("Unsqueeze", ["b", "axis"], ["deep"]),
        helper.make_node("Conv", ["deep", "w3"], ["c"], name="three"),
        helper.make_node("Squeeze", ["c", "axis"], ["d"]),
        helper.make_node("Cast", ["d"], ["d16"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["d16", "half"], ["e16"], name="half precision"),
        helper.make_node("Cast", ["e16"], ["e"], to=TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["wq"]),
        helper.make_node("Conv", ["e", "wq"], ["y"], name="quantised"),
    ]
    tensors = [
        tensor("w", np.ones((3, 3, 1, 1))),
        tensor("t", np.ones((3, 3, 1, 1))),
        tensor("w3", np.ones((3, 3, 1, 1, 1))),
        *(half, scale, zero, small),
        helper.make_tensor("axis", TensorProto.INT64, [1], [2]),
    ]
    network = OnnxNetwork(model(nodes, tensors, ["batch", 3, 4, 4]))
    assert [layer.name for layer in network.layers] == ["fine"]
    reasons = {name: reason.split(":")[0] for name, reason in network.left_alone.items()}
    assert reasons == {
        "up": "transposed convolutions are not supported",
        "three": "convolutions over 3 dimensions are not supported",
        "half precision": "its weight is of type FLOAT16",
        "quantised": "it is quantised already",
    }
    with pytest.raises(ValueError, match="'up' is left alone: transposed"):
        network.activations((images(rng, 1, (3, 4, 4)),), ["up"])
    with pytest.raises(ValueError, match=r"'nowhere' is not a layer .* its layers: 'fine'"):
        network.swap({"nowhere": chain_for(network.layers[0], "dense")})


def test_a_layer_that_sees_parts_of_the_images_is_left_alone(rng):
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["parts"]),
        helper.make_node("Conv", ["parts", "w"], ["c"], name="layer"),
        helper.make_node("Reshape", ["c", "back"], ["y"]),
    ]
    tensors = [
        tensor("w", np.ones((1, 1, 3, 3))),
        helper.make_tensor("to", TensorProto.INT64, [4], [-1, 1, 8, 8]),
        helper.make_tensor("back", TensorProto.INT64, [4], [-1, 3, 6, 6]),
    ]
    network = OnnxNetwork(model(nodes, tensors, ["batch", 3, 8, 8]))
    assert network.layers == ()
    assert "one entry for each of 2 images" in network.left_alone["layer"]


def test_nodes_without_names_of_their_own_are_called_by_their_outputs(rng):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"], name="y"),
        helper.make_node("Conv", ["b", "w"], ["y"]),
    ]
    network = OnnxNetwork(model(nodes, [tensor("w", np.ones((3, 3, 1, 1)))], ["batch", 3, 4, 4]))
    assert [layer.name for layer in network.layers] == ["a", "y", "y_2"]
    swapped = network.swap(
        {name: chain_for(network.layers[0], "tucker2") for name in ["a", "y", "y_2"]}
    )
    names = [n.name for n in swapped.model.graph.node]
    assert len(set(names)) == len(names) == 9


def test_inputs_that_do_not_fit_are_refused(rng):
    network = OnnxNetwork(small_net(rng))
    x = images(rng, 2)
    expected = r"pass float32 \(N, 3, 16, 16\)"
    for wrong in (x.astype(np.float64), x[:, :2], x[0], x[:0], np.float32(1)):
        with pytest.raises(ValueError, match=expected):
            network.predict((np.asarray(wrong),))
    with pytest.raises(ValueError, match=r"a tuple of 1 arrays \(x: float32 \(N, 3, 16, 16\)\)"):
        network.predict(x)
    with pytest.raises(ValueError, match="inputs is 2 arrays"):
        network.caller((x, x), threads=1)
    with pytest.raises(ValueError, match=r"of layer 'conv1' has the weight shape \(8, 3, 3, 3\)"):
        network.swap({"conv1": chain_for(network.layers[0], "dense")})


def test_several_inputs_and_a_type_of_their_own(rng):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Cast", ["more"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["c", "f"], ["y"]),
    ]
    more = helper.make_tensor_value_info("more", TensorProto.INT64, ["batch", 1, 1, 1])
    network = OnnxNetwork(
        model(nodes, [tensor("w", np.ones((2, 3, 1, 1)))], ["batch", 3, 4, 4], inputs=[more])
    )
    x, added = images(rng, 3, (3, 4, 4)), np.arange(3).reshape(3, 1, 1, 1)
    expected = x.sum(axis=1, keepdims=True) + added
    np.testing.assert_allclose(
        network.predict((x, added)), np.repeat(expected, 2, axis=1), atol=1e-5
    )
    # Only what a cut graph needs is passed to it.
    assert network.activations((x, added), ["layer"])["layer"].output.shape == (3, 2, 4, 4)
    with pytest.raises(ValueError, match=r"'more' is int64 .* the same number of images"):
        network.predict((x, added[:2]))


def test_what_was_replaced_is_told_in_the_file(rng, tmp_path):
    network = OnnxNetwork(small_net(rng))
    layers = {layer.name: layer for layer in network.layers}
    chosen = {
        "conv1": chain_for(layers["conv1"], "tucker2", (2, 3)),
        "conv2": chain_for(layers["conv2"], "spatial_svd", 4),
    }
    path = tmp_path / "fast.onnx"
    save(network.swap(chosen), path)
    onnx.checker.check_model(str(path), full_check=True)
    (noted,) = (p.value for p in onnx.load(path).metadata_props if p.key == "rankconv.layers")
    assert json.loads(noted) == {
        "conv1": {"kind": "tucker2", "rank": [2, 3]},
        "conv2": {"kind": "spatial_svd", "rank": 4},
    }
    again = load(path)
    name = "conv2/rankconv_0"
    layer = next(layer for layer in again.layers if layer.name == name)
    twice = again.swap({name: chain_for(layer, "channel_svd", 2)})
    (noted,) = (p.value for p in twice.model.metadata_props if p.key == "rankconv.layers")
    assert list(json.loads(noted)) == ["conv1", "conv2", name]


def torch_network():
    torch.manual_seed(0)
    nn = torch.nn
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, (5, 3), stride=(2, 1), padding=(2, 0), groups=8),
        nn.SiLU(),
        nn.Conv2d(8, 12, 3, padding="same", dilation=2, padding_mode="reflect"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()
    network[1].running_var.uniform_(0.5, 2)
    return network, torch.randn(3, 3, 12, 10)


def check_exported(path, network, x):
    loaded = load(path)
    assert len(loaded.layers) == 4
    assert not any(n.op_type == "BatchNormalization" for n in loaded.model.graph.node)
    expected = network(x).detach().numpy()
    for kind in ("slice_svd", "spatial_svd", "tucker2"):
        swapped = loaded.swap({layer.name: chain_for(layer, kind) for layer in loaded.layers})
        assert relative(swapped.predict((x.numpy(),)), expected) < 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Constant folding:UserWarning")
@pytest.mark.parametrize("opset", [13, 18])
def test_models_that_pytorch_exports_by_tracing(tmp_path, opset):
    network, x = torch_network()
    path = tmp_path / "exported.onnx"
    torch.onnx.export(
        network, (x,), path, dynamo=False, opset_version=opset, dynamic_axes={"x": {0: "n"}},
        input_names=["x"], do_constant_folding=False,
    )  # fmt: skip
    check_exported(path, network, x)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_models_that_pytorch_exports_by_dynamo(tmp_path):
    pytest.importorskip("onnxscript")
    network, x = torch_network()
    path = tmp_path / "exported.onnx"
    dims = ({0: torch.export.Dim("n")},)
    torch.onnx.export(network, (x,), path, dynamo=True, dynamic_shapes=dims, verbose=False)
    check_exported(path, network, x)


@pytest.mark.filterwarnings("ignore")
def test_models_that_skl2onnx_makes(rng, tmp_path):
    convert = pytest.importorskip("skl2onnx").to_onnx
    from sklearn.neural_network import MLPClassifier

    x = rng.standard_normal((100, 12)).astype(np.float32)
    trained = MLPClassifier((16, 8), max_iter=5).fit(x, x[:, 0] > 0)
    made = convert(trained, x[:1], options={"zipmap": False})
    network = OnnxNetwork(made)
    assert [layer.bias is not None for layer in network.layers] == [True] * 3
    chosen = {layer.name: chain_for(layer, "channel_svd") for layer in network.layers}
    swapped = network.swap(chosen)
    assert [o.name for o in swapped.model.graph.output] == ["label", "probabilities"]
    assert np.array_equal(swapped.predict((x,)), trained.predict(x))


def test_the_result_runs_in_openvino(rng, tmp_path):
    openvino = pytest.importorskip("openvino")
    network, x = OnnxNetwork(small_net(rng)), images(rng, 2)
    kinds = zip(network.layers, ("spatial_svd", "slice_svd", "tucker2", "dense"), strict=True)
    swapped = network.swap({layer.name: chain_for(layer, kind) for layer, kind in kinds})
    save(swapped, tmp_path / "fast.onnx")
    single = {"INFERENCE_PRECISION_HINT": "f32"}  # not the half precision of some processors
    compiled = openvino.compile_model(tmp_path / "fast.onnx", "CPU", single)
    assert relative(compiled(x)[0], network.predict((x,))) < 1e-4
