"""Batch normalisation folded into the convolution before it, exactly and in double precision.

BN(W x + b) = s (W x + b - mean) + shift with s = scale / sqrt(var + epsilon), a number for each
output channel (the definition in ONNX's operator BatchNormalization).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from rankconv.onnx.graphs import (
    Array,
    attributes,
    constants,
    consumers,
    is_op,
    names,
    only_reader,
    replace_nodes,
    unused,
)

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


def fold_batch_norms(model: onnx.ModelProto) -> None:
    """Fold every BatchNormalization that alone reads a Conv with known weights, in place.

    The folded convolution keeps its name and gives what the normalisation gave.
    """
    graph = model.graph
    known, readers, taken = constants(graph), consumers(graph), names(graph)
    places = {id(node): at for at, node in enumerate(graph.node)}
    changes: dict[int, list[onnx.NodeProto]] = {}
    for at, conv in enumerate(graph.node):
        if not is_op(conv, "Conv"):
            continue
        norm = only_reader(graph, readers, conv.output[0])
        if norm is None or not _foldable(conv, norm, known):
            continue
        weight, bias = _folded(conv, norm, known)
        label = conv.name or conv.output[0]
        tensors = []
        for part, array in (("weight", weight), ("bias", bias)):
            tensors.append(numpy_helper.from_array(array, unused(f"{label}.{part}", taken)))
        graph.initializer.extend(tensors)
        node = onnx.NodeProto()
        node.CopyFrom(conv)
        del node.input[1:], node.output[:]
        node.input.extend(tensor.name for tensor in tensors)
        node.output.append(norm.output[0])
        changes[at] = [node]
        changes[places[id(norm)]] = []
    replace_nodes(graph, changes)


def _foldable(
    conv: onnx.NodeProto, norm: onnx.NodeProto, known: dict[str, onnx.TensorProto]
) -> bool:
    if not is_op(norm, "BatchNormalization") or norm.input[0] != conv.output[0]:
        return False
    if attributes(norm).get("training_mode", 0) or any(norm.output[1:]):
        return False
    needed = [*(name for name in conv.input[1:] if name), *norm.input[1:]]
    return all(name in known and known[name].data_type in FLOATS for name in needed)


def _folded(
    conv: onnx.NodeProto, norm: onnx.NodeProto, known: dict[str, onnx.TensorProto]
) -> tuple[Array, Array]:
    weight = numpy_helper.to_array(known[conv.input[1]])
    scale, shift, mean, var = (
        numpy_helper.to_array(known[name]).astype(np.float64) for name in norm.input[1:5]
    )
    bias = np.zeros(weight.shape[0])
    if len(conv.input) > 2 and conv.input[2]:
        bias = numpy_helper.to_array(known[conv.input[2]]).astype(np.float64)
    s = scale / np.sqrt(var + attributes(norm).get("epsilon", 1e-5))
    folded = weight * s.reshape(-1, *(1,) * (weight.ndim - 1))
    return folded.astype(weight.dtype), ((bias - mean) * s + shift).astype(weight.dtype)
