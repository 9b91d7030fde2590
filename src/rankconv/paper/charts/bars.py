"""Averages over the epochs as bars."""

from __future__ import annotations

from rankconv.drawing.wording import percent_text, seconds_text
from rankconv.paper import reference
from rankconv.paper.charts import Bar, BarChart
from rankconv.paper.palette import slots
from rankconv.paper.runlog import Log
from rankconv.paper.summary import Summary, summarise
from rankconv.paper.wording import epochs_text, images_text


def average_time(log: Log) -> BarChart | None:
    """The paper's bar chart of the average test time; the loop runs off the axis."""
    rows = [s for s in summarise(log) if s.method.group == "paper"]
    if not rows:
        return None
    others = [s.seconds_high for s in rows if s.method.key != reference.LOOP]
    limit = 1.25 * max(others) if others else None
    return BarChart(
        key="average-test-time",
        title="Average test time",
        caption=(
            f"Mean over the epochs for {images_text(log.data['test'])}; the whiskers span the "
            "middle half of the epochs. A bar that reaches the right edge runs off the axis."
        ),
        x_label="Seconds",
        bars=tuple(_time_bar(log, s, limit) for s in rows),
        unit="s",
        limit=limit,
    )


def extra_average_time(log: Log) -> BarChart | None:
    """Average test time of the methods beyond the paper, with PyTorch for comparison."""
    rows = [s for s in summarise(log) if s.method.group == "extra"]
    if not rows:
        return None
    base = [s for s in summarise(log) if s.method.key in (reference.PYTORCH, "rank 5")]
    return BarChart(
        key="extra-average-time",
        title="Average test time beyond the paper",
        caption=(
            f"Mean over the epochs for {images_text(log.data['test'])}, "
            "beside two of the paper's methods."
        ),
        x_label="Seconds",
        bars=tuple(_time_bar(log, s, None) for s in (*base, *rows)),
        unit="s",
        log=True,
    )


def setup_time(log: Log) -> BarChart | None:
    """The part of the test time that is spent before the first image."""
    rows = [s for s in summarise(log) if s.setup_seconds > 0]
    if not rows:
        return None
    return BarChart(
        key="set-up-time",
        title="Set-up, shown apart",
        caption=(
            "The decomposition, building matrices, loading a model: the mean over the epochs, "
            "contained in the test times above."
        ),
        x_label="Seconds",
        bars=tuple(
            Bar(
                s.method.label,
                s.setup_seconds,
                slots(log)[s.method.key],
                seconds_text(s.setup_seconds),
                f"{percent_text(s.setup_seconds / s.seconds, digits=2)} of its test time",
            )
            for s in rows
        ),
        unit="s",
        log=True,
    )


def average_accuracy(log: Log) -> BarChart | None:
    """The paper's bar chart of the average test accuracy."""
    rows = [s for s in summarise(log) if s.method.group == "paper"]
    if not rows:
        return None
    return BarChart(
        key="average-test-accuracy",
        title="Average test accuracy",
        caption=(
            "Mean over the epochs in which each method ran. Diamonds: the paper's values."
            + " ".join(f" * {s.method.label}: {_part(s)}." for s in rows if _part(s))
        ),
        x_label="Test accuracy",
        bars=tuple(
            Bar(
                s.method.label,
                s.accuracy,
                slots(log)[s.method.key],
                percent_text(s.accuracy, digits=2) + "*" * (s.partial or s.scaled),
                _part(s),
                paper=reference.ACCURACY.get(s.method.key),
            )
            for s in rows
        ),
        unit="%",
    )


def _time_bar(log: Log, row: Summary, limit: float | None) -> Bar:
    text = seconds_text(row.seconds) + (" (scaled)" if row.scaled else "")
    beyond = limit is not None and row.seconds > limit
    return Bar(
        name=row.method.label,
        value=row.seconds,
        colour=slots(log)[row.method.key],
        text=text + (" →" if beyond else ""),
        low=row.seconds_low,
        high=row.seconds_high,
    )


def _part(row: Summary) -> str:
    parts = [epochs_text(row.epochs)] * row.partial + [f"{row.images:,} images"] * row.scaled
    return ", ".join(parts) + " only" if parts else ""
