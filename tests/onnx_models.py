"""Small ONNX models made by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rankconv.compress.network import Replacement
from rankconv.factorizations import factorize, full_rank


def tensor(name, value):
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def model(nodes, tensors, shape, *, opset=13, outputs=("y",), inputs=(), ir_version=8):
    """A model with the input x of `shape` and the outputs named."""
    graph = helper.make_graph(
        nodes,
        "tested",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )


def one_conv(weight, shape, *, bias=None, **attributes):
    """A model of one Conv named 'layer'."""
    names = ["x", "w"] if bias is None else ["x", "w", "b"]
    tensors = [tensor("w", weight)] + ([] if bias is None else [tensor("b", bias)])
    node = helper.make_node("Conv", names, ["y"], name="layer", **attributes)
    return model([node], tensors, shape)


def small_net(rng, *, widths=(8, 12, 16), size=16, batch="batch", norms=True, classes=10):
    """Conv, BatchNormalization, ReLU, three times; pooling; Gemm."""
    nodes, tensors, at, channels = [], [], "x", 3

    def put(name, value):
        tensors.append(tensor(name, value))
        return name

    for i, width in enumerate(widths):
        weight = rng.standard_normal((width, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        inputs = [at, put(f"w{i}", weight), put(f"b{i}", rng.standard_normal(width))]
        nodes.append(helper.make_node("Conv", inputs, [f"c{i}"], name=f"conv{i}", pads=[1] * 4))
        at = f"c{i}"
        if norms:
            parts = [rng.uniform(0.5, 2, width), *rng.standard_normal((2, width))]
            parts.append(rng.uniform(0.5, 2, width))
            inputs = [at, *(put(f"{k}{i}", v) for k, v in zip("smtv", parts, strict=True))]
            nodes.append(helper.make_node("BatchNormalization", inputs, [f"n{i}"], epsilon=1e-3))
            at = f"n{i}"
        nodes.append(helper.make_node("Relu", [at], [f"r{i}"]))
        at, channels = f"r{i}", width
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    matrix = put("wf", rng.standard_normal((classes, channels)))
    inputs = ["flat", matrix, put("bf", rng.standard_normal(classes))]
    nodes.append(helper.make_node("Gemm", inputs, ["y"], name="classes", transB=1))
    return model(nodes, tensors, [batch, 3, size, size])


def chain_for(layer, kind, rank=None):
    """A layer's replacement, exact where no rank is given."""
    stage = layer.stage
    if rank is None:
        rank = full_rank(stage.weight.shape, kind=kind, groups=stage.groups)
    chain = factorize(
        stage.weight,
        kind=kind,
        rank=rank,
        stride=stage.stride,
        padding=stage.padding,
        dilation=stage.dilation,
        groups=stage.groups,
    )
    return Replacement(chain, layer.bias)


def frozen(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)
