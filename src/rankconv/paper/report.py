"""The report of a run: one self-contained page and the same figures as files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from rankconv.drawing.files import write_beside
from rankconv.drawing.page import STYLE, environment, script_json, source
from rankconv.drawing.palette import COLOURS
from rankconv.drawing.wording import percent_text, seconds_text, times_text
from rankconv.paper import reference
from rankconv.paper.charts import Chart, SampleChart, bars, curves, filters, points
from rankconv.paper.comparison import compare, same_data, same_network
from rankconv.paper.figures import draw, save
from rankconv.paper.figures.files import png
from rankconv.paper.findings import findings, tiles
from rankconv.paper.interactive import interactive
from rankconv.paper.runlog import Log, LogError, Tie, Trial, read_log
from rankconv.paper.summary import complete_epochs, summarise, times_as_fast
from rankconv.paper.wording import epochs_text

_TEMPLATES = Path(__file__).with_name("templates")
_FULL_WIDTH = (
    "average-test-time",
    "time-accuracy-plane",
    "rank-1-energy",
    "filters",
    "extra-average-time",
    "extra-test-time",
    "set-up-time",
)
_TIES_SHOWN = 100
# The options of `rankconv reproduce` that decide its results.
_OPTIONS = (
    "epochs",
    "batch_size",
    "seed",
    "hidden",
    "learning_rate",
    "weight_decay",
    "schedule",
    "normalize",
    "flip",
    "naive_every",
    "naive_images",
    "extra_every",
    "threads",
    "train_rank",
    "train_method",
    "project_every",
    "penalty",
    "rank_epochs",
    "train_share",
    "model",
    "filter_size",
    "image_size",
)


@dataclass(frozen=True)
class Section:
    """A heading of the page with its charts."""

    key: str
    title: str
    short: str  # in the navigation
    text: str
    charts: tuple[Chart, ...]


def write_report(
    log: Path | str,
    out: Path | str,
    *,
    test_images: NDArray[np.generic] | None = None,
    beside: Sequence[Path | str] = (),
) -> Path:
    """Write a run's report: `report.html`, which needs no other file, and `figures/`.

    The report is a function of the log (and the images) alone; each file is written beside its
    place and then renamed.

    Args:
        log: the JSON Lines log of the run, finished or not.
        out: a folder, made if missing.
        test_images: grey test images (N, height, width), for pictures of the logged samples.
        beside: logs of other runs, whose accuracy is drawn into one picture with this run's.

    Returns:
        The path of `report.html`.

    Raises:
        LogError: the log cannot be read, or no epoch has been tested yet.
        ValueError: `test_images` does not hold the images that the log names.
    """
    run = read_log(log)
    if not run.epochs or not run.trials:
        raise LogError(f"{run.path}: no epoch has been trained and tested yet; run it a bit longer")
    out = Path(out)
    others = tuple(read_log(path) for path in beside)
    chapters = sections(run, test_images, others)
    published = points.beside_paper(run) if same_network(run) else None
    charts = _present(published, *(c for part in chapters for c in part.charts))
    for chart in charts:
        if not _is_table(chart):
            save(draw(chart), out / "figures", chart.key)
    page = out / "report.html"
    write_beside(page, _page(run, chapters, charts).encode("utf-8"))
    return page


def sections(
    log: Log, test_images: NDArray[np.generic] | None = None, beside: Sequence[Log] = ()
) -> tuple[Section, ...]:
    """All charts that a log has the data for, under the headings of the page."""
    found = (
        Section(
            "training",
            "Training",
            "Training",
            "How the network learned; all methods below share its weights.",
            (curves.train_accuracy(log), curves.train_loss(log)),
        ),
        Section(
            "time",
            "Test time",
            "Time",
            "The test images one by one through the paper's seven methods, after each epoch.",
            _present(bars.average_time(log), curves.testing_time(log), curves.loop_time(log)),
        ),
        Section(
            "accuracy",
            "Test accuracy",
            "Accuracy",
            "What each rank costs in accuracy.",
            _present(curves.testing_accuracy(log), bars.average_accuracy(log)),
        ),
        Section(
            "beside",
            "Beside other runs",
            "Beside",
            "Runs that were trained otherwise, each at the rank it was trained for.",
            _present(curves.overlaid((log, *beside)) if beside else None),
        ),
        Section(
            "trade",
            "Time against accuracy",
            "Trade-off",
            "Every method as one point, the paper's and the others.",
            (points.plane(log),),
        ),
        Section(
            "rank-1",
            "Why rank 1 falls",
            "Rank 1",
            "A rank-1 filter is as good as the first singular value is dominant. As training goes "
            "on, the others grow.",
            _present(
                filters.rank_1_energy(log), *filters.singular_values(log), filters.filters(log)
            ),
        ),
        Section(
            "extra",
            "Beyond the paper",
            "Beyond",
            "Methods that the paper does not have, on the same images and weights.",
            _present(bars.extra_average_time(log), curves.extra_time(log)),
        ),
        Section(
            "set-up",
            "Set-up",
            "Set-up",
            "What each method does before its first image.",
            _present(bars.setup_time(log)),
        ),
        Section(
            "samples",
            "Sample images",
            "Samples",
            "",
            _present(filters.samples(log, test_images)),
        ),
    )
    return tuple(section for section in found if section.charts)


def _is_table(chart: Chart) -> bool:
    return isinstance(chart, SampleChart) and chart.samples[0].picture is None


def _present(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart is not None)


def _page(log: Log, chapters: tuple[Section, ...], charts: tuple[Chart, ...]) -> str:
    templates = environment(_TEMPLATES)
    templates.filters.update(
        seconds=seconds_text,
        percent=percent_text,
        times=times_text,
        epochs=epochs_text,
        png=png,
        value=_value,
    )
    figures = {
        chart.key: interactive(chart).to_plotly_json()
        for chart in charts
        if not isinstance(chart, SampleChart)
    }
    return templates.get_template("report.html.j2").render(
        log=log,
        sections=chapters,
        beside=points.beside_paper(log) if same_network(log) else None,
        rows=compare(log) if same_network(log) else (),
        same_network=same_network(log),
        complete=complete_epochs(log),
        tested=max(trial.epoch for trial in log.trials),
        tiles=tiles(log),
        findings=findings(log),
        methods=[(row, times_as_fast(log, row.method.key)) for row in summarise(log)],
        ties=_ties(log)[:_TIES_SHOWN],
        ties_total=len(_ties(log)),
        disagreements=[t for t in log.trials if t.disagreements],
        command=_command(log),
        same_data=same_data(log),
        paper_epochs=reference.EPOCHS,
        full_width=_FULL_WIDTH,
        is_table=_is_table,
        is_samples=lambda chart: isinstance(chart, SampleChart),
        figures=script_json(figures),
        colours=script_json(list(COLOURS.values())),
        plotly=Markup(get_plotlyjs()),
        style=source(STYLE),
        script=source(_TEMPLATES / "report.js"),
    )


def _ties(log: Log) -> list[tuple[Trial, Tie]]:
    return [(trial, tie) for trial in log.trials for tie in trial.ties]


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)


def _command(log: Log) -> str:
    """The command that repeats the run: every option that its configuration names."""
    digits = str(log.data["name"]).startswith("MNIST")  # the default data, which has no path
    words = ["rankconv", "reproduce"]
    if not digits and "source" in log.data:
        words += ["--data", str(log.data["source"])]
    for name in _OPTIONS:
        value = log.config.get(name)
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif value is not None:
            words += [option, str(value)]
    for key in log.config.get("methods") or ():
        words += ["--method", str(key)]
    return shlex.join(words)
