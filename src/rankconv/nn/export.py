"""A PyTorch model as an ONNX model, for any number of images."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rankconv.nn.tracing import copy_of

OPSET = 18  # which both exporters give


def to_onnx(model: nn.Module, example_inputs: Sequence[Tensor]) -> Any:
    """The model as an `onnx.ModelProto` whose first axis, the images, is free.

    By PyTorch's exporter through `torch.export` where `onnxscript` is installed, else by its
    older one through TorchScript. Inputs are called input0, input1, ..., the output output.

    Raises ValueError where PyTorch cannot export the model.
    Equivalent: `torch.onnx.export`.

    >>> made = to_onnx(nn.Conv2d(1, 2, 3), [torch.zeros(2, 1, 8, 8)])
    >>> [node.op_type for node in made.graph.node]
    ['Conv']
    """
    import onnx

    copied = copy_of(model).eval().cpu()
    inputs = tuple(x.detach().cpu().contiguous() for x in example_inputs)
    names = [f"input{i}" for i in range(len(inputs))]
    file = io.BytesIO()
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": {n: {0: "N"} for n in names}}
    options["dynamic_axes"]["output"] = {0: "N"}
    if importlib.util.find_spec("onnxscript"):
        images = torch.export.Dim("N")
        options = {"dynamo": True, "dynamic_shapes": tuple({0: images} for _ in inputs)}
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # of the exporters' own age
            torch.onnx.export(
                copied,
                inputs,
                file,  # type: ignore[arg-type]
                input_names=names,
                output_names=["output"],
                verbose=False,
                opset_version=OPSET,
                **options,
            )
    except Exception as error:
        raise ValueError(
            f"PyTorch cannot export the model to ONNX ({error}): leave int8=True out"
        ) from error
    return onnx.load_from_string(file.getvalue())
