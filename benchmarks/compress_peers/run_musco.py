"""MUSCO: Tucker-2, ranks by its variational Bayes (VBMF) or by its reduction of parameters.

`CompressorVBMF` chooses ranks by VBMF and weakens them by a factor; `CompressorPR` gives every
layer the same reduction of parameters. The factor, or the reduction, is the same for every layer
and is turned until the network has the wanted multiply-adds; the ranks for that come from MUSCO's
own two estimates. MUSCO takes no rank below 8. One round of compression, no training between.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(sys.prefix) / "musco"))  # install.py says why

import runner
from flopco import FlopCo
from musco.pytorch import CompressorPR, CompressorVBMF
from musco.pytorch.compressor.rank_selection.estimator import (
    estimate_rank_for_compression_rate,
    estimate_vbmf_ranks,
)
from torch import nn

VARIANTS = ("vbmf", "rate")
MIN_RANK = 8


def ranks(layer: nn.Conv2d, variant: str, kept: float) -> tuple[int, int]:
    """The ranks (out, in) that MUSCO will take for a layer."""
    if variant == "vbmf":
        flat = layer.weight.reshape(*layer.weight.shape[:2], -1)
        outer, inner = estimate_vbmf_ranks(flat, 1 - kept, min_rank=MIN_RANK)
    else:
        outer, inner = estimate_rank_for_compression_rate(
            tuple(layer.weight.shape), rate=1 / kept, key="tucker2", min_rank=MIN_RANK
        )
    return int(outer), int(inner)


def chain(layer: nn.Conv2d, outer: int, inner: int) -> nn.Sequential:
    """Convolutions of the sizes that MUSCO will make, for counting."""
    return nn.Sequential(
        nn.Conv2d(layer.in_channels, inner, 1, bias=False),
        nn.Conv2d(inner, outer, layer.kernel_size, layer.stride, layer.padding, bias=False),
        nn.Conv2d(outer, layer.out_channels, 1),
    )


def compress(network: nn.Module, job: runner.Job) -> tuple[nn.Module, dict[str, Any]]:
    layers = runner.compressible(network)

    def counted(kept: float) -> nn.Module:
        sized = copy.deepcopy(network)
        for name in layers:
            layer = network.get_submodule(name)
            sized.set_submodule(name, chain(layer, *ranks(layer, job.variant, kept)))
        return sized

    wanted = round(job.setting * runner.multiply_adds(network))
    low, high = (-1.0, 1.0) if job.variant == "vbmf" else (0.02, 1.5)
    kept = runner.turned(counted, wanted, low=low, high=high)
    known = FlopCo(network, img_size=(1, *runner.SHAPE), device="cpu")
    left_alone = {name: None for name in known.ltypes if name not in layers}
    if job.variant == "vbmf":
        factors = dict.fromkeys(layers, 1 - kept)
        compressor = CompressorVBMF(network, known, ranks=left_alone, vbmf_weakenen_factors=factors)
        notes = {"weakening factor": 1 - kept}
    else:
        rates = dict.fromkeys(layers, 1 / kept)
        compressor = CompressorPR(
            network,
            known,
            conv2d_nn_decomposition="tucker2",
            ranks=left_alone,
            param_reduction_rates=rates,
        )
        notes = {"reduction of parameters": 1 / kept}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints every layer
        while not compressor.done:
            compressor.compression_step()
    return compressor.compressed_model, notes


if __name__ == "__main__":
    runner.main(compress, variants=VARIANTS, packages=["musco-pytorch", "scikit-tensor-py3"])
