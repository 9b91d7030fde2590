"""A separable kernel as one would write it in numba: constant length, strips of rows in cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from filter_task import MissingPeerError, Task, Variant

CHUNK = 16  # taps that LLVM unrolls and keeps in one register's sum
STRIP = 64  # rows whose first pass stays in the second cache level


def numba(task: Task) -> list[Variant]:
    """One thread, fast-math, all memory handed in."""
    if len(task.rows) != 1:
        return []
    kernel = _compiled(task.k)
    columns, rows = task.columns[0], task.rows[0]
    between = np.empty((STRIP + task.k - 1, task.shape[1]), np.float32)
    image, out = task.image, task.out
    return [Variant("njit", lambda: kernel(image, rows, columns, between, out), lambda _: out)]


@cache
def _compiled(k: int) -> Any:
    try:
        import numba
    except ImportError as error:
        raise MissingPeerError(f"numba: {error}") from error
    full, rest = divmod(k, CHUNK)

    def separable(image, rows, columns, between, out):  # type: ignore[no-untyped-def]
        height, width = out.shape
        for top in range(0, height, STRIP):
            tall = min(STRIP, height - top)
            for y in range(tall + k - 1):
                source, target = image[top + y], between[y]
                for x in range(width):
                    total = np.float32(0)
                    for j in range(rest):
                        total += rows[j] * source[x + j]
                    target[x] = total
                for group in range(full):
                    first = rest + group * CHUNK
                    for x in range(width):
                        total = target[x]
                        for j in range(CHUNK):
                            total += rows[first + j] * source[x + first + j]
                        target[x] = total
            for y in range(tall):
                target = out[top + y]
                for x in range(width):
                    total = np.float32(0)
                    for j in range(rest):
                        total += columns[j] * between[y + j, x]
                    target[x] = total
                for group in range(full):
                    first = rest + group * CHUNK
                    for x in range(width):
                        total = target[x]
                        for j in range(CHUNK):
                            total += columns[first + j] * between[y + first + j, x]
                        target[x] = total

    plain = "f4[:,::1]"
    signature = f"({plain}, f4[::1], f4[::1], {plain}, {plain})"
    return numba.njit(signature, fastmath=True, error_model="numpy")(separable)
