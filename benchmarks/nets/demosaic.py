"""A network that rebuilds colour images from a Bayer mosaic, with weights that others trained.

Gharbi et al., "Deep Joint Demosaicking and Denoising", SIGGRAPH Asia 2016: the weights come with
the package `demosaicnet` (MIT). Of the package only the file of weights is read, as data.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

DEPTH, WIDTH = 15, 64
BORDER = DEPTH * 2 + 1  # pixels that the output lacks on each side
SIDE = 128  # of a tile


class Tiles(NamedTuple):
    """Mosaics float32 (N, 3, 128, 128) and the middle of their images (N, 3, 66, 66), 0 to 1."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]


class DemosaicNet(nn.Module):
    """A mosaic (N, 3, H, W) with zeros where nothing was measured to an image (N, 3, H-62, W-62).

    The pixels of a 2x2 cell become four channels; fifteen 3x3 convolutions without padding at
    half the size; the last one's halves are multiplied and brought back to full size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.main_processor = nn.Sequential()
        self.main_processor.add_module("pack_mosaic", nn.Conv2d(3, 4, 2, stride=2))
        channels = 4
        for i in range(1, DEPTH + 1):
            width = WIDTH if i < DEPTH else 2 * WIDTH
            self.main_processor.add_module(f"conv{i}", nn.Conv2d(channels, width, 3))
            self.main_processor.add_module(f"relu{i}", nn.ReLU())
            channels = width
        self.residual_predictor = nn.Conv2d(WIDTH, 12, 1)
        self.upsampler = nn.ConvTranspose2d(12, 3, 2, stride=2, groups=3)
        self.fullres_processor = nn.Sequential()
        self.fullres_processor.add_module("post_conv", nn.Conv2d(6, WIDTH, 3))
        self.fullres_processor.add_module("post_relu", nn.ReLU())
        self.fullres_processor.add_module("output", nn.Conv2d(WIDTH, 3, 1))

    def forward(self, mosaic: torch.Tensor) -> torch.Tensor:
        values, weights = self.main_processor(mosaic).chunk(2, dim=1)
        colours = self.upsampler(self.residual_predictor(values * weights))
        inner = 2 * DEPTH
        middle = mosaic[:, :, inner:-inner, inner:-inner]
        image: torch.Tensor = self.fullres_processor(torch.cat((middle, colours), dim=1))
        return image


def demosaicnet() -> DemosaicNet:
    """The network with the weights of the installed package, in evaluation mode.

    Raises ImportError where the package is not installed.
    """
    found = importlib.util.find_spec("demosaicnet")
    if found is None or found.origin is None:
        raise ImportError("the weights are in a package: pip install --no-deps demosaicnet")
    path = Path(found.origin).parent / "data" / "bayer.pth"
    network = DemosaicNet()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def bayer(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a sensor sees of images (N, 3, H, W): rows of green, red and of blue, green pixels."""
    mosaic = np.zeros_like(images)
    mosaic[:, 0, 0::2, 1::2] = images[:, 0, 0::2, 1::2]
    mosaic[:, 1, 0::2, 0::2] = images[:, 1, 0::2, 0::2]
    mosaic[:, 1, 1::2, 1::2] = images[:, 1, 1::2, 1::2]
    mosaic[:, 2, 1::2, 0::2] = images[:, 2, 1::2, 0::2]
    return mosaic


def tiles(*names: str, step: int = SIDE // 2) -> Tiles:
    """Tiles, a `step` apart, of colour images of `skimage.data`, such as 'coffee'."""
    import skimage.data

    cut = []
    for name in names:
        image = getattr(skimage.data, name)().astype(np.float32) / 255  # (H, W, 3)
        height, width = image.shape[:2]
        for top in range(0, height - SIDE + 1, step):
            for left in range(0, width - SIDE + 1, step):
                cut.append(image[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1))
    images = np.stack(cut)
    middle = images[:, :, BORDER : SIDE - BORDER, BORDER : SIDE - BORDER]
    return Tiles(bayer(images), np.ascontiguousarray(middle))


def calibration_tiles() -> Tiles:
    """Tiles to compress the network on."""
    return tiles("coffee", "chelsea", "rocket")


def test_tiles() -> Tiles:
    """Tiles of another image, on which the benchmark reports."""
    return tiles("astronaut")


def psnr(outputs: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The mean over the images of the peak signal-to-noise ratio in dB, for a peak of 1."""
    error = (outputs.astype(np.float64) - wanted) ** 2
    return float((-10 * np.log10(error.reshape(len(error), -1).mean(axis=1))).mean())
