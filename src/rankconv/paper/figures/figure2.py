"""The paper's figure 2: a Python loop against one matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rankconv.drawing.palette import light
from rankconv.drawing.wording import count_text, seconds_text
from rankconv.paper.figures.files import save
from rankconv.paper.figures.look import WIDTH, style, title_of
from rankconv.paper.reference import FIGURE_2


def draw_figure2(measured: Mapping[str, Any]) -> Figure:
    """Draw the paper's figure 2: a Python loop against one matrix product, theirs and ours.

    Args:
        measured: `loop_seconds` for a 3x3 filter over 1002x1002 values and `matmul_seconds` for
            10000x1000 times 1000x10000 values, as `paper.figure2.measure_figure2` gives them.
            Where it holds the shapes `image`, `filter`, `left` and `right` they decide the number
            of operations; `threads` and the `processor` of `machine` appear where given.

    Raises:
        ValueError: one of the two times is missing or is not a positive number.

    >>> figure = draw_figure2({"loop_seconds": 3.0, "matmul_seconds": 1.5})
    >>> [float(patch.get_width()) for patch in figure.axes[0].patches]
    [7.74310302734375, 3.0, 4.093238830566406, 1.5]
    """
    times = []
    for name in ("loop_seconds", "matmul_seconds"):
        value = measured.get(name)
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} is not a positive number of seconds")
        times.append(float(value))
    loop, matmul = _operations(measured)
    rows = [
        ("Python loop, paper", FIGURE_2.loop_seconds, FIGURE_2.loop_operations, "paper"),
        (f"Python loop, {_here(loop, FIGURE_2.loop_operations)}", times[0], loop, "rank 0"),
        ("matrix product, paper", FIGURE_2.matmul_seconds, FIGURE_2.matmul_operations, "paper"),
        (
            f"matrix product, {_here(matmul, FIGURE_2.matmul_operations)}",
            times[1],
            matmul,
            "rank 5",
        ),
    ]
    names = [row[0] for row in rows]
    colours = [light(row[3]) for row in rows]
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    rates = [operations / seconds for _, seconds, operations, _ in rows]
    for axes, values, label, texts in (
        (upper, [row[1] for row in rows], "Seconds", [seconds_text(row[1]) for row in rows]),
        (lower, rates, "Multiply-adds a second (logarithmic)", [count_text(r) for r in rates]),
    ):
        bars = axes.barh(names, values, color=colours, height=0.62)
        axes.bar_label(bars, texts, padding=4, color=light("text"), fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.14)
        style(axes, "", label, grid="x")
    lower.set_xscale("log")
    lower.set_xlim(left=min(rates) / 3, right=max(rates) * 6)
    facts = [measured.get("machine", {}).get("processor")]
    facts += [f"threads: {measured['threads']}" if "threads" in measured else None]
    where = ", ".join(str(fact) for fact in facts if fact)
    title_of(figure, "Figure 2: a Python loop against one matrix product", where)
    return figure


def write_figure2(measured: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write figure-2.png and figure-2.svg into a folder; see `draw_figure2`."""
    return save(draw_figure2(measured), Path(out), "figure-2")


def _operations(measured: Mapping[str, Any]) -> tuple[int, int]:
    if not {"image", "filter", "left", "right"} <= measured.keys():
        return FIGURE_2.loop_operations, FIGURE_2.matmul_operations
    (m, n), (i, j) = measured["image"], measured["filter"]
    (rows, inner), (_, columns) = measured["left"], measured["right"]
    return (m - i + 1) * (n - j + 1) * i * j, rows * inner * columns


def _here(operations: int, paper: int) -> str:
    return "here" if operations == paper else "here (another size)"
