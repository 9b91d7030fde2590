"""Which layers of a PyTorch model may be replaced, in the order in which they run, and why not."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.other_layers import LowRankConv1d, LowRankLinear

PLAIN = (nn.Conv2d, nn.Conv1d, nn.Linear)
DIMENSIONS: dict[type[nn.Module], int] = {nn.Conv2d: 4, nn.Conv1d: 3}
OURS = (LowRankConv2d, LowRankConv1d, LowRankLinear)
# What a chain in a layer's place knows of it, and a network may ask.
KNOWN = {"in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"}
KNOWN |= {"padding_mode", "bias", "in_features", "out_features"}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
QUANTISED = ("ao.nn.quantized", "ao.nn.intrinsic", "ao.nn.qat", "nn.quantized", "nn.intrinsic")


@dataclass(frozen=True)
class Traced:
    """Replaceable layers in the order of their calls with the shape of their input, batch first."""

    shapes: dict[str, tuple[int, ...]]
    left_alone: dict[str, str]


def trace(model: nn.Module, inputs: Sequence[Tensor]) -> Traced:
    """Run a copy of `model` in eval mode and see what each convolution and linear layer is given.

    Raises ValueError where the model cannot be copied, is compiled or does not take the inputs.
    """
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod"):
            part = f", its part {name!r}," if name else ""
            raise ValueError(
                f"the model{part} comes from torch.compile: pass it as it was before (its "
                "_orig_mod), and compile the result"
            )
    candidates, left_alone = _candidates(model)
    expected, _ = _run(model, inputs, {})
    calls = _calls(model, inputs, candidates, expected)
    if calls is None:  # then one by one, to know which
        accepted: dict[str, nn.Module] = {}
        calls = []
        for name, layer in candidates.items():
            more = _calls(model, inputs, accepted | {name: layer}, expected)
            if more is None:
                left_alone[name] = "the network reads more of it than a chain has: its weight, say"
            else:
                accepted[name], calls = layer, more
        candidates = accepted
    counts = Counter(name for name, _ in calls)
    images = inputs[0].shape[0]
    shapes = {}
    for name, shape in calls:
        reason = _called_wrongly(candidates[name], counts[name], shape, images)
        if reason:
            left_alone[name] = reason
        else:
            shapes[name] = shape or ()
    for name in candidates:
        if name not in counts:
            left_alone[name] = "not called by the network for these inputs"
    return Traced(shapes, left_alone)


def copy_of(model: nn.Module, instead: Mapping[int, nn.Module] | None = None) -> nn.Module:
    """A deep copy of a model, with other modules in the place of some: id -> module.

    Unlike `copy.deepcopy` it takes weights that a hook computed (weight_norm, pruning).
    Raises ValueError where the model cannot be copied.
    """
    memo: dict[int, Any] = dict(instead or {})  # what deepcopy finds here it does not copy
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"the model cannot be copied ({error}), and without a copy it would be changed: "
            "remove what copy.deepcopy refuses"
        ) from error


def _candidates(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Layers that stand alone, and those that are no such layers with the reason."""
    named = list(model.named_modules(remove_duplicate=False))
    names: dict[int, list[str]] = {}
    for name, module in named:
        names.setdefault(id(module), []).append(name)
    owners = Counter(
        id(parameter) for module in model.modules() for parameter in module._parameters.values()
    )
    ours = tuple(f"{name}." if name else "" for name, m in named if isinstance(m, OURS))
    candidates: dict[str, nn.Module] = {}
    left_alone: dict[str, str] = {}
    for name, module in named:
        if not _is_layer(module):
            continue
        others = [other for other in names[id(module)] if other != name]
        if ours and name.startswith(ours):
            reason: str | None = "part of a low-rank layer already"
        elif others:
            reason = f"shared: the same module is {others[0]!r}"
        else:
            reason = _unlike(module, owners)
        if reason:
            left_alone[name] = reason
        else:
            candidates[name] = module
    return candidates, left_alone


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return module.original_name in ("Conv1d", "Conv2d", "Conv3d", "Linear")
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        return True
    kind = type(module)
    return any(part in kind.__module__ for part in QUANTISED) and kind.__name__.startswith(
        ("Conv", "Linear")
    )


def _unlike(module: nn.Module, owners: Counter[int]) -> str | None:
    """Why this is not a plain layer that may be replaced, or None."""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted: compress the model before torch.jit.script"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return "lazily initialised: run the model once first"
    if any(part in kind.__module__ for part in QUANTISED):
        return f"quantised ({kind.__name__}): compress the model before quantising it"
    if parametrize.is_parametrized(module):
        return "parametrised: remove it with torch.nn.utils.parametrize.remove_parametrizations"
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "a transposed convolution"
    if kind not in PLAIN:
        return f"{kind.__name__}, which is not a plain Conv2d, Conv1d or Linear"
    if any(getattr(module, hooks) for hooks in HOOKS):
        return "has hooks (weight_norm, spectral_norm and pruning of older kind are hooks too)"
    if "forward" in module.__dict__:
        return "its forward was replaced"
    weight = module.weight
    assert isinstance(weight, Tensor)
    if not weight.dtype.is_floating_point:
        return f"a weight of {weight.dtype}"
    if any(owners[id(p)] > 1 for p in module._parameters.values() if p is not None):
        return "its weight or bias is shared with another layer"
    return None


def _called_wrongly(
    layer: nn.Module, count: int, shape: tuple[int, ...] | None, images: int
) -> str | None:
    if count > 1:
        return f"called {count} times in one run"
    if shape is None:
        return "called by keyword"
    if len(shape) != DIMENSIONS.get(type(layer), max(2, len(shape))):
        return f"called without a batch: its input is {shape}"
    if shape[0] != images:
        return f"called on {shape[0]} images where the network is given {images}"
    return None


class _Recorder(nn.Module):
    """Stands for a layer, with no more attributes than a chain in its place would have."""

    def __init__(self, layer: nn.Module, called: Callable[..., None]) -> None:
        super().__init__()
        self.__dict__["_of"] = layer, called

    def __getattr__(self, name: str) -> Any:
        if name in KNOWN:
            return getattr(self.__dict__["_of"][0], name)
        return super().__getattr__(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        layer, called = self.__dict__["_of"]
        called(args, kwargs)
        return layer(*args, **kwargs)


Calls = list[tuple[str, tuple[int, ...] | None]]


def _calls(
    model: nn.Module, inputs: Sequence[Tensor], replaced: dict[str, nn.Module], expected: Any
) -> Calls | None:
    """The calls of these layers, or None where the network goes otherwise without them."""
    try:
        output, calls = _run(model, inputs, replaced)
    except ValueError:
        return None
    return calls if _equal(output, expected) else None


def _run(
    model: nn.Module, inputs: Sequence[Tensor], replaced: dict[str, nn.Module]
) -> tuple[Any, Calls]:
    """The output of a copy in which recorders stand for some layers, and what those saw.

    Hooks would do for the calls, but with hooks PyTorch's transformer layers go another way.
    """
    calls: Calls = []
    recorders = {
        id(layer): _Recorder(copy.deepcopy(layer).eval(), partial(_note, calls, name))
        for name, layer in replaced.items()
    }
    running = copy_of(model, recorders).eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return running(*inputs), calls
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ValueError(f"the model does not take inputs of shape {shapes}: {error}") from error


def _note(calls: Calls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    calls.append((name, tuple(args[0].shape) if len(args) == 1 and not kwargs else None))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, dict):
        return isinstance(b, dict) and all(_equal(a[key], b.get(key)) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b)
