"""Many runs of the experiment, one for each seed, rank, way of training and filter size.

Each run has a folder of its own, with log and checkpoint. A sweep that was stopped goes on where
it was: what has ended is passed over, what had begun is resumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rankconv.paper import experiment, logfile
from rankconv.paper.config import Config
from rankconv.paper.data import Dataset
from rankconv.paper.runlog import Log, LogError, read_log
from rankconv.paper.wording import training_text

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of a sweep, and the name of its folder."""

    name: str
    config: Config


def grid(
    base: Config,
    *,
    seeds: Sequence[int],
    ranks: Sequence[int | None],
    train_methods: Sequence[str],
    filter_sizes: Sequence[int],
) -> tuple[Run, ...]:
    """Every combination, seed by seed, each once: without a rank the way of training is all one.

    Raises ValueError where a combination is no configuration.

    >>> runs = grid(
    ...     Config(epochs=2), seeds=(0, 1), ranks=(None, 1), train_methods=("factors",),
    ...     filter_sizes=(5,),
    ... )
    >>> [run.name for run in runs]
    ['free-seed-0', 'factors-rank-1-seed-0', 'free-seed-1', 'factors-rank-1-seed-1']
    """
    runs: dict[str, Run] = {}
    for seed, size, rank, method in itertools.product(seeds, filter_sizes, ranks, train_methods):
        name = "free" if rank is None else f"{method}-rank-{rank}"
        if len(filter_sizes) > 1:
            name += f"-filter-{size}"
        name += f"-seed-{seed}"
        config = replace(base, seed=seed, filter_size=size, train_rank=rank)
        runs[name] = Run(name, config if rank is None else replace(config, train_method=method))
    return tuple(runs.values())


def sweep(runs: Sequence[Run], data: Dataset, out: Path) -> Iterator[Record]:
    """Run what has not ended yet; the records of each run, after one that names it.

    Raises ValueError where a folder holds a run of another configuration or other data.
    """
    for number, run in enumerate(runs, 1):
        folder = out / run.name
        yield {
            "type": "sweep",
            "name": run.name,
            "number": number,
            "total": len(runs),
            "ended": ended(folder),
        }
        if not ended(folder):
            records = experiment.run(run.config, data, folder, resume=True)
            yield from logfile.record_run(records, folder)


def ended(folder: Path) -> bool:
    """Whether the folder holds a run that came to its end."""
    try:
        return read_log(folder / logfile.LOG).finished
    except (LogError, OSError):
        return False


@dataclass(frozen=True)
class Row:
    """The runs that differ in their seed alone: accuracies after the last epoch, by seed.

    `rank` is the rank at which they are tested (None: PyTorch's, the filters as they are), and
    `accuracies` what it reached.
    """

    name: str
    rank: int | None
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean accuracy over the seeds."""
        return fmean(self.accuracies)


def table(logs: Sequence[Log]) -> tuple[Row, ...]:
    """What each setting reached, over its seeds: freely trained ones at every rank they tested.

    A setting trained towards rank r is shown at rank r; where that was not tested, as PyTorch
    computes it.
    """
    found: dict[tuple[str, int | None], list[tuple[int, float]]] = {}
    for log in logs:
        trained = log.config.get("train_rank")
        ranks: list[int | None] = [None]
        if trained is not None and log.has(f"rank {trained}"):
            ranks = [int(trained)]
        elif trained is None:
            ranks += [r for r in range(1, 12) if log.has(f"rank {r}")]
        for rank in ranks:
            trials = log.of("rank -1" if rank is None else f"rank {rank}")
            if trials:
                key = training_text(log), rank
                found.setdefault(key, []).append((int(log.config["seed"]), trials[-1].accuracy))
    return tuple(
        Row(name, rank, tuple(s for s, _ in sorted(pairs)), tuple(a for _, a in sorted(pairs)))
        for (name, rank), pairs in found.items()
    )


def read_all(out: Path, *, warn: Callable[[str], None]) -> tuple[Log, ...]:
    """The logs of all runs in a folder, by name; `warn` is told of those that cannot be read."""
    logs = []
    for path in sorted(out.glob(f"*/{logfile.LOG}")):
        try:
            logs.append(read_log(path))
        except LogError as error:
            warn(str(error))
    return tuple(logs)
