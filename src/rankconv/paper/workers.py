"""Several processes that train one network: plain `torch.distributed`, as `torchrun` starts it.

Lightning Fabric does the same with a dependency more; what is needed here is one wrapper, one sum
and one broadcast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

# The others wait while the first process tests: the Python loop alone takes minutes an epoch.
PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class Workers:
    """This process among `count`: number `rank`, the first is 0."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process tests, writes and tells."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of n images of a batch this process takes.

        >>> [Workers(rank, 3).share(8) for rank in range(3)]
        [slice(0, 8, 3), slice(1, 8, 3), slice(2, 8, 3)]
        """
        return slice(self.rank, n, self.count)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, in DistributedDataParallel where there are several processes."""
        return network if self.count == 1 else nn.parallel.DistributedDataParallel(network)

    def add_up(self, numbers: torch.Tensor) -> None:
        """Replace the numbers, in place, by their sums over all processes."""
        if self.count > 1:
            distributed.all_reduce(numbers)

    def agree(self, value: Any) -> Any:
        """What the first process has as `value`, in every process."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


ALONE = Workers()


@contextmanager
def joined() -> Iterator[Workers]:
    """The group that `torchrun` started this process in, or this process alone.

    Gloo is used, which needs no GPU. Raises RuntimeError, as PyTorch does, where the others
    cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    begun = not distributed.is_initialized()
    if begun:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        if begun:
            distributed.destroy_process_group()
