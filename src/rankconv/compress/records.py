"""What compressing a network found out: the options, the points measured, the whole result.

Plain data, all of which goes to JSON and comes back: the report is a function of these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankconv.geometry import Pair


@dataclass(frozen=True)
class Option:
    """One way to run one layer. `rank` is None for kind 'dense', the layer as it is.

    `seconds` is the measured median for the batch, `output_error` the relative error of the
    layer's output on the data, `damage` the predicted loss of the whole network's output in the
    metric's own unit (added over the layers), `multiply_adds` those of one image.
    """

    layer: str
    kind: str
    rank: int | Pair | None
    seconds: float
    output_error: float
    damage: float
    multiply_adds: int
    parameters: int


@dataclass(frozen=True)
class Point:
    """A whole network, measured: `seconds` (median of a batch), its quartiles, and its score.

    `score` is the metric's value, `drop` how much worse than the original it is, in the metric's
    unit; `choices` layer -> (kind, rank). `source` says who made it: 'original', 'rankconv',
    'int8', 'rankconv+int8', 'fine-tuned'.
    """

    source: str
    label: str
    seconds: float
    quartiles: tuple[float, float]
    speedup: float
    score: float
    drop: float
    multiply_adds: int
    parameters: int
    choices: Mapping[str, tuple[str, int | Pair | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerRecord:
    """A layer before and after. `spectrum` are singular values over the largest, at most 256."""

    name: str
    weight_shape: tuple[int, ...]
    input_shape: tuple[int, int, int]
    kind: str
    rank: int | Pair | None
    full_rank: int | Pair | None
    seconds_before: float
    seconds_after: float
    output_error: float
    multiply_adds_before: int
    multiply_adds_after: int
    reason: str
    spectrum: tuple[float, ...] = ()


@dataclass(frozen=True)
class Report:
    """One compression from the command to the verdict. Times in seconds, one batch a call.

    `metric` names the score and its unit; `split` says how many images each part of the data
    has: 'fit' (the factors), 'choose' (the budget), 'report' (the drop that is told).
    `points` holds the original first and everything measured; `chosen` is an index into it.
    """

    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    engine: str
    threads: int
    batch: int
    budget: Mapping[str, float]
    metric: str
    split: Mapping[str, int]
    points: tuple[Point, ...]
    chosen: int
    verdict: str
    layers: tuple[LayerRecord, ...]
    left_alone: Mapping[str, str]
    seconds_taken: float
