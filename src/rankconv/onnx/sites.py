"""Finding the layers of a graph that may be replaced, and saying why the others may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rankconv.compress.network import Layer
from rankconv.geometry import Pair, conv_padding
from rankconv.onnx.graphs import attributes, constants, consumers, is_op, only_reader, unused
from rankconv.stages import Stage

Array = NDArray[Any]
Form = Literal["conv", "conv1d", "gemm", "matmul"]
REFUSED = {
    "ConvTranspose": "transposed convolutions are not supported",
    "DeformConv": "deformable convolutions are not supported",
    "QLinearConv": "it is quantised already",
    "ConvInteger": "it is quantised already",
    "QLinearMatMul": "it is quantised already",
    "MatMulInteger": "it is quantised already",
    "FusedConv": "it was fused by an optimiser: start from the model before optimising",
    "NhwcConv": "it was fused by an optimiser: start from the model before optimising",
    "QLinearConvTranspose": "it is quantised already",
    "QGemm": "it is quantised already",
}


@dataclass(frozen=True, eq=False)
class Site:
    """A layer of a graph: the nodes (indices) that it is made of, and what goes in and out.

    `weight` (C_out, C_in / groups, kH, kW) and `bias` (C_out,) are in the type of the network.
    `pads` ((top, bottom), (left, right)) count unless `auto_pad` is SAME_UPPER or SAME_LOWER.
    """

    name: str
    form: Form
    nodes: tuple[int, ...]
    input: str
    output: str
    weight: Array
    bias: Array | None
    stride: Pair = (1, 1)
    pads: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    auto_pad: str = "NOTSET"

    def images(self, x: Array) -> Array:
        """What the layer was given or gave, as images (N, C, H, W)."""
        if self.form == "conv":
            return x
        if self.form == "conv1d":
            return x[:, :, None]
        channels_first = np.moveaxis(x, -1, 1)  # (N, C), (N, C, T) or (N, C, H, W)
        return channels_first.reshape(channels_first.shape + (1,) * (4 - x.ndim))

    def layer(self, shape: tuple[int, int, int]) -> Layer:
        """The layer for one image (C, H, W)."""
        pads = self.pads
        if self.auto_pad.startswith("SAME"):
            ends = zip(shape[1:], self.weight.shape[2:], self.stride, self.dilation, strict=True)
            pads = tuple(_same(*end, upper=self.auto_pad == "SAME_UPPER") for end in ends)  # type: ignore[assignment]
        stage = Stage(
            self.weight,
            stride=self.stride,
            padding=conv_padding(pads),
            dilation=self.dilation,
            groups=self.groups,
        )
        return Layer(self.name, stage, self.bias, shape)


def _same(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> Pair:
    """ONNX's SAME: ceil(size / stride) results; the odd one of padding after, or before."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)


def find(model: onnx.ModelProto) -> tuple[list[Site], dict[str, str]]:
    """The layers in the order of the graph, and name -> reason for those that stay as they are.

    A layer has its node's name, or the name of its output where the node has none.
    Raises ValueError where a weight holds NaN or infinity.
    """
    graph = model.graph
    known, readers = constants(graph), consumers(graph)
    places = {id(node): at for at, node in enumerate(graph.node)}
    dequantised = {n.output[0] for n in graph.node if is_op(n, "DequantizeLinear")}
    taken: set[str] = set()
    sites: list[Site] = []
    left: dict[str, str] = {}
    for at, node in enumerate(graph.node):
        if node.op_type not in ("Conv", "Gemm", "MatMul") and node.op_type not in REFUSED:
            continue
        name = unused(node.name or node.output[0], taken)
        if node.op_type in REFUSED:
            left[name] = REFUSED[node.op_type]
            continue
        if node.input[1] in dequantised:
            left[name] = REFUSED["QLinearConv"]
            continue
        found: Site | str | None
        if is_op(node, "Conv"):
            found = _conv(node, name, at, known)
        elif is_op(node, "Gemm"):
            found = _gemm(node, name, at, known)
        elif is_op(node, "MatMul"):
            add = only_reader(graph, readers, node.output[0])
            found = _matmul(node, name, at, known, add, places)
        else:
            found = f"it is not an operator of ONNX itself ({node.domain})"
        if isinstance(found, str):
            left[name] = found
        elif found is not None:
            _check_finite(found)
            sites.append(found)
    return sites, left


