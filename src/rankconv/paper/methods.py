"""The methods under test: each turns the trained weights into a function from images to classes.

The paper's seven (section XII) are `rank -1` (PyTorch), `rank 0` (the NumPy loop) and `rank 1` to
`rank 5` (matrix products). The others go beyond the paper and are kept in a group of their own.
`methods()` lists them; adding one is one function and one line there.

Every method is prepared once an epoch, from weights that have just changed: the SVD, the Toeplitz
matrices, a traced graph or an ONNX session. That time is measured and counted with the images'.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from rankconv.correlate import native
from rankconv.paper.chains import Split, chain_network, slices, spatial, unsplit
from rankconv.paper.engines import (
    native_network,
    onnxruntime_network,
    plain_torch,
    torch_batch,
    torch_eager,
    torch_jit,
)
from rankconv.paper.model import FILTER_SIZE, IMAGE_SIZE, Weights, weights_of
from rankconv.paper.numpy_networks import (
    FULL_RANK,
    Predict,
    loop_network,
    stacked_batch_network,
    stacked_network,
    term_network,
)

Prepare = Callable[[nn.Sequential], Predict]
SHARES = 25, 50  # percent of the multiply-adds, for pairs of filters


@dataclass(frozen=True)
class Method:
    """One way to classify the test images.

    `exact` methods use the filters unchanged, so their classes must be PyTorch's. A `batch` method
    takes all images at once; the others take them one by one. `around` is entered around every
    timed block, for settings that are global.
    """

    key: str
    label: str
    group: str
    prepare: Prepare
    exact: bool = False
    batch: bool = False
    around: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)


def methods(
    model: str = "paper", filter_size: int = FILTER_SIZE, image_size: int = IMAGE_SIZE
) -> tuple[Method, ...]:
    """Every method that can run here, the paper's seven first for the paper's own network.

    Other networks, filters and images have chains of stages in their place: "dense" and, up to
    the filter's size, "rank r" for its slices (not for "vgg", whose slices are too many), and
    "spatial p" for pairs of filters with p percent of the multiply-adds.
    """
    if (model, filter_size, image_size) == ("paper", FILTER_SIZE, IMAGE_SIZE):
        return _paper_methods()
    chains: list[tuple[str, str, Split, bool]] = [("dense", "NumPy, dense", unsplit, True)]
    if model != "vgg":
        chains += [
            (f"rank {r}", f"NumPy, slices of rank {r}", slices(r), r == filter_size)
            for r in range(1, filter_size + 1)
        ]
    if model != "paper":
        chains += [
            (f"spatial {p}", f"NumPy, pairs, {p} %", spatial(p / 100), False) for p in SHARES
        ]
    return (
        Method("rank -1", "PyTorch", "paper", torch_eager, exact=True, around=torch.inference_mode),
        *(
            Method(key, label, "extra", partial(chain_network, split=split), exact=exact)
            for key, label, split, exact in chains
        ),
        Method(
            "torch jit",
            "PyTorch, jit",
            "extra",
            partial(torch_jit, size=image_size, around=torch.inference_mode),
            exact=True,
            around=torch.inference_mode,
        ),
        Method(
            "onnxruntime",
            "ONNX Runtime",
            "extra",
            partial(onnxruntime_network, size=image_size),
            exact=True,
        ),
    )


def _paper_methods() -> tuple[Method, ...]:
    ranks = range(1, FULL_RANK + 1)
    paper = [
        Method("rank -1", "PyTorch", "paper", torch_eager, exact=True, around=torch.inference_mode),
        Method("rank 0", "NumPy, Python loop", "paper", _on_weights(loop_network), exact=True),
        *(
            Method(
                f"rank {r}",
                f"NumPy, rank {r}",
                "paper",
                _on_weights(partial(term_network, rank=r)),
                exact=r == FULL_RANK,
            )
            for r in ranks
        ),
    ]
    extra = [
        *(
            Method(
                f"stacked {r}",
                f"NumPy stacked, rank {r}",
                "extra",
                _on_weights(partial(stacked_network, rank=r)),
                exact=r == FULL_RANK,
            )
            for r in ranks
        ),
        Method("torch jit", "PyTorch, jit", "extra", torch_jit, exact=True, around=plain_torch),
        Method("onnxruntime", "ONNX Runtime", "extra", onnxruntime_network, exact=True),
        Method(
            "batch torch",
            "PyTorch, one batch",
            "extra",
            torch_batch,
            exact=True,
            batch=True,
            around=torch.inference_mode,
        ),
        Method(
            "batch stacked 5",
            "NumPy stacked, one batch",
            "extra",
            _on_weights(stacked_batch_network),
            exact=True,
            batch=True,
        ),
        Method(
            "batch onnxruntime",
            "ONNX Runtime, one batch",
            "extra",
            partial(onnxruntime_network, batch=True),
            exact=True,
            batch=True,
        ),
    ]
    if native.available:
        extra += [
            Method(
                "native exact", "native, exact", "extra", _on_weights(native_network), exact=True
            ),
            Method(
                "native 1", "native, rank 1", "extra", _on_weights(partial(native_network, rank=1))
            ),
            Method(
                "batch native exact",
                "native, one batch",
                "extra",
                _on_weights(partial(native_network, batch=True)),
                exact=True,
                batch=True,
            ),
        ]
    return (*paper, *extra)


def _on_weights(prepare: Callable[[Weights], Predict]) -> Prepare:
    return lambda network: prepare(weights_of(network))
