"""The two logs of a run: JSON Lines with everything, and the paper's text log with the numbers.

`record_run` is a reader of `experiment.run`: it passes every record on and writes those that last.
The checkpoint of an epoch follows the records of that epoch into the file, so after a crash the
log may hold more than the checkpoint, never less; resuming cuts it back to the checkpoint's epoch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

LOG = "log.jsonl"
TEXT_LOG = "loss_acc_time_data_10.txt"  # the name in the paper, section XVII


def record_run(records: Iterable[Record], directory: Path) -> Iterator[Record]:
    """Pass the records on while writing `log.jsonl` and the text log into `directory`.

    A `run` record starts both files anew, a `resume` record cuts them back to its epoch first.
    Each record is on the disk before the next one is asked for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log, text = directory / LOG, directory / TEXT_LOG
    for record in records:
        if record["type"] == "progress":
            yield record
            continue
        if record["type"] == "run":
            _replace(log, "")
            _replace(text, "")
        elif record["type"] == "resume":
            kept = list(_until(log, record["epoch"]))
            _replace(log, "".join(json.dumps(old) + "\n" for old in kept))
            _replace(text, "".join(map(text_line, kept)))
        _append(log, json.dumps(record) + "\n")
        _append(text, text_line(record))
        yield record


def text_line(record: Record) -> str:
    """One line of the text log, or nothing for records that the paper's log has no place for."""
    if record["type"] == "epoch":
        return (
            f"epoch: {record['epoch']} train_accuracy: {record['train_accuracy']:.5f} "
            f"train_loss: {record['train_loss']:.5f} train_time: {record['train_seconds']:.3f}\n"
        )
    if record["type"] == "method":
        scaled = (
            f" (measured on {record['images']} images; scaled to all: "
            f"{record['scaled_seconds']:.4f})"
            if record["scaled"]
            else ""
        )
        return (
            f"epoch: {record['epoch']} {record['method'].replace(' ', ': ', 1)} "
            f"test_accuracy: {record['accuracy']:.5f} test_time: {record['seconds']:.4f}{scaled}\n"
        )
    return ""


def _until(log: Path, epoch: int) -> Iterator[Record]:
    if not log.exists():
        raise ValueError(
            f"{log} is missing although there is a checkpoint beside it: "
            "put the log back, or start anew without --resume"
        )
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            return  # the line that a crash cut in half, after which there is nothing
        lasting = record["type"] in ("run", "resume", "epoch", "method")
        if lasting and record.get("epoch", 0) <= epoch:
            yield record


def _append(path: Path, text: str) -> None:
    if text:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
