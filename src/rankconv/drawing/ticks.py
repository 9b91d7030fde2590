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
