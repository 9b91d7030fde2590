"""A trained network in ONNX, run by ONNX Runtime, whose layers can be replaced by chains."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from rankconv.compress.network import Activation, Inputs, Layer, Replacement
from rankconv.onnx import sessions, timing
from rankconv.onnx.chains import emit
from rankconv.onnx.cutting import cut
from rankconv.onnx.folding import fold_batch_norms
from rankconv.onnx.graphs import names, network_inputs, replace_nodes
from rankconv.onnx.reading import plain
from rankconv.onnx.sites import Site, drop_given_inputs, find

Array = NDArray[Any]
METADATA = "rankconv.layers"
SESSIONS_KEPT = 4


class InputSpec(NamedTuple):
    """An input of the network; None stands for a size that is not fixed, such as the batch's."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class _Original:
    """The folded original, shared by all networks made from it, and what is known of it."""

    model: onnx.ModelProto
    sites: Mapping[str, Site]
    left_alone: Mapping[str, str]
    inputs: tuple[InputSpec, ...]
    batch: int | None  # images a run, where the model takes no other number
    shapes: Mapping[str, tuple[int, ...]] | None  # layer -> shape of its input for one image, as
    # the graph has it; None as long as the size of the images is not known


class OnnxNetwork:
    """An ONNX model as a network whose layers can be replaced (`rankconv.compress.Network`).

    `model` (an `onnx.ModelProto`, opset 13 or later) is copied; every batch normalisation behind
    a convolution is folded into it. Convolutions over one and two dimensions, Gemm and MatMul by
    a known matrix are layers; all others are named in `left_alone` with the reason.

    Where the model leaves rows and columns of its inputs open, `layers` needs a `sample`: one
    batch, an array for each input.

    Raises ValueError for a model with control flow, with NaN in a weight, or that ONNX Runtime
    refuses.

    >>> import numpy as np
    >>> from onnx import helper, numpy_helper
    >>> weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    >>> graph = helper.make_graph(
    ...     [helper.make_node("Conv", ["x", "w"], ["y"], name="first", pads=[1, 1, 1, 1])],
    ...     "tiny",
    ...     [helper.make_tensor_value_info("x", 1, ["batch", 3, 8, 8])],
    ...     [helper.make_tensor_value_info("y", 1, ["batch", 8, 8, 8])],
    ...     [weight],
    ... )
    >>> opset = [helper.make_opsetid("", 13)]
    >>> network = OnnxNetwork(helper.make_model(graph, opset_imports=opset, ir_version=8))
    >>> [(layer.name, layer.input_shape) for layer in network.layers]
    [('first', (3, 8, 8))]
    >>> from rankconv import factorize
    >>> from rankconv.compress.network import Replacement
    >>> chain = factorize(network.layers[0].stage.weight, kind="spatial_svd", rank=1, padding=1)
    >>> faster = network.swap({"first": Replacement(chain, None)})
    >>> [node.name for node in faster.model.graph.node]
    ['first/rankconv_0', 'first/rankconv_1']
    >>> x = np.ones((2, 3, 8, 8), np.float32)
    >>> bool(np.allclose(faster.predict((x,)), network.predict((x,))))
    True
    """

    def __init__(self, model: onnx.ModelProto, *, sample: Inputs | None = None) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy = plain(copy, "the model")
        fold_batch_norms(copy)
        drop_given_inputs(copy.graph)
        found, left_alone = find(copy)
        original = _Original(
            copy, {site.name: site for site in found}, left_alone, _specs(copy.graph), None, None
        )
        self._setup(copy, _sized(original, sample))

    def _setup(self, model: onnx.ModelProto, original: _Original) -> None:
        self.model = model
        self._original = original
        self._sessions: dict[tuple[str, ...], Any] = {}

    @classmethod
    def _made(cls, model: onnx.ModelProto, original: _Original) -> OnnxNetwork:
        network = cls.__new__(cls)
        network._setup(model, original)
        return network

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs that `predict` takes, in their order."""
        return self._original.inputs

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the original that may be replaced, in the order of the graph.

        Raises ValueError where the size of the images is open and no sample was given.
        """
        shapes = self._shapes()
        return tuple(
            site.layer(_image_shape(site, shapes[name]))
            for name, site in self._original.sites.items()
            if name in shapes
        )

    @property
    def batch(self) -> int | None:
        """The number of images that a run takes, where the model takes no other."""
        return self._original.batch

    @property
    def replaceable(self) -> tuple[str, ...]:
        """The names of `layers`, known whatever the size of the images."""
        return tuple(self._original.sites)

    @property
    def left_alone(self) -> Mapping[str, str]:
        """Layers that are not touched: name -> reason."""
        return MappingProxyType(dict(self._original.left_alone))

    @property
    def engine(self) -> str:
        """ONNX Runtime and its version."""
        return sessions.engine()

    def sized(self, sample: Inputs) -> OnnxNetwork:
        """The original network for images of the sample's size; raises ValueError for others."""
        return self._made(self._original.model, _sized(self._original, sample))

    def swap(self, replacements: Mapping[str, Replacement]) -> OnnxNetwork:
        """A copy of the original with these layers replaced, and all names of inputs and outputs
        as they were.

        Raises ValueError for a name that is no layer and a chain of another shape.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._original.model)
        taken = names(model.graph)
        nodes: dict[int, list[onnx.NodeProto]] = {}
        for name, replacement in replacements.items():
            site = self._site(name)
            chain, tensors = emit(site, replacement, taken)
            nodes |= {at: [] for at in site.nodes}
            nodes[site.nodes[0]] = chain
            model.graph.initializer.extend(tensors)
        replace_nodes(model.graph, nodes)
        note_replacements(model, replacements)
        return self._made(model, self._original)

    def predict(self, inputs: Inputs) -> Array:
        """The network's first output (N, ...) for a batch.

        Raises ValueError for inputs of another number, type or shape than the network's.
        """
        first = self.model.graph.output[0].name
        result = self._run(self._session(()), [first], self._checked(inputs))[0]
        if not result.shape or result.shape[0] != inputs[0].shape[0]:
            raise ValueError(
                f"the first output {first!r} has the shape {result.shape} for "
                f"{inputs[0].shape[0]} images: it needs one entry for each image"
            )
        return result

    def activations(self, inputs: Inputs, names: Sequence[str]) -> dict[str, Activation]:
        """Inputs and outputs of the named layers as images, for a batch.

        Nothing behind the last of them is run. Raises ValueError as `predict` and `swap` do.
        """
        sites = [self._site(name) for name in names]
        feed = self._checked(inputs)
        wanted = dict.fromkeys(t for site in sites for t in (site.input, site.output))
        tensors = tuple(name for name in wanted if name not in feed)
        found = dict(feed)
        if tensors:
            found |= zip(
                tensors, self._run(self._session(tensors), list(tensors), feed), strict=True
            )
        return {
            site.name: Activation(site.images(found[site.input]), site.images(found[site.output]))
            for site in sites
        }

    def caller(self, inputs: Inputs, *, threads: int) -> Callable[[], object]:
        """A call that runs the whole network once on this batch, in `threads` threads."""
        session = sessions.session(self.model, threads=threads)
        pieces = _pieces(self._checked(inputs), self._original.batch)
        return _together([sessions.bound_call(session, piece) for piece, _ in pieces])

    def layer_caller(
        self, name: str, replacement: Replacement | None, *, batch: int, threads: int
    ) -> Callable[[], object]:
        """A call that runs one layer, or its replacement, as it runs inside the network: on
        channels in blocks, and with the activation behind it."""
        site = self._site(name)
        shape, fixed = self._shapes()[name], self._original.batch
        size = fixed or batch
        call = timing.layer_caller(
            self._original.model, site, (size, *shape), replacement, threads=threads
        )
        return _together([call] * -(-batch // size))

    def quantized_as(self, model: onnx.ModelProto) -> OnnxNetwork:
        """`model`, this network in integers, as a network without layers to replace."""
        original = self._original
        left = dict.fromkeys(original.sites, "it is quantised")
        return self._made(model, _replaced(original, left_alone={**original.left_alone, **left}))

    def _site(self, name: str) -> Site:
        original = self._original
        if name in original.left_alone:
            raise ValueError(f"layer {name!r} is left alone: {original.left_alone[name]}")
        if name not in original.sites:
            known = ", ".join(map(repr, original.sites)) or "none"
            raise ValueError(f"{name!r} is not a layer of this network; its layers: {known}")
        return original.sites[name]

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        if self._original.shapes is None:
            raise ValueError(
                "the model leaves the size of its images open "
                f"({', '.join(f'{i.name}: {i.shape}' for i in self.inputs)}): pass sample=, one "
                "batch, or call sized(batch)"
            )
        return self._original.shapes

    def _checked(self, inputs: Inputs) -> dict[str, Array]:
        return check_inputs(inputs, self._original.inputs)

    def _session(self, outputs: tuple[str, ...]) -> Any:
        """A session for these tensors, or for the whole network; the last few are kept."""
        if outputs not in self._sessions:
            model = cut(self.model, outputs) if outputs else self.model
            while len(self._sessions) >= SESSIONS_KEPT:
                del self._sessions[next(iter(self._sessions))]
            made = sessions.session(model, threads=sessions.processors())
            self._sessions[outputs] = made
        return self._sessions[outputs]

    def _run(self, session: Any, outputs: list[str], feed: dict[str, Array]) -> list[Array]:
        needed = {value.name for value in session.get_inputs()}
        results: list[list[Array]] = []
        for piece, count in _pieces(feed, self._original.batch):
            used = {name: array for name, array in piece.items() if name in needed}
            ran = sessions.run(session, outputs, used)
            results.append([array[:count] if array.ndim else array for array in ran])
        if len(results) == 1:
            return results[0]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


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


def note_replacements(model: onnx.ModelProto, replacements: Mapping[str, Replacement]) -> None:
    """Say in the model's metadata which layers were replaced: a JSON object by layer."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    noted = _noted(properties.get(METADATA, "{}"))
    for name, replacement in replacements.items():
        noted[name] = {"kind": replacement.chain.kind, "rank": replacement.chain.rank}
    if noted:
        helper.set_model_props(model, {**properties, METADATA: json.dumps(noted)})


