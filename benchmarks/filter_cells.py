"""Timing: one cell is one task, done by everyone in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from filter_peers import PEERS
from filter_task import (
    KERNELS,
    KINDS,
    SIZES,
    Array,
    MissingPeerError,
    Task,
    Variant,
    check,
    make_task,
    reference,
)

# Seconds of measurement in a cell, and for how long one call may take.
BUDGET = {"32": 0.4, "256": 0.8, "512": 0.9, "1080p": 1.4, "4096": 2.0, "8192": 3.0}
LONGEST_CALL = 1.0
LARGE = ("1080p", "4096", "8192")
TURN = 1e-3  # a turn is at least this long, so that the clock does not count
MOST_TURNS = 41
SLOW = 0.2  # a call that takes longer is not repeated to warm up

Cell = tuple[str, int, str]  # size, k, kind


@dataclass
class Memory:
    """What is known from the cells before: who is missing, and seconds a pixel of each way.

    `beaten` ways took over three times the time of their owner's best, on images of 256 x 256 or
    more: they are not tried on larger ones.
    """

    missing: dict[str, str] = field(default_factory=dict)
    pace: dict[tuple[str, str, int, str], float] = field(default_factory=dict)
    beaten: set[tuple[str, str, int, str]] = field(default_factory=set)

    def knows(self, cell: Cell) -> bool:
        """Whether this kernel has been used on a smaller image."""
        return any(key[2:] == cell[1:] for key in self.pace)


def cells(
    sizes: Sequence[str] | None = None,
    kernels: Sequence[int] | None = None,
    kinds: Sequence[str] | None = None,
) -> list[Cell]:
    """Every cell with a result, the small images first (they say what takes too long later).

    Symmetric kernels are looked at for two sizes only; none of the gates is about them.
    """
    return [
        (size, k, kind)
        for size in SIZES
        for k in KERNELS
        for kind in KINDS
        if min(SIZES[size]) >= k
        and not (kind == "gaussian" and size not in ("512", "1080p"))
        and (sizes is None or size in sizes)
        and (kernels is None or k in kernels)
        and (kinds is None or kind in kinds)
    ]


def run_cell(
    cell: Cell, names: Sequence[str], memory: Memory, *, effort: float = 1.0
) -> dict[str, Any]:
    """Check everyone's result, then time the fastest way of each; `effort` scales the budget.

    Who needs longer than LONGEST_CALL is not called again: that one call is the time.
    """
    if cell[0] in LARGE and not memory.knows(cell):
        smaller = "256" if cell[0] == "1080p" else "1080p"
        _entrants(make_task(smaller, *cell[1:]), names, memory)
    task = make_task(*cell)
    chosen, peers, skipped = _entrants(task, names, memory)
    budget = effort * BUDGET[task.size]
    probes = {name: row["probe"] for name, row in peers.items()}
    again = {name: way for name, way in chosen.items() if probes[name] <= LONGEST_CALL}
    times = {name: [seconds] for name, seconds in probes.items()}
    times |= interleave(again, probes, budget)
    for name, values in times.items():
        peers[name].update(spread(values))
    return {
        "size": task.size,
        "k": task.k,
        "kind": task.kind,
        "peers": peers,
        "skipped": skipped,
    }


def _entrants(
    task: Task, names: Sequence[str], memory: Memory
) -> tuple[dict[str, Variant], dict[str, dict[str, Any]], dict[str, str]]:
    expected = reference(task)
    chosen: dict[str, Variant] = {}
    rows: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    first: Array | None = None
    pixels = math.prod(task.shape)
    for name in names:
        if name in memory.missing or not _takes_part(name, task):
            continue
        try:
            variants = PEERS[name][1](task)
        except MissingPeerError as error:
            memory.missing[name] = str(error)
            continue
        probes, errors = {}, {}
        for variant in variants:
            key = (name, variant.name, task.k, task.kind)
            if key in memory.beaten:
                continue
            guess = memory.pace.get(key, 0.0) * pixels
            if guess > LONGEST_CALL:
                skipped.setdefault(name, f"about {guess:.1f} s a call")
                continue
            with variant.around():
                start = time.perf_counter()
                value = variant.call()
                seconds = time.perf_counter() - start
                result = variant.view(value)
                errors[variant.name] = check(
                    task, f"{name} ({variant.name})", result, expected, first
                )
                if first is None:
                    first = result.copy()
                del value, result
                probes[variant.name] = seconds if seconds > SLOW else probe(variant)
            memory.pace[key] = probes[variant.name] / pixels
        if probes:
            best = min(probes, key=lambda way: probes[way])
            skipped.pop(name, None)
            if task.size != "32":
                memory.beaten |= {
                    (name, way, task.k, task.kind)
                    for way, seconds in probes.items()
                    if seconds > 3 * probes[best]
                }
            chosen[name] = next(v for v in variants if v.name == best)
            rows[name] = {
                "variant": best,
                "error": errors[best],
                "probe": probes[best],
                "probes": probes,
            }
    return chosen, rows, skipped


def _takes_part(name: str, task: Task) -> bool:
    return name != "rankconv 2" or (task.size in LARGE and task.k >= 5)


def probe(variant: Variant) -> float:
    """Seconds a call, roughly: the best of a few, for 30 ms at most unless one takes longer."""
    best, spent = math.inf, 0.0
    for _ in range(10):
        start = time.perf_counter()
        variant.call()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > 0.03:
            break
    return best


def interleave(
    variants: Mapping[str, Variant], probes: Mapping[str, float], budget: float
) -> dict[str, list[float]]:
    """Seconds a call in each turn; everyone's turns are spread over the same rounds.

    Each has the same share of the budget; who is slow has fewer turns in it, but at least three
    (one, where a call takes longer than SLOW).
    """
    share = budget / max(1, len(variants))
    calls = {name: max(1, math.ceil(TURN / probes[name])) for name in variants}
    turns = {}
    for name in variants:
        warm_up = probes[name] < 0.02
        cost = probes[name] * (calls[name] + warm_up)
        least = 3 if probes[name] <= SLOW else 1
        turns[name] = max(least, min(MOST_TURNS, int(share / cost)))
    rounds = max(turns.values(), default=0)
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    for turn in range(rounds):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            if (turn + 1) * turns[name] // rounds == turn * turns[name] // rounds:
                continue
            variant, count = variants[name], calls[name]
            with variant.around():
                if probes[name] < 0.02:
                    variant.call()  # the caches hold this competitor's code and data again
                call, numbers = variant.call, range(count)
                start = time.perf_counter()
                for _ in numbers:
                    call()
                seconds = time.perf_counter() - start
            times[name].append(seconds / count)
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile, and of how many turns."""
    low, median, high = np.percentile(values, [10, 50, 90])
    return {
        "median": float(median),
        "low": float(low),
        "high": float(high),
        "turns": len(values),
    }


def measure(
    wanted: Sequence[Cell], names: Sequence[str], memory: Memory, *, effort: float = 1.0
) -> Iterator[dict[str, Any]]:
    """One record for each cell."""
    for cell in wanted:
        yield run_cell(cell, names, memory, effort=effort)
