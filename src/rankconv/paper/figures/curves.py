"""Curves and bars, drawn by matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rankconv.paper.charts import BarChart, LineChart
from rankconv.paper.figures.look import DASHES, WIDTH, plain, style, units
from rankconv.paper.palette import light


def lines(chart: LineChart) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    for line in chart.lines:
        colour = light(line.colour)
        axes.plot(
            line.x,
            line.y,
            linestyle=DASHES[line.dash],
            linewidth=line.width,
            color=colour,
            label=plain(line.name),
        )
        if line.markers:
            hollow = line.hollow or (False,) * len(line.x)
            faces = [light("ground") if empty else colour for empty in hollow]
            axes.scatter(line.x, line.y, s=26, c=faces, edgecolors=colour, zorder=3)
    for name, level in chart.levels:
        axes.axhline(level, color=light("paper"), linestyle=DASHES["dot"], linewidth=1.2)
        axes.annotate(
            plain(name),
            (0.995, level),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            ha="right",
            va="bottom",
            color=light("muted"),
            xytext=(0, 2),
            textcoords="offset points",
        )
    for name, epoch in chart.marks:
        axes.axvline(epoch, color=light("axis"), linestyle=DASHES["dot"], linewidth=1)
        axes.annotate(
            plain(name),
            (epoch, 0.99),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            rotation=90,
            ha="right",
            va="top",
            color=light("muted"),
        )
    if chart.log:
        axes.set_yscale("log")
    units(axes, "y", chart.unit, log=chart.log)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style(axes, chart.title, chart.x_label, chart.y_label)
    if len(chart.lines) > 1:
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    return figure


def bars(chart: BarChart) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.4 + 0.42 * len(chart.bars)), layout="constrained")
    axes = figure.subplots()
    names = [plain(bar.name) for bar in chart.bars]
    rows = range(len(names))
    values = [bar.value for bar in chart.bars]
    drawn = axes.barh(rows, values, color=[light(bar.colour) for bar in chart.bars], height=0.66)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    if chart.log:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 4, max(values) * 8)
    elif chart.limit is not None:
        axes.set_xlim(0, chart.limit)
    else:
        axes.set_xlim(0, 1.3 * max([*values, *(bar.paper or 0.0 for bar in chart.bars)]))
    for row, (bar, patch) in enumerate(zip(chart.bars, drawn, strict=True)):
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
        patch.set_label(plain(bar.name))
    units(axes, "x", chart.unit, log=chart.log)
    style(axes, chart.title, chart.x_label, grid="x")
    axes.tick_params(axis="y", labelcolor=light("text"))
    return figure
