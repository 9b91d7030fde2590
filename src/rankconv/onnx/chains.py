"""A chain of stages as nodes of ONNX that take a layer's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rankconv.compress.network import Replacement
from rankconv.geometry import sides
from rankconv.onnx.graphs import Array, unused
from rankconv.onnx.sites import Site
from rankconv.stages import Stage, apply


def emit(
    site: Site, replacement: Replacement, taken: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes and weights that compute `replacement` from the layer's input to its output.

    `taken` are the names in use, to which those of the chain are added. Raises ValueError where
    the chain was made for another shape than the layer's.
    """
    chain, bias = replacement.chain, replacement.bias
    if chain.shape != site.weight.shape or (
        bias is not None and bias.shape != site.weight.shape[:1]
    ):
        raise ValueError(
            f"the replacement of layer {site.name!r} has the weight shape {chain.shape} and "
            f"{'no bias' if bias is None else f'a bias of shape {bias.shape}'}: the layer's "
            f"weight is of shape {site.weight.shape}"
        )
    writer = _Writer(site, taken)
    if site.form in ("gemm", "matmul"):
        writer.linear(matrices(chain.stages), bias)
    else:
        writer.convolutions(fold_orders(chain.stages), bias)
    return writer.nodes, writer.tensors


class _Writer:
    """The nodes and tensors written so far, and the tensor that the next node reads."""

    def __init__(self, site: Site, taken: set[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._site = site
        self._taken = taken
        self._at = site.input

    def convolutions(self, stages: Sequence[Stage], bias: Array | None) -> None:
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            name = self._name(number)
            if stage.permute is not None:
                order = self._tensor(f"{name}.order", np.array(stage.permute, np.int64))
                self._node("Gather", f"{name}.gather", [order], axis=1)
            one = self._site.form == "conv1d"
            inputs = [
                self._weight(f"{name}.weight", stage.weight[:, :, 0] if one else stage.weight)
            ]
            if last and bias is not None:
                inputs.append(self._weight(f"{name}.bias", bias))
            options = dict(_conv_options(self._site, stage), group=stage.groups)
            self._node("Conv", name, inputs, last=last, **options)

    def linear(self, weights: Sequence[Array], bias: Array | None) -> None:
        gemm = self._site.form == "gemm"
        for number, matrix in enumerate(weights):
            last = number == len(weights) - 1
            name = self._name(number)
            ends = last and (gemm or bias is None)
            inputs = [self._weight(f"{name}.weight", matrix if gemm else matrix.T)]
            if gemm and last and bias is not None:
                inputs.append(self._weight(f"{name}.bias", bias))
            options = {"transB": 1} if gemm else {}
            self._node("Gemm" if gemm else "MatMul", name, inputs, last=ends, **options)
        if not gemm and bias is not None:
            inputs = [self._weight(f"{name}.bias", bias)]
            self._node("Add", f"{name}.add", inputs, last=True)

    def _name(self, number: int) -> str:
        return unused(f"{self._site.name}/rankconv_{number}", self._taken)

    def _weight(self, name: str, value: Array) -> str:
        return self._tensor(name, value.astype(self._site.weight.dtype))

    def _tensor(self, name: str, value: Array) -> str:
        free = unused(name, self._taken)
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), free))
        return free

    def _node(
        self, op: str, name: str, inputs: list[str], *, last: bool = False, **options: Any
    ) -> None:
        output = self._site.output if last else unused(f"{name}.output", self._taken)
        node = helper.make_node(op, [self._at, *inputs], [output], name=name, **options)
        self.nodes.append(node)
        self._at = output


def _conv_options(site: Site, stage: Stage) -> dict[str, Any]:
    (top, bottom), (left, right) = sides(stage.padding)
    options: dict[str, Any] = {
        "kernel_shape": stage.kernel,
        "strides": stage.stride,
        "dilations": stage.dilation,
    }
    pads = [top, left, bottom, right]
    if site.form == "conv1d":
        options = {key: value[1:] for key, value in options.items()}
        pads = [left, right]
    if site.auto_pad.startswith("SAME") and max(stage.kernel) > 1 and _pads_like(site, stage):
        return {**options, "auto_pad": site.auto_pad}
    return {**options, "pads": pads}


def _pads_like(site: Site, stage: Stage) -> bool:
    """Whether SAME means for the stage what it means for the layer, at every size of image."""
    ours = zip(stage.kernel, stage.stride, stage.dilation, strict=True)
    layer = zip(site.weight.shape[2:], site.stride, site.dilation, strict=True)
    return all(a == b or a[0] == 1 for a, b in zip(ours, layer, strict=True))


def fold_orders(stages: Sequence[Stage]) -> list[Stage]:
    """The chain with every change of channel order in the weights where that is possible.

    It goes into the outputs of the stage before, or into the inputs of the stage itself, where
    no channel leaves its group by that.
    """
    folded: list[Stage] = []
    for stage in stages:
        order = stage.permute
        if order is not None:
            if folded and _keeps_groups(order, folded[-1].groups):
                before = folded[-1]
                folded[-1] = replace(before, weight=before.weight[list(order)])
                stage = replace(stage, permute=None)
            elif _keeps_groups(order, stage.groups):
                stage = replace(stage, weight=_reordered_inputs(stage), permute=None)
        folded.append(stage)
    return folded


def _keeps_groups(order: tuple[int, ...], groups: int) -> bool:
    size = len(order) // groups
    at = np.arange(len(order)) // size
    return bool((np.asarray(order) // size == at).all())


def _reordered_inputs(stage: Stage) -> Array:
    """The weight for the input as it comes: channel permute[c] meets what channel c met."""
    size = stage.weight.shape[1]
    outputs = stage.out_channels // stage.groups
    weight = np.empty_like(stage.weight)
    for group in range(stage.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        order = np.asarray(stage.permute)[group * size : (group + 1) * size] - group * size
        weight[rows, order] = stage.weight[rows]
    return weight


def matrices(stages: Sequence[Stage]) -> list[Array]:
    """A chain for images of 1 x 1 as matrices (C_out, C_in), the first to be applied first.

    Stages in groups have no linear layer of their own: they are multiplied into a neighbour.
    """
    parts: list[list[Stage]] = []
    for stage in stages:
        full = any(s.groups == 1 for s in parts[-1]) if parts else True
        if parts and (stage.groups > 1 or not full):
            parts[-1].append(stage)
        else:
            parts.append([stage])
    found = []
    for part in parts:
        impulses = np.eye(part[0].in_channels, dtype=part[0].weight.dtype)[:, :, None, None]
        bare = [Stage(s.weight, groups=s.groups, permute=s.permute) for s in part]
        found.append(apply(bare, impulses)[:, :, 0, 0].T)
    return found
