"""Reading a model as data: what is refused, and what is made plain before anything looks at it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx import inliner, numpy_helper, version_converter

from rankconv.onnx.graphs import DEFAULT_DOMAINS, attributes, constants, is_op

LIMIT = 2**31 - 1  # bytes: more than one protobuf message, and so a session, can hold
OPSET = 13
IR_OF_OPSET = 7  # the version of the format that came with it
CONSTANTS_APART = 4  # the first one whose inputs need not list the constants
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def read(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model of a file with its weights.

    Raises OSError where the file cannot be read and ValueError where it holds no ONNX model, or
    one of more than 2 GiB.
    """
    path = Path(path)
    _check_size(path, path.stat().st_size)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # the parsers raise errors of many libraries
        raise ValueError(f"{path} is not an ONNX model: {_first_line(error)}") from None
    if not model.ir_version or not model.graph.node:
        raise ValueError(f"{path} is not an ONNX model: no graph with nodes was found in it")
    _check_size(path, path.stat().st_size + _external_bytes(model))
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ValueError(
            f"the external data of {path} cannot be read, keep its files beside the model: "
            f"{_first_line(error)}"
        ) from None
    return model


def plain(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model checked, its functions put in place, in opset 13 or later. `name` is for errors.

    Raises ValueError where it is not valid, has control flow or nodes in training mode, or cannot
    be converted.
    """
    model = _with_opset(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    for node in model.graph.node:
        if node.op_type in CONTROL_FLOW and node.domain in DEFAULT_DOMAINS:
            raise ValueError(
                f"{name} has control flow (node {node.name or node.output[0]!r}, "
                f"{node.op_type}), which is not supported: export the network without it, or "
                "compress the part behind it as a model of its own"
            )
    _check_mode(model, name)
    _complete_outputs(model)
    if model.ir_version < CONSTANTS_APART:
        _drop_listed_constants(model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ValueError(f"{name} is not a valid ONNX model: {_first_line(error)}") from None
    return model


def _check_mode(model: onnx.ModelProto, name: str) -> None:
    """ValueError for a node whose output for an image depends on the other images, or on chance."""
    known = constants(model.graph)
    for node in model.graph.node:
        training = is_op(node, "BatchNormalization") and attributes(node).get("training_mode", 0)
        if is_op(node, "Dropout") and len(node.input) > 2 and node.input[2] in known:
            training = bool(numpy_helper.to_array(known[node.input[2]]).any())
        if training:
            raise ValueError(
                f"{name} is in training mode (node {node.name or node.output[0]!r}, "
                f"{node.op_type}): export it in inference mode, from PyTorch after model.eval()"
            )


def _complete_outputs(model: onnx.ModelProto) -> None:
    """Give shapes to outputs that have none: the checker wants them, not every exporter does."""
    bare = [o for o in model.graph.output if not o.type.tensor_type.HasField("shape")]
    if not bare:
        return
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {output.name: output.type for output in inferred.graph.output}
    for output in bare:
        output.type.CopyFrom(known[output.name])


def _drop_listed_constants(model: onnx.ModelProto) -> None:
    """Take constants off the inputs, among which the first versions of the format list them."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = IR_OF_OPSET


def _with_opset(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    versions = [o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS]
    if not versions:
        raise ValueError(f"{name} does not say which version of ONNX's operators it uses")
    if versions[0] >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise ValueError(
            f"{name} is of opset {versions[0]}, and {OPSET} or later is needed. Converting it "
            f"failed, so export it again with opset_version={OPSET}: {_first_line(error)}"
        ) from None


def _external_bytes(model: onnx.ModelProto) -> int:
    total = 0
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            count = 1
            for size in tensor.dims:
                count *= size
            bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
            total += int(entries.get("length", count * bits // 8))
    return total


def _check_size(path: Path, size: int) -> None:
    if size > LIMIT:
        raise ValueError(
            f"{path} holds {size / 2**30:.1f} GiB with its weights, and models of over 2 GiB are "
            "not supported: compress a part of it, or a version in a smaller size"
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
