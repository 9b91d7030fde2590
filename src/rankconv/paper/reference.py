"""The numbers that the paper prints, each with the section it stands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PYTORCH = "rank -1"
LOOP = "rank 0"
RANKS = tuple(f"rank {rank}" for rank in range(1, 6))
SEVEN = (PYTORCH, LOOP, *RANKS)

EPOCHS = 250
TRAIN_IMAGES = 50_000
TEST_IMAGES = 10_000

#: Average seconds for the 10,000 test images (section XIV). The loop's is not printed.
SECONDS: Mapping[str, float] = MappingProxyType(
    {
        PYTORCH: 9.1,
        "rank 1": 7.95,
        "rank 2": 8.04,
        "rank 3": 8.35,
        "rank 4": 8.68,
        "rank 5": 9.03,
    }
)

#: The loop is "over 13 times slower than the nearest method" (section XIV): a lower bound.
LOOP_FACTOR = 13.0

#: Test accuracy averaged over the 250 epochs (section XIV).
ACCURACY: Mapping[str, float] = MappingProxyType(
    {
        PYTORCH: 0.39713,
        LOOP: 0.39713,
        "rank 1": 0.23452,
        "rank 2": 0.35717,
        "rank 3": 0.37782,
        "rank 4": 0.39202,
        "rank 5": 0.39713,
    }
)

#: "The training accuracy ends at around 42.5 %" (section XIV).
FINAL_TRAIN_ACCURACY = 0.425

#: Rank 1 "rises to about epoch 50" and is at chance "at epoch 200" (section XIV).
RANK_1_PEAK_EPOCH = 50
RANK_1_CHANCE_EPOCH = 200
CHANCE = 0.1


@dataclass(frozen=True)
class Figure2:
    """Figure 2: a Python loop against one matrix product (section IV)."""

    loop_seconds: float = 7.74310302734375
    matmul_seconds: float = 4.093238830566406
    # Multiply-adds: a 3x3 filter at 1000x1000 places; 10000x1000 times 1000x10000.
    # The paper rounds the first up to ten million.
    loop_operations: int = 9 * 1000 * 1000
    matmul_operations: int = 10_000 * 1000 * 10_000


FIGURE_2 = Figure2()
