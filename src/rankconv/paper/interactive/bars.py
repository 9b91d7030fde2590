"""Averages as bars, drawn by Plotly."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from rankconv.drawing.palette import light
from rankconv.drawing.wording import percent_text, seconds_text
from rankconv.paper.charts import Bar, BarChart
from rankconv.paper.interactive.look import blank, log_ticks, safe, tick


def bars(chart: BarChart) -> go.Figure:
    figure = blank(showlegend=False, bargap=0.3)
    names = [safe(bar.name) for bar in chart.bars]
    off = [chart.limit is not None and bar.value > chart.limit for bar in chart.bars]
    whiskers = {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if b.high is None else max(0.0, b.high - b.value) for b in chart.bars],
        "arrayminus": [0.0 if b.low is None else max(0.0, b.value - b.low) for b in chart.bars],
        "color": light("text"),
        "thickness": 1.3,
        "width": 0,
        "visible": any(bar.low is not None for bar in chart.bars),
    }
    common = {
        "x": [bar.value for bar in chart.bars],
        "y": names,
        "hovertemplate": "<b>%{y}</b><br>%{customdata}<extra></extra>",
        "customdata": [_hover(bar) for bar in chart.bars],
        "error_x": whiskers,
    }
    colours = [light(bar.colour) for bar in chart.bars]
    if chart.log:  # a length means nothing on a logarithmic axis
        figure.add_scatter(**common, mode="markers", marker={"color": colours, "size": 12})
    else:
        figure.add_bar(**common, orientation="h", marker={"color": colours})
    if any(bar.paper is not None for bar in chart.bars):
        figure.add_scatter(
            x=[bar.paper for bar in chart.bars],
            y=names,
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 10,
                "color": light("ground"),
                "line": {"color": light("text"), "width": 1.6},
            },
            hovertemplate="the paper: %{x:.3%}<extra></extra>",
        )
    for bar, name, beyond in zip(chart.bars, names, off, strict=True):
        end = max(bar.value, bar.high or 0.0, bar.paper or 0.0)
        figure.add_annotation(
            text=f"<b>{safe(bar.text)}</b>" if beyond else safe(bar.text),
            x=0 if beyond else float(np.log10(end)) if chart.log else end,
            y=name,
            xanchor="left",
            xshift=8,
            showarrow=False,
            font={"color": light("ground") if beyond else light("text"), "size": 12},
        )
    figure.update_yaxes(range=[len(names) - 0.4, -0.6], showgrid=False, ticksuffix="  ")
    figure.update_yaxes(tickfont={"color": light("text")}, fixedrange=True)
    figure.update_xaxes(title_text=safe(chart.x_label), **tick(chart.unit))
    values = [bar.value for bar in chart.bars]
    if chart.log:
        low, high = float(np.log10(min(values))), float(np.log10(max(values)))
        figure.update_xaxes(range=[low - 0.3, high + 0.5 * (high - low + 0.6)])
        figure.update_xaxes(**log_ticks(values, seconds_text))
    else:
        top = max([*values, *(bar.paper or 0.0 for bar in chart.bars)])
        figure.update_xaxes(range=[0, chart.limit if chart.limit is not None else 1.42 * top])
    return figure


def _hover(bar: Bar) -> str:
    text = safe(bar.text) + (f"<br>{safe(bar.note)}" if bar.note else "")
    if bar.low is not None and bar.high is not None:
        text += f"<br>middle half: {seconds_text(bar.low)} to {seconds_text(bar.high)}"
    if bar.paper is not None:
        text += f"<br>the paper: {percent_text(bar.paper, digits=3)}"
    return text
