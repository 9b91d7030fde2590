"""Which colour each method of a run has."""

from __future__ import annotations

from rankconv.drawing.palette import COLOURS
from rankconv.paper.runlog import Log


def slots(log: Log) -> dict[str, str]:
    """The colour name of each declared method: its own for the paper's seven, else in turn.

    The stacked form of a rank has the colour of the rank.
    """
    names: dict[str, str] = {}
    spare = 0
    for method in log.methods:
        own = method.key.replace("stacked ", "rank ", 1)
        if own.startswith("rank ") and own in COLOURS:
            names[method.key] = own
        else:
            names[method.key] = f"extra {spare % 8}"
            spare += 1
    return names
