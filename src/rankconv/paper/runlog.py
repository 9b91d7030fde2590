"""The JSON Lines log of one run, read back and checked, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankconv.paper.jsonlines import Line, LogError, read_lines, short
from rankconv.paper.records import Epoch, Log, Method, Resume, Samples, Tie, Trial

__all__ = ["Epoch", "Log", "LogError", "Method", "Resume", "Samples", "Tie", "Trial", "read_log"]

VERSION = 1
GROUPS = ("paper", "extra")


def read_log(path: Path | str) -> Log:
    """Read and check the log of one run.

    A last line that a crash cut in half is passed over and named in `notes`; where an epoch was
    logged twice (after a resume), the later record counts, which is noted as well.

    Args:
        path: a JSON Lines file as `rankconv reproduce` writes it.

    Raises:
        LogError: the file cannot be read, or a line does not hold what it should.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     broken = Path(folder) / "log.jsonl"
    ...     _ = broken.write_text('{"type": "epoch"}\\n')
    ...     try:
    ...         read_log(broken)
    ...     except LogError as error:
    ...         print(str(error).removeprefix(folder))
    /log.jsonl, line 1: the first record is of type 'epoch', not 'run'; is this a rankconv log?
    """
    path = Path(path)
    lines, notes = read_lines(path)
    if not lines:
        raise LogError(f"{path}: holds no record; a log starts with a record of type 'run'")
    head = lines[0]
    if head.record.get("type") != "run":
        kind = head.record.get("type")
        head.fail(f"the first record is of type {kind!r}, not 'run'; is this a rankconv log?")
    run = _run(head)
    keys = {method.key for method in run["methods"]}
    classes = len(run["data"]["classes"])
    epochs: dict[int, Epoch] = {}
    trials: dict[tuple[int, str], Trial] = {}
    samples: Samples | None = None
    resumes: list[Resume] = []
    finished = False
    replaced = 0
    for line in lines[1:]:
        match line.text("type"):
            case "epoch":
                epoch = _epoch(line)
                replaced += epoch.epoch in epochs
                epochs[epoch.epoch] = epoch
            case "method":
                trial = _trial(line, keys)
                replaced += (trial.epoch, trial.method) in trials
                trials[trial.epoch, trial.method] = trial
            case "samples":
                samples = _samples(line, keys, classes)
            case "resume":
                resumes.append(_resume(line))
                finished = False
            case "end":
                finished = True
            case "run":
                line.fail("a second record of type 'run'; one log holds one run")
            case other:
                kinds = "'epoch', 'method', 'samples', 'resume', 'end'"
                line.fail(f"type={other!r} is not one of {kinds}")
    if replaced:
        notes.append(f"{replaced} records were logged again after a resume; the later ones count.")
    _same_filters(path, epochs)
    return Log(
        path=path,
        **run,
        epochs=tuple(epochs[key] for key in sorted(epochs)),
        trials=tuple(sorted(trials.values(), key=lambda trial: trial.epoch)),
        samples=samples,
        resumes=tuple(resumes),
        finished=finished,
        notes=tuple(notes),
    )


def _run(line: Line) -> dict[str, Any]:
    version = line.get("version")
    if version != VERSION:
        line.fail(f"version={short(version)} is not {VERSION}, the one this rankconv reads")
    data = line.part(line.get("data"), "data")
    data.text("name")
    data.count("train", low=1)
    data.count("test", low=1)
    classes = data.items("classes")
    if not classes or not all(isinstance(name, str) for name in classes):
        line.fail(f"classes={short(classes)} is not a list of class names")
    methods = []
    for entry in line.items("methods"):
        part = line.part(entry, "an entry of methods")
        group = part.text("group")
        if group not in GROUPS:
            part.fail(f"group={group!r} is not one of 'paper', 'extra'")
        flags = part.flag("exact"), part.flag("batch")
        methods.append(Method(part.text("key"), part.text("label"), group, *flags))
    for names in ([m.key for m in methods], [m.label for m in methods]):
        if not names or len(set(names)) != len(names):
            line.fail(f"methods must name at least one method and none of them twice: {names}")
    return {
        "config": line.mapping("config"),
        "data": data.record,
        "machine": line.mapping("machine"),
        "versions": line.mapping("versions"),
        "threads": line.count("threads", low=1),
        "methods": tuple(methods),
    }


def _epoch(line: Line) -> Epoch:
    filters = {}
    for layer, rows in line.mapping("filters").items():
        try:
            array = np.array(rows, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            line.fail(f"filters.{layer} is not a matrix of numbers")
        if array.ndim != 2 or not array.size:
            line.fail(f"filters.{layer} has shape {array.shape}, not (rows, columns)")
        filters[layer] = array
    biases = line.part(line.get("biases"), "biases")
    return Epoch(
        epoch=line.count("epoch"),
        train_accuracy=line.real("train_accuracy", low=0, high=1),
        train_loss=line.real("train_loss", finite=False),
        learning_rate=line.real("learning_rate", low=0),
        train_seconds=line.real("train_seconds", low=0),
        filters=filters,
        biases={layer: biases.real(layer, finite=False) for layer in biases.record},
    )


def _trial(line: Line, keys: set[str]) -> Trial:
    method = line.text("method")
    if method not in keys:
        line.fail(f"method={method!r} is not one that the run declares: {sorted(keys)}")
    images = line.count("images", low=1)
    correct = line.count("correct", high=images)
    accuracy = line.real("accuracy", low=0, high=1)
    if abs(accuracy - correct / images) > 1e-3:
        line.fail(f"accuracy={accuracy} is not correct/images = {correct}/{images}")
    ties = []
    for entry in line.items("ties"):
        part = line.part(entry, "an entry of ties")
        margin = None if part.record.get("margin") is None else part.real("margin", finite=False)
        counts = part.count("image"), part.count("reference"), part.count("prediction")
        ties.append(Tie(*counts, margin))
    scaled = line.flag("scaled")
    return Trial(
        epoch=line.count("epoch"),
        method=method,
        images=images,
        correct=correct,
        accuracy=accuracy,
        seconds=line.real("seconds", low=1e-9),
        setup_seconds=line.real("setup_seconds", low=0),
        scaled_seconds=line.real("scaled_seconds", low=1e-9) if scaled else None,
        disagreements=line.count("disagreements"),
        ties=tuple(ties),
    )


def _samples(line: Line, keys: set[str], classes: int) -> Samples:
    images = tuple(line.checked_count(i, "images") for i in line.items("images"))
    predictions = {}
    rows = {"labels": line.items("labels"), **line.mapping("predictions")}
    for key, row in rows.items():
        if key != "labels" and key not in keys:
            line.fail(f"predictions names {key!r}, which the run does not declare")
        if not isinstance(row, list) or len(row) != len(images):
            line.fail(f"{key} is not a list of one class for each of the {len(images)} images")
        predictions[key] = tuple(line.checked_count(i, key, high=classes - 1) for i in row)
    return Samples(line.count("epoch"), images, predictions.pop("labels"), predictions)


def _resume(line: Line) -> Resume:
    return Resume(line.count("epoch"), line.mapping("machine"), line.mapping("versions"))


def _same_filters(path: Path, epochs: Mapping[int, Epoch]) -> None:
    shapes = {
        tuple((layer, array.shape) for layer, array in epoch.filters.items())
        for epoch in epochs.values()
    }
    if len(shapes) > 1:
        raise LogError(f"{path}: the filters change their names or shapes between epochs")
