"""What training towards low rank costs: seconds a step of each method, interleaved.

    python benchmarks/low_rank_training.py --out docs/results/low-rank/cost.json

The paper's network, batches of 64 made-up images (the time does not depend on what they show), one
thread. Every method takes its turn with `--steps` steps, `--turns` times; medians and quartiles of
the seconds a step, and the ratio to training freely of each turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rankconv.machine import machine, versions
from rankconv.paper.config import Config
from rankconv.paper.model import paper_network
from rankconv.paper.training import train_epoch, trainer

SETTINGS: dict[str, dict[str, Any]] = {
    "freely": {},
    "projection to rank 1": {"train_rank": 1, "train_method": "projection"},
    "projection to rank 2": {"train_rank": 2, "train_method": "projection"},
    "factors of rank 1": {"train_rank": 1, "train_method": "factors"},
    "factors of rank 2": {"train_rank": 2, "train_method": "factors"},
    "penalty beyond rank 1": {"train_rank": 1, "train_method": "penalty"},
    "penalty beyond rank 2": {"train_rank": 2, "train_method": "penalty"},
}


def run_of(
    settings: dict[str, Any], images: torch.Tensor, labels: torch.Tensor
) -> Callable[[], float]:
    """A call that trains one epoch of the images and gives its seconds."""
    torch.manual_seed(0)
    config = Config(epochs=1, **settings)
    learner = trainer(paper_network(hidden=config.hidden), config.recipe)
    shuffle = torch.Generator().manual_seed(0)

    def call() -> float:
        (record,) = (
            record
            for record in train_epoch(learner, images, labels, shuffle, 1)
            if record["type"] == "epoch"
        )
        return float(record["train_seconds"])

    return call


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.steps * 64, 1, 32, 32, generator=generator)
    labels = torch.randint(10, (len(images),), generator=generator)
    calls = {name: run_of(settings, images, labels) for name, settings in SETTINGS.items()}
    for call in calls.values():
        call()  # warm
    turns: list[dict[str, float]] = []
    for turn in range(options.turns):
        names = list(calls)
        order = names[turn % len(names) :] + names[: turn % len(names)]
        turns.append({name: calls[name]() / options.steps for name in order})
    rows = []
    for name in calls:
        seconds = [turn[name] for turn in turns]
        ratios = [turn[name] / turn["freely"] for turn in turns]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(seconds),
                "ratio": statistics.median(ratios),
                "quartiles": [low, high],
            }
        )
        print(f"{name:24} {1e3 * rows[-1]['seconds']:7.3f} ms a step  {rows[-1]['ratio']:.2f}x")
    found = {
        "machine": machine(),
        "versions": versions(),
        "load": os.getloadavg()[0],
        "steps": options.steps,
        "turns": options.turns,
        "threads": 1,
        "rows": rows,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        beside = options.out.with_suffix(".part")
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        beside.replace(options.out)


if __name__ == "__main__":
    main()
