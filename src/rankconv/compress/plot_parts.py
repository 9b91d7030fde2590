"""What the plot of time against score is made of: plain numbers for the template."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the units of the picture, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A point: where it stands, its quartiles, which of the report's points it is, its shape."""

    x: float
    y: float
    low: float
    high: float
    index: int
    source: str
    chosen: bool


@dataclass(frozen=True)
class Label:
    """A text beside a mark; `anchor` as in SVG, `leader` a path to a mark that is far off."""

    x: float
    y: float
    text: str
    anchor: str
    strong: bool
    leader: str = ""


@dataclass(frozen=True)
class Limit:
    """A line of the budget from (x1, y1) to (x2, y2) and its text at its end."""

    x1: float
    y1: float
    x2: float
    y2: float
    text: str


@dataclass(frozen=True)
class Plot:
    """A picture of `width` x `height`; its frame is left, top, right, bottom."""

    name: str
    width: int
    height: int
    size: int  # of the letters
    frame: tuple[float, float, float, float]
    seconds: tuple[Tick, ...]
    speedups: tuple[Tick, ...]
    scores: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    limits: tuple[Limit, ...]
    front: str  # the points that nothing beats in both, as the steps of an SVG path
