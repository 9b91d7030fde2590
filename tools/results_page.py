"""Write docs/results.md and its figures from the committed logs; no number in it is typed.

    python tools/results_page.py           the page and the figures in docs/results/
    python tools/results_page.py --page    the page alone

Inputs, all in docs/results/: `log.jsonl` (the full run), `bench-paper.json` (make bench-paper),
`figure-2.json` (rankconv reproduce --figure 2) and `seeds/*.jsonl` (shorter runs by seed).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rankconv.drawing.wording import seconds_text, times_text
from rankconv.paper import reference
from rankconv.paper.comparison import compare
from rankconv.paper.findings import findings
from rankconv.paper.runlog import Log, read_log
from rankconv.paper.summary import relative_singular_values, summarise, times_as_fast

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = DOCS / "results"
SHOWN = [
    ("beside-the-paper", "How many times as fast as PyTorch: the paper and this run"),
    ("figure-5-train-accuracy", "Training accuracy (the paper's figure 5)"),
    ("figure-6-train-loss", "Training loss (figure 6)"),
    ("figure-7-test-time", "Seconds for the test images, all but the loop (figure 7)"),
    ("figure-8-loop-time", "Seconds for the test images, the Python loop (figure 8)"),
    ("average-test-time", "Average seconds for the test images"),
    ("figure-9-test-accuracy", "Test accuracy (figure 9)"),
    ("average-test-accuracy", "Average test accuracy"),
    ("time-accuracy-plane", "Time against accuracy, with the Pareto front"),
    ("singular-values-1", "Singular values of the first filter over the epochs"),
    ("singular-values-2", "Singular values of the second filter over the epochs"),
    ("filters", "The filters at the end and their approximations"),
    ("extra-average-time", "Methods beyond the paper"),
]


def page(log: Log, bench: dict[str, Any], figure2: dict[str, Any], seeds: list[Log]) -> str:
    """The whole page."""
    return (
        "\n\n".join(
            [
                "# Results",
                _introduction(log),
                "## What was found\n\n" + "\n".join(f"- {sentence}" for sentence in findings(log)),
                "## Beside the paper\n\nThe machine is not the paper's, so the ratios "
                "to PyTorch say more than the seconds.\n\n" + _comparison(log),
                "## Where it differs from the paper\n\n" + _differences(log, bench),
                "## Every method\n\n" + _methods(log),
                "## Figures\n\n" + "\n\n".join(_figure(name, text) for name, text in SHOWN),
                "## One image at a time\n\n" + _bench(bench),
                "## How the cost grows with the image\n\n" + _growth(bench),
                "## Figure 2: a Python loop against a matrix product\n\n" + _figure2(figure2),
                "## Other seeds\n\n" + _seeds(log, seeds),
            ]
        )
        + "\n"
    )


def _introduction(log: Log) -> str:
    data, machine = log.data, log.machine
    versions = ", ".join(f"{name} {version}" for name, version in log.versions.items())
    resumed = ", ".join(str(resume.epoch) for resume in log.resumes)
    return f"""<!-- Written by tools/results_page.py from the logs in docs/results/: edit that. -->

The experiment of the paper (sections X to XIV), {len(log.epochs)} epochs on {data["name"]}
({data["train"]:,} training and {data["test"]:,} test images), in one command:

```console
$ rankconv reproduce --data CIFAR-10-images.tar.xz --naive-every 25 --extra-every 5
```

