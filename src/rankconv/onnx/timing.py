"""One layer, or its replacement, as it runs inside the whole network.

Inside a network ONNX Runtime keeps activations in blocks of channels (NCHWc), merges a
convolution with the activation behind it, and reorders only where a node cannot work on blocks.
A model of the layer alone would pay for blocks in and out and lose the activation. So the layer
is put between two small convolutions where the network has convolutions around it, that model is
optimised, and what stands between the two in the optimised model is cut out and timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rankconv.compress.network import Replacement
from rankconv.onnx.chains import emit
from rankconv.onnx.cutting import cut
from rankconv.onnx.graphs import Array, constants, consumers, is_op, names, only_reader
from rankconv.onnx.sessions import bound_call, run, session
from rankconv.onnx.sites import Site

ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Clip")
# What ONNX Runtime computes on blocks of channels, or passes through.
ON_BLOCKS = (
    *ACTIVATIONS,
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("Add", "Sum", "Mul", "Concat", "BatchNormalization", "Resize", "Identity", "Dropout"),
)
WIDTH = 16  # channels of the convolution behind the layer: one block at most


def layer_caller(
    model: onnx.ModelProto,
    site: Site,
    shape: tuple[int, ...],
    replacement: Replacement | None,
    *,
    threads: int,
) -> Callable[[], object]:
    """A call that runs the layer, or its replacement, once on an input of `shape`.

    `model` is the original network, which tells what stands around the layer.
    """
    graph = model.graph
    before = site.form == "conv" and _conv_behind(graph, site.input, back=True)
    after = site.form == "conv" and _conv_behind(graph, site.output, back=False)
    small = _sandwich(model, site, shape, replacement, before=before, after=after)
    x = np.random.default_rng(0).standard_normal(shape).astype(site.weight.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        whole = session(small, threads=threads, optimized_path=path)
        if not before and not after:
            return bound_call(whole, {"rankconv.x": x})
        optimised = onnx.load(path)
    return _between(optimised, x, before=before, after=after, threads=threads)


def _between(
    optimised: onnx.ModelProto, x: Array, *, before: bool, after: bool, threads: int
) -> Callable[[], object]:
    start, feed = "rankconv.x", x
    if before:
        start = _made_from(optimised.graph, "rankconv.before")
        head = session(cut(optimised, [start]), threads=threads, optimize=False)
        feed = run(head, None, {"rankconv.x": x})[0]
    end = _made_from(optimised.graph, "rankconv.y", reads=True) if after else "rankconv.y"
    part = cut(optimised, [end], inputs=[start])
    kind = helper.np_dtype_to_tensor_dtype(feed.dtype)
    part.graph.input[0].CopyFrom(helper.make_tensor_value_info(start, kind, feed.shape))
    return bound_call(session(part, threads=threads, optimize=False), {start: feed})


def _made_from(graph: onnx.GraphProto, name: str, *, reads: bool = False) -> str:
    """What the convolution that stood for tensor `name` gives, or reads, after optimising."""
    for node in graph.node:
        if node.name == f"{name}_nchwc" or (name in node.output and node.op_type == "Conv"):
            return str(node.input[0] if reads else node.output[0])
    raise ValueError(f"ONNX Runtime's optimised model has no convolution for {name!r}")


def _sandwich(
    model: onnx.ModelProto,
    site: Site,
    shape: tuple[int, ...],
    replacement: Replacement | None,
    *,
    before: bool,
    after: bool,
) -> onnx.ModelProto:
    graph, dtype = model.graph, site.weight.dtype
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    nodes, tensors = _layer(model, site, replacement)
    follower = only_reader(graph, consumers(graph), site.output)
    if follower is not None and is_op(follower, *ACTIVATIONS):
        known = constants(graph)
        if all(name in known for name in follower.input[1:] if name):
            nodes.append(follower)
            tensors.extend(_named(known[name], name) for name in follower.input[1:] if name)
    last = nodes[-1].output[0]
    start, end = "rankconv.x", "rankconv.y"
    if before:
        tensors.append(_random("rankconv.w0", (shape[1], shape[1], 1, 1), dtype))
        at = "rankconv.before"
        nodes.insert(0, helper.make_node("Conv", [start, "rankconv.w0"], [at], name=at))
        start = at
    if after:
        size = (WIDTH, site.weight.shape[0], 1, 1)
        tensors.append(_random("rankconv.w1", size, dtype))
        nodes.append(helper.make_node("Conv", [last, "rankconv.w1"], [end], name=end))
        last = end
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for tensors_of, old, new in (
            (copy.input, site.input, start),
            (copy.output, last, end),
        ):
            for at_name, name in enumerate(tensors_of):
                if name == old:
                    tensors_of[at_name] = new
        copies.append(copy)
    small = onnx.ModelProto(ir_version=model.ir_version)
    small.opset_import.extend(model.opset_import)
    small.graph.CopyFrom(
        helper.make_graph(
            copies,
            "layer",
            [helper.make_tensor_value_info("rankconv.x", kind, shape)],
            [helper.make_tensor_value_info(end, kind, None)],
            tensors,
        )
    )
    return small


def _layer(
    model: onnx.ModelProto, site: Site, replacement: Replacement | None
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    if replacement is not None:
        return emit(site, replacement, names(model.graph))
    nodes = [model.graph.node[at] for at in site.nodes]
    known = constants(model.graph)
    wanted = {name for node in nodes for name in node.input if name in known}
    return nodes, [_named(known[name], name) for name in sorted(wanted)]


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _random(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> TensorProto:
    values = np.random.default_rng(1).standard_normal(shape) / np.sqrt(shape[1])
    return numpy_helper.from_array(values.astype(dtype), name)


def _conv_behind(graph: onnx.GraphProto, name: str, *, back: bool) -> bool:
    """Whether a convolution stands before (or after) a tensor with nothing but work on blocks
    between."""
    readers = consumers(graph)
    makers = {output: [node] for node in graph.node for output in node.output}
    wanted, seen = [name], set[str]()
    while wanted:
        at = wanted.pop()
        if at in seen:
            continue
        seen.add(at)
        for node in (makers if back else readers).get(at, []):
            if is_op(node, "Conv"):
                return True
            if is_op(node, *ON_BLOCKS):
                wanted.extend(node.input if back else node.output)
    return False
