"""Training, test time and test accuracy over the epochs: the paper's figures 5 to 9."""

from __future__ import annotations

from collections.abc import Sequence

from rankconv.paper import reference
from rankconv.paper.charts import Line, LineChart
from rankconv.paper.comparison import same_network
from rankconv.paper.palette import slots
from rankconv.paper.runlog import Log, Method
from rankconv.paper.wording import images_text, training_text

_FEW = 8  # so few points are marked one by one


def train_accuracy(log: Log) -> LineChart:
    """Figure 5: the training accuracy after each epoch."""
    return LineChart(
        key="figure-5-train-accuracy",
        title="Training accuracy",
        caption="The paper's figure 5. The dotted line is where the paper's training ends.",
        x_label="Epoch",
        y_label="Training accuracy",
        lines=(_training_line(log, "Training accuracy", "train_accuracy"),),
        unit="%",
        levels=(("the paper's last epoch: 42.5 %", reference.FINAL_TRAIN_ACCURACY),),
    )


def train_loss(log: Log) -> LineChart:
    """Figure 6: the training loss after each epoch."""
    return LineChart(
        key="figure-6-train-loss",
        title="Training loss",
        caption="The paper's figure 6: the mean cross entropy over the training images.",
        x_label="Epoch",
        y_label="Cross entropy",
        lines=(_training_line(log, "Training loss", "train_loss"),),
    )


def testing_time(log: Log) -> LineChart | None:
    """Figure 7: seconds for the test images after each epoch, for all of the seven but the loop."""
    methods = [m for m in _group(log, "paper") if m.key != reference.LOOP]
    return _time_lines(
        log,
        methods,
        key="figure-7-test-time",
        title="Test time, all but the loop",
        caption=(
            f"The paper's figure 7: {images_text(log.data['test'])}, one by one, after each epoch. "
            "Set-up is included."
        ),
    )


def loop_time(log: Log) -> LineChart | None:
    """Figure 8: seconds of the Python loop."""
    return _time_lines(
        log,
        [m for m in _group(log, "paper") if m.key == reference.LOOP],
        key="figure-8-loop-time",
        title="Test time of the loop",
        caption=(
            f"The paper's figure 8: {images_text(log.data['test'])} where the convolution is two "
            "nested Python loops."
        ),
    )


def extra_time(log: Log) -> LineChart | None:
    """Seconds of the methods that the paper does not have."""
    return _time_lines(
        log,
        _group(log, "extra"),
        key="extra-test-time",
        title="Test time beyond the paper",
        caption=(
            "The methods that the paper does not have. Dotted: all images in one batch, "
            "which is another protocol than one by one."
        ),
        log_axis=True,
    )


def testing_accuracy(log: Log) -> LineChart | None:
    """Figure 9: test accuracy after each epoch."""
    published = same_network(log)
    methods = _group(log, "paper") + ([] if published else _group(log, "extra"))
    if not methods:
        return None
    lines = [_line(log, method, accuracy=True) for method in methods]
    caption = (
        "The paper's figure 9. Rank 5 is exact for a 5×5 filter, so its dashed curve must lie "
        "on PyTorch's. "
        if published
        else "Exact methods must lie on PyTorch's curve. "
    )
    return LineChart(
        key="figure-9-test-accuracy" if published else "test-accuracy",
        title="Test accuracy",
        caption=caption + "The dotted line is chance.",
        x_label="Epoch",
        y_label="Test accuracy",
        lines=tuple(lines),
        unit="%",
        levels=(("chance", 1 / len(log.classes)),),
    )


def overlaid(logs: Sequence[Log]) -> LineChart:
    """Test accuracy of several runs: each at the rank it was trained for, free ones also cut.

    A run trained freely has a line as PyTorch computes it, and a dotted one at each rank that
    another run was trained for.
    """
    ranks = {rank for log in logs if (rank := log.config.get("train_rank")) is not None}
    found: dict[str, Line] = {}
    for log in logs:
        trained = log.config.get("train_rank")
        keys = ["rank -1", *(f"rank {r}" for r in sorted(ranks))]
        if trained is not None:
            keys = [f"rank {trained}" if log.has(f"rank {trained}") else "rank -1"]
        for key in keys:
            trials = log.of(key)
            if not trials:
                continue
            cut = "" if trained is not None or key == "rank -1" else f", then cut to {key}"
            name = f"{training_text(log)}{cut}"
            if name in found:
                name += f", seed {log.config.get('seed')}"
            found[name] = Line(
                name=name,
                x=tuple(trial.epoch for trial in trials),
                y=tuple(trial.accuracy for trial in trials),
                colour=f"extra {len(found) % 8}",
                dash="dot" if cut else "solid",
                width=3.0 if key == "rank -1" else 1.8,
                markers=len(trials) <= _FEW,
            )
    return LineChart(
        key="beside-other-runs",
        title="Trained freely, and towards low rank",
        caption="Test accuracy after each epoch. The dotted line is chance.",
        x_label="Epoch",
        y_label="Test accuracy",
        lines=tuple(found.values()),
        unit="%",
        levels=(("chance", 1 / len(logs[0].classes)),),
    )


def _training_line(log: Log, name: str, field: str) -> Line:
    epochs = tuple(epoch.epoch for epoch in log.epochs)
    values = tuple(getattr(epoch, field) for epoch in log.epochs)
    return Line(name, epochs, values, "train", markers=len(epochs) <= _FEW)


def _group(log: Log, group: str) -> list[Method]:
    return [m for m in log.methods if m.group == group and log.of(m.key)]


def _time_lines(
    log: Log, methods: list[Method], *, key: str, title: str, caption: str, log_axis: bool = False
) -> LineChart | None:
    if not methods:
        return None
    scaled = any(trial.scaled for method in methods for trial in log.of(method.key))
    if scaled:
        caption += " Hollow points are scaled up from a part of the images, not measured."
    return LineChart(
        key=key,
        title=title,
        caption=caption,
        x_label="Epoch",
        y_label="Seconds" + (", scaled" if scaled else ""),
        lines=tuple(_line(log, method) for method in methods),
        unit="s",
        marks=tuple(("resumed", resume.epoch + 0.5) for resume in log.resumes),
        log=log_axis,
    )


def _line(log: Log, method: Method, *, accuracy: bool = False) -> Line:
    trials = log.of(method.key)
    scaled = any(trial.scaled for trial in trials)
    fewest = min(trial.images for trial in trials)
    seen = f" (on {fewest:,} images)" if scaled and accuracy else ""
    sparse = len(trials) <= _FEW or len(trials) < len(log.epochs) / 2
    under = accuracy and method.key == reference.PYTORCH
    exact = accuracy and method.exact and not under
    dash = "dash" if exact else "dot" if method.batch else "solid"
    return Line(
        name=method.label + (" (scaled)" if scaled and not accuracy else "") + seen,
        x=tuple(trial.epoch for trial in trials),
        y=tuple(trial.accuracy if accuracy else trial.shown_seconds for trial in trials),
        colour=slots(log)[method.key],
        dash=dash,
        width=3.4 if under else 1.8,
        markers=sparse or scaled,
        hollow=tuple(trial.scaled for trial in trials) if scaled else (),
    )
