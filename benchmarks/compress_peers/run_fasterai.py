"""fasterai: its `Conv_Decomposer`, by Tucker or by SVD.

Both ways it offers to set the ranks are tried: the same share of every layer's rank
(`percent_removed`) and the same share of every layer's energy (`energy_threshold`), turned until
the network has the wanted multiply-adds. Its other methods, 'spatial' and 'cp', average over the
input channels and are no approximation of the layer; they are left out.
"""

from __future__ import annotations

from typing import Any

import runner
from fasterai.misc.conv_decomposer import Conv_Decomposer
from torch import nn

VARIANTS = ("tucker", "tucker-energy", "svd", "svd-energy")


def compress(network: nn.Module, job: runner.Job) -> tuple[nn.Module, dict[str, Any]]:
    layers = runner.compressible(network)
    method, _, by_energy = job.variant.partition("-")

    def make(kept: float, iterations: int = 0) -> nn.Module:
        how = {"energy_threshold": kept} if by_energy else {"percent_removed": 1 - kept}
        return Conv_Decomposer().decompose(
            network, method=method, layers=layers, n_iter=iterations, **how
        )

    wanted = round(job.setting * runner.multiply_adds(network))
    kept = runner.turned(make, wanted, low=0.05, high=1.0)
    return make(kept, iterations=10), {"kept": kept}


if __name__ == "__main__":
    runner.main(compress, variants=VARIANTS, packages=["fasterai"])
