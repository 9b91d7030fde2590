"""What the filters must reach: a gate for each row of the table, judged from a stored result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Cell = dict[str, Any]
MIDDLE = ("256", "512", "1080p")


@dataclass(frozen=True)
class Gate:
    """`peer`'s time over rankconv's must be `wanted(cell)` or more, in every cell that `counts`."""

    title: str
    peer: str
    counts: Callable[[Cell], bool]
    wanted: Callable[[Cell], float]
    aim: float | None
    base: str = "rankconv"


@dataclass(frozen=True)
class Verdict:
    """A gate's outcome: the worst cell is the one that is furthest below what it should reach."""

    title: str
    wanted: str
    worst: str
    where: str
    mean: str
    aim: str
    verdict: str
    below: int = 0
    cells: int = 0


def _rank_1(sizes: tuple[str, ...]) -> Callable[[Cell], bool]:
    return lambda cell: cell["kind"] == "rank 1" and cell["size"] in sizes


def _always(ratio: float) -> Callable[[Cell], float]:
    return lambda cell: ratio


def _any(cell: Cell) -> bool:
    return str(cell["kind"]) != "gaussian"


def _filter2d(cell: Cell) -> bool:
    return cell["kind"] == "full" and int(cell["k"]) <= 11


def _threads(cell: Cell) -> bool:
    return _any(cell) and int(cell["k"]) >= 5 and cell["size"] in ("1080p", "4096", "8192")


GATES = (
    Gate("cv2.sepFilter2D, rank 1, 256² to 1080p", "cv2", _rank_1(MIDDLE), _always(1.7), 2.5),
    Gate("cv2.sepFilter2D, rank 1, 4096²", "cv2", _rank_1(("4096",)), _always(1.5), 2.0),
    Gate("cv2.sepFilter2D, rank 1, 8192²", "cv2", _rank_1(("8192",)), _always(1.2), 1.6),
    Gate("Intel IPP, rank 1, 256² to 1080p", "ipp", _rank_1(MIDDLE), _always(1.5), 2.0),
    Gate("Halide, rank 1, 256² to 1080p", "halide", _rank_1(MIDDLE), _always(1.2), 1.4),
    Gate("numba, rank 1, 256² to 1080p", "numba", _rank_1(MIDDLE), _always(1.2), 1.4),
    Gate(
        "three cv2.sepFilter2D and two adds, rank 3",
        "cv2",
        lambda cell: cell["kind"] == "rank 3",
        _always(4.0),
        6.0,
    ),
    Gate(
        "cv2.filter2D, full rank, k <= 11",
        "cv2",
        _filter2d,
        lambda cell: 1.7 if cell["size"] == "256" else 1.0,
        1.5,
    ),
    Gate("scipy.ndimage", "ndimage", _any, _always(8.0), None),
    Gate("scipy.signal, not by FFT", "signal", _any, _always(8.0), None),
    Gate("PyTorch, best of oneDNN on and off", "torch", _any, _always(8.0), None),
    Gate("ONNX Runtime", "onnxruntime", _any, _always(8.0), None),
    Gate("a 32² call, cv2.sepFilter2D", "cv2", _rank_1(("32",)), _always(4.0), 7.0),
    Gate("2 threads against 1, 1080p and more, k >= 5", "rankconv", _threads, _always(1.5), 1.85,
         base="rankconv 2"),
)  # fmt: skip

NETWORK = (  # where, against whom, by keys, wanted
    ("one by one", "ONNX Runtime", ("onnxruntime",), 25.0),
    ("one by one", "the best PyTorch", ("torch",), 70.0),
    ("one by one", "the best NumPy form", ("rank 5", "stacked 5"), 20.0),
    ("batch", "ONNX Runtime", ("batch onnxruntime",), 18.0),
    ("batch", "the best PyTorch", ("batch torch",), 15.0),
    ("batch", "the best NumPy form", ("batch stacked",), 10.0),
)


