"""Write the networks of the benchmark as ONNX, and the images to compress and to test them on.

    PYTHONPATH=benchmarks python -m nets.export runs/nets              everything
    PYTHONPATH=benchmarks python -m nets.export runs/nets vgg cifar    only these

NAME.onnx takes `x` (batch, 3, H, W), batch of any size. cifar-calib.npz holds 6,000 training
images drawn at random, cifar-test.npz the 10,000 test images; arrays `x` as every network takes
them, and `y`, the labels. The tiles of demosaicnet-calib.npz and -test.npz have images as `y`.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nets.demosaic import calibration_tiles, demosaicnet, test_tiles
from nets.images import calibration, cifar10, test_images
from nets.nets import trained
from nets.resnet import resnet

OPSET = 18


class Entry(NamedTuple):
    """How to make a network, and the shape (C, H, W) of an image that it is exported with."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]


NETWORKS = {
    "vgg": Entry(partial(trained, "vgg"), (3, 32, 32)),
    "depthwise": Entry(partial(trained, "depthwise"), (3, 32, 32)),
    "resnet20": Entry(partial(resnet, "resnet20"), (3, 32, 32)),
    "resnet56": Entry(partial(resnet, "resnet56"), (3, 32, 32)),
    "demosaicnet": Entry(demosaicnet, (3, 128, 128)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("only", nargs="*", help=f"of {', '.join(NETWORKS)}, cifar, tiles")
    parser.add_argument("--data", help="CIFAR-10, folder or archive; else RANKCONV_DATA")
    given = parser.parse_args()
    known = [*NETWORKS, "cifar", "tiles"]
    wanted = given.only or known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if name == "cifar":
            data = cifar10(given.data)
            save_arrays(given.folder / "cifar-calib.npz", *calibration(data))
            save_arrays(given.folder / "cifar-test.npz", *test_images(data))
        elif name == "tiles":
            save_arrays(given.folder / "demosaicnet-calib.npz", *calibration_tiles())
            save_arrays(given.folder / "demosaicnet-test.npz", *test_tiles())
        else:
            entry = NETWORKS[name]
            export(entry.make(), entry.shape, given.folder / f"{name}.onnx")
        print(f"{name}: written to {given.folder}")


def export(network: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Write a network, input `x`, output `y`, as one ONNX file with batches of any size."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's exporter about itself
            torch.onnx.export(
                network,
                (torch.zeros(2, *shape),),
                beside,
                input_names=["x"],
                output_names=["y"],
                opset_version=OPSET,
                dynamic_shapes=({0: "batch"},),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def save_arrays(path: Path, x: NDArray[np.float32], y: NDArray[np.generic]) -> None:
    """Store images and labels as `x` and `y`; written beside the place and renamed over it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            np.savez(file, x=x, y=y)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
