"""The methods under test: each turns the trained weights into a function from images to classes.

The paper's seven (section XII) are `rank -1` (PyTorch), `rank 0` (the NumPy loop) and `rank 1` to
`rank 5` (matrix products). The others go beyond the paper and are kept in a group of their own.
`methods()` lists them; adding one is one function and one line there.

Every method is prepared once an epoch, from weights that have just changed: the SVD, the Toeplitz
matrices, a traced graph or an ONNX session. That time is measured and counted with the images'.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankconv.correlate import native
from rankconv.correlate.toeplitz import extended_slide
from rankconv.paper.model import FloatArray, Weights, weights_of

Classes = NDArray[np.int64]
Predict = Callable[[FloatArray], Any]  # one (32, 32) image to its class, or (N, 32, 32) to (N,)
Prepare = Callable[[nn.Sequential], Predict]

FULL_RANK = 5


@dataclass(frozen=True)
class Method:
    """One way to classify the test images.

    `exact` methods use the filters unchanged, so their classes must be PyTorch's. A `batch` method
    takes all images at once; the others take them one by one. `around` is entered around every
    timed block, for settings that are global.
    """

    key: str
    label: str
    group: str
    prepare: Prepare
    exact: bool = False
    batch: bool = False
    around: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)


def methods() -> tuple[Method, ...]:
    """Every method that can run here, the paper's seven first."""
    ranks = range(1, FULL_RANK + 1)
    paper = [
        Method("rank -1", "PyTorch", "paper", _torch, exact=True, around=torch.inference_mode),
        Method("rank 0", "NumPy, Python loop", "paper", _on_weights(_loop), exact=True),
        *(
            Method(
                f"rank {r}",
                f"NumPy, rank {r}",
                "paper",
                _on_weights(partial(_terms, rank=r)),
                exact=r == FULL_RANK,
            )
            for r in ranks
        ),
    ]
    extra = [
        *(
            Method(
                f"stacked {r}",
                f"NumPy stacked, rank {r}",
                "extra",
                _on_weights(partial(_stacked, rank=r)),
                exact=r == FULL_RANK,
            )
            for r in ranks
        ),
        Method("torch jit", "PyTorch, jit", "extra", _torch_jit, exact=True, around=_plain_torch),
        Method("onnxruntime", "ONNX Runtime", "extra", _onnxruntime, exact=True),
        Method(
            "batch torch",
            "PyTorch, one batch",
            "extra",
            _torch_batch,
            exact=True,
            batch=True,
            around=torch.inference_mode,
        ),
        Method(
            "batch stacked 5",
            "NumPy stacked, one batch",
            "extra",
            _on_weights(_stacked_batch),
            exact=True,
            batch=True,
        ),
        Method(
            "batch onnxruntime",
            "ONNX Runtime, one batch",
            "extra",
            partial(_onnxruntime, batch=True),
            exact=True,
            batch=True,
        ),
    ]
    if native.available:
        extra += [
            Method("native exact", "native, exact", "extra", _on_weights(_native), exact=True),
            Method("native 1", "native, rank 1", "extra", _on_weights(partial(_native, rank=1))),
            Method(
                "batch native exact",
                "native, one batch",
                "extra",
                _on_weights(partial(_native, batch=True)),
                exact=True,
                batch=True,
            ),
        ]
    return (*paper, *extra)


# The paper's seven.


def _torch(network: nn.Sequential) -> Predict:
    # As anyone calls it: a batch of one, through the eager module.
    def predict(image: FloatArray) -> int:
        return int(network(torch.from_numpy(image)[None, None]).argmax())

    return predict


def _loop(weights: Weights) -> Predict:
    def predict(image: FloatArray) -> int:
        layer = _relu_pool(_correlate_loop(weights.kernel1, image), weights.bias1)
        layer = _relu_pool(_correlate_loop(weights.kernel2, layer), weights.bias2)
        return _classify(weights, layer)

    return predict