def ratio(cell: Cell, peer: str, base: str = "rankconv") -> float | None:
    """The peer's median over the base's, or None where one of them was not timed."""
    peers = cell["peers"]
    if "median" not in peers.get(peer, {}) or "median" not in peers.get(base, {}):
        return None
    return float(peers[peer]["median"] / peers[base]["median"])


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """Every gate that this result says anything about."""
    found = [_judge(gate, result["cells"]) for gate in GATES]
    if result.get("blur"):
        found.append(_blur(result["blur"]))
    if result.get("planner"):
        found.append(_planner(result["planner"]))
        found.append(_planner(result["planner"], " uncalibrated"))
    if result.get("network"):
        found += _network(result["network"])
    return found


def _judge(gate: Gate, cells: list[Cell]) -> Verdict:
    rows = [
        (ratio(cell, gate.peer, gate.base), gate.wanted(cell), cell)
        for cell in cells
        if gate.counts(cell)
    ]
    got = [(value, wanted, cell) for value, wanted, cell in rows if value is not None]
    limits = sorted({wanted for _, wanted, _ in rows})
    wanted = " / ".join(f"{limit:g}x" for limit in limits)
    aim = "-" if gate.aim is None else f"{gate.aim:g}x"
    if not got:
        return Verdict(gate.title, wanted or "-", "-", "-", "-", aim, "not measured")
    value, _, cell = min(got, key=lambda row: row[0] / row[1])
    below = sum(1 for value, limit, _ in got if value < limit)
    way = cell["peers"][gate.peer]["variant"] if gate.base == "rankconv" else ""
    where = f"{cell['size']}, k = {cell['k']}, {cell['kind']}" + (f" ({way})" if way else "")
    return Verdict(
        gate.title,
        wanted,
        f"{value:.2f}x",
        where,
        f"{np.exp(np.mean([np.log(value) for value, _, _ in got])):.2f}x",
        aim,
        "MISSED" if below else "met",
        below,
        len(got),
    )


def _blur(rows: list[Cell]) -> Verdict:
    gate = Gate("cv2.GaussianBlur, uint8, 1080p", "cv2", lambda cell: True, _always(0.7), 1.0)
    named = [
        {
            "size": "1080p",
            "k": row["k"],
            "kind": "uint8",
            "peers": {**row["peers"], "cv2": {**row["peers"]["cv2"], "variant": ""}},
        }
        for row in rows
    ]
    return _judge(gate, named)


def _planner(rows: list[Cell], which: str = "") -> Verdict:
    losses = np.array([row["loss" + which] for row in rows])
    share = float((losses <= 0.10).mean())
    worst = rows[int(losses.argmax())]
    best = min(worst["seconds"], key=lambda name: worst["seconds"][name])
    return Verdict(
        "the automatic choice against the best of its candidates"
        + (", calibrated" if not which else ", as shipped"),
        "within 10 % on 95 % of cells",
        f"+{losses.max():.0%}",
        f"{worst['size']}, k = {worst['k']}, {worst['kind']}: "
        f"{worst['chosen' + which]}, not {best}",
        f"{share:.0%} of cells within 10 %, {(losses <= 0.05).mean():.0%} within 5 %",
        "within 5 %",
        "met" if share >= 0.95 else "MISSED",
        int((losses > 0.10).sum()),
        len(rows),
    )


def _network(result: dict[str, Any]) -> Iterator[Verdict]:
    exact = {"one by one": "native exact", "batch": "batch native exact"}
    for where, whom, keys, wanted in NETWORK:
        rows = result[where]
        title = f"the paper's network, {where}: {whom}"
        ours = rows.get(exact[where])
        if ours is None:
            yield Verdict(title, f"{wanted:g}x", "-", "-", "-", "-", "not measured")
            continue
        best = min((key for key in rows if key.startswith(keys)), key=lambda k: rows[k]["median"])
        value = rows[best]["median"] / ours["median"]
        yield Verdict(
            title,
            f"{wanted:g}x",
            f"{value:.1f}x",
            f"{rows[best]['label']}: {rows[best]['median']:.2f} us, "
            f"rankconv {ours['median']:.2f} us an image",
            f"{value:.1f}x",
            "-",
            "met" if value >= wanted else "MISSED",
            int(value < wanted),
            1,
        )
