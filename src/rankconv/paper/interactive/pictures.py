"""The filters as pictures with a slider over the epochs, drawn by Plotly."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from rankconv.drawing.palette import DIVERGING, light
from rankconv.drawing.wording import percent_text
from rankconv.paper.charts import FilterChart, FilterFrame
from rankconv.paper.interactive.look import blank, safe

_PLAIN = {
    "fixedrange": True,
    "showgrid": False,
    "zeroline": False,
    "showticklabels": False,
    "showline": False,
    "ticks": "",
    "automargin": False,
}


def filters(chart: FilterChart) -> go.Figure:
    figure = blank(showlegend=False)
    peak = max(
        float(np.abs(tile).max()) for frame in chart.frames for row in frame.tiles for tile in row
    )
    shown = chart.frames[-1]
    height, width = (max(tile.shape[i] for row in shown.tiles for tile in row) for i in (0, 1))
    figure.add_heatmap(
        z=_mosaic(shown, height, width),
        zmin=-peak,
        zmax=peak,
        colorscale=[[0.0, DIVERGING[0]], [0.5, DIVERGING[1]], [1.0, DIVERGING[2]]],
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{z:.4f}<extra></extra>",
    )
    figure.update_layout(annotations=_labels(chart, shown, height, width))
    figure.update_xaxes(range=[-0.7, len(chart.columns) * (width + 1) - 1.3], **_PLAIN)
    figure.update_yaxes(
        range=[len(chart.layers) * (height + 3) - 1.2, -2.8], scaleanchor="x", **_PLAIN
    )
    if len(chart.frames) > 1:
        steps = [
            {
                "label": str(frame.epoch),
                "method": "update",
                "args": [
                    {"z": [_mosaic(frame, height, width)]},
                    {"annotations": _labels(chart, frame, height, width)},
                ],
            }
            for frame in chart.frames
        ]
        slider = {
            "active": len(steps) - 1,
            "steps": steps,
            "currentvalue": {"prefix": "after epoch "},
            "pad": {"t": 8, "b": 4},
            "x": 0.02,
            "len": 0.96,
            "ticklen": 0,
            "minorticklen": 0,
            "bgcolor": light("grid"),
            "activebgcolor": light("train"),
            "bordercolor": light("axis"),
            "font": {"color": light("muted"), "size": 11},
        }
        figure.update_layout(sliders=[slider])
    return figure


def _mosaic(frame: FilterFrame, height: int, width: int) -> list[list[float | None]]:
    """All tiles in one matrix: one empty column between them, three empty rows below each."""
    rows, columns = len(frame.tiles), len(frame.tiles[0])
    whole = np.full((rows * (height + 3), columns * (width + 1)), np.nan)
    for i, row in enumerate(frame.tiles):
        for j, tile in enumerate(row):
            top, left = i * (height + 3), j * (width + 1)
            whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return [[None if np.isnan(value) else float(value) for value in row] for row in whole]


def _labels(
    chart: FilterChart, frame: FilterFrame, height: int, width: int
) -> list[dict[str, Any]]:
    centre = (width - 1) / 2
    base = {"showarrow": False, "font": {"size": 11, "color": light("muted")}}
    labels = []
    for i, layer in enumerate(chart.layers):
        for j, column in enumerate(chart.columns):
            x, y = j * (width + 1) + centre, i * (height + 3)
            if i == 0:
                labels.append({**base, "text": column.removeprefix("as "), "x": x, "y": -1.6})
            below = safe(layer) if j == 0 else percent_text(frame.errors[i][j])
            labels.append({**base, "text": below, "x": x, "y": y + height + 0.4})
    return labels
