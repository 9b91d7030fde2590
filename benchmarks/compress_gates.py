"""What compressing must reach, judged from a stored result of `make bench-compress`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress_work import CHOSEN, GATE_DROP, INT8, ORIGINAL, OURS, TUNED, TUNED_ORIGINAL

Row = dict[str, Any]
PEER = "peer"
INT8_DROP = 1.5  # points
MINUTES, MEMORY = 3.0, 4096.0  # of compressing the VGG-like net; MiB


@dataclass(frozen=True)
class Gate:
    """At most `drop` points down, a network of `net` from one of `sources` must be this fast."""

    title: str
    net: str
    sources: tuple[str, ...]
    wanted: float
    aim: float
    drop: float = GATE_DROP


@dataclass(frozen=True)
class Verdict:
    """A gate's outcome, in words; `met` is None where nothing was measured."""

    title: str
    wanted: str
    found: str
    met: bool | None


GATES = (
    Gate("VGG-like net, no fine-tuning", "vgg", (OURS,), 1.8, 2.5),
    Gate("ResNet-56, no fine-tuning", "resnet56", (OURS,), 1.3, 1.6),
    Gate("ResNet-20, no fine-tuning", "resnet20", (OURS,), 1.25, 1.5),
    Gate("VGG-like net, fine-tuned", "vgg", (TUNED,), 2.3, 3.5),
    Gate("ResNet-20, fine-tuned", "resnet20", (TUNED,), 1.5, 2.0),
    Gate(
        "VGG-like net, followed by int8", "vgg",
        (f"{OURS}+{INT8}", f"{TUNED}+{INT8}"), 2.5, 4.0, drop=INT8_DROP,
    ),
)  # fmt: skip


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """Every gate, in the order of the issue."""
    rows = result["networks"]
    found = [_speed(gate, rows) for gate in GATES]
    found += _cost(rows)
    for net, title in result["titles"].items():
        if any(row["net"] == net and row["source"] == PEER for row in rows):
            found.append(_peers(net, title, rows))
    return found


def reference(rows: list[Row], net: str, source: str) -> float:
    """The score from which a drop counts: the original's.

    For what was fine-tuned, that of the original fine-tuned in the same way where that is better.
    """
    wanted = {ORIGINAL: True, TUNED: source.startswith(TUNED)}
    return max(
        float(row["score"])
        for row in rows
        if row["net"] == net
        and (row["source"] == ORIGINAL or (wanted[TUNED] and row["name"] == TUNED_ORIGINAL))
    )


def drop(rows: list[Row], row: Row) -> float:
    """How much worse than its reference a network is."""
    return reference(rows, row["net"], row["source"]) - float(row["score"])


def _speed(gate: Gate, rows: list[Row]) -> Verdict:
    wanted = f">= {gate.wanted:g}x (aim {gate.aim:g}x) at <= {gate.drop:g} points"
    mine = [
        row
        for row in rows
        if row["net"] == gate.net
        and row["source"] in gate.sources
        and row["name"] != TUNED_ORIGINAL
        and not (row["source"] == OURS and row["name"] != CHOSEN)  # the front is for the picture
    ]
    if not mine:
        return Verdict(gate.title, wanted, "-", None)
    inside = [row for row in mine if drop(rows, row) <= gate.drop]
    best = max(inside or mine, key=lambda row: row["speedup"][0])
    told = f"{best['speedup'][0]:.2f}x at {drop(rows, best):.2f} points ({best['name']})"
    return Verdict(gate.title, wanted, told, bool(inside) and best["speedup"][0] >= gate.wanted)


def _cost(rows: list[Row]) -> list[Verdict]:
    row = next((r for r in rows if r["net"] == "vgg" and r["name"] == CHOSEN), None)
    made = row["made"] if row else None
    # One process, one thread: on a machine with nothing else to do both times are the same.
    titles = ("time to compress the VGG-like net", "memory to compress the VGG-like net")
    wanted = (f"< {MINUTES:g} minutes", f"< {MEMORY / 1024:g} GiB")
    if made is None or not made["seconds"]:
        return [Verdict(t, w, "-", None) for t, w in zip(titles, wanted, strict=True)]
    return [
        Verdict(
            titles[0],
            wanted[0],
            f"{made['cpu_seconds'] / 60:.1f} minutes of one processor; "
            f"{made['seconds'] / 60:.1f} passed by the clock",
            made["cpu_seconds"] < 60 * MINUTES,
        ),
        Verdict(
            titles[1],
            wanted[1],
            f"{made['peak_mib'] / 1024:.2f} GiB at the peak",
            made["peak_mib"] < MEMORY,
        ),
    ]


def _peers(net: str, title: str, rows: list[Row]) -> Verdict:
    own = front([row for row in rows if row["net"] == net and row["source"] == OURS])
    peers = [row for row in rows if row["net"] == net and row["source"] == PEER]
    beaten = {row["name"]: [peer["name"] for peer in beating(row, peers)] for row in own}
    bad = [f"{name} by {', '.join(by)}" for name, by in beaten.items() if by]
    told = f"{len(own) - len(bad)} of {len(own)} points, {len(peers)} of theirs"
    if bad:
        told += "; beaten: " + "; ".join(bad)
    return Verdict(
        f"{title}: no peer is as exact and as fast as a point of our front",
        "all points",
        told if own else "-",
        not bad if own else None,
    )


def beating(row: Row, others: list[Row]) -> list[Row]:
    """Those at least as exact and as fast, and better in one."""
    mine = (row["score"], row["speedup"][0])
    return [
        other
        for other in others
        if (theirs := (other["score"], other["speedup"][0])) != mine
        and theirs[0] >= mine[0]
        and theirs[1] >= mine[1]
    ]


def front(rows: list[Row]) -> list[Row]:
    """Those that no other of these beats, the most exact first."""
    return sorted((row for row in rows if not beating(row, rows)), key=lambda row: -row["score"])
