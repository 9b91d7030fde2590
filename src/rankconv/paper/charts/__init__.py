"""The report's charts as plain data: both drawings, the page's and the files', start here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """One curve; `hollow` marks the points that are estimates and not measurements."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str  # a name of palette.COLOURS
    dash: str = "solid"  # 'solid', 'dash', 'dot'
    width: float = 1.8
    markers: bool = False
    hollow: tuple[bool, ...] = ()


@dataclass(frozen=True)
class LineChart:
    """Curves over the epochs; `levels` are named horizontal lines, `marks` epochs to point at."""

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    unit: str = ""  # '', 's' or '%' ('%' for values in 0..1)
    levels: tuple[tuple[str, float], ...] = ()
    marks: tuple[tuple[str, float], ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Bar:
    """One value, its spread (low, high) where there is one, and the paper's value if printed."""

    name: str
    value: float
    colour: str
    text: str  # beside the bar
    note: str = ""  # what a reader gets who points at it
    low: float | None = None
    high: float | None = None
    paper: float | None = None


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars; those longer than `limit` run off the axis, and their text says so.

    On a logarithmic axis, where a length means nothing, they are dots.
    """

    key: str
    title: str
    caption: str
    x_label: str
    bars: tuple[Bar, ...]
    unit: str = ""
    limit: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Point:
    """A method in the time/accuracy plane."""

    name: str
    code: str  # the short label beside the point
    seconds: float
    accuracy: float
    low: float
    high: float
    colour: str
    kind: str  # 'paper', 'extra', 'batch'
    scaled: bool  # ran on a part of the images, so stays out of the fronts
    above: bool = True  # where the code stands, so that neighbours do not cover each other

    @property
    def legend(self) -> str:
        """The name behind its code."""
        return f"{self.code} · {self.name}"


@dataclass(frozen=True)
class PlaneChart:
    """Time against accuracy, and the fronts: named rows of positions in `points`."""

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]
    fronts: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Pair:
    """The paper's ratio beside ours."""

    name: str
    paper: float
    ours: float
    colour: str


@dataclass(frozen=True)
class PairChart:
    """Two points a row on one logarithmic axis."""

    key: str
    title: str
    caption: str
    x_label: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class FilterFrame:
    """The filters after one epoch: `tiles[layer][0]` as trained, then rank 1, 2, ..."""

    epoch: int
    tiles: tuple[tuple[NDArray[np.float64], ...], ...]
    errors: tuple[tuple[float, ...], ...]  # relative Frobenius error of each tile


@dataclass(frozen=True)
class FilterChart:
    """Pictures of the filters and their approximations in some epochs, the last one first seen."""

    key: str
    title: str
    caption: str
    layers: tuple[str, ...]
    columns: tuple[str, ...]
    frames: tuple[FilterFrame, ...]


@dataclass(frozen=True)
class Answer:
    """A class and the methods that chose it."""

    name: str
    right: bool
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A test image, what it shows, and what the methods made of it."""

    index: int
    truth: str
    answers: tuple[Answer, ...]
    picture: NDArray[np.uint8] | None


@dataclass(frozen=True)
class SampleChart:
    """A sheet of sample images."""

    key: str
    title: str
    caption: str
    samples: tuple[Sample, ...]


Chart = LineChart | BarChart | PlaneChart | PairChart | FilterChart | SampleChart
