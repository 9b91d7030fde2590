"""Averages as bars, drawn by matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from rankconv.drawing.palette import light
from rankconv.drawing.wording import seconds_text
from rankconv.paper.charts import BarChart
from rankconv.paper.figures.look import WIDTH, log_units, plain, style, units


def bars(chart: BarChart) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.4 + 0.42 * len(chart.bars)), layout="constrained")
    axes = figure.subplots()
    names = [plain(bar.name) for bar in chart.bars]
    rows = range(len(names))
    values = [bar.value for bar in chart.bars]
    colours = [light(bar.colour) for bar in chart.bars]
    if chart.log:  # a length means nothing on a logarithmic axis
        axes.scatter(values, rows, s=70, c=colours, zorder=3)
    else:
        axes.barh(rows, values, color=colours, height=0.66)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    if chart.log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 4, max(values) * 8)
    elif chart.limit is not None:
        axes.set_xlim(0, chart.limit)
    else:
        axes.set_xlim(0, 1.3 * max([*values, *(bar.paper or 0.0 for bar in chart.bars)]))
    for row, bar in enumerate(chart.bars):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [row, row], color=light("text"), linewidth=1.4)
        if bar.paper is not None:
            axes.plot(
                [bar.paper],
                [row],
                "D",
                markersize=6,
                color=light("ground"),
                markeredgecolor=light("text"),
            )
        off = chart.limit is not None and bar.value > chart.limit
        end = max(bar.value, bar.high or 0.0, bar.paper or 0.0)
        axes.annotate(
            plain(bar.text),
            (0.02, row) if off else (end, row),
            xycoords=("axes fraction", "data") if off else "data",
            xytext=(0 if off else 8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=light("ground") if off else light("text"),
            annotation_clip=False,
            fontweight="bold" if off else "normal",
        )
    if chart.log:
        log_units(axes.xaxis, values, seconds_text)
    else:
        units(axes.xaxis, chart.unit)
    style(axes, chart.title, chart.x_label, grid="x")
    axes.tick_params(axis="y", labelcolor=light("text"))
    return figure
