"""The file from which a training that was broken off goes on; read as data, nothing in it runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save(
    path: Path | str | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: Mapping[str, Any],
    records: Sequence[Any],
) -> None:
    """Write all that a run needs to go on; the old file or the new one stands at any moment.

    `records` are dataclasses of plain values, the last one's first field being the step.
    """
    if path is None:
        return
    path = Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            torch.save(
                {
                    "identity": dict(identity),
                    "records": [list(dataclasses.astuple(record)) for record in records],
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(
    path: Path | str | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: Mapping[str, Any],
) -> tuple[int, list[list[Any]]]:
    """Restore model and optimiser; the steps done and the records, or none without a file.

    Raises ValueError where the file cannot be read or belongs to another run.
    """
    if path is None or not Path(path).exists():
        return 0, []
    try:
        saved = torch.load(path, weights_only=True)
        found, records = saved["identity"], [list(row) for row in saved["records"]]
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint of fine_tune: {error}; remove it, or name another file"
        ) from error
    if found != dict(identity):
        changed = ", ".join(
            f"{name}={found.get(name)!r} there, {value!r} here"
            for name, value in identity.items()
            if found.get(name) != value
        )
        raise ValueError(
            f"{path} belongs to another run ({changed}): repeat that, or name another file"
        )
    try:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} belongs to another model: {error}") from error
    return int(records[-1][0]) if records else 0, records
