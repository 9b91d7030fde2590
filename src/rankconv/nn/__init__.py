"""The PyTorch face: layers of low rank, training towards them, compressing a trained model."""

from rankconv.nn.low_rank import LowRankConv2d
from rankconv.nn.spectral import spectral_init

__all__ = ["LowRankConv2d", "spectral_init"]
