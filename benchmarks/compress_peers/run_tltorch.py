"""TensorLy-Torch: `FactorizedConv.from_conv` with a Tucker factorisation, the kernel's own size
kept (`fixed_rank_modes='spatial'`), run as a chain of convolutions (`implementation='factorized'`).

Its `rank` is the share of a layer's parameters that remains; the same for every layer, turned
until the network has the wanted multiply-adds.
"""

from __future__ import annotations

import copy
from typing import Any

import runner
from tltorch import FactorizedConv
from torch import nn


def compress(network: nn.Module, job: runner.Job) -> tuple[nn.Module, dict[str, Any]]:
    layers = runner.compressible(network)

    def make(kept: float, decompose: bool = False) -> nn.Module:
        compressed = copy.deepcopy(network)
        for name in layers:
            compressed.set_submodule(
                name,
                FactorizedConv.from_conv(
                    network.get_submodule(name),
                    rank=kept,
                    factorization="tucker",
                    implementation="factorized",
                    fixed_rank_modes="spatial",
                    decompose_weights=decompose,
                ),
            )
        return compressed

    wanted = round(job.setting * runner.multiply_adds(network))
    kept = runner.turned(make, wanted, low=0.02, high=1.0)
    return make(kept, decompose=True), {"rank": kept}


if __name__ == "__main__":
    runner.main(compress, variants=["tucker"], packages=["tensorly-torch", "tensorly"])
