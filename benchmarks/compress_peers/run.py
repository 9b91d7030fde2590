"""Compress the benchmark's networks with every peer, into one folder of ONNX files.

    python benchmarks/compress_peers/run.py --out DIR --nets vgg,resnet20,resnet56
        --settings 0.75,0.5,0.33 [--peers aimet,musco-vbmf]

Writes DIR/NET/original.onnx, DIR/NET/PEER@SETTING.onnx, a record NAME.json beside each, and all
records together in DIR/peers.json. What is there already is not made again, so the same command
goes on where it was stopped. A peer that fails is named with its last words and the rest goes on.
The slow part is AIMET's search: some 20 minutes for ResNet-56 and scheme on one quiet core.

A setting is the share of the multiply-adds that remains. Every peer is compressed without
training and in each way it offers to set the ranks; score.py says what came of it. The calibration
images are the training images of nets/images.py (RANKCONV_DATA, or --data).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import install
import numpy as np

HERE = Path(__file__).resolve().parent
NETS = ("vgg", "resnet20", "resnet56")
SETTINGS = (0.75, 0.5, 0.33)
CALIBRATION = 2000

# name -> (script, variant)
PEERS = {
    "aimet-spatial": ("run_aimet.py", "spatial"),
    "aimet-spatial-fit": ("run_aimet.py", "spatial-fit"),
    "aimet-spatial-8": ("run_aimet.py", "spatial-8"),
    "aimet-spatial-fit-8": ("run_aimet.py", "spatial-fit-8"),
    "aimet-weight": ("run_aimet.py", "weight"),
    "aimet-weight-fit": ("run_aimet.py", "weight-fit"),
    "aimet-weight-8": ("run_aimet.py", "weight-8"),
    "aimet-weight-fit-8": ("run_aimet.py", "weight-fit-8"),
    "musco-vbmf": ("run_musco.py", "vbmf"),
    "musco-rate": ("run_musco.py", "rate"),
    "tltorch-tucker": ("run_tltorch.py", "tucker"),
    "fasterai-tucker": ("run_fasterai.py", "tucker"),
    "fasterai-tucker-energy": ("run_fasterai.py", "tucker-energy"),
    "fasterai-svd": ("run_fasterai.py", "svd"),
    "fasterai-svd-energy": ("run_fasterai.py", "svd-energy"),
}


@dataclass(frozen=True)
class Task:
    """One file to be made."""

    net: str
    name: str
    peer: str
    script: str
    variant: str
    setting: float

    def file(self, out: Path) -> Path:
        return out / self.net / f"{self.name}.onnx"


def record(task: Task, out: Path) -> Path:
    """The record beside a file; where it is, the file is there too."""
    return task.file(out).parent / f"{task.name}.json"


def tasks(nets: list[str], peers: list[str], settings: list[float]) -> Iterator[Task]:
    """The original of each network, then every peer at every setting."""
    for net in nets:
        yield Task(net, "original", "original", "run_original.py", "as it is", 1.0)
        for peer in peers:
            script, variant = PEERS[peer]
            for setting in settings:
                yield Task(net, f"{peer}@{setting:.2f}", peer, script, variant, setting)


def make(task: Task, out: Path, python: Path) -> str | None:
    """Run a peer's script in its environment; None, or its last words where it failed."""
    command = [
        str(python),
        str(HERE / task.script),
        task.net,
        str(task.setting),
        str(task.file(out)),
        *("--variant", task.variant),
        *("--calibration", str(out / "calibration.npz")),
        *("--work", str(out / "work")),
    ]
    log = out / "work" / f"{task.net}-{task.name}.log"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with log.open("w") as told:
        done = subprocess.run(
            command, env=environment, stdout=told, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode == 0:
        return None
    lines = log.read_text().strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1].strip()


def write_calibration(out: Path, data: str | None) -> None:
    """Store the calibration images where the peers find them."""
    path = out / "calibration.npz"
    if path.exists():
        return
    sys.path.append(str(HERE.parent))
    from nets.images import calibration, cifar10

    images = calibration(cifar10(data), CALIBRATION)
    part = path.with_name("calibration.part.npz")
    np.savez(part, x=images.x, y=images.y)
    part.replace(path)


def gather(out: Path) -> dict[str, Any]:
    """Everything that was made in the folder, and what failed."""
    records, failures = [], {}
    for net in NETS:
        for path in sorted((out / net).glob("*.json")):
            peer = path.stem.partition("@")[0]
            file = str(path.with_suffix(".onnx").relative_to(out))
            records.append({"peer": peer, "file": file} | json.loads(path.read_text()))
        for path in sorted((out / net).glob("*.failed")):
            failures[f"{net}/{path.stem}"] = path.read_text()
    return {"networks": records, "failures": failures}


def listed(text: str, allowed: tuple[str, ...], what: str) -> list[str]:
    """The names in a list with commas; a name stands for all that begin with it and a dash."""
    chosen = []
    for given in text.split(","):
        found = [name for name in allowed if name == given or name.startswith(f"{given}-")]
        if not found:
            raise SystemExit(f"{what} {given!r} is not one of {', '.join(allowed)}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def shares(text: str) -> list[float]:
    """Settings in a list with commas."""
    values = [float(one) for one in text.split(",")]
    if not all(0 < value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: a setting is above 0 and below 1")
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything made")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--peers", default=",".join(PEERS), help="names, or beginnings of names")
    parser.add_argument("--settings", type=shares, default=list(SETTINGS))
    parser.add_argument("--data", help="CIFAR-10 (default: RANKCONV_DATA)")
    parser.add_argument("--env", type=Path, default=install.ENVIRONMENT)
    given = parser.parse_args()
    out = given.out.absolute()
    wanted = list(
        tasks(
            listed(given.nets, NETS, "network"),
            listed(given.peers, tuple(PEERS), "peer"),
            given.settings,
        )
    )
    for task in wanted:
        task.file(out).parent.mkdir(parents=True, exist_ok=True)
    (out / "work").mkdir(exist_ok=True)
    write_calibration(out, given.data)
    python = install.install(given.env.absolute())
    for number, task in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {task.net} {task.name}", end=" ", flush=True)
        if record(task, out).exists():
            print("is there")
            continue
        failure = make(task, out, python)
        failed = record(task, out).with_suffix(".failed")
        if failure:
            failed.write_text(failure)
        else:
            failed.unlink(missing_ok=True)
        print(failure or "done", flush=True)
    gathered = gather(out)
    part = out / "peers.json.part"
    part.write_text(json.dumps(gathered, indent=1) + "\n")
    part.replace(out / "peers.json")
    if gathered["failures"]:
        raise SystemExit(f"{len(gathered['failures'])} failed; their logs are in {out}/work")


if __name__ == "__main__":
    main()
