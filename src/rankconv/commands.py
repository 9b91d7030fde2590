"""The bodies of the commands: call one public function, show what it yields."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Record = dict[str, Any]


# The experiment.


def reproduce(
    console: Console,
    data_path: Path | None,
    out: Path,
    settings: dict[str, Any],
    *,
    flip: bool | None,
    resume: bool,
    force: bool,
    with_report: bool,
) -> None:
    """Run the experiment with a progress bar, then write its report."""
    from rankconv.paper import checkpoint, experiment, logfile

    first = not int(os.environ.get("RANK", "0"))  # torchrun's other processes train in silence
    console.quiet = not first
    if first and not (resume or force) and (out / logfile.LOG).exists():
        raise ValueError(
            f"{out} already holds a run: add --resume to go on with it, --force to start anew, or "
            "choose another folder with --out"
        )
    config = experiment.Config(**settings)  # what is wrong with it is said before data is read
    data = load_data(console, data_path, color=config.color)
    digits = data.name.startswith("MNIST")
    config = replace(config, flip=not digits if flip is None else flip)
    if not first:
        deque(experiment.run(config, data, out, resume=resume), maxlen=0)
        return
    if force and not resume:
        (out / checkpoint.NAME).unlink(missing_ok=True)
    records = logfile.record_run(experiment.run(config, data, out, resume=resume), out)
    _show_run(console, records, config.epochs)
    console.print(f"log: {out / logfile.LOG}", highlight=False, soft_wrap=True)
    if with_report:
        _write_report(console, out / logfile.LOG, out / "report", np.asarray(data.test_images))


def _show_run(console: Console, records: Iterable[Record], epochs: int) -> None:
    """A bar over the epochs, a bar over the images of the present stage, and one line an epoch."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        overall = progress.add_task("epochs", total=epochs)
        stage = progress.add_task("", total=None)
        accuracy: dict[str, float] = {}
        for record in records:
            kind = record["type"]
            if kind == "progress":
                progress.update(
                    stage,
                    description=" ".join(filter(None, (record["stage"], record["method"]))),
                    completed=record["done"],
                    total=record["total"],
                )
                within = record["done"] / record["total"] / 2 + (record["stage"] == "test") / 2
                progress.update(overall, completed=record["epoch"] - 1 + within)
            elif kind == "resume":
                console.print(f"going on after epoch {record['epoch']}", highlight=False)
                progress.update(overall, completed=record["epoch"])
            elif kind == "epoch":
                _show_epoch(console, accuracy)
                accuracy = {"epoch": record["epoch"], "training": record["train_accuracy"]}
            elif kind == "method":
                accuracy[record["method"]] = record["accuracy"]
                if record["disagreements"]:
                    console.print(
                        f"[bold red]epoch {record['epoch']}: {record['method']} differs from "
                        f"PyTorch in {record['disagreements']} images[/]"
                    )
        _show_epoch(console, accuracy)


def _show_epoch(console: Console, accuracy: dict[str, float]) -> None:
    if not accuracy:
        return
    shown = [("training", "training")] + [(f"rank {r}", f"rank {r}") for r in (-1, 1, 2, 3, 4, 5)]
    parts = [f"{label} {accuracy[key]:.4f}" for key, label in shown if key in accuracy]
    console.print(f"epoch {accuracy['epoch']:>3.0f}  " + "  ".join(parts), highlight=False)


