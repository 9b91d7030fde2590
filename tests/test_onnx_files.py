"""Reading and writing ONNX files: what is refused, and that nothing is half written."""

import os
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from layer_cases import relative
from onnx_models import chain_for, frozen, model, one_conv, small_net, tensor
from rankconv.onnx import OnnxNetwork, load, reading, save


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_file_is_read_and_left_as_it_is(rng, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(small_net(rng), path)
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    network = load(path)
    swapped = network.swap({"conv1": chain_for(network.layers[1], "spatial_svd", 2)})
    save(swapped, tmp_path / "fast.onnx")
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == changed
    x = rng.standard_normal((2, 3, 16, 16)).astype(np.float32)
    assert np.array_equal(load(tmp_path / "fast.onnx").predict((x,)), swapped.predict((x,)))
    assert sorted(os.listdir(tmp_path)) == ["fast.onnx", "net.onnx"]


def test_external_data(rng, tmp_path):
    path = tmp_path / "net.onnx"
    original = small_net(rng)
    x = rng.standard_normal((2, 3, 16, 16)).astype(np.float32)
    expected = OnnxNetwork(original).predict((x,))
    onnx.save(original, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert b"w.bin" in path.read_bytes()
    network = load(path)
    assert relative(network.predict((x,)), expected) < 1e-6
    save(network, tmp_path / "one.onnx")
    (tmp_path / "w.bin").unlink()
    assert relative(load(tmp_path / "one.onnx").predict((x,)), expected) < 1e-6
    with pytest.raises(ValueError, match=r"external data of .*net.onnx cannot be read, keep"):
        load(path)


def test_external_data_outside_the_folder_is_not_read(rng, tmp_path):
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "net.onnx"
    onnx.save(small_net(rng), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "inner" / "w.bin").rename(tmp_path / "w.bin")
    moved = onnx.load(path, load_external_data=False)
    for stored in moved.graph.initializer:
        next(e for e in stored.external_data if e.key == "location").value = "../w.bin"
    path.write_bytes(moved.SerializeToString())
    with pytest.raises(ValueError, match=r"external data of .* cannot be read"):
        load(path)


def test_large_models_are_refused_before_they_are_read(rng, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    onnx.save(small_net(rng), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    declared = onnx.load(path, load_external_data=False)
    stored = declared.graph.initializer[0]
    next(e for e in stored.external_data if e.key == "length").value = str(2**31)
    path.write_bytes(declared.SerializeToString())
    with pytest.raises(ValueError, match=r"holds 2.0 GiB .* over 2 GiB are not supported"):
        load(path)
    hole = tmp_path / "hole.onnx"
    with open(hole, "wb") as file:
        file.truncate(2**31)
    with pytest.raises(ValueError, match="over 2 GiB"):
        load(hole)
    monkeypatch.setattr("rankconv.onnx.saving.LIMIT", 1000)
    with pytest.raises(ValueError, match="cannot be written"):
        save(OnnxNetwork(small_net(rng)), tmp_path / "never.onnx")
    assert not (tmp_path / "never.onnx").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no model", b"PK\x03\x04" + bytes(range(200)), b"\x08\x08", b"\x80\x02}q\x00."],
)
def test_files_that_are_no_models(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net.onnx is not an ONNX model: \S"):
        load(path)


def test_a_cut_off_file(rng, tmp_path):
    path = tmp_path / "net.onnx"
    data = small_net(rng).SerializeToString()
    for part in (0.3, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(ValueError, match=r"net.onnx"):
            load(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.onnx")
    with pytest.raises((OSError, ValueError)):
        load(tmp_path)


def test_nothing_to_replace(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], [], ["n", 3, 4, 4]), path)
    with pytest.raises(ValueError, match=r"no convolution or linear layer that can be replaced$"):
        load(path)
    up = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up")
    onnx.save(model([up], [tensor("w", np.ones((3, 3, 2, 2)))], ["n", 3, 4, 4]), path)
    with pytest.raises(ValueError, match=r"replaced \(up: transposed convolutions"):
        load(path)


def test_control_flow(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(
            "If", ["yes"], ["y"], name="choice", then_branch=branch, else_branch=branch
        ),
    ]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    with pytest.raises(ValueError, match=r"control flow \(node 'choice', If\), .*: export"):
        OnnxNetwork(model(nodes, [tensor("w", np.ones((3, 3, 1, 1))), yes], ["n", 3, 4, 4]))


def test_training_mode():
    ones = [tensor(k, np.ones(4)) for k in "smtv"]
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    weight = tensor("w", np.ones((4, 3, 1, 1)))
    norm = helper.make_node("BatchNormalization", ["c", *"smtv"], ["y", "m2", "v2"], name="norm")
    norm.attribute.append(helper.make_attribute("training_mode", 1))
    with pytest.raises(ValueError, match=r"training mode \(node 'norm', BatchNorm.*model.eval"):
        OnnxNetwork(model([conv, norm], [weight, *ones], ["n", 3, 4, 4], opset=14))
    drop = helper.make_node("Dropout", ["c", "", "on"], ["y"])
    for on in (True, False):
        tensors = [weight, helper.make_tensor("on", TensorProto.BOOL, [], [on])]
        dropping = model([conv, drop], tensors, ["n", 3, 4, 4])
        if on:
            with pytest.raises(ValueError, match=r"training mode \(node 'y', Dropout\)"):
                OnnxNetwork(dropping)
        else:
            assert len(OnnxNetwork(dropping).layers) == 1


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(part, value):
    weight, bias = np.ones((2, 3, 1, 1)), np.ones(2)
    (weight if part == "weight" else bias).flat[1] = value
    with pytest.raises(ValueError, match=f"the {part} of layer 'layer' holds NaN or infinity"):
        OnnxNetwork(one_conv(weight, ["n", 3, 4, 4], bias=bias))


def test_older_opsets_are_converted(rng, tmp_path):
    weight = rng.standard_normal((4, 3, 3, 3))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Squeeze", ["c"], ["s"], axes=[2, 3]),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    old = model(nodes, [tensor("w", weight)], ["n", 3, 3, 3], opset=9, ir_version=4)
    before = frozen(old)
    network = OnnxNetwork(old)
    assert network.model.opset_import[0].version == 13
    assert frozen(old) == before
    x = rng.standard_normal((2, 3, 3, 3)).astype(np.float32)
    logits = np.einsum("nchw,ochw->no", x, weight)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    swapped = network.swap({"layer": chain_for(network.layers[0], "spatial_svd")})
    np.testing.assert_allclose(swapped.predict((x,)), expected, atol=1e-5)


def test_the_first_versions_of_the_format_list_constants_among_the_inputs(rng):
    weight = rng.standard_normal((4, 3, 3, 3))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Mul", ["c", "factor"], ["y"]),
    ]
    listed = [
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]),
        helper.make_tensor_value_info("factor", TensorProto.FLOAT, [1]),
    ]
    tensors = [tensor("w", weight), tensor("factor", [2.0])]
    for opset in (8, 13):
        old = model(nodes, tensors, ["n", 3, 3, 3], opset=opset, ir_version=3, inputs=listed)
        network = OnnxNetwork(old)
        assert [spec.name for spec in network.inputs] == ["x"]
        swapped = network.swap({"layer": chain_for(network.layers[0], "spatial_svd")})
        onnx.checker.check_model(swapped.model)
        x = rng.standard_normal((2, 3, 3, 3)).astype(np.float32)
        expected = 2 * np.einsum("nchw,ochw->no", x, weight)
        np.testing.assert_allclose(swapped.predict((x,))[:, :, 0, 0], expected, atol=1e-4)


