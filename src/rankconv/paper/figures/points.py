"""Methods as points, drawn by matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from rankconv.drawing.palette import light
from rankconv.drawing.wording import seconds_text, times_text
from rankconv.paper.charts import PairChart, PlaneChart
from rankconv.paper.figures.look import DASHES, WIDTH, log_units, plain, style, units

_MARKERS = {"paper": "o", "extra": "D", "batch": "^"}


def plane(chart: PlaneChart) -> Figure:
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for (name, places), dash, colour in zip(
        chart.fronts, ("solid", "dash"), ("muted", "train"), strict=False
    ):
        x = [chart.points[i].seconds for i in places]
        y = [chart.points[i].accuracy for i in places]
        axes.plot(
            x,
            y,
            drawstyle="steps-post",
            color=light(colour),
            linestyle=DASHES[dash],
            linewidth=1.4,
            marker="o",
            markersize=14,
            markerfacecolor="none",
            label=plain(name),
            zorder=1,
        )
    for point in chart.points:
        colour = light(point.colour)
        axes.plot([point.low, point.high], [point.accuracy] * 2, color=colour, linewidth=1)
        extra = point.kind != "paper"
        axes.scatter(
            [point.seconds],
            [point.accuracy],
            s=58,
            marker=_MARKERS[point.kind],
            c=light("ground") if extra else colour,
            edgecolors=colour,
            linewidths=1.8,
            zorder=3,
            label=plain(point.legend),
        )
        axes.annotate(
            plain(point.code),
            (point.seconds, point.accuracy),
            xytext=(0, 7 if point.above else -7),
            textcoords="offset points",
            ha="center",
            va="bottom" if point.above else "top",
            fontsize=8.5,
            color=light("text"),
        )
    axes.margins(x=0.08, y=0.12)
    log_units(axes.xaxis, (point.seconds for point in chart.points), seconds_text)
    units(axes.yaxis, "%")
    style(axes, chart.title, chart.x_label, chart.y_label)
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    return figure


def pairs(chart: PairChart) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(chart.pairs)), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.axvline(1, color=light("axis"), linewidth=1.4)
    for row, pair in enumerate(chart.pairs):
        colour = light(pair.colour)
        axes.plot([pair.paper, pair.ours], [row, row], color=colour, linewidth=2, alpha=0.5)
        axes.plot([pair.paper], [row], "o", color=light("ground"), markeredgecolor=colour)
        axes.plot([pair.ours], [row], "o", color=colour, markersize=8)
        axes.annotate(
            times_text(pair.ours),
            (pair.ours, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=light("text"),
        )
    axes.set_yticks(range(len(chart.pairs)), [plain(pair.name) for pair in chart.pairs])
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.12)
    values = (value for pair in chart.pairs for value in (pair.paper, pair.ours))
    log_units(axes.xaxis, values, lambda value: f"{value:g}×")
    style(axes, chart.title, chart.x_label, grid="x")
    axes.tick_params(axis="y", labelcolor=light("text"))
    return figure
