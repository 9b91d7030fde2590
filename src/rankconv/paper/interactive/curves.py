"""Curves over the epochs, drawn by Plotly."""

from __future__ import annotations

import plotly.graph_objects as go

from rankconv.drawing.palette import light
from rankconv.drawing.wording import seconds_text
from rankconv.paper.charts import LineChart
from rankconv.paper.interactive.look import blank, log_ticks, safe, tick


def lines(chart: LineChart) -> go.Figure:
    figure = blank(hovermode="x unified", showlegend=len(chart.lines) > 1)
    for line in chart.lines:
        colour = light(line.colour)
        hollow = line.hollow or (False,) * len(line.x)
        form = ":.2%" if chart.unit == "%" else ":.4g"
        note = [" (scaled)" if empty else "" for empty in hollow]
        unit = " s" if chart.unit == "s" else ""
        figure.add_scatter(
            name=safe(line.name),
            x=line.x,
            y=line.y,
            mode="lines+markers" if line.markers else "lines",
            line={"color": colour, "dash": line.dash, "width": line.width},
            marker={
                "size": 8,
                "color": [light("ground") if empty else colour for empty in hollow],
                "line": {"color": colour, "width": 1.8},
            },
            customdata=note,
            hovertemplate=f"%{{y{form}}}{unit}%{{customdata}}",
        )
    for name, level in chart.levels:
        figure.add_hline(
            level,
            line={"color": light("paper"), "dash": "dot", "width": 1.4},
            annotation={
                "text": safe(name),
                "font": {"color": light("muted"), "size": 11},
                "xanchor": "right",
                "yanchor": "bottom",
                "x": 1,
            },
        )
    for name, epoch in chart.marks:
        figure.add_vline(
            epoch,
            line={"color": light("axis"), "dash": "dot", "width": 1},
            annotation={
                "text": safe(name),
                "font": {"color": light("muted"), "size": 10},
                "textangle": -90,
                "xanchor": "right",
                "yanchor": "top",
            },
        )
    places = [place for line in chart.lines for place in line.x]
    few = max(places) - min(places) <= 10
    figure.update_xaxes(title_text=safe(chart.x_label), showgrid=False, dtick=1 if few else None)
    figure.update_yaxes(title_text=safe(chart.y_label), **tick(chart.unit))
    if chart.log:
        values = [value for line in chart.lines for value in line.y]
        figure.update_yaxes(**log_ticks(values, seconds_text))
    return figure
