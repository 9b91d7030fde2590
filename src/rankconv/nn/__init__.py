"""The PyTorch face: layers of low rank, training towards them, compressing a trained model."""

from rankconv.nn.compressing import compress
from rankconv.nn.converting import dense_copy, low_rank_copy
from rankconv.nn.export import to_onnx
from rankconv.nn.fine_tuning import TuningRecord, fine_tune
from rankconv.nn.folding import fold_batch_norm
from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.network import TorchNetwork
from rankconv.nn.rebuilding import rebuild, structure
from rankconv.nn.spectral import spectral_init
from rankconv.nn.training import (
    RankSchedule,
    frobenius_decay,
    project_,
    stable_rank,
    trailing_penalty,
)

__all__ = [
    "LowRankConv2d",
    "RankSchedule",
    "TorchNetwork",
    "TuningRecord",
    "compress",
    "dense_copy",
    "fine_tune",
    "fold_batch_norm",
    "frobenius_decay",
    "low_rank_copy",
    "project_",
    "rebuild",
    "spectral_init",
    "stable_rank",
    "structure",
    "to_onnx",
    "trailing_penalty",
]