def test_what_cannot_be_converted_says_how_to_export_it(monkeypatch):
    old = one_conv(np.ones((3, 3, 1, 1)), ["n", 3, 4, 4])
    old.opset_import[0].version = 7

    def no_adapter(*_):
        raise RuntimeError("No Adapter\nmore")

    monkeypatch.setattr("onnx.version_converter.convert_version", no_adapter)
    with pytest.raises(ValueError, match=r"of opset 7, and 13 or later .*=13: No Adapter$"):
        OnnxNetwork(old)


def test_functions_are_put_in_place(rng):
    body = helper.make_function(
        "own",
        "Block",
        ["a", "w"],
        ["r"],
        [helper.make_node("Conv", ["a", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"])],
        [helper.make_opsetid("", 13)],
    )
    weight = rng.standard_normal((4, 3, 3, 3))
    made = model(
        [helper.make_node("Block", ["x", "w"], ["y"], domain="own")],
        [tensor("w", weight)],
        ["n", 3, 5, 5],
    )
    made.functions.append(body)
    made.opset_import.append(helper.make_opsetid("own", 1))
    network = OnnxNetwork(made)
    assert [layer.stage.weight.shape for layer in network.layers] == [(4, 3, 3, 3)]


def test_operators_that_the_runtime_does_not_know():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Strange", ["c"], ["y"], domain="own"),
    ]
    made = model(nodes, [tensor("w", np.ones((3, 3, 1, 1)))], ["n", 3, 4, 4])
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.graph.output[0].type.tensor_type.shape.SetInParent()
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot run this model: .*Strange"):
        OnnxNetwork(made)


def test_nothing_is_left_where_writing_fails(rng, tmp_path, monkeypatch):
    network = OnnxNetwork(small_net(rng))
    path = tmp_path / "net.onnx"
    path.write_bytes(b"older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save(network, path)
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["net.onnx"]
    with pytest.raises(OSError, match="No such file"):
        save(network, tmp_path / "none" / "net.onnx")


def test_models_that_are_not_valid(rng, tmp_path):
    network = OnnxNetwork(small_net(rng))
    network.model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ValueError, match=r"not valid ONNX and was not written: .*nowhere"):
        save(network, tmp_path / "net.onnx")
    assert not os.listdir(tmp_path)
    made = one_conv(np.ones((3, 3, 1, 1)), ["n", 3, 4, 4])
    made.graph.output[0].type.tensor_type.shape.SetInParent()
    made.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ValueError, match=r"the model is not a valid ONNX model: .*nowhere"):
        OnnxNetwork(made)
    del made.opset_import[:]
    with pytest.raises(ValueError, match="does not say which version"):
        OnnxNetwork(made)


def test_the_library_of_the_same_name_is_the_one_imported():
    assert sys.modules["onnx"] is reading.onnx
    assert hasattr(reading.onnx, "ModelProto")
