"""What all pictures share: size, axes, titles, units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rankconv.drawing.palette import light
from rankconv.drawing.ticks import log_places

WIDTH = 7.6  # inches
DASHES: Mapping[str, Any] = {"solid": "-", "dash": (0, (4, 2.5)), "dot": (0, (1, 1.6))}


def plain(text: str, *, most: int = 44) -> str:
    """Text as it is, cut if long: matplotlib reads a pair of dollars as mathematics."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.replace("$", r"\$")


def title_of(figure: Figure, title: str, note: str = "") -> None:
    text = plain(title, most=90) + (f"\n{plain(note, most=90)}" if note else "")
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")


def style(axes: Axes, title: str, x_label: str, y_label: str = "", *, grid: str = "both") -> None:
    axes.set_xlabel(plain(x_label), color=light("muted"))
    axes.set_ylabel(plain(y_label), color=light("muted"))
    if title:
        axes.set_title(plain(title, most=90), loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.set_axisbelow(True)
    chosen: Any = grid
    axes.grid(True, axis=chosen, color=light("grid"), linewidth=0.8)
    axes.tick_params(colors=light("muted"), length=0, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(light("axis"))


def units(axis: Axis, unit: str) -> None:
    if unit == "%":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %"))


def log_units(axis: Axis, values: Iterable[float], text: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(log_places(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
