"""What every peer's runner shares: the same start, the same count of the work, the same export.

Runs in the peers' environment (install.py), which has PyTorch and ONNX but not rankconv. A runner
is called as

    run_PEER.py NET SETTING OUT.onnx [--variant NAME] [--calibration X.npz] [--work DIR]

where SETTING is the share of the network's multiply-adds that should remain. Beside OUT.onnx it
writes OUT.json. Nothing is trained, and the batch norms are folded into the convolutions first,
for everyone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

SHAPE = (3, 32, 32)
NETS = ("vgg", "resnet20", "resnet56")


@dataclass(frozen=True)
class Job:
    """One network to be brought to `setting` of its multiply-adds by one variant of a peer.

    `calibration` is the file of calibration images, `work` a folder that the peer may keep things
    in from one setting to the next.
    """

    net: str
    setting: float
    variant: str
    calibration: Path | None
    work: Path

    def images(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first calibration images (N, 3, 32, 32) and their labels (N,)."""
        if self.calibration is None:
            raise SystemExit(f"variant {self.variant!r} needs --calibration")
        with np.load(self.calibration, allow_pickle=False) as stored:
            x, y = stored["x"][:count], stored["y"][:count]
        return torch.from_numpy(x), torch.from_numpy(y)


def trained(name: str) -> nn.Module:
    """A network of benchmarks/nets with its weights, batch norms folded, in evaluation mode."""
    folder = str(Path(__file__).resolve().parent.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    if name == "vgg":
        from nets.nets import trained as load
    else:
        from nets.resnet import resnet as load
    return folded(load(name))


def folded(network: nn.Module) -> nn.Module:
    """The network with every batch norm that follows a convolution folded into it, in place."""
    graph = fx.Tracer().trace(network)
    modules = dict(network.named_modules())
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if not isinstance(convolution, nn.Conv2d) or len(before.users) > 1:
            raise ValueError(f"batch norm {node.target} does not follow a convolution alone")
        network.set_submodule(before.target, fuse_conv_bn_eval(convolution, modules[node.target]))
        network.set_submodule(node.target, nn.Identity())
    return network.eval().requires_grad_(False)


def compressible(network: nn.Module) -> list[str]:
    """The convolutions larger than 1 x 1 in their order, without the first: it sees the image.

    The first layer has three input channels; every peer's own guide leaves it out or says to.
    """
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and max(module.kernel_size) > 1
    ]
    return names[1:]


def multiply_adds(network: nn.Module) -> int:
    """Those of convolutions and linear layers for one image, counted while it runs.

    Products of weights, which the exported network has as constants, do not count.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *SHAPE))
    counts = counter.get_flop_counts()["Global"]
    counted = (torch.ops.aten.convolution, torch.ops.aten.addmm)
    return sum(int(counts.get(operator, 0)) for operator in counted) // 2


def turned(
    make: Callable[[float], nn.Module], wanted: int, *, low: float, high: float, steps: int = 12
) -> float:
    """The setting in [low, high] whose network comes nearest to the wanted multiply-adds.

    The count must not fall as the setting rises. Bisection: ranks are integers, so the count has
    steps, and the nearest of all that were looked at is taken.
    """
    seen = {}
    for _ in range(steps):
        middle = (low + high) / 2
        count = multiply_adds(make(middle))
        seen[middle] = abs(count - wanted)
        if count > wanted:
            high = middle
        else:
            low = middle
    return min(seen, key=seen.__getitem__)


def export(network: nn.Module, path: Path) -> None:
    """Write the network as ONNX with a free batch size; input `image`, output `logits`."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, *SHAPE),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        external_data=False,
        verbose=False,
    )


def main(
    compress: Callable[[nn.Module, Job], tuple[nn.Module, dict[str, Any]]],
    *,
    variants: Sequence[str],
    packages: Sequence[str],
) -> None:
    """The command line of a runner: `compress` gives the network and what should be noted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=NETS)
    parser.add_argument("setting", type=float, help="share of the multiply-adds that remains")
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--work", type=Path, default=Path("."))
    given = parser.parse_args()
    if not 0 < given.setting <= 1:
        parser.error(f"SETTING is {given.setting}, must be above 0 and at most 1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  the peers draw from here
    given.work.mkdir(parents=True, exist_ok=True)
    job = Job(given.net, given.setting, given.variant, given.calibration, given.work)
    start = trained(given.net)
    dense = multiply_adds(start)
    begun = time.perf_counter()
    network, notes = compress(start, job)
    seconds = time.perf_counter() - begun
    part = given.out.with_name(given.out.name + ".part")
    export(network, part)
    record = {
        "net": given.net,
        "variant": given.variant,
        "setting": given.setting,
        "multiply_adds": multiply_adds(network),
        "multiply_adds_dense": dense,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": round(seconds, 2),
        "notes": notes,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", *packages)},
    }
    described = given.out.with_suffix(".json")
    beside = described.with_name(described.name + ".part")
    beside.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(given.out)
    beside.replace(described)  # last: the record says that both are there
