"""Compressing a PyTorch model: the same search as for ONNX, around `TorchNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankconv.compress import run
from rankconv.compress.metrics import Metric, custom
from rankconv.compress.network import Inputs, Network
from rankconv.compress.profile import KINDS
from rankconv.compress.records import Report
from rankconv.nn.data import as_data, as_tensors
from rankconv.nn.export import to_onnx
from rankconv.nn.network import TorchNetwork
from rankconv.nn.tracing import copy_of


def compress(
    model: nn.Module,
    data: Any,
    *,
    labels: Any = None,
    max_drop: float | None = None,
    speedup: float | None = None,
    seconds: float | None = None,
    metric: str | Metric | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    kinds: Sequence[str] = KINDS,
    threads: int = 1,
    batch: int = 1,
    int8: bool = False,
    tuning: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Report]:
    """A copy of `model` that is measured to be faster within the budget, and the report of it.

    `data` are images, with or without labels, in any form of `rankconv.nn.data.as_data`: tensors,
    a pair (inputs, labels), a loader. The budget is one of `max_drop` (the metric's unit; 1 by
    default), `speedup` and `seconds` of one `batch` on `threads` threads; see
    `rankconv.compress.run.compress` for it, `metric`, `kinds`, `tuning` and `progress`.
    `evaluate(model) -> float`, higher being better, replaces the metric by your own, which
    brings its own data and has no default budget.

    The result is in eval mode and, where the model can, channels-last (`report.engine` says which
    layout was timed: give it images in that), on the device and in the dtype of `model`. Layers
    that were replaced are `LowRankConv2d` (or its sisters for `Conv1d` and `Linear`), all others
    are copies. Where nothing was faster the result is a copy of the original, and
    `report.verdict` says why.
    `model` itself is not changed. Batch norm stays a layer of its own, as PyTorch runs it; pass
    `fold_batch_norm(model)` to compare with, and get, a model without.

    `int8=True` also exports original and result to ONNX and quantises them with ONNX Runtime:
    two more points of the report, timed in that engine, not in PyTorch. The model that comes
    back is in floating point still; for an int8 file use the ONNX face.

    Raises ValueError for data that do not fit, options out of range, a model that cannot be
    copied, run or has no layer to replace, and for `evaluate` together with `metric` or `int8`.
    Equivalent: none in PyTorch.

    >>> import numpy as np
    >>> def shown(what, done, total):
    ...     pass
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    >>> images = np.random.default_rng(0).standard_normal((12, 3, 8, 8), np.float32)
    >>> smaller, report = compress(model, images, max_drop=5, progress=shown)
    >>> report.points[0].source, smaller.training
    ('original', False)
    """
    if evaluate is not None and (metric is not None or int8):
        raise ValueError(
            "evaluate excludes metric, whose place it takes, and int8, whose networks are no "
            "PyTorch models: leave one of them out"
        )
    images = as_data(data, labels)
    examples = as_tensors(tuple(array[:2] for array in images.inputs), model)
    network = TorchNetwork(model, examples)
    score: str | Metric | None = metric
    if evaluate is not None:
        own = evaluate
        # A copy, lest a function that ends with model.train() changes what is measured next.
        score = custom(
            lambda made: own(copy_of(made.model)), name=getattr(own, "__name__", "score")
        )

    def quantized(made: Network, inputs: Inputs) -> Network:
        from rankconv.onnx import OnnxNetwork, quantize

        assert isinstance(made, TorchNetwork)
        exported = OnnxNetwork(to_onnx(made.model, examples))
        typed = zip(inputs, exported.inputs, strict=True)
        return quantize(exported, tuple(array.astype(spec.dtype) for array, spec in typed))

    with torch.random.fork_rng(devices=[]):  # a model that draws numbers is timed too
        found = run.compress(
            network,
            images,
            metric=score,
            max_drop=max_drop,
            speedup=speedup,
            seconds=seconds,
            kinds=kinds,
            threads=threads,
            batch=batch,
            quantize=quantized if int8 else None,
            tuning=tuning,
            progress=progress,
            command=_command(
                {"max_drop": max_drop, "speedup": speedup, "seconds": seconds},
                metric=metric,
                evaluate=getattr(evaluate, "__name__", None),
                kinds=None if tuple(kinds) == tuple(KINDS) else tuple(kinds),
                threads=threads,
                batch=batch,
                int8=int8 or None,
                seed=seed or None,
            ),
            seed=seed,
        )
    return network.swap(found.replacements).model, found.report


def _command(budget: Mapping[str, float | None], **options: Any) -> str:
    """The call, to be repeated."""
    words = [f"{name}={value!r}" for name, value in budget.items() if value is not None]
    words += [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"rankconv.nn.compress(model, data, {', '.join(words)})"
