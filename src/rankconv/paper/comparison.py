"""The paper's printed numbers beside ours, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rankconv.drawing.wording import percent_text, points_text, seconds_text, times_text
from rankconv.paper import reference
from rankconv.paper.model import FILTER_SIZE, IMAGE_SIZE
from rankconv.paper.runlog import Log
from rankconv.paper.summary import (
    Summary,
    accuracy_in_the_same_epochs,
    complete_epochs,
    summarise,
    times_as_fast,
)
from rankconv.paper.wording import epochs_text


@dataclass(frozen=True)
class Row:
    """One number of the paper; `ratio` is ours over the paper's."""

    group: str
    name: str
    paper: str
    ours: str
    ratio: float | None
    note: str = ""

    @property
    def ratio_text(self) -> str:
        """The ratio for people; a dash where there is none."""
        return "–" if self.ratio is None else times_text(self.ratio)


def same_data(log: Log) -> bool:
    """Whether the run used as many images as CIFAR-10 has, under its name."""
    sizes = log.data["train"], log.data["test"]
    named = "cifar" in str(log.data["name"]).lower()
    return named and sizes == (reference.TRAIN_IMAGES, reference.TEST_IMAGES)


def same_network(log: Log) -> bool:
    """Whether the run was of the paper's network, filter size and image size."""
    ours = {"model": "paper", "filter_size": FILTER_SIZE, "image_size": IMAGE_SIZE}
    return all(log.config.get(name, value) == value for name, value in ours.items())


def compare(log: Log) -> tuple[Row, ...]:
    """Set each number that the paper prints (section XIV) beside ours.

    Times are compared per image, in case the test sets differ in size. Ratios to PyTorch are
    taken over the epochs in which both methods ran.
    """
    rows = {summary.method.key: summary for summary in summarise(log)}
    return (
        *_seconds(log, rows),
        *_speeds(log, rows),
        *_accuracies(log, rows),
        *_training(log),
        *_rank_1(log),
    )


def _seconds(log: Log, rows: dict[str, Summary]) -> Iterator[Row]:
    factor = reference.TEST_IMAGES / log.data["test"]
    for key, paper in reference.SECONDS.items():
        if key in rows:
            row = rows[key]
            remarks = [f"for {log.data['test']:,} images, ratio per image"] * (factor != 1)
            yield Row(
                "Average seconds for the test images",
                row.method.label,
                f"{paper:.2f} s",
                seconds_text(row.seconds),
                row.seconds * factor / paper,
                "; ".join(remarks + ["scaled"] * row.scaled),
            )


def _speeds(log: Log, rows: dict[str, Summary]) -> Iterator[Row]:
    group = "Times as fast as PyTorch"
    for key in reference.RANKS:
        ours = times_as_fast(log, key)
        if key in rows and ours is not None:
            paper = reference.SECONDS[reference.PYTORCH] / reference.SECONDS[key]
            yield Row(
                group, rows[key].method.label, times_text(paper), times_text(ours), ours / paper
            )
    slower = [
        factor
        for key in reference.SECONDS
        if key in rows and (factor := times_as_fast(log, reference.LOOP, reference=key))
    ]
    if slower:
        ours = 1 / max(slower)
        loop = rows[reference.LOOP]
        yield Row(
            "Times as slow as the slowest other method",
            loop.method.label,
            f"over {reference.LOOP_FACTOR:g}×",
            times_text(ours),
            ours / reference.LOOP_FACTOR,
            _part(log, loop) + ", scaled" * loop.scaled,
        )


def _accuracies(log: Log, rows: dict[str, Summary]) -> Iterator[Row]:
    for key, paper in reference.ACCURACY.items():
        if key in rows:
            row = rows[key]
            difference = points_text(row.accuracy - paper)
            same = accuracy_in_the_same_epochs(log, key) if row.partial else None
            beside = "" if same is None else f"PyTorch in these epochs, on all images: {same:.5f}"
            yield Row(
                "Average test accuracy",
                row.method.label,
                f"{paper:.5f}",
                f"{row.accuracy:.5f}",
                row.accuracy / paper,
                "; ".join(filter(None, (difference, _part(log, row), beside))),
            )


def _part(log: Log, row: Summary) -> str:
    parts = [f"{row.epochs} of {epochs_text(len(complete_epochs(log)))}"] * row.partial
    if row.scaled:
        parts.append(f"{row.images:,} of {log.data['test']:,} images")
    return ", ".join(parts)


def _training(log: Log) -> Iterator[Row]:
    if log.epochs:
        last = log.epochs[-1]
        paper = reference.FINAL_TRAIN_ACCURACY
        yield Row(
            "Training and rank 1",
            f"Training accuracy, last epoch ({last.epoch})",
            f"about {percent_text(paper)}",
            percent_text(last.train_accuracy),
            last.train_accuracy / paper,
        )


def _rank_1(log: Log) -> Iterator[Row]:
    trials = log.of("rank 1")
    if not trials:
        return
    group = "Training and rank 1"
    best = max(trials, key=lambda trial: trial.accuracy)
    yield Row(
        group,
        "Epoch in which rank 1 is best",
        f"about {reference.RANK_1_PEAK_EPOCH}",
        str(best.epoch),
        best.epoch / reference.RANK_1_PEAK_EPOCH,
        f"{percent_text(best.accuracy, digits=2)} there",
    )
    late = [trial for trial in trials if trial.epoch == reference.RANK_1_CHANCE_EPOCH]
    name = f"Accuracy of rank 1 at epoch {reference.RANK_1_CHANCE_EPOCH}"
    ours = f"{late[0].accuracy:.4f}" if late else "not reached"
    ratio = late[0].accuracy / reference.CHANCE if late else None
    yield Row(group, name, f"about {reference.CHANCE:g}", ours, ratio)
