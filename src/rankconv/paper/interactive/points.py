"""Methods as points, drawn by Plotly."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from rankconv.drawing.palette import light
from rankconv.drawing.wording import percent_text, seconds_text, times_text
from rankconv.paper.charts import PairChart, PlaneChart
from rankconv.paper.interactive.look import blank, log_ticks, safe, tick

_SYMBOLS = {"paper": "circle", "extra": "diamond", "batch": "triangle-up"}


def plane(chart: PlaneChart) -> go.Figure:
    figure = blank(hovermode="closest")
    seconds = log_ticks((point.seconds for point in chart.points), seconds_text)
    for (name, places), dash, colour in zip(
        chart.fronts, ("solid", "dash"), ("muted", "train"), strict=False
    ):
        figure.add_scatter(
            name=safe(name),
            x=[chart.points[i].seconds for i in places],
            y=[chart.points[i].accuracy for i in places],
            mode="lines+markers",
            line={"shape": "hv", "dash": dash, "width": 1.6, "color": light(colour)},
            marker={"symbol": "circle-open", "size": 21, "line": {"width": 1.6}},
            hoverinfo="skip",
        )
    for point in chart.points:
        figure.add_scatter(
            name=safe(point.legend),
            x=[point.seconds],
            y=[point.accuracy],
            mode="markers+text",
            text=[safe(point.code)],
            textposition="top center" if point.above else "bottom center",
            textfont={"size": 12, "color": light("text")},
            marker={
                "symbol": _SYMBOLS[point.kind],
                "size": 12,
                "color": light(point.colour if point.kind == "paper" else "ground"),
                "line": {"width": 2, "color": light(point.colour)},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, point.high - point.seconds)],
                "arrayminus": [max(0.0, point.seconds - point.low)],
                "thickness": 1,
                "color": light(point.colour),
                "width": 0,
            },
            hovertemplate=(
                f"<b>{safe(point.name)}</b><br>{seconds_text(point.seconds)}"
                f"<br>{percent_text(point.accuracy, digits=2)}<extra></extra>"
            ),
        )
    figure.update_xaxes(title_text=safe(chart.x_label), **seconds)
    figure.update_yaxes(title_text=safe(chart.y_label), **tick("%"))
    return figure


def pairs(chart: PairChart) -> go.Figure:
    figure = blank(showlegend=False)
    values = [value for pair in chart.pairs for value in (pair.paper, pair.ours)]
    ratios = log_ticks(values, lambda value: f"{value:g}×")
    names = [safe(pair.name) for pair in chart.pairs]
    for pair, name in zip(chart.pairs, names, strict=True):
        figure.add_scatter(
            x=[pair.paper, pair.ours],
            y=[name, name],
            mode="lines+markers",
            line={"color": light(pair.colour), "width": 2},
            marker={
                "size": [10, 13],
                "opacity": 1,
                "color": [light("ground"), light(pair.colour)],
                "line": {"color": light(pair.colour), "width": 2},
            },
            customdata=["the paper", "here"],
            hovertemplate="%{customdata}: %{x:.3g}×<extra></extra>",
        )
        figure.add_annotation(
            text=times_text(pair.ours),
            x=float(np.log10(pair.ours)),
            y=name,
            yshift=15,
            showarrow=False,
        )
    figure.add_vline(1, line={"color": light("axis"), "width": 1.5})
    figure.update_yaxes(
        range=[len(names) - 0.4, -0.8],
        showgrid=False,
        ticksuffix="  ",
        tickfont={"color": light("text")},
    )
    figure.update_xaxes(title_text=safe(chart.x_label), **ratios)
    return figure
