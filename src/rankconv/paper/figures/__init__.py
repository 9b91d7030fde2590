"""The charts as pictures: PNG and SVG files drawn by matplotlib, without its global state."""

from __future__ import annotations

from matplotlib.figure import Figure

from rankconv.paper.charts import (
    BarChart,
    Chart,
    FilterChart,
    LineChart,
    PairChart,
    PlaneChart,
    SampleChart,
)
from rankconv.paper.figures.bars import bars
from rankconv.paper.figures.curves import lines
from rankconv.paper.figures.figure2 import draw_figure2, write_figure2
from rankconv.paper.figures.files import save
from rankconv.paper.figures.pictures import filters, samples
from rankconv.paper.figures.points import pairs, plane

__all__ = ["draw", "draw_figure2", "save", "write_figure2"]


def draw(chart: Chart) -> Figure:
    """Draw a chart on a light ground.

    >>> from rankconv.paper.charts import Line, LineChart
    >>> line = Line("loss", (1.0, 2.0), (2.3, 2.1), "train")
    >>> figure = draw(LineChart("loss", "Loss", "", "Epoch", "Cross entropy", (line,)))
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [2.3, 2.1]
    """
    match chart:
        case LineChart():
            return lines(chart)
        case BarChart():
            return bars(chart)
        case PlaneChart():
            return plane(chart)
        case PairChart():
            return pairs(chart)
        case FilterChart():
            return filters(chart)
        case SampleChart():
            return samples(chart)
