"""What a run found, in sentences that its numbers decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from rankconv.drawing.wording import percent_text, points_text, seconds_text, times_text
from rankconv.paper import reference
from rankconv.paper.charts.filters import layers
from rankconv.paper.comparison import same_data, same_network
from rankconv.paper.runlog import Log
from rankconv.paper.summary import (
    Summary,
    accuracy_in_the_same_epochs,
    relative_singular_values,
    summarise,
    times_as_fast,
)
from rankconv.paper.wording import epochs_text


@dataclass(frozen=True)
class Tile:
    """One number that a reader should see first, and the paper's beside it."""

    name: str
    value: str
    beside: str


def tiles(log: Log) -> tuple[Tile, ...]:
    """The four numbers on top of the report, as far as the run holds them.

    None for another network than the paper's.
    """
    if not same_network(log):
        return ()
    rows = {summary.method.key: summary for summary in summarise(log)}
    found = []
    if (exact := rows.get(reference.PYTORCH)) is not None:
        paper = percent_text(reference.ACCURACY[reference.PYTORCH], digits=2)
        value = percent_text(exact.accuracy, digits=2)
        found.append(Tile("Exact accuracy, average", value, f"the paper: {paper}"))
    for key, name in (("rank 5", "Rank 5 (exact)"), ("rank 1", "Rank 1")):
        if key in rows and (ours := times_as_fast(log, key)) is not None:
            theirs = reference.SECONDS[reference.PYTORCH] / reference.SECONDS[key]
            found.append(
                Tile(
                    f"{name}, times as fast as PyTorch",
                    times_text(ours),
                    f"the paper: {times_text(theirs)}",
                )
            )
    factor = times_as_fast(log, "rank 5", reference=reference.LOOP)
    if reference.LOOP in rows and factor is not None:
        scaled = " (scaled)" if rows[reference.LOOP].scaled else ""
        theirs = reference.LOOP_FACTOR * 9.1 / reference.SECONDS["rank 5"]
        beside = f"the paper: over {times_text(theirs)}"
        found.append(Tile(f"Rank 5 against the loop{scaled}", times_text(factor), beside))
    return tuple(found)


def findings(log: Log) -> tuple[str, ...]:
    """What the run shows, one sentence a finding, in the order of the paper's analysis."""
    rows = {summary.method.key: summary for summary in summarise(log)}
    if not same_network(log):
        return (*_exactness(log), *_fastest(log, rows, among="Of the others"))
    return tuple(
        sentence
        for part in (
            _accuracy(log, rows),
            _speed(log, rows),
            _order(rows),
            _loop(log, rows),
            _exactness(log),
            _rank_1(log),
            _fastest(log, rows),
        )
        for sentence in part
    )


def _accuracy(log: Log, rows: dict[str, Summary]) -> Iterator[str]:
    if (exact := rows.get(reference.PYTORCH)) is None:
        return
    if not same_data(log):
        yield (
            "The data is not the paper's, so the accuracies beside each other are not a comparison."
        )
        return
    paper = reference.ACCURACY[reference.PYTORCH]
    points = exact.accuracy - paper
    how = "matches or beats" if points >= 0 else "stays below"
    yield (
        f"The exact network averages {exact.accuracy:.5f} over {epochs_text(exact.epochs)} and "
        f"{how} the paper's {paper:.5f} ({points_text(points)})."
    )


def _speed(log: Log, rows: dict[str, Summary]) -> Iterator[str]:
    factor = times_as_fast(log, "rank 5")
    if factor is None or "rank 5" not in rows:
        return
    pytorch, ours = rows[reference.PYTORCH], rows["rank 5"]
    than = "faster than" if factor > 1 else "not faster than"
    yield (
        f"Rank 5, which is exact, is {than} PyTorch: {seconds_text(ours.seconds)} against "
        f"{seconds_text(pytorch.seconds)}, {times_text(factor)} as fast (the paper: 1.01×)."
    )


def _order(rows: dict[str, Summary]) -> Iterator[str]:
    chain = [rows[key] for key in reference.RANKS if key in rows]
    if len(chain) < 2:
        return
    times = ", ".join(seconds_text(row.seconds) for row in chain)
    if all(a.seconds < b.seconds for a, b in pairwise(chain)):
        yield f"Time falls with the rank, as in the paper: {times} from the lowest to the highest."
    else:
        yield f"Time does not fall with every step of the rank: {times} from the lowest up."


def _loop(log: Log, rows: dict[str, Summary]) -> Iterator[str]:
    if (loop := rows.get(reference.LOOP)) is None:
        return
    how = f"scaled from {loop.images:,} images" if loop.scaled else "measured"
    text = f"The Python loop takes {seconds_text(loop.seconds)} ({how})"
    factor = times_as_fast(log, reference.LOOP)
    same = accuracy_in_the_same_epochs(log, reference.LOOP)
    if factor:
        text += f", {times_text(1 / factor)} PyTorch's time"
    if same is not None and not loop.scaled:
        agree = (
            "the same accuracy as" if abs(same - loop.accuracy) < 5e-5 else "not the accuracy of"
        )
        text += f", at {agree} PyTorch in the same epochs"
    yield text + "."


def _exactness(log: Log) -> Iterator[str]:
    exact = [s for s in summarise(log) if s.method.exact and s.method.key != reference.PYTORCH]
    if not exact:
        return
    total = sum(s.predictions for s in exact)
    wrong, ties = sum(s.disagreements for s in exact), sum(s.ties for s in exact)
    base = f"Of {total:,} predictions by exact methods, "
    if wrong:
        yield (
            base + f"{wrong:,} differ from PyTorch's by more than rounding: a defect to look into."
        )
    elif ties:
        yield (base + f"all but {ties:,} equal PyTorch's; the exceptions are rounding ties.")
    else:
        yield base + "every one equals PyTorch's."


def _rank_1(log: Log) -> Iterator[str]:
    trials = log.of("rank 1")
    if len(trials) < 2:
        return
    best, last = max(trials, key=lambda trial: trial.accuracy), trials[-1]
    if last.accuracy > 0.9 * best.accuracy:
        text = (
            f"Rank 1 does not fall away here: {percent_text(last.accuracy)} in the last epoch, "
            f"{percent_text(best.accuracy)} at best (epoch {best.epoch})"
        )
    else:
        text = (
            f"Rank 1 {'starts at' if best is trials[0] else 'rises to'} "
            f"{percent_text(best.accuracy)} in epoch {best.epoch} and falls to "
            f"{percent_text(last.accuracy)} in epoch {last.epoch}"
        )
    shares = [
        f"{percent_text(first, digits=0)} to {percent_text(final, digits=0)} in {layer}"
        for layer in layers(log)
        for first, final in [relative_singular_values(log, layer)[[0, -1], 0] ** 2]
    ]
    if shares:
        text += f"; the energy in the first singular value went from {' and from '.join(shares)}"
    yield text + "."


def _fastest(
    log: Log, rows: dict[str, Summary], *, among: str = "Beyond the paper"
) -> Iterator[str]:
    extra = [
        s
        for s in rows.values()
        if s.method.group == "extra" and s.method.exact and not s.method.batch
    ]
    if not extra:
        return
    best = min(extra, key=lambda summary: summary.seconds)
    if factor := times_as_fast(log, best.method.key):
        yield (
            f"{among}, the fastest exact method one by one is {best.method.label}: "
            f"{seconds_text(best.seconds)}, {times_text(factor)} as fast as PyTorch."
        )
