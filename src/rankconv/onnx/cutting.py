"""The part of a graph that some of its tensors need, as a model of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx


def cut(
    model: onnx.ModelProto, outputs: Sequence[str], *, inputs: Sequence[str] | None = None
) -> onnx.ModelProto:
    """A model that gives `outputs`, any tensors of the graph, and runs nothing that they do not
    need. `inputs`, where given, are tensors to start from in the place of the network's own.
    """
    graph = model.graph
    start = {value.name for value in graph.input} if inputs is None else set(inputs)
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    wanted, seen, at = list(outputs), set[str](), set[int]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers and name not in start:
            at.add(makers[name])
            wanted.extend(i for i in graph.node[makers[name]].input if i)
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = graph.name
    part.graph.node.extend(graph.node[i] for i in sorted(at))
    part.graph.initializer.extend(t for t in graph.initializer if t.name in seen)
    if inputs is None:
        part.graph.input.extend(value for value in graph.input if value.name in seen)
    else:
        part.graph.input.extend(onnx.ValueInfoProto(name=name) for name in inputs if name in seen)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return part
