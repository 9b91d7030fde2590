"""A PyTorch model as compressing sees it: its layers, and copies with chains in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankconv.compress.network import Activation, Inputs, Layer, Replacement
from rankconv.nn.chains import array, pad_argument, tensor
from rankconv.nn.data import first_output
from rankconv.nn.low_rank import chain_options, conv_pads
from rankconv.nn.other_layers import standing_for
from rankconv.nn.tracing import copy_of, trace
from rankconv.stages import Stage

Array = NDArray[Any]


class TorchNetwork:
    """A `torch.nn.Module` behind the protocol `rankconv.compress.network.Network`.

    `example_inputs` is a tensor, or a tuple of them, as the model takes them, images along the
    first axis; they give the shapes of the layers and the dtype of inputs. The model is copied at
    once and never touched: neither its mode, buffers and layout nor the global random numbers.
    The copy runs in eval mode without gradients, channels-last where the model can; batch norm
    stays a layer of its own, as PyTorch runs it. Where the output is a tuple, a list or a dict,
    its first entry counts.

    Raises ValueError where the model cannot be copied or run, or a weight is not finite.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> network = TorchNetwork(model, torch.zeros(1, 3, 8, 8))
    >>> [(layer.name, layer.input_shape) for layer in network.layers]
    [('0', (3, 8, 8)), ('2', (8, 8, 8))]
    >>> network.predict((np.zeros((2, 3, 8, 8), np.float32),)).shape
    (2, 4, 8, 8)
    """

    def __init__(self, model: nn.Module, example_inputs: Tensor | Sequence[Tensor]) -> None:
        examples = [example_inputs] if isinstance(example_inputs, Tensor) else [*example_inputs]
        if not examples or not all(isinstance(x, Tensor) and x.ndim for x in examples):
            raise ValueError(
                "example_inputs is not a tensor, or a tuple of them, with images along the first "
                "axis: pass what the model is called with"
            )
        self._device = _device(model)
        self._examples = tuple(x.detach().to(self._device) for x in examples)
        traced = trace(model, self._examples)
        self._layout = _layout(model, self._examples)
        self._original = _placed(copy_of(model).eval(), self._layout)
        self._model = copy_of(self._original)
        self._places = {
            name: _place(name, model.get_submodule(name), shape)
            for name, shape in traced.shapes.items()
        }
        self._left_alone = traced.left_alone

    @property
    def model(self) -> nn.Module:
        """The model that runs here: a copy in eval mode, its weights in the layout of `engine`."""
        return self._model

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that may be replaced, in the order in which they run."""
        return tuple(place.layer for place in self._places.values())

    @property
    def left_alone(self) -> Mapping[str, str]:
        """Layers that are not touched: name -> reason."""
        return dict(self._left_alone)

    @property
    def engine(self) -> str:
        """PyTorch, its version and layout."""
        layout = "channels-last" if self._layout == torch.channels_last else "channels-first"
        return f"PyTorch {torch.__version__} (eager, {layout})"

    def swap(self, replacements: Mapping[str, Replacement]) -> TorchNetwork:
        """A copy of the original with these layers replaced and no others.

        Raises ValueError for an unknown name and for a chain that does not fit its layer.
        """
        chains: dict[int, nn.Module] = {}
        for name, replacement in replacements.items():
            layer = self._layer(name)
            chains[id(layer)] = _placed(standing_for(layer, replacement), self._layout)
        result = copy.copy(self)
        result._model = copy_of(self._original, chains)
        return result

    def predict(self, inputs: Inputs) -> Array:
        """The first output (N, ...) for a batch.

        Raises ValueError for another number or type of inputs than the examples'.
        """
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            return array(first_output(self._model(*self._tensors(inputs))))

    def activations(self, inputs: Inputs, names: Sequence[str]) -> dict[str, Activation]:
        """Inputs and outputs of the named layers for a batch; nothing behind the last is run.

        Raises ValueError for an unknown name.
        """
        found: dict[str, Activation] = {}
        wanted = set(names)

        def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def note(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
                place = self._places[name]
                found[name] = Activation(
                    array(place.as_images(args[0], padded=True)),
                    array(place.as_images(output, padded=False)),
                )
                if len(found) == len(wanted):
                    raise _AllSeenError

            return note

        for name in wanted:
            self._layer(name)
        handles = [
            self._model.get_submodule(name).register_forward_hook(hook(name)) for name in wanted
        ]
        try:
            if wanted:
                with torch.inference_mode(), torch.random.fork_rng(devices=[]):
                    self._model(*self._tensors(inputs))
        except _AllSeenError:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return {name: found[name] for name in names}

    def caller(self, inputs: Inputs, *, threads: int) -> Callable[[], object]:
        """A call that runs the whole network once, on `threads` threads, ready to be timed."""
        return _timed(self._model, self._tensors(inputs), threads)

    def layer_caller(
        self, name: str, replacement: Replacement | None, *, batch: int, threads: int
    ) -> Callable[[], object]:
        """A call that runs one layer, or its replacement, once on random inputs of its shape."""
        layer = self._layer(name)
        module: nn.Module = copy.deepcopy(layer)
        if replacement is not None:
            module = standing_for(layer, replacement)
        shape = (batch, *self._places[name].given)
        numbers = np.random.default_rng(0).standard_normal(shape, np.float32)
        weight = next(layer.parameters())
        x = _placed_images(tensor(numbers).to(weight), self._layout)
        return _timed(_placed(module, self._layout), (x,), threads)

    def _layer(self, name: str) -> nn.Module:
        if name not in self._places:
            reason = self._left_alone.get(name, "there is no such layer")
            raise ValueError(
                f"{name!r} cannot be replaced ({reason}): choose from {list(self._places)}"
            )
        layer: nn.Module = self._original.get_submodule(name)
        return layer

    def _tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        shapes = [tuple(x.shape) for x in self._examples]
        if len(inputs) != len(self._examples):
            raise ValueError(f"{len(inputs)} inputs for a model of {len(shapes)}, shaped {shapes}")
        result = []
        for given, example in zip(inputs, self._examples, strict=True):
            x = np.asarray(given)
            floating = example.dtype.is_floating_point
            if x.ndim != example.ndim or x.dtype.kind not in ("fiub" if floating else "iub"):
                raise ValueError(
                    f"an input of shape {x.shape} and dtype {x.dtype} does not fit: the model "
                    f"takes {tuple(example.shape)} of {example.dtype}, any number of images"
                )
            result.append(_placed_images(tensor(x).to(self._device, example.dtype), self._layout))
        return tuple(result)


class _AllSeenError(BaseException):
    """Ends a run whose rest nobody needs; no Exception, lest the model catch it."""


@dataclass(frozen=True, eq=False)
class _Place:
    """A layer, the shape (without batch) that its module is given, and its padding before."""

    layer: Layer
    given: tuple[int, ...]
    linear: bool
    pads: tuple[int, ...]
    mode: str

    def as_images(self, x: Tensor, *, padded: bool) -> Tensor:
        """What the module is given or gives, as `layer`'s convolution sees it, (N, C, H, W)."""
        if self.linear:
            x = x.movedim(-1, 1)
            return x.reshape(x.shape[0], x.shape[1], 1, -1)
        if padded and any(self.pads):
            x = functional.pad(x, self.pads, mode=self.mode)
        return x if x.ndim == 4 else x[:, :, None]


def _place(name: str, module: nn.Module, shape: tuple[int, ...]) -> _Place:
    """The layer that a plain module is, its input being of `shape` with the batch."""
    assert isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear)
    weight = array(module.weight)
    bias = None if module.bias is None else array(module.bias)
    if not np.isfinite(weight).all() or not (bias is None or np.isfinite(bias).all()):
        raise ValueError(f"the weights of {name!r} hold NaN or infinity: train the model again")
    given, mode = shape[1:], "constant"
    pads: tuple[int, ...] = ()
    stage = stage_of(module)
    if not isinstance(module, nn.Linear) and module.padding_mode != "zeros":
        mode = module.padding_mode
        pads = pad_argument(conv_pads(module))[: 2 * len(given) - 2]
    place = _Place(
        Layer(name, stage, bias, (0, 0, 0)), given, type(module) is nn.Linear, pads, mode
    )
    seen = place.as_images(torch.empty(1, *given, device="meta"), padded=True).shape
    layer = Layer(name, stage, bias, (seen[1], seen[2], seen[3]))
    return _Place(layer, given, place.linear, pads, mode)


