"""A hundred random layers: every kind at full rank is the layer, by PyTorch and ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from layer_cases import by_torch, layer_by_torch, relative
from rankconv.factorizations import KINDS, factorize, full_rank
from rankconv.geometry import sides
from rankconv.stages import Stage

LAYERS = 100
AT_ONCE = 20  # layers in one ONNX graph


def ends(rng):
    """No padding, the same at both ends, or not the same."""
    before, after = (int(v) for v in rng.integers(0, 3, 2))
    return [before, (before, after)][rng.integers(2)]


def random_layer(seed):
    """Weight, options and images of a layer as networks have them, all in single precision."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 4]))
    inputs, outputs = (int(v) for v in rng.integers(1, 9, 2))
    if rng.random() < 0.15:
        groups, inputs, outputs = int(rng.integers(2, 17)), 1, 1  # depthwise
    kernel = tuple(int(v) for v in rng.choice([1, 2, 3, 3, 5], 2))
    options = {
        "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "padding": (ends(rng), ends(rng)),
        "dilation": tuple(int(v) for v in rng.integers(1, 3, 2)),
        "groups": groups,
    }
    weight = rng.standard_normal((groups * outputs, inputs, *kernel)).astype(np.float32)
    images = rng.standard_normal((1, groups * inputs, 13, 12)).astype(np.float32)
    return weight, options, images


def nodes(stages, name):
    """A chain as ONNX nodes from `name`/x to `name`/y, and its initializers."""
    made, stored, x = [], [], f"{name}/x"
    for i, stage in enumerate(stages):
        if stage.permute is not None:
            stored.append(numpy_helper.from_array(np.array(stage.permute), f"{name}/order{i}"))
            made.append(helper.make_node("Gather", [x, stored[-1].name], [f"{x}p"], axis=1))
            x += "p"
        weight = np.ascontiguousarray(stage.weight)
        stored.append(numpy_helper.from_array(weight, f"{name}/weight{i}"))
        y = f"{name}/y" if i == len(stages) - 1 else f"{name}/{i}"
        (top, bottom), (left, right) = sides(stage.padding)
        made.append(
            helper.make_node(
                "Conv",
                [x, stored[-1].name],
                [y],
                kernel_shape=stage.kernel,
                strides=stage.stride,
                pads=(top, left, bottom, right),
                dilations=stage.dilation,
                group=stage.groups,
            )
        )
        x = y
    return made, stored


def by_onnx(chains, images):
    """Several chains, each on its images, as one graph in ONNX Runtime."""
    made, stored = [], []
    for i, chain in enumerate(chains):
        one, weights = nodes(chain, str(i))
        made += one
        stored += weights

    def values(end):
        names = [f"{i}/{end}" for i in range(len(chains))]
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in names]

    graph = helper.make_graph(made, "chains", values("x"), values("y"), stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {f"{i}/x": x for i, x in enumerate(images)})


@pytest.mark.parametrize("kind", KINDS)
def test_the_chain_at_full_rank_is_the_layer(kind):
    for start in range(0, LAYERS, AT_ONCE):
        cases = [random_layer(seed) for seed in range(start, start + AT_ONCE)]
        chains = [
            factorize(
                weight,
                rank=full_rank(weight.shape, kind=kind, groups=options["groups"]),
                kind=kind,
                **options,
            ).stages
            for weight, options, _ in cases
        ]
        expected = [layer_by_torch(*case) for case in cases]
        runtime = by_onnx(chains, [images for *_, images in cases])
        for case, chain, original, result in zip(cases, chains, expected, runtime, strict=True):
            assert result.shape == original.shape
            assert relative(result, original) < 1e-4, case[1]
            assert relative(by_torch(chain, case[2]), original) < 1e-4, case[1]


def test_the_layers_are_of_all_kinds():
    drawn = [random_layer(seed) for seed in range(LAYERS)]
    for found in (
        [options["groups"] == weight.shape[0] > 1 for weight, options, _ in drawn],
        [1 < options["groups"] < weight.shape[0] for weight, options, _ in drawn],
        [weight.shape[2:] == (1, 1) for weight, *_ in drawn],
        [any(isinstance(end, tuple) and end[0] != end[1] for end in options["padding"])
         for _, options, _ in drawn],
        [options["stride"][0] != options["stride"][1] for _, options, _ in drawn],
        [options["dilation"][0] != options["dilation"][1] for _, options, _ in drawn],
    ):  # fmt: skip
        assert sum(found) >= 2


def test_the_other_end_of_the_padding_is_another_layer():
    weight, options = np.ones((1, 1, 2, 2), np.float32), {"stride": 2}
    images = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    chains = [
        (Stage(weight, padding=padding, stride=(2, 2)),) for padding in [((0, 1), 0), ((1, 0), 0)]
    ]
    above, below = by_onnx(chains, [images, images])
    assert above.shape == below.shape == (1, 1, 2, 2)
    assert relative(above, below) > 0.1
    assert relative(above, layer_by_torch(weight, options | {"padding": ((0, 1), 0)}, images)) == 0
