"""The charts as interactive figures of Plotly, in the colours of a light ground."""

from __future__ import annotations

import plotly.graph_objects as go

from rankconv.paper.charts import BarChart, FilterChart, LineChart, PairChart, PlaneChart
from rankconv.paper.interactive.bars import bars
from rankconv.paper.interactive.curves import lines
from rankconv.paper.interactive.pictures import filters
from rankconv.paper.interactive.points import pairs, plane

__all__ = ["Interactive", "interactive"]

Interactive = LineChart | BarChart | PlaneChart | PairChart | FilterChart


def interactive(chart: Interactive) -> go.Figure:
    """Draw a chart as a Plotly figure; its size is left to the page.

    >>> from rankconv.paper.charts import Line, LineChart
    >>> line = Line("loss", (1.0, 2.0), (2.3, 2.1), "train")
    >>> interactive(LineChart("loss", "Loss", "", "Epoch", "Cross entropy", (line,))).data[0].y
    (2.3, 2.1)
    """
    match chart:
        case LineChart():
            figure = lines(chart)
        case BarChart():
            figure = bars(chart)
        case PlaneChart():
            figure = plane(chart)
        case PairChart():
            figure = pairs(chart)
        case FilterChart():
            figure = filters(chart)
    return figure