def drop_given_inputs(graph: onnx.GraphProto) -> None:
    """Take the weights off the network's inputs, among which older exporters list them.

    A weight that could be passed anew in every run can neither be replaced nor merged with its
    neighbours by ONNX Runtime. Other inputs with a value keep their place.
    """
    weights = {
        name
        for node in graph.node
        if is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
        for name in node.input[1:]
    }
    weights &= {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _read(name: str, known: Mapping[str, onnx.TensorProto]) -> Array | str:
    """A tensor that stands in the file in floating point, or why it is none."""
    if name not in known:
        return "its weight is computed or an input: it is not known before the run"
    dtype = known[name].data_type
    if dtype not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        kind = onnx.TensorProto.DataType.Name(dtype)
        return f"its weight is of type {kind}: convert the model to FLOAT first"
    return numpy_helper.to_array(known[name])


def _bias(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto], size: int) -> Any:
    """The third input as (size,), None where there is none, or why it cannot be used."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    array = _read(node.input[2], known)
    if isinstance(array, str):
        return array.replace("weight", "bias")
    if any(n != 1 for n in array.shape[:-1]) or array.shape[-1:] not in ((), (1,), (size,)):
        return f"its bias of shape {array.shape} is not one number an output channel"
    return np.broadcast_to(array.reshape(-1), (size,))


def _conv(
    node: onnx.NodeProto, name: str, at: int, known: Mapping[str, onnx.TensorProto]
) -> Site | str:
    weight = _read(node.input[1], known)
    if isinstance(weight, str):
        return weight
    dims = weight.ndim - 2
    if dims not in (1, 2):
        return f"convolutions over {dims} dimensions are not supported"
    bias = _bias(node, known, weight.shape[0])
    if isinstance(bias, str):
        return bias
    values = attributes(node)
    pads = list(values.get("pads", [0] * 2 * dims))
    auto_pad = values.get("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        pads = [0] * 2 * dims
    if min(pads) < 0:
        return f"its padding {pads} is negative"
    line = [0] * (2 - dims)  # a row of height 1 for a convolution over one dimension
    before, after = line + pads[:dims], line + pads[dims:]
    stride = [1] * (2 - dims) + list(values.get("strides", [1] * dims))
    dilation = [1] * (2 - dims) + list(values.get("dilations", [1] * dims))
    return Site(
        name,
        "conv" if dims == 2 else "conv1d",
        (at,),
        node.input[0],
        node.output[0],
        weight if dims == 2 else weight[:, :, None],
        bias,
        stride=(stride[0], stride[1]),
        pads=((before[0], after[0]), (before[1], after[1])),
        dilation=(dilation[0], dilation[1]),
        groups=int(values.get("group", 1)),
        auto_pad=auto_pad,
    )


def _gemm(
    node: onnx.NodeProto, name: str, at: int, known: Mapping[str, onnx.TensorProto]
) -> Site | str:
    weight = _read(node.input[1], known)
    if isinstance(weight, str):
        return weight
    values = attributes(node)
    if values.get("transA", 0):
        return "its input is transposed"
    matrix = weight if values.get("transB", 0) else weight.T  # (M, C)
    bias = _bias(node, known, matrix.shape[0])
    if isinstance(bias, str):
        return bias
    matrix = matrix * matrix.dtype.type(values.get("alpha", 1.0))
    if bias is not None:
        bias = bias * bias.dtype.type(values.get("beta", 1.0))
    weight = matrix[:, :, None, None]
    return Site(name, "gemm", (at,), node.input[0], node.output[0], weight, bias)


def _matmul(
    node: onnx.NodeProto,
    name: str,
    at: int,
    known: Mapping[str, onnx.TensorProto],
    add: onnx.NodeProto | None,
    places: Mapping[int, int],
) -> Site | str | None:
    """A MatMul by a known matrix, with the Add of a known vector behind it where there is one."""
    if node.input[1] not in known and node.input[0] not in known:
        return None  # two activations, as in attention: no layer
    weight = _read(node.input[1], known)
    if isinstance(weight, str):
        return weight
    if weight.ndim != 2:
        return f"its weight of shape {weight.shape} is not a matrix"
    size = weight.shape[1]
    weight = weight.T[:, :, None, None]
    if add is not None and is_op(add, "Add"):
        other = next(i for i in add.input if i != node.output[0])
        bias = _read(other, known)
        if isinstance(bias, np.ndarray) and bias.shape in ((size,), (1, size)):
            nodes, bias = (at, places[id(add)]), bias.reshape(size)
            return Site(name, "matmul", nodes, node.input[0], add.output[0], weight, bias)
    return Site(name, "matmul", (at,), node.input[0], node.output[0], weight, None)


def _check_finite(site: Site) -> None:
    for part, array in (("weight", site.weight), ("bias", site.bias)):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(
                f"the {part} of layer {site.name!r} holds NaN or infinity: the network cannot "
                "have worked, so look for an earlier checkpoint"
            )
