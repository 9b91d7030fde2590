"""Filters and sample images, drawn by matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from rankconv.drawing.palette import DIVERGING, light
from rankconv.paper.charts import FilterChart, SampleChart
from rankconv.paper.figures.look import WIDTH, plain, title_of


def filters(chart: FilterChart) -> Figure:
    frame = chart.frames[-1]
    rows, columns = len(chart.layers), len(chart.columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 1.55 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    peak = max(float(np.abs(tile).max()) for row in frame.tiles for tile in row) or 1.0
    colours = LinearSegmentedColormap.from_list("filters", DIVERGING)
    for i, layer in enumerate(chart.layers):
        for j, column in enumerate(chart.columns):
            axes = grid[i][j]
            axes.imshow(frame.tiles[i][j], cmap=colours, vmin=-peak, vmax=peak)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color(light("axis"))
            if i == 0:
                axes.set_title(column, fontsize=9)
            if j == 0:
                axes.set_ylabel(plain(layer), fontsize=9)
            else:
                axes.set_xlabel(f"error {100 * frame.errors[i][j]:.1f} %", fontsize=8)
    title_of(figure, f"{chart.title}, epoch {frame.epoch}")
    return figure


def samples(chart: SampleChart) -> Figure:
    columns = 4
    rows = -(-len(chart.samples) // columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.35 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for sample, axes in zip(chart.samples, grid.flat, strict=False):
        if sample.picture is not None:
            axes.imshow(sample.picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(plain(f"{sample.truth} (image {sample.index})"), fontsize=8)
        for row, answer in enumerate(sample.answers[:3]):
            mark, colour = ("✓", "rank 3") if answer.right else ("✗", "rank 1")
            several = f"{len(answer.methods)} methods"
            short = answer.methods[0] if len(answer.methods) == 1 else several
            axes.text(
                0,
                -0.04 - 0.1 * row,
                plain(f"{mark} {answer.name}: {short}"),
                fontsize=6.5,
                va="top",
                transform=axes.transAxes,
                color=light(colour),
            )
    title_of(figure, chart.title)
    return figure
