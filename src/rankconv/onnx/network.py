"""A trained network in ONNX, run by ONNX Runtime, whose layers can be replaced by chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rankconv.compress.network import Activation, Inputs, Layer, Replacement
from rankconv.onnx import sessions, timing
from rankconv.onnx.chains import emit
from rankconv.onnx.cutting import cut
from rankconv.onnx.graphs import names, replace_nodes
from rankconv.onnx.metadata import note_replacements
from rankconv.onnx.original import (
    InputSpec,
    Original,
    changed,
    check_inputs,
    original_of,
    pieces_of,
    sized,
)
from rankconv.onnx.sites import Site

Array = NDArray[Any]
SESSIONS_KEPT = 4


class OnnxNetwork:
    """An ONNX model as a network whose layers can be replaced (`rankconv.compress.Network`).

    `model` (an `onnx.ModelProto`, opset 13 or later) is copied; every batch normalisation behind
    a convolution is folded into it. Convolutions over one and two dimensions, Gemm and MatMul by
    a known matrix are layers; all others are named in `left_alone` with the reason.

    Where the model leaves rows and columns of its inputs open, `layers` needs a `sample`: one
    batch, an array for each input.

    Raises ValueError for a model with control flow, in training mode, with NaN in a weight, or
    that ONNX Runtime refuses.

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
        original = original_of(copy, "the model", sample)
        self._setup(original.model, original)

    def _setup(self, model: onnx.ModelProto, original: Original) -> None:
        self.model = model
        self._original = original
        self._sessions: dict[tuple[str, ...], Any] = {}

    @classmethod
    def made(cls, model: onnx.ModelProto, original: Original) -> OnnxNetwork:
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
        return self.made(self._original.model, sized(self._original, sample))

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
        return self.made(model, self._original)

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
        pieces = pieces_of(self._checked(inputs), self._original.batch)
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
        return self.made(model, changed(original, left_alone={**original.left_alone, **left}))

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
        for piece, count in pieces_of(feed, self._original.batch):
            used = {name: array for name, array in piece.items() if name in needed}
            ran = sessions.run(session, outputs, used)
            results.append([array[:count] if array.ndim else array for array in ran])
        if len(results) == 1:
            return results[0]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _image_shape(site: Site, shape: tuple[int, ...]) -> tuple[int, int, int]:
    c, h, w = site.images(np.broadcast_to(np.float32(0), (1, *shape))).shape[1:]
    return c, h, w


def _together(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    if len(calls) == 1:
        return calls[0]

    def every() -> None:
        for call in calls:
            call()

    return every
