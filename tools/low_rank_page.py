"""Write docs/low-rank-training.md and its figures from the committed logs; no number is typed.

    python tools/low_rank_page.py           the page and its figures
    python tools/low_rank_page.py --page    the page alone

Inputs, all in docs/results/low-rank/: `*.jsonl` (the runs of `rankconv sweep`, one log each),
`cost.json` (benchmarks/low_rank_training.py) and, for the net of many channels,
benchmarks/results/compress.json (make bench-compress), where its tuned models are.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from rankconv.drawing.wording import percent_text
from rankconv.paper.charts import Line, LineChart
from rankconv.paper.figures import draw, save
from rankconv.paper.runlog import Log, read_log
from rankconv.paper.sweep import Row, table
from rankconv.paper.wording import training_text

DOCS = Path(__file__).resolve().parent.parent / "docs"
PLACE = DOCS / "results" / "low-rank"
COMPRESSED = DOCS.parent / "benchmarks" / "results" / "compress.json"
VGG_GATE = 0.5  # points
GATES = {1: 0.005, 2: 0.002}  # of accuracy, below the freely trained network's
SWEEP = (
    "$ rankconv sweep --data CIFAR-10-images.tar.xz --out runs/low-rank --epochs {epochs} "
    "--seeds {seeds} --train-ranks free,1,2 --train-methods {methods} "
    "--method 'rank 1' --method 'rank 2' --method 'rank 3'"
)


def page(logs: list[Log], cost: dict[str, Any], compressed: dict[str, Any]) -> str:
    """The whole page."""
    rows = table(logs)
    parts = [
        "# Training at low rank",
        _introduction(logs),
        "## What was found\n\n" + _found(rows),
        "## Accuracy\n\n" + _accuracy(rows),
        *(
            f"![Test accuracy over the epochs, rank {rank}](results/low-rank/rank-{rank}.svg)"
            for rank in _trained(logs)
        ),
        "## What it costs in training\n\n" + _cost(cost),
        "## A net of many channels\n\n" + _many(compressed),
        "## How to train so\n\n" + _how(),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(logs: list[Log]) -> str:
    first = logs[0]
    seeds = sorted({int(log.config["seed"]) for log in logs})
    epochs = first.config["epochs"]
    machine = first.machine
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    methods = {log.config["train_method"] for log in logs if log.config.get("train_rank")}
    command = SWEEP.format(
        epochs=epochs, seeds=",".join(map(str, seeds)), methods=",".join(sorted(methods))
    )
    return f"""<!-- Written by tools/low_rank_page.py from docs/results/low-rank/: edit that. -->

The paper approximates filters after training, when they are free to have full rank; at rank 1 its
network ends near guessing. Here the network knows the rank while it trains. Same network, same
data, {epochs} epochs, seeds {", ".join(map(str, seeds))}, tested after every epoch:

```console
{command}
```

The log of each run is then copied to `docs/results/low-rank/` under the name of its folder;
`python benchmarks/low_rank_training.py --out docs/results/low-rank/cost.json` measures the cost,
and `python tools/low_rank_page.py` writes this page.

Machine: {machine["processor"]}, {machine["cores"]} cores, one thread. Python {machine["python"]},
{versions}.
The recipe is that of [the reproduction](choices.md) and was not chosen on these runs. The tables
show the runs that were made: not every way of training has every seed."""


def _found(rows: tuple[Row, ...]) -> str:
    free = {row.rank: row for row in rows if row.name == "freely"}
    lines = []
    for rank, allowed in GATES.items():
        towards = [row for row in rows if row.name != "freely" and row.rank == rank]
        if not towards or None not in free:
            continue
        best = max(towards, key=lambda row: _gain(row, free[None]))
        gain = _gain(best, free[None])
        verdict = "within" if gain >= -allowed else "not within"
        cut = free.get(rank)
        lines.append(
            f"- Rank {rank}: trained by {best.name}, the network ends "
            f"{100 * abs(gain):.2f} points {'above' if gain >= 0 else 'below'} the freely trained "
            f"one (mean over seeds {', '.join(map(str, best.seeds))}): {verdict} the "
            f"{100 * allowed:g} points that were asked for."
            + (
                f" Cut to rank {rank} after training, the free network keeps "
                f"{percent_text(cut.mean, digits=2)}."
                if cut is not None
                else ""
            )
        )
    return "\n".join(lines)


def _gain(row: Row, free: Row) -> float:
    """How far above the free network's, over the seeds that both have."""
    theirs = dict(zip(free.seeds, free.accuracies, strict=True))
    pairs = zip(row.seeds, row.accuracies, strict=True)
    return fmean(ours - theirs[seed] for seed, ours in pairs if seed in theirs)


