"""Methods as points: time against accuracy, and our speed beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from rankconv.paper import reference
from rankconv.paper.charts import Pair, PairChart, PlaneChart, Point
from rankconv.paper.palette import slots
from rankconv.paper.runlog import Log
from rankconv.paper.summary import Summary, pareto_front, summarise, times_as_fast
from rankconv.paper.wording import epochs_text, images_text

_CODES = {reference.PYTORCH: "P", reference.LOOP: "L"}


def plane(log: Log) -> PlaneChart:
    """Time against accuracy, with the methods that nothing else beats in both."""
    rows = summarise(log)
    codes = _codes(log)
    points = _apart(
        Point(
            name=row.method.label + _remark(row),
            code=codes[row.method.key],
            seconds=row.seconds,
            accuracy=row.accuracy_matched,
            low=row.seconds_low,
            high=row.seconds_high,
            colour=slots(log)[row.method.key],
            kind="batch" if row.method.batch else row.method.group,
            scaled=row.scaled,
        )
        for row in rows
    )
    partial = any(row.partial for row in rows)
    scaled = any(row.scaled for row in rows)
    return PlaneChart(
        key="time-accuracy-plane",
        title="Time against accuracy",
        caption=(
            f"For {images_text(log.data['test'])}; up and to the left is better. A front joins the "
            "methods that no other beats in both; "
            "batch methods stay out of it, since they do not take the images one by one"
            + (", and so does what ran on a part of the images." if scaled else ".")
            + (" Methods that ran in some epochs only stand at " * partial)
            + ("PyTorch's average and their mean difference from it in those epochs." * partial)
        ),
        x_label="Seconds",
        y_label="Average test accuracy",
        points=points,
        fronts=(
            ("Front of the paper's seven", _front(points, ("paper",))),
            ("Front of all, one by one", _front(points, ("paper", "extra"))),
        )
        if any(point.kind == "extra" for point in points)
        else (("Pareto front", _front(points, ("paper",))),),
    )


def beside_paper(log: Log) -> PairChart | None:
    """How many times as fast as PyTorch, in the paper and here."""
    pairs = []
    for key in (*reference.RANKS, reference.LOOP):
        ours = times_as_fast(log, key) if log.has(key) else None
        if ours is None:
            continue
        loop = 1 / reference.LOOP_FACTOR
        paper = (
            reference.SECONDS[reference.PYTORCH] / reference.SECONDS[key]
            if key in reference.SECONDS
            else loop
        )
        pairs.append(Pair(log.method(key).label, paper, ours, key))
    if not pairs:
        return None
    return PairChart(
        key="beside-the-paper",
        title="Speed beside the paper's",
        caption=(
            "How many times as fast as PyTorch; 1 is PyTorch itself. Hollow: the paper (its loop "
            "is at most 1/13 as fast as PyTorch, its nearest method). Filled: here."
        ),
        x_label="Times as fast as PyTorch",
        pairs=tuple(pairs),
    )


def _apart(points: Iterable[Point]) -> tuple[Point, ...]:
    """Let the codes of close neighbours stand above and below in turn."""
    placed = list(points)
    order = sorted(range(len(placed)), key=lambda i: placed[i].seconds)
    for before, after in pairwise(order):
        left, right = placed[before], placed[after]
        close = right.seconds < 1.5 * left.seconds and abs(right.accuracy - left.accuracy) < 0.02
        placed[after] = replace(right, above=not left.above if close else True)
    return tuple(placed)


def _front(points: tuple[Point, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
    chosen = [i for i, point in enumerate(points) if point.kind in kinds and not point.scaled]
    front = pareto_front([points[i].seconds for i in chosen], [points[i].accuracy for i in chosen])
    return tuple(chosen[i] for i in front)


def _remark(row: Summary) -> str:
    return (f" ({epochs_text(row.epochs)})" if row.partial else "") + (
        " (scaled)" if row.scaled else ""
    )


def _codes(log: Log) -> dict[str, str]:
    codes: dict[str, str] = {}
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for method in log.methods:
        if method.key in reference.SEVEN:
            codes[method.key] = _CODES.get(method.key, method.key.removeprefix("rank "))
        else:
            codes[method.key] = next(letters, "*")
    return codes
