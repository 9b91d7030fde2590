"""Figure 2 of the paper: a Python loop over pixels against one matrix product."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rankconv.correlate.loop import correlate_loop
from rankconv.machine import machine, versions

# The paper's sizes and seconds (Fig. 2).
IMAGE, FILTER = (1002, 1002), (3, 3)
LEFT, RIGHT = (10_000, 1_000), (1_000, 10_000)


def measure_figure2(*, seed: int = 0, threads: int = 1, scale: float = 1.0) -> dict[str, Any]:
    """Time the two halves of the paper's Fig. 2 once each, in seconds.

    A 1002 x 1002 image is filtered with a 3 x 3 filter by the Python loop, and a
    (10000, 1000) matrix is multiplied with a (1000, 10000) one, in float64 as there. `scale`
    shrinks every size, for a quick look.
    """
    rng = np.random.default_rng(seed)
    image = rng.standard_normal(tuple(max(3, round(n * scale)) for n in IMAGE))
    kernel = rng.standard_normal(FILTER)
    left = rng.standard_normal(tuple(max(1, round(n * scale)) for n in LEFT))
    right = rng.standard_normal(tuple(max(1, round(n * scale)) for n in RIGHT))
    with threadpool_limits(threads):
        start = time.perf_counter()
        correlate_loop(image, kernel)
        loop_seconds = time.perf_counter() - start
        start = time.perf_counter()
        np.matmul(left, right)
        matmul_seconds = time.perf_counter() - start
    return {
        "loop_seconds": loop_seconds,
        "matmul_seconds": matmul_seconds,
        "image": list(image.shape),
        "filter": list(kernel.shape),
        "left": list(left.shape),
        "right": list(right.shape),
        "threads": threads,
        "machine": machine(),
        "versions": versions(("numpy",)),
    }
