"""Every kind of decomposition in ONNX graphs: the chain is the layer, whatever its options."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from layer_cases import relative
from onnx_models import chain_for, model, one_conv, tensor
from rankconv.factorizations import KINDS
from rankconv.onnx import OnnxNetwork
from rankconv.stages import apply

RNG = np.random.default_rng(4)


def by_runtime(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


CASES = {
    "plain": ((8, 6, 3, 3), {}, (2, 6, 9, 8)),
    "stride (2, 1)": ((8, 6, 3, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}, (1, 6, 9, 8)),
    "asymmetric": ((5, 4, 3, 4), {"pads": [0, 2, 1, 1], "strides": [2, 2]}, (2, 4, 8, 9)),
    "dilation": ((8, 6, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}, (1, 6, 9, 11)),
    "groups": ((8, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, (1, 6, 9, 8)),
    "depthwise": ((6, 1, 5, 5), {"group": 6, "pads": [2, 2, 2, 2]}, (2, 6, 9, 8)),
    "multiplier": ((12, 1, 3, 3), {"group": 6}, (2, 6, 9, 8)),
    "1 x 1": ((8, 6, 1, 1), {"strides": [2, 2]}, (2, 6, 9, 8)),
    "upper": ((8, 6, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}, (1, 6, 8, 7)),
    "lower": ((8, 6, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}, (1, 6, 8, 8)),
    "valid": ((8, 6, 3, 3), {"auto_pad": "VALID"}, (1, 6, 8, 7)),
    "line": ((8, 6, 5), {"pads": [1, 2], "strides": [2], "dilations": [2]}, (2, 6, 20)),
    "line, same": ((8, 3, 5), {"auto_pad": "SAME_UPPER", "strides": [2], "group": 2}, (2, 6, 20)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_full_rank_is_the_layer_and_low_rank_is_the_chain(case, kind):
    weight_shape, attributes, shape = CASES[case]
    weight, bias, x = normal(*weight_shape), normal(weight_shape[0]), normal(*shape)
    original = one_conv(weight, ["batch", *shape[1:]], bias=bias, **attributes)
    expected = by_runtime(original, x)
    network = OnnxNetwork(original)
    (layer,) = network.layers
    exact = network.swap({"layer": chain_for(layer, kind)})
    onnx.checker.check_model(exact.model)
    assert relative(by_runtime(exact.model, x), expected) < 1e-4
    if kind == "dense":
        return
    low = chain_for(layer, kind, 1)
    images = x if x.ndim == 4 else x[:, :, None]
    reference = apply(low.chain.stages, images.astype(np.float64)) + bias[:, None, None]
    got = network.swap({"layer": low}).predict((x,))
    assert relative(got, reference.reshape(got.shape)) < 1e-4
    seen = network.swap({"layer": low}).activations((x,), ["layer"])["layer"]
    assert np.array_equal(seen.input, images)
    assert np.array_equal(seen.output, got.reshape(reference.shape))


@given(
    groups=st.integers(1, 3),
    per=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    auto_pad=st.sampled_from(["SAME_UPPER", "SAME_LOWER"]),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kind=st.sampled_from([kind for kind in KINDS if kind != "dense"]),
)
@settings(max_examples=40)
def test_same_means_the_same_at_other_sizes_than_the_sample(
    groups, per, kernel, stride, auto_pad, size, kind
):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((groups * per[0], per[1], *kernel)).astype(np.float32)
    original = one_conv(
        weight,
        ["batch", groups * per[1], None, None],
        auto_pad=auto_pad,
        strides=stride,
        group=groups,
    )
    x = rng.standard_normal((2, groups * per[1], *size)).astype(np.float32)
    network = OnnxNetwork(original, sample=(np.zeros((1, groups * per[1], 8, 8), np.float32),))
    (layer,) = network.layers
    swapped = network.swap({"layer": chain_for(layer, kind)})
    assert relative(swapped.predict((x,)), by_runtime(original, x)) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers(kind):
    matrix, bias, x = normal(7, 5), normal(7), normal(3, 5)
    for trans, alpha in ((1, 1.0), (0, 0.5)):
        stored = tensor("w", matrix if trans else matrix.T)
        node = helper.make_node(
            "Gemm", ["x", "w", "b"], ["y"], name="layer", transB=trans, alpha=alpha, beta=2.0
        )
        original = model([node], [stored, tensor("b", bias)], ["batch", 5])
        expected = by_runtime(original, x)
        np.testing.assert_allclose(expected, alpha * x @ matrix.T + 2 * bias, rtol=1e-4)
        network = OnnxNetwork(original)
        (layer,) = network.layers
        assert layer.input_shape == (5, 1, 1)
        swapped = network.swap({"layer": chain_for(layer, kind)})
        assert {n.op_type for n in swapped.model.graph.node} == {"Gemm"}
        assert relative(swapped.predict((x,)), expected) < 1e-4
        seen = network.activations((x,), ["layer"])["layer"]
        assert seen.input.shape == (3, 5, 1, 1)
        assert relative(seen.output[:, :, 0, 0], expected) < 1e-6


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 2, 5)])
def test_products_with_a_matrix(shape, biased):
    matrix, bias, x = normal(5, 7), normal(7), normal(3, *shape)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p" if biased else "y"], name="layer")]
    tensors = [tensor("w", matrix)]
    if biased:
        nodes.append(helper.make_node("Add", ["b", "p"], ["y"]))
        tensors.append(tensor("b", bias))
    original = model(nodes, tensors, ["batch", *shape])
    network = OnnxNetwork(original)
    (layer,) = network.layers
    assert (layer.bias is None) != biased
    swapped = network.swap({"layer": chain_for(layer, "channel_svd")})
    assert relative(swapped.predict((x,)), by_runtime(original, x)) < 1e-4
    assert "Add" in {n.op_type for n in swapped.model.graph.node} or not biased
    low = chain_for(layer, "channel_svd", 2)
    seen = network.swap({"layer": low}).activations((x,), ["layer"])["layer"]
    assert seen.input.shape == (3, 5, *shape[:-1], *[1] * (3 - len(shape)))
    expected = apply(low.chain.stages, seen.input)
    if biased:
        expected = expected + bias[:, None, None]
    assert relative(seen.output, expected) < 1e-5


def test_a_bias_found_by_a_refit_is_added_where_there_was_none():
    x = normal(2, 3, 6, 6)
    conv = OnnxNetwork(one_conv(normal(4, 3, 3, 3), ["batch", 3, 6, 6]))
    product = OnnxNetwork(
        model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")],
            [tensor("w", normal(6, 4))],
            ["batch", 3, 6, 6],
        )
    )
    bias = normal(4)
    for network in (conv, product):
        (layer,) = network.layers
        chain = chain_for(layer, "channel_svd").chain
        swapped = network.swap({"layer": type(chain_for(layer, "dense"))(chain, bias)})
        added = swapped.activations((x,), ["layer"])["layer"].output
        was = network.activations((x,), ["layer"])["layer"].output
        np.testing.assert_allclose(added, was + bias[:, None, None], atol=1e-4)


def test_a_change_of_channel_order_is_in_the_weights_where_that_is_possible():
    network = OnnxNetwork(one_conv(normal(6, 1, 3, 3), ["batch", 6, 8, 8], group=6))
    swapped = network.swap({"layer": chain_for(network.layers[0], "slice_svd", 2)})
    assert [n.op_type for n in swapped.model.graph.node] == ["Conv", "Conv"]
    network = OnnxNetwork(one_conv(normal(4, 3, 3, 3), ["batch", 3, 8, 8]))
    swapped = network.swap({"layer": chain_for(network.layers[0], "slice_svd", 1)})
    assert [n.op_type for n in swapped.model.graph.node] == ["Conv", "Gather", "Conv"]


@pytest.mark.parametrize(("groups", "free"), [((1, 2), False), ((2, 2), True), ((4, 1), False)])
def test_orders_go_into_weights_only_within_groups(groups, free):
    from rankconv.onnx.chains import fold_orders
    from rankconv.stages import Stage

    order = (1, 0, 3, 2)
    stages = [
        Stage(RNG.standard_normal((4, 4 // groups[0], 3, 1)), groups=groups[0]),
        Stage(RNG.standard_normal((4, 4 // groups[1], 1, 3)), groups=groups[1], permute=order),
    ]
    x = RNG.standard_normal((2, 4, 5, 5))
    folded = fold_orders(stages)
    assert all(stage.permute is None for stage in folded)
    assert relative(apply(folded, x), apply(stages, x)) < 1e-12
    across = [stages[0], Stage(stages[1].weight, groups=groups[1], permute=(2, 0, 3, 1))]
    kept = fold_orders(across)
    assert relative(apply(kept, x), apply(across, x)) < 1e-12
    assert (kept[1].permute is None) == (1 in groups)
