"""The paper's network in other engines: the native kernels, PyTorch and ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

import rankconv._no_telemetry  # noqa: F401  # before ONNX Runtime is loaded
from rankconv.correlate import native
from rankconv.paper.model import IMAGE_SIZE, FloatArray, Weights
from rankconv.paper.networks import folded
from rankconv.paper.numpy_networks import Classes, Predict


def torch_eager(network: nn.Sequential) -> Predict:
    # As anyone calls it: a batch of one, through the eager module.
    def predict(image: FloatArray) -> int:
        return int(network(torch.from_numpy(image)[None, None]).argmax())

    def predict_channels(image: FloatArray) -> int:
        return int(network(torch.from_numpy(image)[None]).argmax())

    return predict if _channels(network) == 1 else predict_channels


def native_network(weights: Weights, *, rank: int | None = None, batch: bool = False) -> Predict:
    network = native.SmallNet(
        weights.kernel1,
        weights.bias1,
        weights.kernel2,
        weights.bias2,
        weights.linear1,
        weights.linear1_bias,
        weights.linear2,
        weights.linear2_bias,
        rank=rank,
    )
    if batch:
        return network.classify_batch
    return network.classify


def torch_batch(network: nn.Sequential) -> Predict:
    def predict(images: FloatArray) -> Classes:
        return network(torch.from_numpy(images)[:, None]).argmax(dim=1).numpy()  # type: ignore[no-any-return]

    return predict


def trace(network: nn.Sequential, *, size: int = IMAGE_SIZE) -> torch.jit.ScriptModule:
    """The network traced for one image of `size` rows and columns, and frozen."""
    with warnings.catch_warnings():
        # PyTorch announces the end of TorchScript; it is still its fastest way for one image.
        warnings.simplefilter("ignore", DeprecationWarning)
        example = torch.zeros(1, _channels(network), size, size)
        traced = torch.jit.trace(network.eval(), example)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(traced)
        return frozen


def torch_jit(
    network: nn.Sequential,
    *,
    size: int = IMAGE_SIZE,
    around: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Predict:
    channels = _channels(network)
    with (around or plain_torch)():
        traced = trace(network, size=size)
        for _ in range(3):  # the profiling executor specialises in its first calls
            traced(torch.zeros(1, channels, size, size))

    def predict(image: FloatArray) -> int:
        return int(traced(torch.from_numpy(image).reshape(1, channels, size, size)).argmax())

    return predict


@contextmanager
def plain_torch() -> Iterator[None]:
    # oneDNN is slow at one channel: without it PyTorch is at its best here.
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.mkldnn.enabled = enabled


def onnx_model(network: nn.Sequential, *, size: int = IMAGE_SIZE) -> bytes:
    """The network as an ONNX graph: `images` (N, C, size, size) float32 to `logits` (N, classes).

    Batch norms are folded into the convolutions before them. Raises ValueError for a layer other
    than those of `rankconv.paper.networks`.
    """
    from onnx import TensorProto, helper, numpy_helper

    layers = folded(network)
    nodes, weights = [], []
    for i, layer in enumerate(layers):
        operator, options, parameters = _node(layer)
        for name, parameter in parameters.items():
            array = parameter.detach().numpy()
            weights.append(numpy_helper.from_array(array, f"{name}{i}"))
        inputs = [f"x{i}" if i else "images", *(f"{name}{i}" for name in parameters)]
        output = "logits" if i == len(layers) - 1 else f"x{i + 1}"
        nodes.append(helper.make_node(operator, inputs, [output], **options))
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    shape: list[str | int] = ["N", _channels(network), size, size]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", last.out_features])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _node(layer: nn.Module) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """Operator, attributes and parameters of one layer."""
    parameters: dict[str, torch.Tensor] = dict(layer.named_parameters())
    match layer:
        case nn.Conv2d():
            assert isinstance(layer.padding, tuple)
            return "Conv", {"pads": [*layer.padding, *layer.padding]}, parameters
        case nn.Linear():
            return "Gemm", {"transB": 1}, parameters
        case nn.ReLU():
            return "Relu", {}, {}
        case nn.MaxPool2d(kernel_size=2, stride=2):
            return "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, {}
        case nn.AdaptiveAvgPool2d(output_size=1):
            return "GlobalAveragePool", {}, {}
        case nn.Flatten():
            return "Flatten", {}, {}
    raise ValueError(f"{layer} has no ONNX operator here")


def onnxruntime_network(
    network: nn.Sequential, *, size: int = IMAGE_SIZE, batch: bool = False
) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_model(network, size=size), options, providers=["CPUExecutionProvider"]
    )
    run, outputs = session.run, ["logits"]
    if batch:
        return lambda images: run(outputs, {"images": images[:, None]})[0].argmax(axis=1)
    if _channels(network) > 1:
        return lambda image: int(run(outputs, {"images": image[None]})[0].argmax())
    return lambda image: int(run(outputs, {"images": image[None, None]})[0].argmax())


def _channels(network: nn.Sequential) -> int:
    """Of the images that the network takes."""
    first = network[0]
    assert isinstance(first, nn.Conv2d)
    return first.in_channels
