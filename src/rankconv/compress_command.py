"""The body of `rankconv compress`: read, compress, write, and say what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from rankconv.compress_options import (
    check_targets,
    load_function,
    parse_drop,
    parse_numbers,
    parse_seconds,
    parse_size,
)

if TYPE_CHECKING:
    from rankconv.compress.data import Data
    from rankconv.compress.layer_times import Progress as Told
    from rankconv.compress.metrics import Metric
    from rankconv.compress.network import Inputs, Network
    from rankconv.compress.records import LayerRecord, Report
    from rankconv.onnx import OnnxNetwork

PICTURES = 2000  # of a folder, where nothing else is asked for


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command as they were typed."""

    model: Path
    data: Path
    out: Path
    report: Path | None = None
    json: Path | None = None
    max_drop: str | None = None
    speedup: float | None = None
    time: str | None = None
    metric: str | None = None
    peak: float | None = None
    evaluate: str | None = None
    lower_is_better: bool = False
    kinds: tuple[str, ...] = ()
    int8: bool = False
    write_int8: bool = False
    threads: int = 1
    batch: int = 1
    size: str | None = None
    mean: str | None = None
    std: str | None = None
    images: int | None = None
    seed: int = 0
    tuning: Path | None = None
    no_tuning: bool = False
    force: bool = False
    command: str = ""


def compress(console: Console, request: Request) -> bool:
    """Compress a model file; whether a faster one was found and written.

    Everything is checked before the long work, and files are written after it, each in one go.
    """
    drop = None if request.max_drop is None else parse_drop(request.max_drop)
    seconds = None if request.time is None else parse_seconds(request.time)
    own = None if request.evaluate is None else load_function(request.evaluate)
    check_targets(
        {"--out": request.out, "--report": request.report, "--json": request.json},
        {"the model": request.model, "--data": request.data},
        force=request.force,
    )
    if not request.model.is_file():
        raise ValueError(f"the model {request.model} does not exist: pass an .onnx file")
    try:
        from rankconv import onnx
    except ImportError as missing:
        raise ImportError(
            f"compressing needs the package {missing.name}: pip install 'rankconv[compress]'"
        ) from missing
    from rankconv.compress.profile import KINDS
    from rankconv.compress.run import compress as run

    def quantize(network: Network, inputs: Inputs) -> Network:
        assert isinstance(network, onnx.OnnxNetwork)
        return onnx.quantize(network, inputs)

    with _bars(console) as progress:
        network = onnx.load(request.model)
        data = _read_data(request, network, progress)
        network = _sized(network, data)
        metric = _metric(request, own, network, data)
    if drop is not None and drop[1] and drop[1] != metric.unit:
        raise ValueError(
            f"--max-drop {request.max_drop!r} is in {drop[1]}, and the score is {metric}: give it "
            f"in {metric.unit or 'its own unit, without a sign'}"
        )
    _say(console, f"{request.model}: {len(network.layers)} layers to choose for, {network.engine}")
    _say(console, f"{request.data}: {len(data):,} images; the score is {metric}")
    with _bars(console) as progress:
        found = run(
            network,
            data,
            metric=metric,
            max_drop=None if drop is None else drop[0],
            speedup=request.speedup,
            seconds=seconds,
            kinds=tuple(kind.strip() for kind in request.kinds) or KINDS,
            threads=request.threads,
            batch=request.batch,
            quantize=quantize if request.int8 or request.write_int8 else None,
            return_int8=request.write_int8,
            tuning=_tuning(request),
            progress=progress,
            command=request.command,
            seed=request.seed,
        )
    faster = found.report.chosen > 0
    if faster:
        assert isinstance(found.network, onnx.OnnxNetwork)
        onnx.save(found.network, request.out)
    _write_reports(found.report, request)
    _show(console, found.report)
    _show_files(console, request, faster)
    return faster


def _read_data(request: Request, network: OnnxNetwork, progress: Told) -> Data:
    """The images, from a folder of pictures or a file of arrays."""
    if not request.data.is_dir():
        for name in ("size", "mean", "std", "images"):
            if getattr(request, name) is not None:
                raise ValueError(
                    f"--{name} is for a folder of pictures, and {request.data} is none: the "
                    "arrays of an .npz are taken as they are"
                )
        from rankconv.compress.calibration_data import read_arrays

        return read_arrays(request.data, network.inputs)
    from rankconv.compress.calibration_folder import read_folder

    if len(network.inputs) != 1:
        raise ValueError(
            f"the model has {len(network.inputs)} inputs, and a folder holds pictures for one: "
            "pass an .npz with an array for each"
        )
    return read_folder(
        request.data,
        network.inputs[0],
        size=None if request.size is None else parse_size(request.size),
        mean=(0.0,) if request.mean is None else parse_numbers(request.mean, "--mean"),
        std=(1.0,) if request.std is None else parse_numbers(request.std, "--std"),
        limit=PICTURES if request.images is None else request.images,
        seed=request.seed,
        classes=_classes(network),
        progress=lambda done, total: progress("reading pictures", done, total),
    )


