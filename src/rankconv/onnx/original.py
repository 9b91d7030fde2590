"""The original of a compressed network, and what one run of it tells about its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from rankconv.compress.network import Inputs
from rankconv.onnx import sessions
from rankconv.onnx.cutting import cut
from rankconv.onnx.folding import fold_batch_norms
from rankconv.onnx.graphs import network_inputs
from rankconv.onnx.reading import plain
from rankconv.onnx.sites import Site, drop_given_inputs, find

Array = NDArray[Any]


class InputSpec(NamedTuple):
    """An input of the network; None stands for a size that is not fixed, such as the batch's."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Original:
    """The folded original, shared by all networks made from it, and what is known of it."""

    model: onnx.ModelProto
    sites: Mapping[str, Site]
    left_alone: Mapping[str, str]
    inputs: tuple[InputSpec, ...]
    batch: int | None  # images a run, where the model takes no other number
    shapes: Mapping[str, tuple[int, ...]] | None  # layer -> shape of its input for one image, as
    # the graph has it; None as long as the size of the images is not known


def original_of(model: onnx.ModelProto, name: str, sample: Inputs | None) -> Original:
    """The model as a folded original; it may be changed. `name` is for errors.

    Raises ValueError as `OnnxNetwork` says.
    """
    model = plain(model, name)
    fold_batch_norms(model)
    drop_given_inputs(model.graph)
    found, left_alone = find(model)
    original = Original(
        model=model,
        sites={site.name: site for site in found},
        left_alone=left_alone,
        inputs=_specs(model.graph),
        batch=None,
        shapes=None,
    )
    return sized(original, sample)


def check_inputs(inputs: object, specs: Sequence[InputSpec]) -> dict[str, Array]:
    """The inputs by name; ValueError where their number, type or shape is not the network's."""
    expected = "; ".join(f"{s.name}: {s.dtype} {_text(s.shape)}" for s in specs)
    if not isinstance(inputs, tuple) or len(inputs) != len(specs):
        got = f"{len(inputs)} arrays" if isinstance(inputs, tuple) else type(inputs).__name__
        raise ValueError(f"inputs is {got}: pass a tuple of {len(specs)} arrays ({expected})")
    count = None
    for array, spec in zip(inputs, specs, strict=True):
        fits = array.ndim == len(spec.shape) and all(
            want is None or got == want
            for got, want in zip(array.shape[1:], spec.shape[1:], strict=True)
        )
        count = array.shape[0] if count is None and array.ndim else count
        if not fits or array.dtype != spec.dtype or array.shape[0] != count or not count:
            raise ValueError(
                f"the array for input {spec.name!r} is {array.dtype} {array.shape} and does not "
                f"fit: pass {spec.dtype} {_text(spec.shape)}, the same number of images (at least "
                "1) in every input"
            )
    return {spec.name: array for array, spec in zip(inputs, specs, strict=True)}


def _text(shape: tuple[int | None, ...]) -> str:
    sizes = ["N" if at == 0 else "any" if n is None else str(n) for at, n in enumerate(shape)]
    return f"({', '.join(sizes)})"


def _specs(graph: onnx.GraphProto) -> tuple[InputSpec, ...]:
    specs = []
    for value in network_inputs(graph):
        kind = value.type.tensor_type
        if (
            not value.type.HasField("tensor_type")
            or not kind.HasField("shape")
            or not kind.shape.dim
        ):
            raise ValueError(
                f"input {value.name!r} is not a tensor of a known number of dimensions with the "
                "images along the first: export the network with such inputs"
            )
        shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        specs.append(InputSpec(value.name, dtype, shape))
    return tuple(specs)


def sized(original: Original, sample: Inputs | None) -> Original:
    """What a run of one batch tells: the shape of each layer's input, the batch it takes."""
    specs = original.inputs
    fixed = next((spec.shape[0] for spec in specs if spec.shape[0] is not None), None)
    if sample is None:
        if any(size is None for spec in specs for size in spec.shape[1:]):
            probe = sessions.session(original.model, threads=1)
            del probe  # it could be made
            return changed(original, batch=fixed)
        sizes = [fixed] if fixed else [2, 1]
        samples = [
            tuple(np.zeros((n, *(size or 0 for size in s.shape[1:])), s.dtype) for s in specs)
            for n in sizes
        ]
    else:
        feed = check_inputs(sample, specs)
        samples = [tuple(piece.values()) for piece, _ in pieces_of(feed, fixed or 2)][:1]
        if fixed is None:
            samples.append(tuple(array[:1] for array in sample))
    return _measured(original, samples, fixed)


def _measured(original: Original, samples: list[Inputs], fixed: int | None) -> Original:
    for sample in samples:
        last = sample is samples[-1]
        count = sample[0].shape[0]
        try:
            found = _tensor_shapes(original, sample)
        except ValueError:
            if last:
                raise
            continue
        if last or found[original.model.graph.output[0].name][:1] == (count,):
            break
    if sample is not samples[0]:
        fixed = count  # the file leaves the batch open, but a node inside does not
    shapes: dict[str, tuple[int, ...]] = {}
    left = dict(original.left_alone)
    for name, site in original.sites.items():
        shape = found[site.input]
        if site.form == "matmul" and not 2 <= len(shape) <= 4:
            left[name] = f"it multiplies an array of {len(shape)} dimensions"
        elif shape[0] != count:
            left[name] = f"its input of shape {shape} is not one entry for each of {count} images"
        else:
            shapes[name] = shape[1:]
    return changed(original, batch=fixed, shapes=shapes, left_alone=left)


def _tensor_shapes(original: Original, sample: Inputs) -> dict[str, tuple[int, ...]]:
    """The shapes of the layers' inputs and of the first output; no tensor outlives its use."""
    names = [site.input for site in original.sites.values()]
    names = list(dict.fromkeys([*names, original.model.graph.output[0].name]))
    model = cut(original.model, names)
    del model.graph.output[:]
    outputs = [f"{name}/rankconv.shape" for name in names]
    for name, output in zip(names, outputs, strict=True):
        model.graph.node.append(helper.make_node("Shape", [name], [output]))
        model.graph.output.append(onnx.ValueInfoProto(name=output))
    session = sessions.session(model, threads=1)
    needed = {value.name for value in session.get_inputs()}
    specs = zip(original.inputs, sample, strict=True)
    feed = {spec.name: array for spec, array in specs if spec.name in needed}
    ran = sessions.run(session, outputs, feed)
    return {name: tuple(shape.tolist()) for name, shape in zip(names, ran, strict=True)}


def changed(original: Original, **changes: Any) -> Original:
    made = replace(original, **changes)
    left = made.left_alone
    return replace(made, sites={n: site for n, site in made.sites.items() if n not in left})


def pieces_of(feed: dict[str, Array], batch: int | None) -> list[tuple[dict[str, Array], int]]:
    """The inputs in batches of the size that the model takes, and how many images are real."""
    count = next(iter(feed.values())).shape[0]
    if batch is None or count == batch:
        return [(feed, count)]
    pieces = []
    for start in range(0, count, batch):
        real = min(batch, count - start)
        at = np.minimum(np.arange(start, start + batch), count - 1)
        pieces.append(({name: array[at] for name, array in feed.items()}, real))
    return pieces
