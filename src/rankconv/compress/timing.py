"""Seconds that calls take, measured in turn: what disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Call = Callable[[], object]
WALL = time.perf_counter
clock = WALL
# On a busy machine a call of some milliseconds is interrupted and one of half a millisecond is
# not, so that long calls look ten times as long. What runs in one thread is counted by the
# processor's own time, which leaves that out; Windows counts it in steps of 16 ms.
one_thread_clock = WALL if sys.platform == "win32" else time.process_time
WARM_UP = 2  # calls
SHORTEST = 2e-4  # seconds of one measurement: shorter calls are repeated within it


def interleaved(
    calls: Sequence[Call],
    *,
    rounds: int,
    limit: float = float("inf"),
    least: int = 3,
    threads: int = 0,
) -> Array:
    """Seconds of each call, (rounds, calls): each called once a round, in turn.

    Every call is warmed up first and garbage is not collected meanwhile; one that takes less
    than 0.2 ms is repeated until it does. After `limit` seconds no further round begins, once
    there are `least`. With `threads=1` the processor's time is counted, else the clock's.

    >>> interleaved([lambda: sum(range(1000)), lambda: None], rounds=5).shape
    (5, 2)
    """
    now = one_thread_clock if threads == 1 and clock is WALL else clock
    repeats = []
    for call in calls:
        for _ in range(WARM_UP):
            call()
        start = now()
        call()
        once = now() - start
        repeats.append(max(1, min(1000, int(np.ceil(SHORTEST / max(once, 1e-9))))))
    rows = []
    begin = clock()
    with _no_garbage_collection():
        for done in range(rounds):
            if done >= least and clock() - begin > limit:
                break
            row = []
            for call, n in zip(calls, repeats, strict=True):
                start = now()
                for _ in range(n):
                    call()
                row.append((now() - start) / n)
            rows.append(row)
    return np.array(rows).reshape(len(rows), len(calls))


def relative_medians(seconds: Array) -> Array:
    """The median of each column over the first's, taken round by round: (calls,)."""
    ratios: Array = np.median(seconds / seconds[:, :1], axis=0)
    return ratios


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