def _classes(network: OnnxNetwork) -> int | None:
    """How many classes the model's first output tells apart, where the file says it."""
    sides = network.model.graph.output[0].type.tensor_type.shape.dim
    return int(sides[1].dim_value) or None if len(sides) == 2 else None


def _sized(network: OnnxNetwork, data: Data) -> OnnxNetwork:
    """The network for images of this size, where its file leaves that open."""
    is_open = any(side is None for spec in network.inputs for side in spec.shape[1:])
    return network.sized(tuple(array[:2] for array in data.inputs)) if is_open else network


def _metric(request: Request, own: Any, network: OnnxNetwork, data: Data) -> Metric:
    """The score that was asked for, checked on a few images."""
    import numpy as np

    from rankconv.compress.data import check_labels
    from rankconv.compress.metrics import Part, as_metric, custom, psnr

    if own is not None:
        if request.metric is not None:
            raise ValueError("--metric and --evaluate exclude each other: pass one of them")
        return custom(own, name=str(request.evaluate), higher_is_better=not request.lower_is_better)
    if request.lower_is_better:
        raise ValueError("--lower-is-better is for --evaluate: the other scores are known")
    if request.peak is not None and request.metric != "psnr":
        raise ValueError("--peak is for --metric psnr: pass both or none")
    few = data.take(np.arange(min(len(data), 4)))
    outputs = network.predict(few.inputs)
    check_labels(Part(few, outputs).data, outputs)
    named = psnr(peak=request.peak) if request.peak is not None else request.metric
    return as_metric(named, Part(few, outputs))


def _tuning(request: Request) -> Path | None:
    if request.no_tuning:
        if request.tuning is not None:
            raise ValueError("--tuning and --no-tuning exclude each other: pass one of them")
        return None
    if request.tuning is not None:
        return request.tuning
    from rankconv.compress.tuning import tuning_file

    try:
        return tuning_file()
    except RuntimeError:  # a user without a home, as in some containers
        return None


def _write_reports(report: Report, request: Request) -> None:
    if request.report is not None:
        from rankconv.compress.report import write_html

        write_html(report, request.report)
    if request.json is not None:
        from rankconv.compress.report_json import write_json

        write_json(report, request.json)


@contextmanager
def _bars(console: Console) -> Iterator[Told]:
    """A bar for each phase, made when it begins."""
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(*columns, console=console, transient=True)
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, total: int) -> None:
        if not console.is_interactive:  # a pipe or a file: no bars
            return
        bars.start()
        if what not in tasks:
            for task in bars.tasks:
                bars.update(task.id, completed=task.total)
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()


def _show(console: Console, report: Report) -> None:
    """The layers that were replaced, and what was measured of the whole."""
    from rankconv.compress.report import score_of, seen_text
    from rankconv.drawing.wording import seconds_text, times_text

    replaced = [layer for layer in report.layers if layer.kind != "dense"]
    if replaced:
        console.print(_layer_table(replaced, len(report.layers)))
    score, first, chosen = score_of(report), report.points[0], report.points[report.chosen]
    quantised = "int8" in chosen.source
    others = [
        point
        for point in report.points[1:]
        if point is not chosen
        and ("int8" in point.source or (quantised and point.choices == chosen.choices))
    ]  # with the network that was quantised: integers are not always faster
    for point in [first, *([chosen] if report.chosen else []), *others]:
        low, high = point.quartiles
        worse = "" if point is first else f", {score.change(point.drop)}"
        _say(
            console,
            f"{point.label}: {seconds_text(point.seconds)} (middle half {seconds_text(low)} to "
            f"{seconds_text(high)}), {times_text(point.speedup)}; {score.name} "
            f"{score.value(point.score)}{worse}",
        )
    _say(console, seen_text(report, score))
    console.print(report.verdict, style="bold", markup=False, highlight=False, soft_wrap=True)


def _layer_table(replaced: list[LayerRecord], count: int) -> Table:
    from rankconv.compress.report import rank_text
    from rankconv.drawing.wording import percent_text, seconds_text

    table = Table(title=f"{len(replaced)} of {count} layers replaced", title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for name in ("rank", "before", "after", "output error"):
        table.add_column(name, justify="right")
    for layer in replaced:
        table.add_row(
            layer.name,
            layer.kind.replace("_", " "),
            f"{rank_text(layer.rank)} of {rank_text(layer.full_rank)}",
            seconds_text(layer.seconds_before),
            seconds_text(layer.seconds_after),
            percent_text(layer.output_error),
        )
    return table


def _show_files(console: Console, request: Request, faster: bool) -> None:
    if faster:
        _say(console, f"model: {request.out}")
    else:
        kept = " (what was there is as it was)" if request.out.exists() else ""
        _say(console, f"no model written: keep using {request.model}{kept}")
    for name, path in (("report", request.report), ("json", request.json)):
        if path is not None:
            _say(console, f"{name}: {path}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
