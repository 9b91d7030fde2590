"""SciPy: its three ways to filter in the space domain, and its two by Fourier transforms."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filter_task import Task, Variant, itself


def ndimage(task: Task) -> list[Variant]:
    """A pair of correlate1d for each term, correlate at full rank."""
    from scipy.ndimage import correlate, correlate1d

    image, same, spare = task.image, task.same, task.spare
    if not len(task.rows):
        return [
            Variant(
                "correlate", lambda: correlate(image, task.kernel, same), lambda _: task.valid(same)
            )
        ]
    total = np.zeros_like(image) if len(task.rows) > 1 else same

    def separable() -> None:
        for n, (row, column) in enumerate(zip(task.rows, task.columns, strict=True)):
            correlate1d(image, row, 1, spare)
            correlate1d(spare, column, 0, total if n == 0 else same)
            if n:
                np.add(total, same, out=total)

    return [Variant("correlate1d", separable, lambda _: task.valid(total))]


def signal(task: Task) -> list[Variant]:
    """correlate2d at full rank, sepfir2d for each term."""
    from scipy.signal import correlate2d, sepfir2d

    if not len(task.rows):
        return [
            Variant("correlate2d", partial(correlate2d, task.image, task.kernel, "valid"), itself)
        ]
    terms = [  # it convolves
        (row[::-1].copy(), column[::-1].copy())
        for row, column in zip(task.rows, task.columns, strict=True)
    ]

    def separable() -> Any:
        total = sepfir2d(task.image, *terms[0])
        for term in terms[1:]:
            total += sepfir2d(task.image, *term)
        return total

    return [Variant("sepfir2d", separable, task.valid)]


def fft(task: Task) -> list[Variant]:
    """fftconvolve and oaconvolve, whatever the rank."""
    from scipy.signal import fftconvolve, oaconvolve

    flipped = task.kernel[::-1, ::-1].copy()
    return [
        Variant(name, partial(function, task.image, flipped, "valid"), itself)
        for name, function in (("fftconvolve", fftconvolve), ("oaconvolve", oaconvolve))
    ]
