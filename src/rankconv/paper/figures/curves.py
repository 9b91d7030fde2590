"""Curves over the epochs, drawn by matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rankconv.drawing.palette import light
from rankconv.drawing.wording import seconds_text
from rankconv.paper.charts import LineChart
from rankconv.paper.figures.look import DASHES, WIDTH, log_units, plain, style, units


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
        log_units(axes.yaxis, (y for line in chart.lines for y in line.y), seconds_text)
    else:
        units(axes.yaxis, chart.unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style(axes, chart.title, chart.x_label, chart.y_label)
    if len(chart.lines) > 1:
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    return figure
