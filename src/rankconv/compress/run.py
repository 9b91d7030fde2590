"""Compress a network: profile, choose, fit and verify until the budget is kept, or nothing is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rankconv.compress import tuning as tuning_files
from rankconv.compress.candidates import LAST_WORK, Bench, evaluate, images_for
from rankconv.compress.data import Data, check_labels, split
from rankconv.compress.layer_records import layer_records
from rankconv.compress.layer_times import Progress
from rankconv.compress.metrics import Metric, Part, as_metric
from rankconv.compress.network import Inputs, Network, Replacement, predictions
from rankconv.compress.profile import KINDS, Profile, profile
from rankconv.compress.records import Point, Report
from rankconv.compress.search import MOST as LARGEST_SEARCH
from rankconv.compress.search import Budget, Candidate, Choice, search, within
from rankconv.compress.verify import Entry, points, speedups, timed
from rankconv.factorizations import FULL_RANKS
from rankconv.machine import machine, versions

PACKAGES = ("rankconv", "numpy", "torch", "onnx", "onnxruntime")
FASTER = 1.02  # times as fast as the original at least, or the original is the answer
Quantize = Callable[[Network, Inputs], Network]


@dataclass(frozen=True, eq=False)
class Compressed:
    """The network that is handed back, how it was found, and what stands in which layer's place.

    Where nothing was faster within the budget `network` is the original, `replacements` is
    empty, and `report.verdict` and the reasons of `report.layers` say why. Where an int8 network
    was asked for and found, `replacements` are those that it was quantised from.
    """

    network: Network
    report: Report
    replacements: Mapping[str, Replacement]


def compress(
    network: Network,
    data: Data,
    *,
    metric: str | Metric | None = None,
    max_drop: float | None = None,
    speedup: float | None = None,
    seconds: float | None = None,
    kinds: Sequence[str] = KINDS,
    threads: int = 1,
    batch: int = 1,
    quantize: Quantize | None = None,
    return_int8: bool = False,
    tuning: Path | None = None,
    progress: Progress | None = None,
    command: str = "",
    seed: int = 0,
) -> Compressed:
    """Replace layers by low-rank chains so that the network is really faster, within a budget.

    The budget is one of: `max_drop` (the default, 1, but not for a score of your own), how much
    worse the metric may become, in its own unit; `speedup`, how many times faster at least;
    `seconds`, of one batch at most. Time is that of `batch` images on `threads` threads, measured
    in the network's own engine.

    `metric` is a name of `metrics.METRICS`, a `Metric`, or None for what the data suggest. Images
    are split three ways by `seed` (see `data.split`): the drop that is told is measured on images
    that neither the fit nor the choice has seen. `kinds` are those of `rankconv.factorize` to
    choose from. `quantize(network, inputs)` makes an int8 network of one in floating point; the
    original and the result are then measured in int8 too, and the int8 result is the answer only
    with `return_int8=True`. `tuning` is a file for the layers' times (`tuning.tuning_file()`), None
    for none. `progress(what, done, total)` is called as the work goes on.

    The answer is never slower than the original: both are timed in turn at the end. Nothing but
    the tuning file is written, and the network itself is not changed.

    Raises ValueError for more than one budget or one out of range, unknown kinds, a network with
    no layer to replace, and data that do not fit.
    Equivalent: none in SciPy, PyTorch or ONNX Runtime.
    """
    begin = time.perf_counter()
    budget = _check(network, max_drop, speedup, seconds, kinds, threads, batch)
    if (
        isinstance(metric, Metric)
        and metric.evaluate is not None
        and max_drop is speedup is seconds is None
    ):
        raise ValueError(
            f"the scale of your own score {metric.name} is not known, and a drop of 1 could be all "
            "of it: pass max_drop in its unit, speedup or seconds"
        )
    if return_int8 and quantize is None:
        raise ValueError("return_int8=True needs quantize, the function that makes an int8 network")
    parts = split(data, seed=seed)
    original = predictions(network, parts.choose.inputs)
    check_labels(data, original)
    chooser = Part(parts.choose, original)
    score = as_metric(metric, chooser)
    base = score.measure(network, chooser, outputs=original)
    one_batch = _batch(parts.fit.inputs, batch)
    now = float(np.median(timed([network], one_batch, threads=threads, seconds=1.0)))
    aim = Budget(budget.get("max_drop"), budget.get("speedup"))
    if "seconds" in budget:
        aim = Budget(None, now / budget["seconds"])
    known = tuning_files.load(tuning)
    table = profile(
        network,
        parts.fit,
        chooser,
        score,
        kinds=kinds,
        batch=batch,
        threads=threads,
        known=known,
        seed=seed,
        progress=progress,
    )
    tuning_files.save(tuning, known)
    bench = Bench(network, parts.fit, chooser, score, base, one_batch, threads, seed)
    found = _found(bench, table, aim, now, progress)
    best = _best(found, aim)
    entries = [Entry("original", "original", network)]
    entries += [_entry(candidate, i) for i, candidate in enumerate(sorted(found, key=_speed))]
    chosen = next((i for i, e in enumerate(entries) if best and e.network is best.network), 0)
    note = ""
    if quantize is not None:
        start = len(entries)
        for entry in (entries[0], entries[chosen])[: 1 + (chosen > 0)]:
            entries.append(_int8(entry, quantize(entry.network, parts.fit.inputs)))
        if return_int8:
            inside = [
                i for i in range(start, len(entries)) if _keeps(bench, entries[i].network, aim)
            ]
            chosen = inside[-1] if inside else chosen
            note = (
                ""
                if inside
                else " No int8 network was faster within the budget where the choice is made."
            )
    if progress is not None:
        progress("verifying", 0, 1)
    reporter = Part(parts.report, predictions(network, parts.report.inputs))
    measured = points(entries, reporter, score, one_batch, threads=threads)
    if progress is not None:
        progress("verifying", 1, 1)
    picked, verdict = _verdict(measured, chosen, budget, score, found, now)
    answer = entries[picked]
    return Compressed(
        network=answer.network,
        report=Report(
            command=command,
            machine={name: str(value) for name, value in machine().items()},
            versions=versions(PACKAGES),
            engine=network.engine,
            threads=threads,
            batch=batch,
            budget=budget,
            metric=str(score),
            split=parts.sizes,
            points=tuple(measured),
            chosen=picked,
            verdict=verdict + note,
            layers=layer_records(network, table, answer.choices, answer.replacements),
            left_alone=dict(network.left_alone),
            seconds_taken=time.perf_counter() - begin,
        ),
        replacements=answer.replacements,
    )


def _check(
    network: Network,
    max_drop: float | None,
    speedup: float | None,
    seconds: float | None,
    kinds: Sequence[str],
    threads: int,
    batch: int,
) -> dict[str, float]:
    """The one budget by its name."""
    given = {
        name: value
        for name, value in (("max_drop", max_drop), ("speedup", speedup), ("seconds", seconds))
        if value is not None
    }
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(f'{n}={v!r}' for n, v in given.items())} exclude each other: pass one "
            "budget, max_drop, speedup or seconds"
        )
    budget = given or {"max_drop": 1.0}
    for name, value in budget.items():
        least = 0 if name == "max_drop" else 1 if name == "speedup" else 0
        if (
            isinstance(value, bool)
            or not isinstance(value, float | int)
            or not math.isfinite(value)
            or value < least
            or (value == 0 and name == "seconds")
        ):
            raise ValueError(f"{name}={value!r} is not a finite number of at least {least}")
    for number, name in ((threads, "threads"), (batch, "batch")):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name}={number!r} is not an integer >= 1")
    allowed = [kind for kind in FULL_RANKS if kind != "dense"]
    for kind in kinds:
        if kind not in allowed:
            raise ValueError(f"kinds: {kind!r} is not one of {', '.join(map(repr, allowed))}")
    if not kinds:
        raise ValueError(f"kinds is empty: pass some of {', '.join(map(repr, allowed))}")
    if not network.layers:
        why = "; ".join(f"{name}: {reason}" for name, reason in network.left_alone.items())
        raise ValueError(f"the network has no layer that can be replaced ({why or 'none found'})")
    return {name: float(value) for name, value in budget.items()}


def _batch(inputs: Inputs, size: int) -> Inputs:
    """One batch of images, repeated where there are too few."""
    index = np.arange(size) % inputs[0].shape[0]
    return tuple(array[index] for array in inputs)


def _found(
    bench: Bench, table: Profile, aim: Budget, seconds: float, progress: Progress | None
) -> list[Candidate]:
    """Candidates along the front; the best of them fitted anew on more images."""
    if aim.speedup is not None and aim.speedup <= 1:
        return []
    count = 0

    def at(choice: Choice, images: int | None = None) -> Candidate:
        nonlocal count
        if progress is not None:
            progress("fitting and measuring candidates", count, LARGEST_SEARCH + 1)
        count += 1
        return evaluate(bench, choice, images=images or images_for(bench, choice))

    found = search(table.options, aim, at, seconds=seconds)
    best = _best(found, aim)
    if best is not None:
        more = images_for(bench, best.choice, work=LAST_WORK)
        again = at(best.choice, more) if more > images_for(bench, best.choice) else best
        if again.loss < best.loss:
            found[found.index(best)] = again
    if progress is not None:
        progress("fitting and measuring candidates", count, count)
    if not found:
        return found
    # Timed apart, the fastest would often be the luckiest: all take turns before one is picked.
    networks = [bench.network, *(candidate.network for candidate in found)]
    quick = speedups(timed(networks, bench.inputs, threads=bench.threads))[1:]
    return [replace(c, speedup=float(s)) for c, s in zip(found, quick, strict=True)]


def _best(found: Sequence[Candidate], budget: Budget) -> Candidate | None:
    """The fastest that keeps a drop, or the nearest to the original that keeps a speed-up."""
    inside = [c for c in found if within(c, budget, found) and c.speedup >= FASTER]
    if budget.max_drop is not None:
        return max(inside, key=_speed, default=None)
    return min(inside, key=lambda c: (c.loss, c.drop), default=None)


def _keeps(bench: Bench, made: Network, budget: Budget) -> bool:
    """Whether an int8 network is faster, and within the budget where the choice is made."""
    both = timed([bench.network, made], bench.inputs, threads=bench.threads, seconds=1.0)
    if speedups(both)[1] < max(FASTER, budget.speedup or 0.0):
        return False
    if budget.max_drop is None:
        return True
    score = bench.metric.measure(made, bench.part)
    return bench.metric.drop(bench.base, score) <= budget.max_drop


def _speed(candidate: Candidate) -> float:
    return candidate.speedup


def _entry(candidate: Candidate, number: int) -> Entry:
    choices = {
        name: (option.kind, option.rank)
        for name, option in candidate.choice.items()
        if option.rank is not None
    }
    label = f"candidate {number + 1}"
    return Entry("rankconv", label, candidate.network, candidate.replacements, choices)


def _int8(entry: Entry, network: Network) -> Entry:
    source = "int8" if entry.source == "original" else f"{entry.source}+int8"
    return replace(entry, source=source, label=f"{entry.label} in int8", network=network)


def _verdict(
    measured: Sequence[Point],
    chosen: int,
    budget: Mapping[str, float],
    metric: Metric,
    found: Sequence[Candidate],
    now: float,
) -> tuple[int, str]:
    """Which point is the answer, and why."""
    unit = " points" if metric.counted else f" {metric.unit}" if metric.unit else ""
    told = ", ".join(f"{name} {value:g}" for name, value in budget.items())
    if not found and "speedup" not in budget and "seconds" not in budget:
        return 0, "The original: no layer has a chain that is faster and near enough."
    if "seconds" in budget and now <= budget["seconds"]:
        return 0, f"The original: it takes {now:.3g} s, which is within the budget ({told})."
    if chosen == 0:
        tried = ", ".join(
            f"{c.speedup:.2f} times as fast at a drop of {_number(c.drop, metric)}{unit}"
            for c in found
        )
        return 0, (
            f"The original: nothing that was tried is faster within the budget ({told}). "
            f"Measured where the choice is made: {tried or 'nothing to try'}."
        )
    point = measured[chosen]
    if point.speedup < FASTER:
        return 0, (
            f"The original: the best candidate was {point.speedup:.2f} times as fast when both "
            "were timed in turn at the end, which is no gain."
        )
    kept = (
        point.drop <= budget.get("max_drop", math.inf)
        and point.speedup >= budget.get("speedup", 0.0)
        and point.seconds <= budget.get("seconds", math.inf)
    )
    where = (
        " by your own function" if metric.evaluate else " on images that the choice had not seen"
    )
    verdict = (
        f"{point.speedup:.2f} times as fast at a drop of {_number(point.drop, metric)}{unit}"
        f"{where}; "
        f"budget: {told}."
    )
    if not kept:
        verdict += (
            " The budget was kept by the estimate and the timing that the choice was made by; "
            "measured again it is missed by that much, as chance has it: pass more images, or ask "
            "for a little less."
        )
    return chosen, verdict


def _number(drop: float, metric: Metric) -> str:
    """A drop in words; your own score may have any scale, and a rounded -0 is 0."""
    return f"{drop:.3g}" if metric.evaluate else f"{round(drop, 2) + 0.0:.2f}"
