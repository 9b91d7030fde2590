"""Where a logarithmic axis has its labels, the same in both drawings."""

from __future__ import annotations

import math
from collections.abc import Iterable


def log_places(values: Iterable[float]) -> tuple[float, ...]:
    """Round places on a logarithmic axis around these values, few enough for a phone.

    >>> log_places([0.2, 1.1])
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    >>> log_places([0.02, 30.0])
    (0.001, 0.01, 0.1, 1.0, 10.0)
    """
    found = [value for value in values if value > 0]
    decades = math.log10(max(found) / min(found))
    steps = (1, 2, 5) if decades < 0.9 else (1, 3) if decades < 1.6 else (1,)
    stride = 2 if decades > 3.5 else 1
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    # From the text, so that 5e-2 is the nearest number to 0.05.
    powers = range(low - 1, high, stride)
    return tuple(float(f"{step}e{power}") for power in powers for step in steps)


def linear_places(low: float, high: float, *, most: int = 6) -> tuple[float, ...]:
    """Round places within a stretch of a linear axis, 1, 2 or 5 in some decade apart.

    >>> linear_places(0.0013, 0.0045)
    (0.002, 0.003, 0.004)
    >>> linear_places(88.9, 91.6)
    (89.0, 89.5, 90.0, 90.5, 91.0, 91.5)
    """
    rough = (high - low) / most
    decade = math.floor(math.log10(rough))
    size, power = next(
        (size, power)
        for power in (decade, decade + 1)
        for size in (1, 2, 5)
        if size * 10.0**power >= rough
    )
    step = float(f"{size}e{power}")
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -power)
    return tuple(round(i * step, digits) + 0.0 for i in range(first, last + 1))
