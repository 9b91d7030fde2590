"""AIMET: spatial SVD and weight SVD, ranks chosen by its greedy search on calibration accuracy.

As its guide for `ModelCompressor` has it: automatic mode, cost in multiply-adds, 10 candidates a
layer, the first layer ignored. Each candidate of each layer is scored by the accuracy of the whole
network on calibration images; AIMET keeps these scores in a file and takes them up again for
another target, so they are computed once a network and scheme. Its two further settings are tried
too: a monotonic fit of the scores (`-fit`), and ranks in multiples of 8 (`-8`, `multiplicity`).
"""

from __future__ import annotations

import contextlib
import shutil
from decimal import Decimal
from functools import partial
from typing import Any

import runner
import torch
from torch import nn

VARIANTS = tuple(
    f"{scheme}{further}"
    for scheme in ("spatial", "weight")
    for further in ("", "-fit", "-8", "-fit-8")
)
IMAGES = 1000


def import_torchvision() -> None:
    """torchvision as it comes from PyPI, whose compiled part needs a PyTorch with CUDA.

    Without that part it still imports once the two operators it describes at import are named.
    AIMET imports torchvision and calls none of its operators here.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{name}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
        import torchvision  # noqa: F401


def accuracy(
    network: nn.Module, iterations: int | None = None, use_cuda: bool = False, *, x: Any, y: Any
) -> float:
    """Top-1 in per cent, with the signature that AIMET calls."""
    with torch.inference_mode():
        right = sum(
            int((network(some).argmax(1) == labels).sum())
            for some, labels in zip(x.split(100), y.split(100), strict=True)
        )
    return 100 * right / len(y)


def compress(network: nn.Module, job: runner.Job) -> tuple[nn.Module, dict[str, Any]]:
    import_torchvision()
    from aimet_torch.common.comp_ratio_select import GreedyCompRatioSelectAlgo
    from aimet_torch.common.defs import CompressionScheme, CostMetric, RankSelectScheme
    from aimet_torch.compress import ModelCompressor
    from aimet_torch.defs import (
        GreedySelectionParameters,
        SpatialSvdParameters,
        WeightSvdParameters,
    )

    scheme, *further = job.variant.split("-")
    x, y = job.images(IMAGES)
    evaluate = partial(accuracy, x=x, y=y)
    work = job.work.absolute()
    scores = work / f"aimet-{job.net}-{scheme}-{len(y)}.pkl"
    names = runner.compressible(network)
    ignored = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name not in names
    ]
    greedy = GreedySelectionParameters(
        target_comp_ratio=Decimal(str(job.setting)),
        num_comp_ratio_candidates=10,
        use_monotonic_fit="fit" in further,
        saved_eval_scores_dict=str(scores) if scores.exists() else None,
    )
    if scheme == "spatial":
        kind = SpatialSvdParameters
        automatic = kind.AutoModeParams(greedy, modules_to_ignore=ignored)
    else:
        kind = WeightSvdParameters
        automatic = kind.AutoModeParams(
            rank_select_scheme=RankSelectScheme.greedy,
            select_params=greedy,
            modules_to_ignore=ignored,
        )
    with contextlib.chdir(work):  # it writes into ./data
        compressed, _ = ModelCompressor.compress_model(
            network,
            eval_callback=evaluate,
            eval_iterations=None,
            input_shape=(1, *runner.SHAPE),
            compress_scheme=CompressionScheme[f"{scheme}_svd"],
            cost_metric=CostMetric.mac,
            parameters=kind(kind.Mode.auto, automatic, multiplicity=8 if "8" in further else 1),
        )
        if not scores.exists():
            shutil.move(GreedyCompRatioSelectAlgo.PICKLE_FILE_EVAL_DICT, scores)
    return compressed, {"images": len(y), "accuracy": evaluate(compressed)}


if __name__ == "__main__":
    runner.main(compress, variants=VARIANTS, packages=["aimet-torch"])