def sweep(
    console: Console,
    data_path: Path | None,
    out: Path,
    *,
    seeds: str,
    train_ranks: str,
    train_methods: str,
    filter_sizes: str,
    settings: dict[str, Any],
) -> None:
    """Run the grid that the words describe, then show what each setting reached."""
    from rankconv.paper import experiment
    from rankconv.paper import sweep as sweeps

    base = experiment.Config(**settings, filter_size=_numbers(filter_sizes, "--filter-sizes")[0])
    runs = sweeps.grid(
        base,
        seeds=_numbers(seeds, "--seeds"),
        ranks=[
            None if word == "free" else _number(word, "--train-ranks")
            for word in _words(train_ranks)
        ],
        train_methods=_words(train_methods),
        filter_sizes=_numbers(filter_sizes, "--filter-sizes"),
    )
    data = load_data(console, data_path, color=base.color)
    flip = not data.name.startswith("MNIST")
    runs = tuple(replace(run, config=replace(run.config, flip=flip)) for run in runs)
    for record in sweeps.sweep(runs, data, out):
        if record["type"] == "sweep":
            state = ", ended before" if record["ended"] else ""
            console.print(
                f"{record['number']}/{record['total']} {record['name']}{state}", highlight=False
            )
        elif record["type"] == "epoch":
            console.print(
                f"  epoch {record['epoch']:>3}  training {record['train_accuracy']:.4f}",
                highlight=False,
            )
    logs = sweeps.read_all(out, warn=lambda text: console.print(f"[yellow]{text}[/]"))
    found = Table("trained", "tested", "seeds", "accuracy", "lowest", "highest")
    for row in sweeps.table(logs):
        found.add_row(
            row.name,
            "as it is" if row.rank is None else f"at rank {row.rank}",
            ", ".join(map(str, row.seeds)),
            *(f"{value:.4f}" for value in (row.mean, min(row.accuracies), max(row.accuracies))),
        )
    console.print(found)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str, option: str) -> list[int]:
    found = [_number(word, option) for word in _words(text)]
    if not found:
        raise ValueError(f"{option} is empty: pass at least one number")
    return found


def _number(word: str, option: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{option}: {word!r} is not a whole number") from None


def report(
    console: Console,
    log: Path,
    out: Path | None,
    data_path: Path | None,
    beside: Sequence[Path] = (),
) -> None:
    """Write the report of a log; with data also the sample images, with other runs their curves."""
    log = _log(log)
    images = None if data_path is None else np.asarray(load_data(console, data_path).test_images)
    others = [_log(path) for path in beside]
    _write_report(console, log, out or log.parent / "report", images, others)


def _log(path: Path) -> Path:
    from rankconv.paper import logfile

    return path / logfile.LOG if path.is_dir() else path


def _write_report(
    console: Console, log: Path, out: Path, images: Any, beside: Sequence[Path] = ()
) -> None:
    from rankconv.paper.report import write_report

    with console.status("writing the report"):
        page = write_report(log, out, test_images=images, beside=beside)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)


def figure2(console: Console, out: Path, *, seed: int, threads: int) -> None:
    """Time Figure 2 of the paper and draw it."""
    from rankconv.paper.figure2 import measure_figure2
    from rankconv.paper.figures import write_figure2

    with console.status("a Python loop over 1,000,000 pixels, then one matrix product"):
        measured = measure_figure2(seed=seed, threads=threads)
    out.mkdir(parents=True, exist_ok=True)
    beside = out / "figure-2.json.part"
    beside.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    beside.replace(out / "figure-2.json")
    files = (out / "figure-2.json", *write_figure2(measured, out))
    console.print(
        f"Python loop {measured['loop_seconds']:.2f} s (paper: 7.74 s), "
        f"matrix product {measured['matmul_seconds']:.2f} s (paper: 4.09 s), "
        f"{threads} thread{'s' if threads > 1 else ''}",
        highlight=False,
    )
    for file in files:
        console.print(f"written: {file}", highlight=False, soft_wrap=True)


# The data.


