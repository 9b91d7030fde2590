"""Where everything stands in the plot of time against score: plain numbers for the template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from rankconv.compress.plot_parts import Label, Limit, Mark, Plot, Tick
from rankconv.compress.records import Point, Report
from rankconv.drawing.ticks import linear_places
from rankconv.drawing.wording import seconds_text

LETTER = 0.58  # the mean width of a letter over its height, about, in most sans-serif fonts


def rising(points: Sequence[Point]) -> bool:
    """Whether a higher score is better, told by the drops."""
    first = points[0]
    told = (p for p in points if p.drop and p.score != first.score)
    return next(((p.drop > 0) == (p.score < first.score) for p in told), True)


def front(points: Sequence[Point]) -> tuple[int, ...]:
    """The points that none beats in both time and drop, the quickest first.

    >>> from rankconv.compress.records import Point
    >>> def point(seconds, drop):
    ...     return Point("", "", seconds, (0, 0), 1.0, 0.0, drop, 0, 0)
    >>> front([point(3.0, 0.0), point(2.0, 0.5), point(2.5, 0.7), point(1.0, 2.0)])
    (3, 1, 0)
    """
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i].seconds, points[i].drop)):
        if not kept or points[i].drop < points[kept[-1]].drop:
            kept.append(i)
    return tuple(kept)


def plot(
    report: Report, *, name: str, width: int, height: int, size: int, score: Callable[[float], str]
) -> Plot:
    """The plot of a report: time to the right, better scores up, speed-ups along the top."""
    points, first = report.points, report.points[0]
    up = rising(points)
    left, top, right, bottom = 4.6 * size, 2.6 * size, width - 1.2 * size, height - 3.6 * size
    bar = report.budget.get("max_drop")
    floor = None if bar is None else first.score - bar if up else first.score + bar
    ceiling = _most_seconds(report)
    times = [t for p in points for t in (p.seconds, *p.quartiles)] + [ceiling or first.seconds]
    values = [p.score for p in points] + ([] if floor is None else [floor])
    low, high = _stretch(times, 0.08)
    low = max(low, 0.25 * min(times))
    worst, best = _stretch(values, 0.14)

    def x(seconds: float) -> float:
        return round(left + (seconds - low) / (high - low) * (right - left), 2)

    def y(value: float) -> float:
        share = (value - worst) / (best - worst)
        return round(bottom - (share if up else 1 - share) * (bottom - top), 2)

    marks = tuple(
        Mark(
            x=x(p.seconds),
            y=y(p.score),
            low=x(min(p.quartiles[0], p.seconds)),
            high=x(max(p.quartiles[1], p.seconds)),
            index=i,
            source=p.source,
            chosen=i == report.chosen,
        )
        for i, p in enumerate(points)
    )
    limits = []
    if floor is not None:
        limits.append(Limit(left, y(floor), right, y(floor), f"budget: {score(floor)}"))
    if ceiling is not None:
        limits.append(Limit(x(ceiling), top, x(ceiling), bottom, f"budget: {_time(ceiling)}"))
    return Plot(
        name=name,
        width=width,
        height=height,
        size=size,
        frame=(left, top, right, bottom),
        seconds=tuple(Tick(x(t), _time(t)) for t in linear_places(low, high, most=width // 90)),
        speedups=tuple(
            Tick(x(first.seconds / s), f"{s:g}×")
            for s in _speedups(
                first.seconds / high, first.seconds / low, 3.4 * size / (right - left)
            )
        ),
        scores=tuple(Tick(y(v), _bare(v)) for v in linear_places(worst, best, most=height // 65)),
        marks=marks,
        labels=_labels(report, marks, limits, size, (left, top, right, bottom)),
        limits=tuple(limits),
        front=_path([marks[i] for i in front(points)]),
    )


def _most_seconds(report: Report) -> float | None:
    if "speedup" in report.budget:
        return report.points[0].seconds / report.budget["speedup"]
    return report.budget.get("seconds")


def _stretch(values: Sequence[float], share: float) -> tuple[float, float]:
    """From the least to the most with room at both ends."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size:  # all the same, but for rounding
        return low - (0.05 * size or 1.0), high + (0.05 * size or 1.0)
    return low - share * (high - low), high + share * (high - low)