Machine: {machine["processor"]}, {machine["cores"]} cores, {machine["system"]}, shared with other
work, {log.threads} thread for every method. Python {machine["python"]}, {versions}.
{f"The process was killed and resumed after epoch {resumed}." if resumed else ""}
The whole log is [log.jsonl](https://jsonlines.org) in `docs/results/`, beside the paper's text log
`loss_acc_time_data_10.txt`; `rankconv report docs/results/log.jsonl` makes the interactive report
of it. What the paper leaves open and how it was chosen is on the page
[Choices](choices.md)."""


def _comparison(log: Log) -> str:
    lines = [
        "| quantity | method | paper | here | here / paper | remark |",
        "|---|---|--:|--:|--:|---|",
    ]
    for row in compare(log):
        cells = (row.group, row.name, row.paper, row.ours, row.ratio_text, row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(log: Log, bench: dict[str, Any]) -> str:
    rows = {summary.method.key: summary for summary in summarise(log)}
    exact, one = rows["rank -1"], rows["rank 1"]
    fast = times_as_fast(log, "rank 5") or 0.0
    shares = [
        f"from {100 * values[0, 0] ** 2:.0f} % to {100 * values[-1, 0] ** 2:.0f} %"
        for values in (relative_singular_values(log, layer) for layer in ("conv1", "conv2"))
    ]
    loop = bench["paper_loop"]
    eager = loop["torch eager"]["median"]
    best = min(row["median"] for key, row in loop.items() if key.startswith("torch"))
    ours = loop["rank 5"]["median"]
    reached = next(
        (e.epoch for e in log.of("rank -1") if e.accuracy >= reference.ACCURACY["rank -1"]), None
    )
    return f"""\
- **The margin over PyTorch is much larger than the paper's.** The paper's rank 5 beats
  PyTorch by 1 %; here it is {times_text(fast)} as fast in the run. That is not because the
  products are so fast but because PyTorch is slow here: eager calls on one small image cost mostly
  overhead, and oneDNN is slow at one channel. Against the best PyTorch (jit, oneDNN off) the same
  method is {best / ours:.2f} times as fast in the benchmark below, against eager
  {eager / ours:.1f} times.
- **Rank 1 falls earlier and stays down.** In the paper it climbs until about epoch 50 and is at
  guessing by epoch 200. Here it is best in epoch
  {max(log.of("rank 1"), key=lambda t: t.accuracy).epoch}, averages {one.accuracy:.4f} and ends at
  {one.accuracy_last:.4f}. The paper's explanation, that training drags the filters away from rank
  1, is not what happens here: the share of the filters' energy in the first singular value went
  {shares[0]} in the first filter and {shares[1]} in the second. It is the layers behind them that
  come to rely on the rest, however small. How much of a filter's energy is kept says little about
  what the network loses.
- **Rank 2 loses little** ({rows["rank 2"].accuracy:.4f} against {exact.accuracy:.4f}; the paper
  loses 4 points), and rank 3 nothing that can be seen.
- **The average accuracy** over all epochs is {exact.accuracy:.5f} (the paper: 0.39713); PyTorch
  first passes the paper's average in epoch {reached}. The recipe is ours, since the paper gives
  none: see [Choices](choices.md).
- **The Python loop** is compared with the slowest other method here as there; since the other
  methods are faster than the paper's, the factor is larger."""


def _methods(log: Log) -> str:
    lines = [
        "| method | group | mean | median | middle half | set-up | accuracy | ties | other | "
        "epochs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in summarise(log):
        half = f"{seconds_text(row.seconds_low)} - {seconds_text(row.seconds_high)}"
        counted = row.method.exact
        lines.append(
            f"| {row.method.label}{' (scaled)' if row.scaled else ''} | {row.method.group} | "
            f"{seconds_text(row.seconds)} | {seconds_text(row.seconds_median)} | {half} | "
            f"{seconds_text(row.setup_seconds)} | {row.accuracy:.5f} | "
            f"{row.ties if counted else ''} | {row.disagreements if counted else ''} | "
            f"{row.epochs} |"
        )
    return (
        "\n".join(lines)
        + """

Seconds for all test images, set-up included. *Ties* counts the predictions of exact methods that
are not PyTorch's where two logits are closer than rounding (a relative 1e-5); *other* counts the
rest, which would be errors."""
    )


def _figure(name: str, text: str) -> str:
    return f"![{text}](results/figures/{name}.svg)\n*{text}*"


def _bench(bench: dict[str, Any]) -> str:
    loop = bench["paper_loop"]
    eager = loop["torch eager"]["median"]
    best_key = min((k for k in loop if k.startswith("torch")), key=lambda k: loop[k]["median"])
    best = loop[best_key]["median"]
    lines = [
        "| method | microseconds an image | 10 % - 90 % | x eager PyTorch | x best PyTorch |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in loop.values():
        lines.append(
            f"| {row['label']} | {row['median']:.2f} | {row['low']:.2f} - {row['high']:.2f} | "
            f"{eager / row['median']:.2f} | {best / row['median']:.2f} |"
        )
    return (
        _measured(bench, "make bench-paper")
        + "\n\n"
        + "\n".join(lines)
        + f"""

The best PyTorch is the fastest of eager and jit with oneDNN on and off, here
{loop[best_key]["label"]}. Medians of {bench["rounds"]} interleaved rounds.
{_native(loop)}"""
    )


def _native(loop: dict[str, Any]) -> str:
    if "native exact" not in loop:
        return ""
    ratio = loop["native exact"]["median"] / loop["native 1"]["median"]
    return f"""
Once both are native, little is left of the trade: rank 1 takes {1 / ratio:.2f} times the time of
the exact direct kernel on this small network, half of which are its linear layers, and 5 x 5
filters of rank 3 and above are slower than exact ones."""


def _growth(bench: dict[str, Any]) -> str:
    growth = bench["growth"]
    lines = [f"| side | {' | '.join(growth)} |", "|--:|" + "--:|" * len(growth)]
    sizes = sorted({int(size) for row in growth.values() for size in row["milliseconds"]})
    for size in sizes:
        cells = [row["milliseconds"].get(str(size)) for row in growth.values()]
        shown = ["" if cell is None else f"{cell:.3f}" for cell in cells]
        lines.append(f"| {size} | {' | '.join(shown)} |")
    shown = [f"**{row['exponent']:.2f}**" for row in growth.values()]
    lines.append(f"| exponent in pixels | {' | '.join(shown)} |")
    return """A 5 x 5 filter at rank 3 on square float32 images, milliseconds, one thread, with the
exponent fitted from 256 x 256 on: 1 is linear in the number of pixels. `toeplitz` is the paper's
dense form, whose matrices grow with the image; it is not timed above 1024 x 1024.

""" + "\n".join(lines)


def _figure2(measured: dict[str, Any]) -> str:
    loop, matmul = measured["loop_seconds"], measured["matmul_seconds"]
    return f"""```console
$ rankconv reproduce --figure 2
```

The loop over a 1002 x 1002 image takes {loop:.2f} s (the paper: 7.74 s), the product of a
10000 x 1000 and a 1000 x 10000 matrix {matmul:.2f} s (the paper: 4.09 s), {measured["threads"]}
thread: the product does over 10,000 times the multiplications in {matmul / loop:.2f} times the
time.

![Figure 2](results/figure-2.svg)"""


def _seeds(log: Log, seeds: list[Log]) -> str:
    lines = [
        "| seed | epochs | test accuracy, last | best | average | rank 1, last |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for one in [*seeds, log]:
        accuracy = [trial.accuracy for trial in one.of("rank -1")]
        full = " (the full run)" if one is log else ""
        lines.append(
            f"| {one.config['seed']}{full} | {len(accuracy)} | {accuracy[-1]:.4f} | "
            f"{max(accuracy):.4f} | {sum(accuracy) / len(accuracy):.4f} | "
            f"{one.of('rank 1')[-1].accuracy:.4f} |"
        )
    return """A network with one filter a layer depends much on where it starts, so the seed is a
choice too, and so is what rank 1 does: with some seeds it falls to guessing at once, with others
it keeps most of the accuracy. The default seed is one of a few that were tried; the others were
stopped earlier:

```console
$ rankconv reproduce --data CIFAR-10-images.tar.xz --seed N --epochs 50 --method "rank 1"
```

""" + "\n".join(lines)


def _measured(bench: dict[str, Any], command: str) -> str:
    machine = bench["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in bench["versions"].items())
    return f"""```console
$ {command}
```

{machine["processor"]}, {machine["cores"]} cores, {bench["threads"]} thread, load average
{bench["load_average"]:.1f} at the start; Python {machine["python"]}, {versions}."""


def written() -> str:
    """The page as the committed logs give it."""
    seeds = [read_log(path) for path in sorted((RESULTS / "seeds").glob("*.jsonl"))]
    return page(
        read_log(RESULTS / "log.jsonl"),
        json.loads((RESULTS / "bench-paper.json").read_text()),
        json.loads((RESULTS / "figure-2.json").read_text()),
        seeds,
    )


def main() -> None:
    """Write the page, and unless `--page` is given the figures."""
    if "--page" not in sys.argv[1:]:
        from rankconv.paper.figures import write_figure2
        from rankconv.paper.report import write_report

        with tempfile.TemporaryDirectory() as folder:
            write_report(RESULTS / "log.jsonl", Path(folder))
            (RESULTS / "figures").mkdir(exist_ok=True)
            for name, _ in SHOWN:
                shutil.copy(Path(folder) / "figures" / f"{name}.svg", RESULTS / "figures")
        write_figure2(json.loads((RESULTS / "figure-2.json").read_text()), RESULTS)
    beside = DOCS / "results.md.part"
    beside.write_text(written(), encoding="utf-8")
    beside.replace(DOCS / "results.md")


if __name__ == "__main__":
    main()
