"""Every file of a network scored on the test images, and timed in one interleaved run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress_make import images
from compress_work import NETS, Made, all_made, digest, read, write

sys.path.append(str(Path(__file__).resolve().parent / "compress_peers"))
from onnx_cost import cost
from score import caller, interleaved, quartiles, session

ROUNDS = 40
SCORED_AT_ONCE = 50
PEER = "peer"


@dataclass(frozen=True)
class Scored:
    """A network of the comparison. `score` is top-1 in per cent or PSNR in dB.

    `seconds` and `speedup` (the original's time over its own, round by round) are each a median,
    a lower and an upper quartile.
    """

    net: str
    name: str
    source: str
    score: float
    drop: float
    seconds: tuple[float, float, float]
    speedup: tuple[float, float, float]
    multiply_adds: int
    parameters: int
    made: dict[str, Any]


def peers_of(folder: Path | None, net: str) -> list[Made]:
    """The peers' files of a network, as compress_peers/run.py left them."""
    if folder is None or not (folder / net).is_dir():
        return []
    return [
        Made(net, path.stem, PEER, str(path), digest(path))
        for path in sorted((folder / net).glob("*.onnx"))
        if path.stem != "original" and path.with_suffix(".json").exists()
    ]


def scored(
    work: Path, net: str, peers: Path | None, *, threads: int, tell: Callable[[str], None]
) -> list[Scored]:
    """All files of a network, the original first."""
    entries = [made for made in all_made(work, net) if made.file is not None]
    entries += peers_of(peers, net)
    files = [str(work / made.file) if made.file else "" for made in entries]
    known = _known(work, peers)
    x, y = images(work, net, "test")
    opened = [session(file, threads) for file in files]
    scores = []
    for made, network in zip(entries, opened, strict=True):
        key = f"{made.sha256} {len(y)}"
        if key not in known:
            tell(f"{net}: scoring {made.name}")
            known[key] = score(network, x, y)
            write(work / "scores.json", _json(known))
        scores.append(known[key])
    tell(f"{net}: timing {len(entries)} networks in turn")
    seconds = interleaved([caller(network, x[:1]) for network in opened], ROUNDS)
    found = []
    for i, made in enumerate(entries):
        adds, parameters = _cost(files[i])
        found.append(
            Scored(
                net=net,
                name=made.name,
                source=made.source,
                score=scores[i],
                drop=scores[0] - scores[i],
                seconds=quartiles(seconds[:, i]),
                speedup=quartiles(seconds[:, 0] / seconds[:, i]),
                multiply_adds=adds,
                parameters=parameters,
                made={k: v for k, v in asdict(made).items() if k not in ("net", "name", "source")}
                | {"file": os.path.basename(made.file or "")},
            )
        )
    return found


def score(network: Any, x: Any, y: Any) -> float:
    """Per cent of the images whose largest output is the label; of images the mean PSNR in dB."""
    total = 0.0
    for start in range(0, len(y), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        out = caller(network, x[part])()[0]
        if y.ndim == 1:
            total += 100 * float((out.argmax(1) == y[part]).sum())
        else:
            error = ((out.astype(np.float64) - y[part]) ** 2).reshape(len(out), -1).mean(axis=1)
            total += float((-10 * np.log10(error)).sum())
    return total / len(y)


def nothing_faster(work: Path, net: str) -> dict[str, str]:
    """Budgets for which the original was the answer, and why."""
    return {made.name: made.notes for made in all_made(work, net) if made.file is None}


def run(
    work: Path, nets: list[str], peers: Path | None, *, threads: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The result of all these networks, ready for JSON."""
    begin, load = time.perf_counter(), os.getloadavg()[0]
    rows = []
    for net in nets:
        rows += scored(work, net, peers, threads=threads, tell=tell)
    from rankconv.machine import machine, versions

    return {
        "machine": machine(),
        "versions": versions(("rankconv", "numpy", "torch", "onnx", "onnxruntime")),
        "peer_versions": _peer_versions(peers),
        "failures": read(peers / "peers.json")["failures"]
        if peers and (peers / "peers.json").exists()
        else {},
        "threads": threads,
        "rounds": ROUNDS,
        "images": {net: len(images(work, net, "test")[1]) for net in nets},
        "titles": {net: NETS[net].title for net in nets},
        "units": {net: NETS[net].unit for net in nets},
        "nothing_faster": {net: nothing_faster(work, net) for net in nets},
        "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
        "started": time.strftime("%Y-%m-%d %H:%M", time.gmtime(time.time())) + " UTC",
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "networks": [asdict(row) for row in rows],
    }


def _known(work: Path, peers: Path | None) -> dict[str, float]:
    """Scores of files on so many images that are known: 'sha256 images' -> score."""
    path = work / "scores.json"
    known: dict[str, float] = read(path) if path.exists() else {}
    if peers is not None and (peers / "scores.json").exists():
        theirs = read(peers / "scores.json")
        for one in theirs["networks"]:
            known.setdefault(f"{one['sha256']} {theirs['images']}", one["top1"])
    return known


def _peer_versions(peers: Path | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if peers is not None and (peers / "peers.json").exists():
        for one in read(peers / "peers.json")["networks"]:
            found |= one["versions"]
    return dict(sorted(found.items()))


def _cost(file: str) -> tuple[int, int]:
    """Multiply-adds and parameters; zeros for what the counter does not know (int8 in QDQ)."""
    try:
        return cost(Path(file))
    except ValueError:
        return 0, 0


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=0) + "\n"
