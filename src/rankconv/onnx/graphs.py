"""Looking things up in an ONNX graph, and putting other nodes into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
DEFAULT_DOMAINS = ("", "ai.onnx")


def is_op(node: onnx.NodeProto, *names: str) -> bool:
    """Whether the node is one of these operators of ONNX itself."""
    return node.domain in DEFAULT_DOMAINS and node.op_type in names


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The node's attributes as Python values, strings as str."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Every tensor whose value stands in the file: initialisers, Constant nodes, copies of them.

    An initialiser that is an input too counts: its value is what the network uses when nothing
    else is passed.
    """
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if is_op(node, "Constant"):
            value = _constant_value(node)
            if value is not None:
                found[node.output[0]] = value
        elif is_op(node, "Identity") and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    for name, value in attributes(node).items():
        if name == "value":
            tensor: onnx.TensorProto = value
            return tensor
        if name in ("value_float", "value_floats"):
            return numpy_helper.from_array(np.asarray(value, np.float32))
        if name in ("value_int", "value_ints"):
            return numpy_helper.from_array(np.asarray(value, np.int64))
    return None  # a sparse tensor or a string


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Tensor name -> the nodes that read it, once for each reading."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def only_reader(
    graph: onnx.GraphProto, readers: Mapping[str, list[onnx.NodeProto]], name: str
) -> onnx.NodeProto | None:
    """The one node that reads a tensor, or None where there are more or the network gives it."""
    nodes = readers.get(name, [])
    if len(nodes) != 1 or any(output.name == name for output in graph.output):
        return None
    return nodes[0]


def names(graph: onnx.GraphProto) -> set[str]:
    """All names of tensors and nodes."""
    found = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found.update((node.name, *node.input, *node.output))
    return found


def unused(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it where it is taken; taken from now on."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def network_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have to be passed: those without a value in the file."""
    given = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in given]


def replace_nodes(
    graph: onnx.GraphProto, replacements: Mapping[int, Sequence[onnx.NodeProto]]
) -> None:
    """Put other nodes in the place of those with these indices; what they alone used goes too."""
    dropped = {name for at in replacements for name in graph.node[at].input}
    nodes: list[onnx.NodeProto] = []
    for at, node in enumerate(graph.node):
        nodes.extend(replacements.get(at, (node,)))
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph, dropped)


def drop_unused(graph: onnx.GraphProto, candidates: Iterable[str]) -> None:
    """Remove those constants among `candidates` that nothing reads any more."""
    waiting = set(candidates)
    given = {tensor.name for tensor in graph.initializer}
    while True:
        used = {name for node in graph.node for name in node.input}
        used |= {output.name for output in graph.output}
        gone = waiting - used
        sources = [
            node
            for node in graph.node
            if is_op(node, "Constant", "Identity") and node.output[0] in gone
        ]
        outputs = {node.output[0] for node in sources}
        _drop(graph.initializer, gone)
        _drop(graph.value_info, gone)
        _drop(graph.input, gone & given)
        kept = [node for node in graph.node if not (node.output and node.output[0] in outputs)]
        del graph.node[:]
        graph.node.extend(kept)
        if not sources:
            return
        waiting = {name for node in sources for name in node.input}


def _drop(entries: Any, gone: set[str]) -> None:
    for at in reversed(range(len(entries))):
        if entries[at].name in gone:
            del entries[at]
