"""The paper's test loop against PyTorch and ONNX Runtime, and how the cost grows with the image.

    make bench-paper                     print the tables
    make bench-paper ARGS="--out FILE"   also store them as JSON, with machine, threads, versions

One process, one thread for everyone. Every round gives each competitor the same images in turn,
starting with another one each time; the figures are medians over the rounds with the 10th and
90th percentile. "The best PyTorch" is the fastest of eager and jit, with oneDNN on and off.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits

from rankconv.correlate import ALGORITHMS, native
from rankconv.machine import machine, versions
from rankconv.paper.engines import plain_torch, torch_eager, torch_jit, trace
from rankconv.paper.methods import methods
from rankconv.paper.model import paper_network
from rankconv.splitting import split_kernel

GATES = [  # method, against eager PyTorch, against the best PyTorch
    ("rank 5", 3.0, 1.2),
    ("stacked 5", 7.0, 2.2),
]
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
GROWTH = {"toeplitz": 1024, "toeplitz_blocked": 4096, "separable": 4096}  # largest side timed


def onednn_jit(network: torch.nn.Sequential) -> Callable[[np.ndarray], int]:
    traced = trace(network)
    return lambda image: int(traced(torch.from_numpy(image)[None, None]).argmax())


Entry = tuple[str, str, Callable[[np.ndarray], Any], Callable[[], AbstractContextManager[Any]]]


def competitors(network: torch.nn.Sequential) -> list[Entry]:
    """(key, label, predict, context around its timed turn), the one-by-one methods only."""
    found: list[Entry] = [
        ("torch eager", "PyTorch eager", torch_eager(network), torch.inference_mode),
        ("torch eager plain", "PyTorch eager, oneDNN off", torch_eager(network), plain_torch),
        ("torch jit", "PyTorch jit", onednn_jit(network), torch.inference_mode),
        ("torch jit plain", "PyTorch jit, oneDNN off", torch_jit(network), plain_torch),
    ]
    for method in methods():
        if method.batch or method.key in ("rank -1", "rank 0", "torch jit"):
            continue
        found.append((method.key, method.label, method.prepare(network), method.around))
    return found


def paper_loop(rounds: int, images: int, console: Console) -> dict[str, dict[str, float]]:
    """Microseconds an image for every competitor: median, 10th and 90th percentile."""
    torch.manual_seed(0)
    network = paper_network(hidden=500).eval()
    rng = np.random.default_rng(0)
    pictures = list(rng.standard_normal((images, 32, 32)).astype(np.float32))
    entries = competitors(network)
    samples: dict[str, list[float]] = {key: [] for key, *_ in entries}
    for turn in track(range(rounds + 2), "one image at a time", console=console, transient=True):
        first = turn % len(entries)
        for key, _, predict, around in entries[first:] + entries[:first]:
            with around():
                predict(pictures[0])  # the cache holds this competitor's code and weights again
                start = time.perf_counter()
                for picture in pictures:
                    predict(picture)
                seconds = time.perf_counter() - start
            if turn >= 2:  # two rounds to warm up
                samples[key].append(seconds / images * 1e6)
    labels = {key: label for key, label, *_ in entries}
    return {key: {"label": labels[key], **spread(values)} for key, values in samples.items()}  # type: ignore[dict-item]


def growth(rounds: int, console: Console) -> dict[str, Any]:
    """Milliseconds by image side, float32, 5 x 5 at rank 3, and the fitted exponent in pixels."""
    rng = np.random.default_rng(0)
    kernel = split_kernel(rng.standard_normal((5, 5)).astype(np.float32), 3, None).kernel
    times: dict[str, dict[int, list[float]]] = {name: {} for name in GROWTH}
    for size in track(SIZES, "growth with the image", console=console, transient=True):
        image = rng.standard_normal((size, size)).astype(np.float32)
        for turn in range(rounds + 1):
            for name, largest in GROWTH.items():
                if size > largest:
                    continue
                repeats = max(1, 256 * 256 // (size * size))
                start = time.perf_counter()
                for _ in range(repeats):
                    ALGORITHMS[name](image, kernel)
                seconds = (time.perf_counter() - start) / repeats
                if turn:
                    times[name].setdefault(size, []).append(seconds * 1e3)
    result = {}
    for name, by_size in times.items():
        medians = {size: float(np.median(values)) for size, values in by_size.items()}
        # The smallest sizes are ruled by the cost of a call, not by the pixels.
        fitted = [size for size in medians if size >= 256]
        slope = np.polyfit(
            np.log([size**2 for size in fitted]), np.log([medians[size] for size in fitted]), 1
        )[0]
        result[name] = {"milliseconds": medians, "exponent": float(slope), "fitted": fitted}
    return result


def spread(values: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(values, [10, 50, 90])
    return {"median": float(median), "low": float(low), "high": float(high)}


def show(result: dict[str, Any], console: Console) -> None:
    loop = result["paper_loop"]
    eager = loop["torch eager"]["median"]
    best_key = min((k for k in loop if k.startswith("torch")), key=lambda k: loop[k]["median"])
    best = loop[best_key]["median"]
    table = Table(title="One 32 x 32 image at a time, microseconds (median, 10 % - 90 %)")
    for name in ("method", "us", "10 % - 90 %", "x eager", "x best PyTorch"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in loop.values():
        table.add_row(
            row["label"],
            f"{row['median']:.2f}",
            f"{row['low']:.2f} - {row['high']:.2f}",
            f"{eager / row['median']:.2f}",
            f"{best / row['median']:.2f}",
        )
    console.print(table)
    console.print(f"the best PyTorch: {loop[best_key]['label']}")
    for key, against_eager, against_best in GATES:
        for name, wanted, got in (
            ("eager PyTorch", against_eager, eager / loop[key]["median"]),
            ("the best PyTorch", against_best, best / loop[key]["median"]),
        ):
            verdict = "met" if got >= wanted else "MISSED"
            console.print(
                f"{loop[key]['label']} against {name}: {got:.2f}x, wanted {wanted}x: {verdict}"
            )
    if "growth" in result:
        table = Table(title="5 x 5 at rank 3, float32, milliseconds by image side")
        table.add_column("side", justify="right")
        for name in result["growth"]:
            table.add_column(name, justify="right")
        for size in SIZES:
            cells = [
                f"{row['milliseconds'][size]:.3f}" if size in row["milliseconds"] else "-"
                for row in result["growth"].values()
            ]
            table.add_row(str(size), *cells)
        exponents = [f"{row['exponent']:.2f}" for row in result["growth"].values()]
        table.add_row("pixels ^", *exponents, style="bold")
        console.print(table)
    console.print(f"{result['machine']}, {result['threads']} thread, {result['versions']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--images", type=int, default=100, help="images a turn")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        result: dict[str, Any] = {
            "command": "make bench-paper",
            "machine": machine(),
            "versions": versions(),
            "threads": 1,
            "native": native.available,
            "load_average": os.getloadavg()[0],
            "rounds": arguments.rounds,
            "paper_loop": paper_loop(arguments.rounds, arguments.images, console),
        }
        if not arguments.no_growth:
            result["growth"] = growth(5, console)
    show(result, console)
    if arguments.out is not None:
        beside = arguments.out.with_name(arguments.out.name + ".part")
        beside.write_text(json.dumps(result, indent=1) + "\n")
        beside.replace(arguments.out)


if __name__ == "__main__":
    main()