def _accuracy(rows: tuple[Row, ...]) -> str:
    free = next(row for row in rows if row.name == "freely" and row.rank is None)
    lines = [
        "Test accuracy after the last epoch; the difference is to the freely trained network of "
        "the same seeds, in points.",
        "",
        "| trained | tested | seeds | mean | by seed | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.rank or 0, row.name != "freely", row.name)):
        tested = "as it is" if row.rank is None else f"at rank {row.rank}"
        each = ", ".join(percent_text(a, digits=2) for a in row.accuracies)
        gain = "" if row is free else f"{100 * _gain(row, free):+.2f}"
        lines.append(
            f"| {row.name} | {tested} | {', '.join(map(str, row.seeds))} | "
            f"{percent_text(row.mean, digits=2)} | {each} | {gain} |"
        )
    return "\n".join(lines)


def _cost(cost: dict[str, Any]) -> str:
    lines = [
        f"Seconds of a training step of 64 images on the same machine, interleaved, "
        f"{cost['turns']} turns of {cost['steps']} steps, one thread, load {cost['load']:.1f} at "
        "the end (`benchmarks/low_rank_training.py`).",
        "",
        "| trained | ms a step | times as long as freely | middle half |",
        "|---|---|---|---|",
    ]
    for row in cost["rows"]:
        low, high = row["quartiles"]
        lines.append(
            f"| {row['name']} | {1e3 * row['seconds']:.2f} | {row['ratio']:.2f} | "
            f"{low:.2f} to {high:.2f} |"
        )
    return "\n".join(lines)


def _many(compressed: dict[str, Any]) -> str:
    """The tuned VGG-like net of the compression benchmark beside its original."""
    rows = {row["name"]: row for row in compressed["networks"] if row["net"] == "vgg"}
    original, tuned, alike = rows["original"], rows["tuned"], rows["tuned-original"]
    share = tuned["multiply_adds"] / original["multiply_adds"]
    lost, more = original["score"] - tuned["score"], alike["score"] - tuned["score"]
    verdict = "within" if max(lost, more) <= VGG_GATE else "not within"
    how = f"{tuned['made']['budget']}, {tuned['made']['notes']}"
    return f"""The VGG-like net of [the benchmark](benchmarks/compress.md) of compression starts
from its trained weights, is cut to chains layer by layer, and trained on with the dense net as its
teacher ({how}). Training it from scratch at low rank was not tried.

| net | top-1, % | multiply-adds | times as fast (ONNX Runtime, one thread, batch 1) |
|---|---|---|---|
| dense | {original["score"]:.2f} | 100 % | 1.00 |
| dense, trained on in the same way | {alike["score"]:.2f} | 100 % | {alike["speedup"][0]:.2f} |
| low rank, trained on | {tuned["score"]:.2f} | {100 * share:.0f} % | {tuned["speedup"][0]:.2f} |

It loses {lost:.2f} points to the dense net and {more:.2f} to the dense net trained on, with
{100 * share:.0f} % of the multiply-adds: {verdict} the {VGG_GATE:g} points that were asked for at
half of them."""


def _how() -> str:
    return """```python
from torch import nn
from rankconv.nn import low_rank_copy, project_, trailing_penalty

model = nn.Sequential(nn.Conv2d(1, 1, 5), nn.ReLU(), nn.Conv2d(1, 1, 5))
penalty = 0.05 * trailing_penalty(model, rank=1)  # add it to the loss
changed = project_(model, rank=1)  # or: every 20 steps, after optimizer.step()
chains = low_rank_copy(model, rank=1)  # or: train these from the start
```

`rankconv reproduce --train-rank 1 --train-method projection` runs the paper's experiment so, and
`rankconv report RUN --beside OTHER` draws both into one picture. `rankconv sweep` runs every
combination and goes on where it was stopped; under `torchrun` the processes train one network
together. `--model lenet`, `--model vgg`, `--filter-size` and `--image-size` leave the paper's
network; for nets of many channels `--train-share 0.5` trains towards pairs of filters with half of
the multiply-adds."""


def _trained(logs: list[Log]) -> list[int]:
    return sorted({log.config["train_rank"] for log in logs if log.config.get("train_rank")})


def chart(logs: list[Log], rank: int) -> LineChart:
    """Mean accuracy over the seeds, epoch by epoch, of all runs that concern one rank."""
    curves: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for log in logs:
        trained = log.config.get("train_rank")
        if trained is None:
            wanted = {"freely": "rank -1", f"freely, then cut to rank {rank}": f"rank {rank}"}
        elif trained == rank:
            wanted = {training_text(log): f"rank {rank}"}
        else:
            continue
        for name, key in wanted.items():
            for trial in log.of(key):
                curves[name][trial.epoch].append(trial.accuracy)
    lines = [
        Line(
            name=name,
            x=tuple(sorted(by_epoch)),
            y=tuple(fmean(by_epoch[epoch]) for epoch in sorted(by_epoch)),
            colour="rank -1" if name == "freely" else f"extra {number % 8}",
            dash="dot" if "cut" in name else "solid",
            width=3.2 if name == "freely" else 1.8,
        )
        for number, (name, by_epoch) in enumerate(sorted(curves.items()))
    ]
    return LineChart(
        key=f"rank-{rank}",
        title=f"Trained freely, and towards rank {rank}",
        caption="Mean over the seeds.",
        x_label="Epoch",
        y_label="Test accuracy",
        lines=tuple(lines),
        unit="%",
        levels=(("chance", 0.1),),
    )


def read() -> tuple[list[Log], dict[str, Any], dict[str, Any]]:
    """The committed runs by name, what a step costs, and the benchmark of compression."""
    logs = [read_log(path) for path in sorted(PLACE.glob("*.jsonl"))]
    cost = json.loads((PLACE / "cost.json").read_text(encoding="utf-8"))
    return logs, cost, json.loads(COMPRESSED.read_text(encoding="utf-8"))


def written() -> str:
    """The page that the committed logs give."""
    return page(*read())


if __name__ == "__main__":
    found, *others = read()
    (DOCS / "low-rank-training.md").write_text(page(found, *others), encoding="utf-8")
    if "--page" not in sys.argv:
        for trained in _trained(found):
            save(draw(chart(found, trained)), PLACE, f"rank-{trained}")