def _speedups(least: float, most: float, apart: float) -> list[float]:
    """Round speed-ups that lie at least this share of an axis of time apart."""
    found: list[float] = []
    for ratio in (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100):
        near = found and 1 / found[-1] - 1 / ratio < apart * (1 / least - 1 / most)
        if least <= ratio <= most and (not near or ratio == 1):
            found = [*(found[:-1] if near else found), ratio]
    return found


def _path(marks: Sequence[Mark]) -> str:
    """Steps: at a point's time its score is reached, and it stays until a better one's."""
    steps = [f"M{marks[0].x} {marks[0].y}"]
    steps += [f"H{mark.x}V{mark.y}" for mark in marks[1:]]
    return "".join(steps)


def _labels(
    report: Report,
    marks: Sequence[Mark],
    limits: Sequence[Limit],
    size: int,
    frame: tuple[float, float, float, float],
) -> tuple[Label, ...]:
    """Names of the points, the important ones first, each where it covers nothing else."""
    taken = [
        (m.x - size * 0.7, m.y - size * 0.7, m.x + size * 0.7, m.y + size * 0.7) for m in marks
    ]
    taken += [(m.low, m.y - 2, m.high, m.y + 2) for m in marks]
    taken += [(line.x1 - 2, line.y1 - 2, line.x2 + 2, line.y2 + 2) for line in limits]
    taken += [_text_box(line, size) for line in limits]
    for one, other in pairwise([marks[i] for i in front(report.points)]):
        taken += [(one.x, one.y - 2, other.x, one.y + 2)]
        taken += [(other.x - 2, other.y, other.x + 2, one.y)]
    order = sorted(marks, key=lambda m: (not m.chosen, m.source == "rankconv", m.index))
    found = []
    for mark in order:
        text = _cut(report.points[mark.index].label)
        wide, gap = (
            len(text) * size * LETTER * (1.06 if mark.chosen else 1.0),
            size * (1.25 if mark.chosen else 0.95),
        )
        for at_x, at_y, anchor in _places(mark, size, gap):
            x1 = at_x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
            box = (x1, at_y - size * 0.8, x1 + wide, at_y + size * 0.2)
            inside = frame[0] <= box[0] and box[2] <= frame[2] and frame[1] <= box[1]
            if inside and box[3] <= frame[3] and not any(_meet(box, other) for other in taken):
                taken.append(box)
                found.append(_label(mark, at_x, at_y, text, anchor, size))
                break
    return tuple(found)


def _label(mark: Mark, x: float, y: float, text: str, anchor: str, size: int) -> Label:
    """With a leader where more than a line lies between the text and its mark."""
    x, y = round(x, 2), round(y, 2)
    below = y > mark.y
    end = round(y - size if below else y + 0.3 * size, 2)
    start = round(mark.y + (0.9 if below else -0.9) * size, 2)
    far = abs(end - start) > 0.8 * size and abs(y - mark.y) > 2 * size
    return Label(x, y, text, anchor, mark.chosen, f"M{mark.x} {start}V{end}" if far else "")


def _text_box(limit: Limit, size: int) -> tuple[float, float, float, float]:
    """Where the budget's text stands: below a level line's end, or beside an upright one's."""
    long = len(limit.text) * size * LETTER + 8
    if limit.y1 == limit.y2:
        return limit.x2 - long, limit.y1, limit.x2, limit.y1 + 1.5 * size
    return limit.x1 - 1.6 * size, limit.y1, limit.x1, limit.y1 + long


def _places(mark: Mark, size: int, gap: float) -> Iterator[tuple[float, float, str]]:
    """Where a label may stand, the best place first; the one that was chosen may go further."""
    yield mark.high + gap * 0.7, mark.y + size * 0.34, "start"
    yield mark.low - gap * 0.7, mark.y + size * 0.34, "end"
    for step in (i * 1.3 for i in range(20 if mark.chosen else 1)):
        above, below = mark.y - gap - step * size, mark.y + gap + (0.7 + step) * size
        for anchor in ("middle", "start", "end"):
            yield mark.x, above, anchor
            yield mark.x, below, anchor


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cut(text: str, most: int = 26) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _time(seconds: float) -> str:
    return seconds_text(float(f"{seconds:.6g}"))


def _bare(value: float) -> str:
    return f"{value:.10g}".replace("-", "−")
