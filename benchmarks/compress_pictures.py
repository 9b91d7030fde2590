"""Score lost against speed gained, one panel a network, for a light and for a dark ground."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from compress_gates import PEER, Row, front
from compress_work import INT8, ORIGINAL, OURS, TUNED, TUNED_ORIGINAL
from rankconv.drawing.palette import COLOURS

THEMES = ("light", "dark")
# source -> (colour, marker, filled); int8 is hollow
LOOKS = {
    OURS: ("rank 5", "o", True),
    TUNED: ("rank 3", "D", True),
    INT8: ("muted", "s", False),
    f"{OURS}+{INT8}": ("rank 5", "o", False),
    f"{TUNED}+{INT8}": ("rank 3", "D", False),
}
PEERS = {
    "aimet": ("AIMET", "rank 1", "^"),
    "musco": ("MUSCO", "rank 0", "v"),
    "tltorch": ("TensorLy-Torch", "extra 2", "<"),
    "fasterai": ("fasterai", "extra 3", ">"),
}
FARTHEST = {"points": 12.0, "dB": 3.0}  # drops beyond are left out, and counted


def pictures(result: dict[str, Any], folder: Path) -> list[Path]:
    """compress-light.svg and compress-dark.svg in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for theme in THEMES:
        path = folder / f"compress-{theme}.svg"
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_bytes(picture(result, theme))
        os.replace(beside, path)
        paths.append(path)
    return paths


def picture(result: dict[str, Any], theme: str) -> bytes:
    """The picture as SVG."""
    index = THEMES.index(theme)

    def colour(name: str) -> str:
        return COLOURS[name][index]

    nets = list(result["titles"])
    columns = min(3, len(nets))
    lines = -(-len(nets) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * lines + 0.8), layout="constrained")
    figure.patch.set_alpha(0)
    panels = figure.subplots(lines, columns, squeeze=False)
    shown: dict[str, Any] = {}
    for number, axes in enumerate(panels.flat):
        if number >= len(nets):
            axes.set_visible(False)
            continue
        net = nets[number]
        rows = [row for row in result["networks"] if row["net"] == net]
        _panel(axes, rows, result["units"][net], colour, shown)
        axes.set_title(result["titles"][net], color=colour("text"), fontsize=11)
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=min(5, len(shown) or 1),
        frameon=False, labelcolor=colour("text"), fontsize=9,
    )  # fmt: skip
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "rankconv", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _panel(axes: Axes, rows: list[Row], unit: str, colour: Any, shown: dict[str, Any]) -> None:
    def draw(some: list[Row], label: str, look: tuple[str, str, bool]) -> None:
        near = [row for row in some if row["drop"] <= FARTHEST[unit]]
        if not near:
            return
        name, marker, filled = look
        (shown[label],) = axes.plot(
            [row["drop"] for row in near],
            [row["speedup"][0] for row in near],
            linestyle="none", marker=marker, markersize=6, markeredgewidth=1.4,
            markerfacecolor=colour(name) if filled else "none",
            markeredgecolor=colour(name), label=label,
        )  # fmt: skip

    peers = [row for row in rows if row["source"] == PEER]
    for key, (label, name, marker) in PEERS.items():
        draw([row for row in peers if row["name"].startswith(key)], label, (name, marker, True))
    for source, look in LOOKS.items():
        some = [
            row for row in rows
            if row["source"] == source and row["name"] != TUNED_ORIGINAL
        ]  # fmt: skip
        label = {OURS: "rankconv", INT8: "int8 alone"}.get(source, f"rankconv, {source}")
        draw(some, label.replace("rankconv, rankconv+", "rankconv, "), look)
    own = front([row for row in rows if row["source"] in (OURS, ORIGINAL)])
    if len(own) > 1:
        line = [row for row in own if row["drop"] <= FARTHEST[unit]]
        axes.plot(
            [row["drop"] for row in line],
            [row["speedup"][0] for row in line],
            color=colour("rank 5"), linewidth=1.2, zorder=1,
        )  # fmt: skip
    axes.axhline(1, color=colour("axis"), linewidth=1, zorder=0)
    axes.axvline(0, color=colour("axis"), linewidth=1, zorder=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    ticks = [t for t in (0.5, 0.7, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if low <= t <= high]
    axes.set_yticks(ticks)
    axes.set_xlabel(f"{unit} lost on the test images", color=colour("muted"), fontsize=9)
    axes.set_ylabel("times as fast", color=colour("muted"), fontsize=9)
    axes.grid(color=colour("grid"), linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=colour("muted"), labelsize=8, length=0)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    far = sum(row["drop"] > FARTHEST[unit] for row in rows)
    if far:
        axes.text(
            0.98, 0.03, f"{far} further to the right", transform=axes.transAxes,
            ha="right", fontsize=8, color=colour("muted"),
        )  # fmt: skip
