"""The paper's network in other engines: the native kernels, PyTorch and ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from rankconv.correlate import native
from rankconv.paper.model import FloatArray, Weights, weights_of
from rankconv.paper.numpy_networks import Classes, Predict


def torch_eager(network: nn.Sequential) -> Predict:
    # As anyone calls it: a batch of one, through the eager module.
    def predict(image: FloatArray) -> int:
        return int(network(torch.from_numpy(image)[None, None]).argmax())

    return predict


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


def trace(network: nn.Sequential) -> torch.jit.ScriptModule:
    """The network traced for one 32 x 32 image and frozen."""
    with warnings.catch_warnings():
        # PyTorch announces the end of TorchScript; it is still its fastest way for one image.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network.eval(), torch.zeros(1, 1, 32, 32))  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(traced)
        return frozen


def torch_jit(network: nn.Sequential) -> Predict:
    with plain_torch():
        traced = trace(network)
        for _ in range(3):  # the profiling executor specialises in its first calls
            traced(torch.zeros(1, 1, 32, 32))

    def predict(image: FloatArray) -> int:
        return int(traced(torch.from_numpy(image)[None, None]).argmax())

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


def onnx_model(weights: Weights) -> bytes:
    """The network as an ONNX graph: `images` (N, 1, 32, 32) float32 to `logits` (N, classes)."""
    from onnx import TensorProto, helper, numpy_helper

    arrays = {
        "kernel1": weights.kernel1[None, None],
        "bias1": np.array([weights.bias1], np.float32),
        "kernel2": weights.kernel2[None, None],
        "bias2": np.array([weights.bias2], np.float32),
        "linear1": weights.linear1,
        "linear1_bias": weights.linear1_bias,
        "linear2": weights.linear2,
        "linear2_bias": weights.linear2_bias,
    }
    node = helper.make_node
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    graph = helper.make_graph(
        [
            node("Conv", ["images", "kernel1", "bias1"], ["c1"]),
            node("Relu", ["c1"], ["r1"]),
            node("MaxPool", ["r1"], ["p1"], **pool),
            node("Conv", ["p1", "kernel2", "bias2"], ["c2"]),
            node("Relu", ["c2"], ["r2"]),
            node("MaxPool", ["r2"], ["p2"], **pool),
            node("Flatten", ["p2"], ["flat"]),
            node("Gemm", ["flat", "linear1", "linear1_bias"], ["h"], transB=1),
            node("Relu", ["h"], ["hr"]),
            node("Gemm", ["hr", "linear2", "linear2_bias"], ["logits"], transB=1),
        ],
        "paper",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weights.linear2)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def onnxruntime_network(network: nn.Sequential, *, batch: bool = False) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_model(weights_of(network)), options, providers=["CPUExecutionProvider"]
    )
    run, outputs = session.run, ["logits"]
    if batch:
        return lambda images: run(outputs, {"images": images[:, None]})[0].argmax(axis=1)
    return lambda image: int(run(outputs, {"images": image[None, None]})[0].argmax())
