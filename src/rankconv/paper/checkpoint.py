"""One file that holds all that a run needs to go on: weights, optimiser, scheduler, randomness."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankconv.paper.workers import ALONE, Workers

NAME = "checkpoint.pt"


@dataclass(frozen=True)
class State:
    """The live objects of a run that a checkpoint saves and restores."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    shuffle: torch.Generator


def save(directory: Path, state: State, identity: dict[str, Any], epoch: int) -> None:
    """Write the state after `epoch`; a crash at any moment leaves the old file or the new one."""
    directory.mkdir(parents=True, exist_ok=True)
    beside = directory / f"{NAME}.{os.getpid()}.part"
    try:
        with beside.open("wb") as file:
            torch.save(
                {
                    "epoch": epoch,
                    "identity": identity,
                    "network": state.network.state_dict(),
                    "optimizer": state.optimizer.state_dict(),
                    "scheduler": state.scheduler.state_dict(),
                    "shuffle": state.shuffle.get_state(),
                    "torch": torch.get_rng_state(),
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        beside.replace(directory / NAME)
    finally:
        beside.unlink(missing_ok=True)


def load(directory: Path, state: State, identity: dict[str, Any], workers: Workers = ALONE) -> int:
    """Restore the state; the epoch it was saved after, or 0 where there is no checkpoint.

    Of several processes the first one's folder counts: the others need none.

    Raises ValueError where the file cannot be read or was written with another `identity`
    (configuration and data). The file is read as data only: nothing in it can run code.
    """
    path = directory / NAME
    content = workers.agree(path.read_bytes() if workers.first and path.exists() else None)
    if content is None:
        return 0
    try:
        saved = torch.load(io.BytesIO(content), weights_only=True)
        found = saved["identity"]
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of this program: {error}") from error
    if found != identity:
        raise ValueError(
            f"{path} belongs to another run ({_difference(found, identity)}): repeat its command "
            "with --resume, or choose another output folder"
        )
    state.network.load_state_dict(saved["network"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scheduler.load_state_dict(saved["scheduler"])
    state.shuffle.set_state(saved["shuffle"])
    torch.set_rng_state(saved["torch"])
    return int(saved["epoch"])


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if found.get("digest") != wanted["digest"]:
        return "other data"
    pairs = [
        f"{name}={found['config'].get(name)!r} there, {value!r} here"
        for name, value in wanted["config"].items()
        if found["config"].get(name) != value
    ]
    return "; ".join(pairs)
