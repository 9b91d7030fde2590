"""Train a network of the benchmark on CIFAR-10 and store its weights.

    PYTHONPATH=benchmarks python -m nets.train vgg
    PYTHONPATH=benchmarks python -m nets.train depthwise

The data is found through --data or RANKCONV_DATA. Stopped at any moment, the same command goes on
from the last whole epoch, which the folder --checkpoints holds. One thread; bfloat16, but for the
depthwise convolutions.

SGD with Nesterov momentum and label smoothing. The learning rate rises in the first epoch, keeps
its peak, and falls to zero in a straight line in the last ones. The first epochs see crops of 24 x
24 pixels, which cost half as much, the last ones whole images, shifted by up to 4 pixels. Each
image is mirrored in every second epoch (Jordan, arXiv:2404.00498, section 3.6). The test images
are looked at once, after the end.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nets.images import MEAN, STD, Labelled, cifar10, test_images
from nets.nets import NETS, WEIGHTS, read_weights, write_weights
from rankconv.paper import checkpoint

PACKAGES = ("numpy", "pillow", "rankconv", "torch")


@dataclass(frozen=True)
class Recipe:
    """Everything besides the data that decides the weights."""

    net: str
    epochs: int
    falling_epochs: int  # the last ones, at a falling rate
    whole_epochs: int  # the last ones, on whole images
    batch: int = 250
    peak_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    seed: int = 0


RECIPES = {
    "vgg": Recipe("vgg", epochs=8, falling_epochs=3, whole_epochs=1),
    "depthwise": Recipe("depthwise", epochs=5, falling_epochs=3, whole_epochs=1),
}
SMALL, WHOLE, SHIFT = 24, 32, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net", choices=sorted(RECIPES))
    parser.add_argument("--data", help="CIFAR-10, folder or archive; else RANKCONV_DATA")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("runs/nets"),
        help="folder, one inside for each net",
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights")
    given = parser.parse_args()
    recipe = RECIPES[given.net]
    torch.set_num_threads(1)
    data = cifar10(given.data)

    torch.manual_seed(recipe.seed)
    network = NETS[recipe.net]()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seconds = train(
        network,
        data.train_images,
        data.train_labels,
        recipe,
        data.digest,
        given.checkpoints / recipe.net,
    )

    path = given.out / f"{recipe.net}.npz"
    write_weights(network, path)
    read_weights(network, path)  # what was stored is what is tested
    record = {
        **asdict(recipe),
        "test_accuracy": accuracy(network, test_images(data)),
        "test_images": len(data.test_labels),
        "data": {"name": data.name, "sha256_of_pixels": data.digest},
        "training_seconds": round(seconds),
        "command": f"PYTHONPATH=benchmarks python -m nets.train {recipe.net}",
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES}
        | {"python": platform.python_version()},
    }
    write_text(path.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
    print(f"{recipe.net}: {record['test_accuracy']:.2%} of the test images right")


def train(
    network: nn.Sequential,
    pixels: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    digest: str,
    folder: Path,
) -> float:
    """Train in place on pixels uint8 (N, 32, 32, 3), going on from `folder`; seconds it took."""
    steps = len(labels) // recipe.batch
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.peak_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / steps, 1, (recipe.epochs - step / steps) / recipe.falling_epochs
        ),
    )
    random = torch.Generator().manual_seed(recipe.seed)
    state = checkpoint.State(network, optimizer, scheduler, random)
    identity = {"digest": digest, "config": asdict(recipe)}
    clock = folder / "seconds.json"
    done = checkpoint.load(folder, state, identity)
    seconds = float(json.loads(clock.read_text())) if done else 0.0

    keep_depthwise_float32(network)
    padded = torch.from_numpy(
        np.pad(pixels, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    )
    targets = torch.from_numpy(labels)
    mirrored = torch.randint(
        2, targets.shape, generator=torch.Generator().manual_seed(recipe.seed)
    ).bool()
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    for epoch in range(done, recipe.epochs):
        start, losses, right = time.perf_counter(), 0.0, 0
        side = WHOLE if epoch >= recipe.epochs - recipe.whole_epochs else SMALL
        network.train()
        order = torch.randperm(len(labels), generator=random)
        for chosen in order[: steps * recipe.batch].view(steps, recipe.batch):
            images = crops(padded, chosen, side, mirrored[chosen] ^ bool(epoch % 2), random)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = network(images)
            logits = logits.float()
            loss = loss_of(logits, targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses += loss.item()
            right += int((logits.argmax(1) == targets[chosen]).sum())
        seconds += time.perf_counter() - start
        write_text(clock, json.dumps(seconds))
        checkpoint.save(folder, state, identity, epoch + 1)
        print(
            f"epoch {epoch + 1}/{recipe.epochs}  {side} pixels  loss {losses / steps:.4f}  "
            f"training accuracy {right / steps / recipe.batch:.4f}  {seconds:.0f} s",
            flush=True,
        )
    return seconds


def crops(
    padded: torch.Tensor,
    chosen: torch.Tensor,
    side: int,
    mirror: torch.Tensor,
    random: torch.Generator,
) -> torch.Tensor:
    """Normalised squares (B, 3, side, side) cut at random from padded (N, 40, 40, 3) pixels.

    Whole images are shifted into the border by up to SHIFT pixels; smaller squares stay within
    the image.
    """
    low, high = (0, 2 * SHIFT) if side == WHOLE else (SHIFT, SHIFT + WHOLE - side)
    top, left = torch.randint(low, high + 1, (2, len(chosen), 1), generator=random)
    along = torch.arange(side)
    rows = top + along  # (B, side)
    columns = left + torch.where(mirror[:, None], side - 1 - along, along)
    pixels = padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    scaled = (pixels / 255 - torch.from_numpy(MEAN)) / torch.from_numpy(STD)
    return scaled.permute(0, 3, 1, 2)  # channels last in memory


def keep_depthwise_float32(network: nn.Module) -> None:
    """Run the grouped convolutions in float32: their bfloat16 gradients are five times slower."""

    def forward(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            y = functional.conv2d(
                x.float(),
                layer.weight,
                layer.bias,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
        return y.to(x.dtype)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.forward = partial(forward, layer)  # type: ignore[method-assign]


@torch.inference_mode()
def accuracy(network: nn.Module, images: Labelled, *, batch: int = 500) -> float:
    """The share of images whose largest logit is that of their label."""
    network.eval()
    right = 0
    for start in range(0, len(images.y), batch):
        x = torch.from_numpy(images.x[start : start + batch])
        logits = network(x.to(memory_format=torch.channels_last)).numpy()
        right += int((logits.argmax(1) == images.y[start : start + batch]).sum())
    return right / len(images.y)


def write_text(path: Path, text: str) -> None:
    """Write beside the place and rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(text)
    beside.replace(path)


if __name__ == "__main__":
    main()
