"""The rows of the table that are not about one filtering: 8-bit blur, the planner, the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from filter_cells import SLOW, Cell, interleave, probe, spread
from filter_peers import rankconv_call, rankconv_filter, rankconv_plan
from filter_task import (
    SIZES,
    Array,
    MissingPeerError,
    Variant,
    WrongResultError,
    make_task,
)

BLUR_SIZES = (3, 5, 7, 11, 15, 31)
NEAR = 10.0  # candidates estimated within so many times the best one are run


def blur(kernels: Sequence[int] = BLUR_SIZES, *, budget: float = 1.0) -> Iterator[dict[str, Any]]:
    """cv2.GaussianBlur on uint8 at 1080p, 'same' with mirrored edges, uint8 out.

    OpenCV rounds the taps to 8 bits: the results may be two levels apart, the mean of the
    difference not half a level.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingPeerError(f"cv2: {error}") from error
    image = np.random.default_rng(0).integers(0, 256, SIZES["1080p"], np.uint8)
    for k in kernels:
        sigma = 0.3 * ((k - 1) * 0.5 - 1) + 0.8  # OpenCV's own choice for a length
        taps = cv2.getGaussianKernel(k, sigma)  # (k, 1) float64
        out, theirs = np.zeros_like(image), np.zeros_like(image)
        planned = rankconv_filter(taps @ taps.T, mode="same", boundary="mirror", dtype="uint8")
        variants = {
            "rankconv": Variant("SeparableFilter", partial(planned, image, out=out), np.asarray),
            "cv2": Variant(
                "GaussianBlur",
                partial(
                    cv2.GaussianBlur,
                    image,
                    (k, k),
                    sigma,
                    dst=theirs,
                    borderType=cv2.BORDER_REFLECT_101,
                ),
                np.asarray,
            ),
        }
        for variant in variants.values():
            variant.call()
        apart = np.abs(out.astype(int) - theirs)
        if apart.max() > 2 or apart.mean() > 0.5:
            raise WrongResultError(
                f"GaussianBlur, k = {k}: {apart.max()} levels apart, {apart.mean():.2g} on average"
            )
        probes = {name: probe(variant) for name, variant in variants.items()}
        times = interleave(variants, probes, budget)
        yield {"k": k, "peers": {name: spread(values) for name, values in times.items()}}


def plans(wanted: Sequence[Cell]) -> list[str]:
    """The planner's choice for every cell, with the constants that it has now."""
    return [rankconv_plan(make_task(*cell)).algorithm for cell in wanted]


def planner(
    wanted: Sequence[Cell], uncalibrated: Sequence[str], *, budget: float = 0.3
) -> Iterator[dict[str, Any]]:
    """The time of the plan's choice and of its candidates, by the call that anyone would write.

    `uncalibrated` are the choices with the constants that are shipped: their loss is told too.
    """
    for cell, shipped in zip(wanted, uncalibrated, strict=True):
        task = make_task(*cell)
        plan = rankconv_plan(task)
        cheapest = min(c.estimated_seconds for c in plan.candidates)
        near = [c.algorithm for c in plan.candidates if c.estimated_seconds <= NEAR * cheapest]
        chosen = (plan.algorithm, shipped)
        variants = {
            name: Variant(name, rankconv_call(task, name), np.asarray) for name in {*near, *chosen}
        }
        probes = {}
        for name, variant in variants.items():
            start = time.perf_counter()
            variant.call()
            seconds = time.perf_counter() - start
            probes[name] = seconds if seconds > SLOW else probe(variant)
        best = min(probes.values())
        # Only those that could be the best need to be known exactly.
        exact = [name for name in variants if probes[name] < 2 * best or name in chosen]
        times = interleave({name: variants[name] for name in exact}, probes, budget)
        medians = {name: float(np.median(values)) for name, values in times.items()}
        fastest = min(medians.values())
        yield {
            "size": task.size,
            "k": task.k,
            "kind": task.kind,
            "chosen": plan.algorithm,
            "constants": plan.constants,
            "seconds": medians,
            "estimates": {c.algorithm: c.estimated_seconds for c in plan.candidates},
            "loss": medians[plan.algorithm] / fastest - 1,
            "chosen uncalibrated": shipped,
            "loss uncalibrated": medians[shipped] / fastest - 1,
        }


def network(*, rounds: int = 15, images: int = 100, batch: int = 1000) -> dict[str, Any]:
    """The paper's network, one image at a time (as `make bench-paper`) and in one batch."""
    from rich.console import Console

    import paper

    return {
        "one by one": paper.paper_loop(rounds, images, Console(quiet=True)),
        "batch": _batch(rounds, batch),
        "images": batch,
    }


def _batch(rounds: int, images: int) -> dict[str, dict[str, Any]]:
    import torch

    from rankconv.paper.engines import plain_torch, torch_batch
    from rankconv.paper.methods import methods
    from rankconv.paper.model import paper_network

    torch.manual_seed(0)
    net = paper_network(hidden=500).eval()
    pictures = np.random.default_rng(0).standard_normal((images, 32, 32), np.float32)
    entries = {m.key: (m.label, m.prepare(net), m.around) for m in methods() if m.batch}
    entries["batch torch plain"] = ("PyTorch, one batch, oneDNN off", torch_batch(net), plain_torch)
    entries |= {
        "batch torch jit": ("PyTorch jit, one batch", _traced(net, pictures), torch.inference_mode),
        "batch torch jit plain": (
            "PyTorch jit, one batch, oneDNN off",
            _traced(net, pictures),
            plain_torch,
        ),
    }
    samples: dict[str, list[float]] = {key: [] for key in entries}
    keys = list(entries)
    classes = {}
    for turn in range(rounds + 2):
        first = turn % len(keys)
        for key in keys[first:] + keys[:first]:
            _, predict, around = entries[key]
            with around():
                start = time.perf_counter()
                classes[key] = np.asarray(predict(pictures))
                seconds = time.perf_counter() - start
            if turn >= 2:  # two rounds to warm up
                samples[key].append(seconds / images * 1e6)
    for key, found in classes.items():
        if (found != classes["batch torch"]).mean() > 0.002:  # ties within rounding
            raise WrongResultError(f"{key}: other classes than PyTorch's")
    return {key: {"label": entries[key][0], **spread(values)} for key, values in samples.items()}


def _traced(net: Any, pictures: Array) -> Callable[[Array], Any]:
    """The network traced and frozen for a batch of this size."""
    import warnings

    import torch

    with warnings.catch_warnings():
        # PyTorch announces the end of TorchScript.
        warnings.simplefilter("ignore", DeprecationWarning)
        example = torch.from_numpy(pictures)[:, None]
        traced = torch.jit.freeze(torch.jit.trace(net, example))  # type: ignore[no-untyped-call]
    return lambda images: traced(torch.from_numpy(images)[:, None]).argmax(dim=1)
