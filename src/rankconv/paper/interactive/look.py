"""What all interactive figures share."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import Any

import plotly.graph_objects as go

from rankconv.drawing.palette import light
from rankconv.drawing.ticks import log_places


def safe(text: str) -> str:
    """Text as it is: Plotly reads markup in its labels, and mathematics between dollars."""
    return html.escape(text, quote=False).replace("$", "&#36;")


def blank(**layout: Any) -> go.Figure:
    axis = {
        "gridcolor": light("grid"),
        "linecolor": light("axis"),
        "zeroline": False,
        "automargin": True,
        "title": {"font": {"color": light("muted"), "size": 13}, "standoff": 8},
        "tickfont": {"color": light("muted")},
    }
    figure = go.Figure()
    figure.update_layout(
        template=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": light("text")},
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        hoverlabel={
            "bgcolor": light("ground"),
            "bordercolor": light("axis"),
            "font": {"color": light("text")},
        },
        legend={
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "maxheight": 0.95,
        },
        xaxis=axis,
        yaxis=axis,
    )
    figure.update_layout(**layout)
    return figure


def log_ticks(values: Iterable[float], text: Callable[[float], str]) -> dict[str, Any]:
    """A logarithmic axis with labelled round places."""
    places = log_places(values)
    return {
        "type": "log",
        "tickmode": "array",
        "tickvals": places,
        "ticktext": [text(place) for place in places],
        "minor": {"showgrid": False},
    }


def tick(unit: str) -> dict[str, Any]:
    return {"tickformat": ",.0%"} if unit == "%" else {}