def load_data(
    console: Console, path: Path | None, *, color: Literal["gray", "rgb"] = "gray"
) -> Any:
    """Load the images with a progress bar and say which they are."""
    from rankconv.paper import data

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading images", total=None)
        loaded = data.load(
            path,
            color=color,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(
        f"data: {loaded.name}, {len(loaded.train_labels):,} training and "
        f"{len(loaded.test_labels):,} test images, from {loaded.source}",
        highlight=False,
        soft_wrap=True,
    )
    return loaded


def show_data(console: Console, path: Path | None) -> None:
    """Say which data would be used."""
    loaded = load_data(console, path)
    console.print(f"classes: {', '.join(loaded.classes)}", highlight=False)
    console.print(f"sha256 of the content: {loaded.digest}", highlight=False)


def download(console: Console, destination: Path | None) -> None:
    """Fetch CIFAR-10 with a progress bar."""
    from rankconv.paper import data

    with Progress(console=console) as progress:
        task = progress.add_task("CIFAR-10", total=None)
        path = data.download(
            destination=destination,
            progress=lambda done, total: progress.update(task, completed=done, total=total or None),
        )
    console.print(f"data: {path}", highlight=False, soft_wrap=True)


# Filters.


def show_plan(
    console: Console,
    kernel: str,
    shape: str,
    *,
    rank: int | None,
    tol: float | None,
    mode: Any,
    dtype: str,
    measure: bool,
) -> None:
    """Print the plan for one filter and image size."""
    from rankconv import plan
    from rankconv.kernels import parse_kernel

    matrix = parse_kernel(kernel)
    planned = plan(
        parse_shape(shape),
        matrix.astype(dtype) if dtype in ("float32", "float64") else matrix,
        rank=rank,
        tol=tol,
        mode=mode,
        dtype=dtype,
        measure=measure,
    )
    console.print(str(planned), highlight=False, markup=False, soft_wrap=True)


def calibrate(console: Console) -> None:
    """Fit the planner's constants to this machine, with a progress bar."""
    from rankconv.calibration import calibrate

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("timing the algorithms", total=None)
        path = calibrate(
            progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    console.print(f"constants: {path}", highlight=False, soft_wrap=True)


def parse_shape(text: str) -> tuple[int, int]:
    """`"1080x1920"` as (1080, 1920)."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) for part in parts):
        raise ValueError(f"shape {text!r} is not rows x columns, such as 1080x1920")
    return int(parts[0]), int(parts[1])


def show_factorization(
    console: Console, kernel: str, *, rank: int | None, tol: float | None, out: Path | None
) -> None:
    """Print singular values and errors of every rank, and the chosen factors."""
    from rankconv._checks import check_rank_or_tol
    from rankconv.kernels import parse_kernel
    from rankconv.splitting import split_kernel

    matrix = parse_kernel(kernel)
    check_rank_or_tol(rank, tol, min(matrix.shape))
    split = split_kernel(matrix, rank, tol).kernel
    values = np.linalg.svd(matrix, compute_uv=False)
    total = float(np.linalg.norm(values)) or 1.0
    table = Table(title=f"{matrix.shape[0]} x {matrix.shape[1]} filter")
    for name in ("rank", "singular value", "relative error", "multiply-adds a pixel"):
        table.add_column(name, justify="right")
    for r, value in enumerate(values, 1):
        error = float(np.linalg.norm(values[r:])) / total
        chosen = " <" if r == split.rank else ""
        table.add_row(f"{r}{chosen}", f"{value:.6g}", f"{error:.3e}", str(r * sum(matrix.shape)))
    console.print(table)
    console.print(f"the filter as it is: {matrix.size} multiply-adds a pixel", highlight=False)
    for i, (f, g) in enumerate(zip(split.f, split.g, strict=True), 1):
        console.print(f"f{i} = {_row(f)}\ng{i} = {_row(g)}", highlight=False, soft_wrap=True)
    if out is not None:
        beside = out.with_name(out.name + ".part")
        with beside.open("wb") as file:
            np.savez(file, f=split.f, g=split.g)
        beside.replace(out)
        console.print(f"factors: {out}", highlight=False, soft_wrap=True)


def _row(vector: Any) -> str:
    return " ".join(f"{v:.6g}" for v in vector)


def filter_file(
    console: Console,
    source: Path,
    target: Path,
    kernel: str,
    *,
    rank: int | None,
    tol: float | None,
    boundary: str,
    dtype: str,
    compare: Path | None,
) -> None:
    """Filter one image file into another; with `compare` draw what happened."""
    from rankconv.images import file_kind, read_image, write_image
    from rankconv.kernels import parse_kernel
    from rankconv.picture_filter import filter_picture

    matrix = parse_kernel(kernel)
    file_kind(target)  # a wrong name is told before the work
    if compare is not None:
        from rankconv import compare_picture

        compare_picture.check_target(compare)
    picture = read_image(source)
    done = filter_picture(picture, matrix, boundary=boundary, rank=rank, tol=tol, dtype=dtype)
    write_image(target, done.picture)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(str(done.plan))
    if done.error is not None:
        say(f"result: relative error {done.error:.2g} measured against the exact filter")
    pixels = done.values.size / done.seconds
    say(f"filtered in {done.seconds * 1e3:.3g} ms, {pixels / 1e6:.3g} million pixels a second")
    if done.clipped:
        say(
            f"{done.clipped:.2%} of the values are beyond {done.picture.pixels.dtype} and were "
            "saturated; --dtype float32 with .tif or .npy keeps them"
        )
    shape = " x ".join(map(str, done.picture.pixels.shape))
    say(f"written to {target}: {shape} {done.picture.pixels.dtype} {done.picture.bands}".rstrip())
    if compare is not None:
        compare_picture.write_comparison(compare, picture, done, matrix, name=kernel)
        say(f"compared in {compare}")
