"""The networks of `make bench-compress`, the points asked for, and where everything is kept."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ORIGINAL = "original"
OURS, TUNED = "rankconv", "fine-tuned"
INT8 = "int8"  # stands alone, or behind the others: 'rankconv+int8'
GATE_DROP = 1.0  # points
CHOSEN, HARDER = "chosen", "tuned"  # names of files
TUNED_ORIGINAL = "tuned-original"


@dataclass(frozen=True)
class Net:
    """A network: its images (`cifar` or its own), the unit of its score, and `drop`, the budget.

    Where `tuned` is given, the fastest that lost no more than this is fine-tuned too.
    """

    title: str
    data: str
    unit: str
    drop: float = GATE_DROP
    tuned: float = 0.0


NETS = {
    "vgg": Net("VGG-like net", "cifar", "points", tuned=2.0),
    "resnet20": Net("ResNet-20", "cifar", "points", tuned=6.0),
    "resnet56": Net("ResNet-56", "cifar", "points"),
    "depthwise": Net("depthwise net, 5x5", "cifar", "points"),
    "demosaicnet": Net("demosaicnet", "demosaicnet", "dB", drop=0.25),
}


@dataclass(frozen=True)
class Made:
    """A network in a file, and how it was made.

    `budget` says what was asked for, `seconds` and `peak_mib` what making it took (wall time and
    the peak memory of the process), `cpu_seconds` its processor time. `file` is None where nothing
    faster was found; `notes` then say why.
    """

    net: str
    name: str
    source: str
    file: str | None
    sha256: str = ""
    budget: str = ""
    command: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    notes: str = ""


def record(work: Path, net: str, name: str) -> Path:
    """The file of a `Made`."""
    return work / net / f"{name}.json"


def stored(work: Path, net: str, name: str) -> Made | None:
    """What was made before, None where it was not or its file has changed."""
    path = record(work, net, name)
    if not path.exists():
        return None
    made = Made(**json.loads(path.read_text()))
    if made.file is None:
        return made
    file = work / made.file
    return made if file.exists() and digest(file) == made.sha256 else None


def keep(work: Path, made: Made) -> Made:
    """Write the record of what was made; its file is there already."""
    if made.file is not None:
        made = replace(made, sha256=digest(work / made.file))
    write(record(work, made.net, made.name), json.dumps(asdict(made), indent=1) + "\n")
    return made


def all_made(work: Path, net: str) -> list[Made]:
    """Everything of a network, the original first."""
    found = []
    for path in sorted((work / net).glob("*.json")):
        made = stored(work, net, path.stem)
        if made is not None:
            found.append(made)
    return sorted(found, key=lambda made: (made.source != ORIGINAL, made.name))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, text: str) -> None:
    """Beside its place first, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    os.replace(beside, path)


def read(path: Path) -> Any:
    return json.loads(path.read_text())
