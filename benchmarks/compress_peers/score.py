"""Score and time every compressed network in one interleaved run; write JSON and a table.

    python benchmarks/compress_peers/score.py --peers DIR [--ours NET=FILE.onnx ...]
        [--images 10000 --rounds 30 --batches 1,64 --threads 1]
        [--json OUT.json --markdown benchmarks/peers.md]

DIR is what run.py made. `--ours` adds any further files, named by what stands before `.onnx`.
Top-1 is of the first N test images in an order drawn from a seed. In each round every network has
its turn in an order drawn anew, so a disturbance of the machine hits all of them alike; the
speed-up is the median over the rounds of the original's time over the network's in that round. A
turn is one call that is not timed and then some 5 ms of calls, or one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx_cost import cost

from rankconv.machine import machine, versions

Images = NDArray[np.float32]
OURS = "rankconv"
SEED = 0
SCORED_AT_ONCE = 100
TURN = 0.005  # seconds


@dataclass
class Entry:
    """One network, compressed by `peer` or as it was (`peer` 'original'). Times in seconds."""

    net: str
    name: str
    peer: str
    setting: float | None
    file: str
    sha256: str
    multiply_adds: int
    parameters: int
    top1: float = 0.0  # per cent
    seconds: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    speedup: dict[int, tuple[float, float, float]] = field(default_factory=dict)


def entry(path: Path, *, net: str, peer: str, setting: float | None) -> Entry:
    """What can be told of a file without running it."""
    work, parameters = cost(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Entry(net, path.stem, peer, setting, str(path), digest, work, parameters)


def session(path: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # others have their turn
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def caller(opened: onnxruntime.InferenceSession, x: Images) -> Callable[[], Any]:
    """A call that runs the network once."""
    feed = {opened.get_inputs()[0].name: x}
    return lambda: opened.run(None, feed)


def top1(opened: onnxruntime.InferenceSession, x: Images, y: NDArray[np.int64]) -> float:
    """Per cent of the images whose largest output is the label."""
    right = 0
    for start in range(0, len(y), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        (logits,) = caller(opened, x[part])()
        right += int((logits.argmax(1) == y[part]).sum())
    return 100 * right / len(y)


def interleaved(calls: list[Callable[[], Any]], rounds: int) -> NDArray[np.float64]:
    """Seconds a call (rounds, calls): in every round each has its turn, in an order of its own."""
    order = np.random.default_rng(SEED)
    seconds = np.empty((rounds, len(calls)))
    repeats = [
        max(1, min(20, round(TURN / min(timed(call, 1) for _ in range(5))))) for call in calls
    ]
    for number in range(rounds):
        for index in order.permutation(len(calls)):
            if repeats[index] > 1:
                calls[index]()  # its weights come into the cache
            seconds[number, index] = timed(calls[index], repeats[index])
    return seconds


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds a call."""
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begun) / repeats


def quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(middle), float(low), float(high)


def measure(
    entries: list[Entry],
    x: Images,
    y: NDArray[np.int64],
    *,
    batches: list[int],
    rounds: int,
    threads: int,
    known: dict[str, float],
) -> None:
    """Fill in the scores and times of one network's entries, the original first.

    `known` are the scores of files on the same images: sha256 -> top-1.
    """
    opened = [session(one.file, threads) for one in entries]
    for one, network in zip(entries, opened, strict=True):
        if one.sha256 not in known:
            known[one.sha256] = top1(network, x, y)
        one.top1 = known[one.sha256]
    for batch in batches:
        seconds = interleaved([caller(network, x[:batch]) for network in opened], rounds)
        for index, one in enumerate(entries):
            one.seconds[batch] = quartiles(seconds[:, index])
            one.speedup[batch] = quartiles(seconds[:, 0] / seconds[:, index])


def above(ours: Entry, peers: list[Entry], batch: int) -> list[str]:
    """The peers at least as exact and as fast as one of our networks, and better in one."""
    mine = (ours.top1, ours.speedup[batch][0])
    return [
        peer.name
        for peer in peers
        if peer.net == ours.net
        and (theirs := (peer.top1, peer.speedup[batch][0])) != mine
        and theirs[0] >= mine[0]
        and theirs[1] >= mine[1]
    ]


def front(entries: list[Entry], batch: int) -> list[Entry]:
    """Those that no other of these entries beats in both accuracy and speed."""
    return [one for one in entries if not above(one, entries, batch)]


def found(peers: Path, ours: list[tuple[str, Path]]) -> dict[str, list[Entry]]:
    """net -> entries, the original first."""
    made = json.loads((peers / "peers.json").read_text())["networks"]
    nets: dict[str, list[Entry]] = {}
    for one in sorted(made, key=lambda one: one["peer"] != "original"):
        new = entry(peers / one["file"], net=one["net"], peer=one["peer"], setting=one["setting"])
        nets.setdefault(new.net, []).append(new)
    for net in {*nets, *(net for net, _ in ours)}:
        if net not in nets or nets[net][0].peer != "original":
            raise SystemExit(f"{peers}/{net}/original.onnx is missing: run.py makes it")
    for net, path in ours:
        nets[net].append(entry(path, net=net, peer=OURS, setting=None))
    return nets


def named(text: str) -> tuple[str, Path]:
    """'net=file' of the command line."""
    net, equals, file = text.partition("=")
    if not equals or not Path(file).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not NET=FILE.onnx with a file that exists")
    return net, Path(file)


def test_data(data: str | None, count: int) -> tuple[Images, NDArray[np.int64]]:
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from nets.images import cifar10, test_images

    x, y = test_images(cifar10(data))
    if not 1 <= count <= len(y):
        raise SystemExit(f"--images {count}: there are {len(y)} test images")
    chosen = np.random.default_rng(SEED).permutation(len(y))[:count]
    return x[chosen], y[chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", type=Path, required=True, help="folder that run.py made")
    parser.add_argument("--ours", type=named, nargs="*", default=[], metavar="NET=FILE")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", help="CIFAR-10 (default: RANKCONV_DATA)")
    parser.add_argument("--json", type=Path, help="default: DIR/scores.json")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    target = given.json or given.peers / "scores.json"
    batches = [int(one) for one in given.batches.split(",")]
    known: dict[str, float] = {}
    if target.exists():
        before = json.loads(target.read_text())
        if before["images"] == given.images:
            known = {one["sha256"]: one["top1"] for one in before["networks"]}
    nets = found(given.peers, given.ours)
    x, y = test_data(given.data, given.images)
    for net, entries in nets.items():
        print(f"{net}: {len(entries)} networks", flush=True)
        measure(
            entries, x, y,
            batches=batches, rounds=given.rounds, threads=given.threads, known=known,
        )  # fmt: skip
    peers = json.loads((given.peers / "peers.json").read_text())
    peer_versions: dict[str, str] = {}
    for one in peers["networks"]:
        peer_versions |= one["versions"]
    result = {
        "machine": machine(),
        "versions": versions(("rankconv", "numpy", "onnx", "onnxruntime")),
        "peer_versions": peer_versions,
        "failures": peers["failures"],
        "threads": given.threads,
        "rounds": given.rounds,
        "images": given.images,
        "networks": [asdict(one) for entries in nets.values() for one in entries],
    }
    write(target, json.dumps(result, indent=1) + "\n")
    if given.markdown:
        from table import markdown

        write(given.markdown, markdown(json.loads(target.read_text())))
    print(target)


def write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