def _correlate_loop(F: FloatArray, A: FloatArray) -> FloatArray:
    """The paper's `conv_reg` (section IV); `rankconv.correlate.loop` is its general form."""
    rows, columns = A.shape[0] - F.shape[0] + 1, A.shape[1] - F.shape[1] + 1
    result = np.zeros((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            result[r, c] = np.sum(A[r : r + F.shape[0], c : c + F.shape[1]] * F)
    return result


def _terms(weights: Weights, *, rank: int) -> Predict:
    """The paper's form (section VIII): one term f* A g*^T for every rank, added up."""
    terms1 = _slides(weights.kernel1, rank, 32)
    terms2 = _slides(weights.kernel2, rank, 14)

    def predict(image: FloatArray) -> int:
        layer = _relu_pool(_sum_of_terms(terms1, image), weights.bias1)
        layer = _relu_pool(_sum_of_terms(terms2, layer), weights.bias2)
        return _classify(weights, layer)

    return predict


def _sum_of_terms(terms: list[tuple[FloatArray, FloatArray]], A: FloatArray) -> FloatArray:
    F, G = terms[0]
    B = F.dot(A).dot(G)
    for F, G in terms[1:]:
        B += F.dot(A).dot(G)
    return B


def _slides(kernel: FloatArray, rank: int, size: int) -> list[tuple[FloatArray, FloatArray]]:
    """The pairs (f_i*, g_i*^T) of the best rank-n kernel, (m, size) and (size, m)."""
    u, s, vt = np.linalg.svd(kernel)
    return [
        (
            extended_slide(u[:, i] * s[i], size),
            np.ascontiguousarray(extended_slide(vt[i], size).T),
        )
        for i in range(rank)
    ]


def _relu_pool(layer: FloatArray, bias: float) -> FloatArray:
    # The bias and the ReLU are monotonic, so they commute with the maximum: pool first, then
    # there is a quarter of the work left, with the same bits.
    rows = np.maximum(layer[0::2], layer[1::2])
    pooled = np.maximum(rows[:, 0::2], rows[:, 1::2])
    pooled += np.float32(bias)
    return np.maximum(pooled, 0, out=pooled)


def _classify(weights: Weights, layer: FloatArray) -> int:
    hidden = weights.linear1.dot(layer.ravel())
    hidden += weights.linear1_bias
    np.maximum(hidden, 0, out=hidden)
    logits = weights.linear2.dot(hidden)
    logits += weights.linear2_bias
    return int(logits.argmax())


# Beyond the paper.


def _stack(kernel: FloatArray, rank: int, size: int) -> tuple[FloatArray, FloatArray]:
    """The stacked form: two matrices L, R with B = reshape(L A, (m, rank * size)) R at any rank.

    L (m * rank, size) holds the rows of all f_i* interleaved, so that L A, read as m rows of
    rank * size, has the terms side by side; R (rank * size, m) has the g_i*^T one below another.
    The rows and columns of B come out with the even ones first, then the odd ones: the 2 x 2
    max-pool that follows then works on halves that are contiguous.
    """
    terms = _slides(kernel, rank, size)
    left = np.stack([F for F, _ in terms], axis=1)  # (m, rank, size)
    right = np.concatenate([G for _, G in terms])  # (rank * size, m)
    left = np.concatenate([left[0::2], left[1::2]])
    right = np.concatenate([right[:, 0::2], right[:, 1::2]], axis=1)
    return np.ascontiguousarray(left.reshape(-1, size)), np.ascontiguousarray(right)


class _Layer:
    """One convolution in the stacked form with its ReLU and pooling, all arrays allocated once."""

    def __init__(self, kernel: FloatArray, bias: float, rank: int, size: int) -> None:
        m = size - kernel.shape[0] + 1
        half = m // 2
        self.left, self.right = _stack(kernel, rank, size)
        self.bias = np.full((half, half), bias, np.float32)
        self.zero = np.zeros((half, half), np.float32)
        self.product = np.empty((m * rank, size), np.float32)
        self.terms = self.product.reshape(m, rank * size)  # the same memory
        self.result = np.empty((m, m), np.float32)
        self.upper, self.lower = self.result[:half], self.result[half:]
        self.rows = np.empty((half, m), np.float32)
        self.before, self.after = self.rows[:, :half], self.rows[:, half:]
        self.pooled = np.empty((half, half), np.float32)

    def __call__(self, image: FloatArray) -> FloatArray:
        self.left.dot(image, self.product)
        self.terms.dot(self.right, self.result)
        np.maximum(self.upper, self.lower, out=self.rows)
        np.maximum(self.before, self.after, out=self.pooled)
        np.add(self.pooled, self.bias, out=self.pooled)
        return np.maximum(self.pooled, self.zero, out=self.pooled)


def _stacked(weights: Weights, *, rank: int) -> Predict:
    layer1 = _Layer(weights.kernel1, weights.bias1, rank, 32)
    layer2 = _Layer(weights.kernel2, weights.bias2, rank, 14)
    features = layer2.pooled.reshape(-1)
    linear1, bias1 = np.ascontiguousarray(weights.linear1.T), weights.linear1_bias
    linear2, bias2 = weights.linear2, weights.linear2_bias
    hidden, logits, zero = np.empty_like(bias1), np.empty_like(bias2), np.zeros_like(bias1)

    def predict(image: FloatArray) -> int:
        layer2(layer1(image))
        features.dot(linear1, hidden)
        np.add(hidden, bias1, out=hidden)
        np.maximum(hidden, zero, out=hidden)
        linear2.dot(hidden, logits)
        np.add(logits, bias2, out=logits)
        return int(logits.argmax())

    return predict


def _stacked_batch(weights: Weights, *, rank: int = FULL_RANK, block: int = 256) -> Predict:
    stacks = [
        (*_stack(weights.kernel1, rank, 32), np.float32(weights.bias1)),
        (*_stack(weights.kernel2, rank, 14), np.float32(weights.bias2)),
    ]

    def predict(images: FloatArray) -> Classes:
        classes = np.empty(len(images), np.int64)
        # In blocks whose products stay in the processor's cache.
        for start in range(0, len(images), block):
            layer = images[start : start + block]
            for left, right, bias in stacks:
                n, m = len(layer), right.shape[1]
                terms = np.matmul(left, layer).reshape(n * m, -1)  # (n m, rank size)
                result = terms.dot(right).reshape(n, m, m)
                rows = np.maximum(result[:, : m // 2], result[:, m // 2 :])
                layer = np.maximum(rows[..., : m // 2], rows[..., m // 2 :])
                layer += bias
                np.maximum(layer, 0, out=layer)
            hidden = layer.reshape(len(layer), -1).dot(weights.linear1.T)
            hidden += weights.linear1_bias
            np.maximum(hidden, 0, out=hidden)
            logits = hidden.dot(weights.linear2.T)
            logits += weights.linear2_bias
            classes[start : start + block] = logits.argmax(axis=1)
        return classes

    return predict


def _native(weights: Weights, *, rank: int | None = None, batch: bool = False) -> Predict:
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
        return lambda images: network.batch(images).argmax(axis=1)
    return lambda image: int(network(image).argmax())


def _torch_batch(network: nn.Sequential) -> Predict:
    def predict(images: FloatArray) -> Classes:
        return network(torch.from_numpy(images)[:, None]).argmax(dim=1).numpy()  # type: ignore[no-any-return]

    return predict


def trace(network: nn.Sequential) -> torch.jit.ScriptModule:
    """The network traced for one 32 x 32 image and frozen."""
    with warnings.catch_warnings():
        # PyTorch announces the end of TorchScript; it is still its fastest way for one image.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network.eval(), torch.zeros(1, 1, 32, 32))
        return torch.jit.freeze(traced)


def _torch_jit(network: nn.Sequential) -> Predict:
    with _plain_torch():
        traced = trace(network)
        for _ in range(3):  # the profiling executor specialises in its first calls
            traced(torch.zeros(1, 1, 32, 32))

    def predict(image: FloatArray) -> int:
        return int(traced(torch.from_numpy(image)[None, None]).argmax())

    return predict


@contextmanager
def _plain_torch() -> Iterator[None]:
    # oneDNN is slow at one channel: without it PyTorch is at its best here.
    enabled = torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    torch.backends.mkldnn.enabled = False  # type: ignore[attr-defined]
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.mkldnn.enabled = enabled  # type: ignore[attr-defined]


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
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
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


def _onnxruntime(network: nn.Sequential, *, batch: bool = False) -> Predict:
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


def _on_weights(prepare: Callable[[Weights], Predict]) -> Prepare:
    return lambda network: prepare(weights_of(network))