def stage_of(module: nn.Module) -> Stage:
    """The stage that a plain Conv2d, Conv1d or Linear is; without padding unless it is by zeros."""
    assert isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear)
    weight = array(module.weight)
    if isinstance(module, nn.Linear):
        return Stage(weight[:, :, None, None])
    if isinstance(module, nn.Conv1d):
        own = conv_pads(module) if module.padding_mode == "zeros" else (0, 0)
        (stride,), (dilation,) = module.stride, module.dilation
        return Stage(weight[:, :, None], (1, stride), own, (1, dilation), module.groups)
    return Stage(weight, **chain_options(module))


def _timed(module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Callable[[], object]:
    def call() -> object:
        before = torch.get_num_threads()
        if before != threads:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                output = module(*inputs)
                if inputs[0].is_cuda:
                    torch.cuda.synchronize(inputs[0].device)
                return output
        finally:
            if before != threads:
                torch.set_num_threads(before)

    return call


def _layout(model: nn.Module, inputs: tuple[Tensor, ...]) -> torch.memory_format:
    """Channels-last, the faster one, unless the model cannot: `x.view(N, -1)` wants the other."""
    copied = _placed(copy_of(model).eval(), torch.channels_last)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copied(*(_placed_images(x, torch.channels_last) for x in inputs))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last


def _placed_images(x: Tensor, layout: torch.memory_format) -> Tensor:
    return x.contiguous(memory_format=layout) if x.ndim == 4 else x


def _placed(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    placed: nn.Module = module.to(memory_format=layout)  # type: ignore[call-overload]
    return placed


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