def _noted(text: str) -> dict[str, Any]:
    try:
        noted = json.loads(text)
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


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


def _sized(original: _Original, sample: Inputs | None) -> _Original:
    """What a run of one batch tells: the shape of each layer's input, the batch it takes."""
    specs = original.inputs
    fixed = next((spec.shape[0] for spec in specs if spec.shape[0] is not None), None)
    if sample is None:
        if any(size is None for spec in specs for size in spec.shape[1:]):
            probe = sessions.session(original.model, threads=1)
            del probe  # it could be made
            return _replaced(original, batch=fixed)
        sizes = [fixed] if fixed else [2, 1]
        samples = [
            tuple(np.zeros((n, *(size or 0 for size in s.shape[1:])), s.dtype) for s in specs)
            for n in sizes
        ]
    else:
        feed = check_inputs(sample, specs)
        samples = [tuple(piece.values()) for piece, _ in _pieces(feed, fixed or 2)][:1]
        if fixed is None:
            samples.append(tuple(array[:1] for array in sample))
    return _measured(original, samples, fixed)


def _measured(original: _Original, samples: list[Inputs], fixed: int | None) -> _Original:
    wanted = [site.input for site in original.sites.values()]
    own = {spec.name for spec in original.inputs}
    tensors = list(dict.fromkeys(name for name in wanted if name not in own))
    session = sessions.session(
        cut(original.model, tensors) if tensors else original.model, threads=1
    )
    needed = {value.name for value in session.get_inputs()}
    for number, sample in enumerate(samples):
        feed = dict(zip((spec.name for spec in original.inputs), sample, strict=True))
        used = {name: array for name, array in feed.items() if name in needed}
        try:
            ran = sessions.run(session, tensors, used) if tensors else []
        except ValueError:
            if number == len(samples) - 1:
                raise
            continue  # the file leaves the batch open, but a node inside does not
        count = sample[0].shape[0]
        found = feed | dict(zip(tensors, ran, strict=True))
        break
    if number:
        fixed = count
    shapes: dict[str, tuple[int, ...]] = {}
    left = dict(original.left_alone)
    for name, site in original.sites.items():
        shape = found[site.input].shape
        if site.form == "matmul" and not 2 <= len(shape) <= 4:
            left[name] = f"it multiplies an array of {len(shape)} dimensions"
        elif shape[0] != count:
            left[name] = f"its input of shape {shape} is not one entry for each of {count} images"
        else:
            shapes[name] = shape[1:]
    return _replaced(original, batch=fixed, shapes=shapes, left_alone=left)


def _replaced(original: _Original, **changes: Any) -> _Original:
    made = replace(original, **changes)
    left = made.left_alone
    return replace(made, sites={n: site for n, site in made.sites.items() if n not in left})


def _image_shape(site: Site, shape: tuple[int, ...]) -> tuple[int, int, int]:
    c, h, w = site.images(np.broadcast_to(np.float32(0), (1, *shape))).shape[1:]
    return c, h, w


def _pieces(feed: dict[str, Array], batch: int | None) -> list[tuple[dict[str, Array], int]]:
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


def _together(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    if len(calls) == 1:
        return calls[0]

    def every() -> None:
        for call in calls:
            call()

    return every
