"""Multiply-adds and parameters of an ONNX file, counted the same way whoever made it."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import numpy_helper

CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}  # where the weight stands
PRODUCTS = {"Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3}
INPUT = 0


def cost(path: Path) -> tuple[int, int]:
    """(multiply-adds of one image, numbers in the initializers that are floats or 8-bit weights).

    Convolutions and matrix products count; products of constants, which the engine folds, do not.
    The network's input is taken as one image. Raises ValueError where a shape is not known.
    """
    model = onnx.load(path)
    for value in model.graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].ClearField("dim_value")
        value.type.tensor_type.shape.dim[0].dim_param = "any"
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    shapes = {name: list(array.shape) for name, array in weights.items()}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes[value.name] = [one.dim_value for one in value.type.tensor_type.shape.dim]
    constant = set(weights)
    total = 0
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
            continue
        where = CONVOLUTIONS.get(node.op_type, PRODUCTS.get(node.op_type))
        if where is None:
            continue
        weight, out = shapes.get(node.input[where], [0]), shapes.get(node.output[0], [0])
        if node.op_type in CONVOLUTIONS:
            count = math.prod(weight[1:]) * math.prod(out)
        else:
            count = math.prod(shapes.get(node.input[INPUT], [0])[-1:]) * math.prod(out)
        if count == 0:
            raise ValueError(
                f"{path.name}: the shapes around {node.op_type} {node.name!r} are open"
            )
        total += count
    parameters = sum(
        array.size
        for array in weights.values()
        if array.dtype.kind == "f" or (array.dtype.itemsize == 1 and array.ndim > 1)
    )
    return total, parameters
