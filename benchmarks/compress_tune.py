"""Fine-tuning of the benchmark: a short training with the original as the teacher, on CIFAR-10.

The network is folded first, its layers are replaced and refitted as the compressed file's report
says, and then it is trained. The original itself is trained in the same way as a control: what
both gain is the training's, not the compression's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress_make import images, processor_seconds
from compress_work import TUNED, Made
from nets.images import MEAN, STD, cifar10
from nets.nets import NETS as TRAINED_HERE
from nets.nets import trained
from nets.resnet import resnet
from rankconv.compress.candidates import fitted
from rankconv.compress.data import Data, split
from rankconv.nn import TorchNetwork, fine_tune, fold_batch_norm, to_onnx

RATE, BATCH = 0.01, 128
TEMPERATURE, LABEL_WEIGHT = 2.0, 0.5
PADDING = 4  # pixels by which a training image is shifted at most


def tune_all(
    work: Path,
    net: str,
    wanted: Mapping[str, Mapping[str, Any]],
    data: str | None,
    tell: Any,
    *,
    steps: int,
) -> Iterator[Made]:
    """Fine-tune one network for each entry of `wanted`: name -> choices, none for the original.

    All take as many steps.
    """
    import onnx

    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # says which packages are not there
    teacher = fold_batch_norm(trained(net) if net in TRAINED_HERE else resnet(net))
    x, y = images(work, net, "calib")
    parts = split(Data(x, y), seed=0)
    whole = pixels(data)
    half = bfloat16()
    for name, choices in wanted.items():
        begin = processor_seconds()
        student = replaced(teacher, work / "nets" / f"{net}.onnx", choices, parts.fit.inputs)
        used = processor_seconds() - begin
        options: dict[str, Any] = {
            "lr": RATE,
            "batch": BATCH,
            "temperature": TEMPERATURE,
            "label_weight": LABEL_WEIGHT,
            "augment": augment,
            "bfloat16": half,
        }
        tell(f"{net}: fine-tuning {name}, {steps} steps")
        begin = processor_seconds()
        student, records = fine_tune(
            student,
            teacher,
            whole,
            steps=steps,
            checkpoint=work / net / f"{name}-{steps}.pt",
            progress=lambda r: tell(f"  step {r.step}/{r.steps}, loss {r.loss:.4f}"),
            **options,
        )
        file = f"{net}/{name}.onnx"
        example = torch.from_numpy(x[:2])
        onnx.save(
            to_onnx(student.to(memory_format=torch.contiguous_format), [example]), work / file
        )
        yield Made(
            net=net,
            name=name,
            source=TUNED,
            file=file,
            budget=f"{steps} steps of {BATCH} images ({steps * BATCH / len(whole):.1f} epochs)",
            seconds=round(records[-1].seconds, 1),
            cpu_seconds=round(used + processor_seconds() - begin, 1),
            notes=f"rate {RATE}, {'bfloat16' if half else 'float32'}, one thread",
        )


def replaced(teacher: Any, file: Path, choices: Mapping[str, Any], inputs: Any) -> Any:
    """A copy of the network with the chosen layers replaced and refitted.

    The choices name the layers of the ONNX file; both faces list layers as they run.
    """
    from rankconv.onnx import load

    network = TorchNetwork(teacher, torch.from_numpy(inputs[0][:2]))
    names = matched(load(file).layers, network.layers, choices)
    return network.swap(fitted(network, inputs, names, seed=0)).model


def matched(exported: Any, layers: Any, choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices by the names of PyTorch's layers instead of the exported file's."""
    if len(exported) != len(layers) or not all(
        a.stage.weight.shape == b.stage.weight.shape
        and np.allclose(a.stage.weight, b.stage.weight, rtol=1e-3, atol=1e-5)
        for a, b in zip(exported, layers, strict=True)
    ):
        raise ValueError("the exported network has other layers than PyTorch's")
    own = {a.name: b.name for a, b in zip(exported, layers, strict=True)}
    return {own[name]: choice for name, choice in choices.items()}


def pixels(path: str | None) -> Data:
    """All training images, normalised, and their labels."""
    from nets.images import normalise

    data = cifar10(path)
    return Data(normalise(data.train_images), data.train_labels)


def augment(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image mirrored or not, and shifted by up to four pixels with black coming in."""
    n, c, h, w = x.shape
    black = torch.from_numpy(-MEAN / STD).to(x.dtype)
    wide = black.view(1, c, 1, 1).expand(n, c, h + 2 * PADDING, w + 2 * PADDING).clone()
    wide[:, :, PADDING:-PADDING, PADDING:-PADDING] = x
    top, left = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=random)
    columns = torch.arange(w).expand(n, w)
    mirrored = torch.randint(2, (n, 1), generator=random).bool()
    columns = torch.where(mirrored, w - 1 - columns, columns) + left
    rows = torch.arange(h) + top
    index = torch.arange(n)[:, None, None]
    moved = wide[index, :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return moved.permute(0, 3, 1, 2)


def bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 by itself."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in text or "avx512_bf16" in text
