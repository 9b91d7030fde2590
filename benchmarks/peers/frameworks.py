"""PyTorch and ONNX Runtime: a convolution of one channel, or a chain of two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from filter_task import Array, Task, Variant, require

COLUMNS_BYTES = 1 << 30  # without oneDNN PyTorch copies k*k (or k) values for every pixel


def pytorch(task: Task) -> list[Variant]:
    """F.conv2d, whole or as two stages, oneDNN on and off, both memory formats."""
    torch = require("torch")
    from torch.nn.functional import conv2d

    rank = len(task.rows)
    stages: dict[str, list[Any]] = {}
    if rank:
        stages["two stages"] = [
            torch.from_numpy(task.rows[:, None, None]),  # (r, 1, 1, k)
            torch.from_numpy(task.columns[None, :, :, None]),  # (1, r, k, 1)
        ]
    if rank == 0 or task.k <= 7:
        stages["whole"] = [torch.from_numpy(task.kernel[None, None])]

    @contextmanager
    def setting(onednn: bool) -> Iterator[None]:
        before = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = onednn
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.backends.mkldnn.enabled = before

    image = torch.from_numpy(task.image)[None, None]
    formats = {"": torch.contiguous_format, ", channels last": torch.channels_last}
    found = []
    for stage_name, weights in stages.items():
        taps = task.k**2 if stage_name == "whole" else task.k * rank
        for onednn in (True, False):
            if not onednn and taps * task.image.nbytes > COLUMNS_BYTES:
                continue
            for format_name, memory_format in formats.items():
                x = image.to(memory_format=memory_format)
                kernels = [w.contiguous(memory_format=memory_format) for w in weights]

                def call(x: Any = x, kernels: list[Any] = kernels) -> Any:
                    for kernel in kernels:
                        x = conv2d(x, kernel)
                    return x

                name = f"{stage_name}, oneDNN {'on' if onednn else 'off'}{format_name}"
                found.append(Variant(name, call, _tensor, partial(setting, onednn)))
    return found


def _tensor(result: Any) -> Array:
    return np.asarray(result.numpy()[0, 0])


def onnxruntime(task: Task) -> list[Variant]:
    """A graph of one or two Conv nodes, its input and output bound to memory once."""
    ort = require("onnxruntime")
    rank = len(task.rows)
    weights: dict[str, list[Array]] = {}
    if rank:
        weights["two Conv"] = [task.rows[:, None, None], task.columns[None, :, :, None]]
    if rank == 0 or task.k <= 7:
        weights["Conv"] = [task.kernel[None, None]]
    found = []
    for name, stages in weights.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(_graph(stages), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for bind, array in (
            (binding.bind_input, task.image),
            (binding.bind_output, task.out),
        ):
            which = "image" if array is task.image else "result"
            bind(which, "cpu", 0, np.float32, [1, 1, *array.shape], array.ctypes.data)
        found.append(
            Variant(name, partial(session.run_with_iobinding, binding), lambda _: task.out)
        )
    return found


def _graph(stages: list[Array]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    names = ["image", *(f"between{n}" for n in range(len(stages) - 1)), "result"]
    nodes = [
        helper.make_node("Conv", [names[n], f"kernel{n}"], [names[n + 1]])
        for n in range(len(stages))
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, None, None])
        for name in ("image", "result")
    ]
    kernels = [
        numpy_helper.from_array(np.ascontiguousarray(w), f"kernel{n}") for n, w in enumerate(stages)
    ]
    graph = helper.make_graph(nodes, "filter", ends[:1], ends[1:], kernels)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
