"""A short training of a compressed model with its original as the teacher."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rankconv.compress.data import Data
from rankconv.nn.checkpoints import load, save
from rankconv.nn.data import as_data, as_tensors, first_output
from rankconv.nn.tracing import copy_of

Augment = Callable[[Tensor, torch.Generator], Tensor]
WARM_UP = 0.05  # of all steps


@dataclass(frozen=True)
class TuningRecord:
    """What happened up to `step` of `steps`: the mean loss since the last record, all seconds."""

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    seconds: float


def fine_tune(
    model: nn.Module,
    teacher: nn.Module,
    data: Any,
    *,
    labels: Any = None,
    steps: int | None = None,
    epochs: int | None = None,
    lr: float = 0.01,
    batch: int = 128,
    temperature: float = 2.0,
    label_weight: float = 0.5,
    weight_decay: float = 0.0,
    augment: Augment | None = None,
    freeze_batch_norm: bool = False,
    bfloat16: bool = False,
    seed: int = 0,
    record_every: int = 50,
    checkpoint: Path | str | None = None,
    progress: Callable[[TuningRecord], None] | None = None,
) -> tuple[nn.Module, list[TuningRecord]]:
    """A copy of `model`, trained to answer as `teacher` does, in eval mode; and the records.

    Where outputs are one score a class (N, K) the loss is T^2 KL(teacher || model) of the logits
    over the temperature T; with labels, (1 - label_weight) of that and label_weight of their
    cross entropy. Otherwise (images) it is the mean square error against the teacher's outputs,
    and with target images against both in these shares. Nesterov's SGD with momentum 0.9, the
    rate rising over 5 % of the steps to `lr` and falling to 0 along a cosine, gradients clipped to
    norm 1.

    `data` and `labels` as for `rankconv.nn.compress`; one of `steps` and `epochs` says how long;
    each epoch has another order, whose last, incomplete batch is left out.
    `augment(images, generator)` changes each batch before both networks see it. Batch norm
    trains like all else, or with `freeze_batch_norm` keeps its statistics and its scale.
    `bfloat16` runs both networks under autocast, for processors that have it. Parameters without
    gradient stay as they are.

    The same seed gives the same weights on the same machine. With `checkpoint`, a file, a run
    that was broken off goes on from its last record to the same end. `progress(record)` is
    called every `record_every` steps.

    Raises ValueError for data or options that do not fit, outputs of different shapes, a
    checkpoint of another run, and where the loss is no longer finite.
    Equivalent: none in PyTorch.
    Source: Hinton et al. (2015, arXiv 1503.02531, section 2).

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    >>> tuned, records = fine_tune(net, net, torch.randn(16, 1, 8, 8), steps=2, batch=8)
    >>> records[-1].step, records[-1].loss < 1e-6
    (2, True)
    """
    images = as_data(data, labels)
    _check(lr, batch, temperature, label_weight, weight_decay, record_every)
    each = max(1, len(images) // batch)
    total = _steps(steps, epochs, each)
    student = copy_of(model)
    parameters = [p for p in student.parameters() if p.requires_grad]
    if freeze_batch_norm:
        frozen = {id(p) for m in _norms(student) for p in m.parameters()}
        parameters = [p for p in parameters if id(p) not in frozen]
    if not parameters:
        raise ValueError("no parameter of the model requires a gradient: nothing can be trained")
    teacher = copy_of(teacher).eval()
    optimizer = torch.optim.SGD(
        parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    identity = {
        "steps": total,
        "lr": lr,
        "batch": batch,
        "images": len(images),
        "temperature": temperature,
        "label_weight": label_weight,
        "weight_decay": weight_decay,
        "freeze_batch_norm": freeze_batch_norm,
        "bfloat16": bfloat16,
        "seed": seed,
    }
    done, rows = load(checkpoint, student, optimizer, identity)
    records = [TuningRecord(*row) for row in rows]
    begin = time.perf_counter() - (records[-1].seconds if records else 0.0)
    sums, count = torch.zeros(()), 0
    student.train()
    if freeze_batch_norm:
        for module in _norms(student):
            module.eval()
    with torch.random.fork_rng(devices=[]):
        for step in range(done, total):
            rate = lr * _rate(step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            taken = _batch(images, step, each, batch, seed)
            generator = torch.Generator().manual_seed(_seed(seed, step))
            torch.manual_seed(_seed(seed, step))  # of dropout; restored at the end
            x, targets = _tensors(taken, student)
            if augment is not None:
                x = (augment(x[0], generator), *x[1:])
            with torch.autocast(x[0].device.type, torch.bfloat16, enabled=bfloat16):
                with torch.no_grad():
                    wanted = first_output(teacher(*x))
                got = first_output(student(*x))
            loss = _loss(got, wanted, targets, temperature, label_weight)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            sums, count = sums + loss.detach().cpu(), count + 1
            if (step + 1) % record_every == 0 or step + 1 == total:
                mean = float(sums) / count
                if not math.isfinite(mean):
                    raise ValueError(f"the loss is {mean} by step {step + 1}: lower lr={lr}")
                sums, count = torch.zeros(()), 0
                seconds = time.perf_counter() - begin
                record = TuningRecord(step + 1, total, step // each, mean, rate, seconds)
                records.append(record)
                save(checkpoint, student, optimizer, identity, records)
                if progress is not None:
                    progress(record)
    return student.eval(), records


def _loss(
    got: Tensor, wanted: Tensor, targets: Tensor | None, temperature: float, label_weight: float
) -> Tensor:
    if got.shape != wanted.shape:
        raise ValueError(
            f"the model gives outputs of shape {tuple(got.shape)} and the teacher "
            f"{tuple(wanted.shape)}: they must be alike"
        )
    got, wanted = got.float(), wanted.float()
    classes = got.ndim == 2 and got.shape[1] > 1
    if classes:
        soft = functional.log_softmax(got / temperature, 1)
        aim = functional.log_softmax(wanted / temperature, 1)
        loss = temperature**2 * functional.kl_div(soft, aim, reduction="batchmean", log_target=True)
    else:
        loss = functional.mse_loss(got, wanted)
    if targets is None:
        return loss
    if classes and targets.ndim == 1:
        if int(targets.max()) >= got.shape[1]:
            raise ValueError(
                f"labels go up to {int(targets.max())}, and the model tells {got.shape[1]} "
                f"classes apart: expected 0 to {got.shape[1] - 1}"
            )
        hard = functional.cross_entropy(got, targets.long())
    elif targets.shape == got.shape:
        hard = functional.mse_loss(got, targets.float())
    else:
        raise ValueError(
            f"labels of shape {tuple(targets.shape)} do not fit outputs of shape "
            f"{tuple(got.shape)}: pass one class an image, or target images"
        )
    return (1 - label_weight) * loss + label_weight * hard


def _rate(step: int, total: int) -> float:
    """The share of the rate: up over the first steps, then down along a cosine."""
    rising = max(1, round(WARM_UP * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def _batch(images: Data, step: int, each: int, batch: int, seed: int) -> Data:
    """The images of a step: a new order each epoch, known from the seed alone."""
    epoch, at = divmod(step, each)
    order = np.random.default_rng((seed, epoch)).permutation(len(images))
    return images.take(np.sort(order[at * batch : (at + 1) * batch]))


def _tensors(taken: Data, model: nn.Module) -> tuple[tuple[Tensor, ...], Tensor | None]:
    x = as_tensors(taken.inputs, model)
    if taken.labels is None:
        return x, None
    return x, torch.from_numpy(np.ascontiguousarray(taken.labels)).to(x[0].device)


def _seed(seed: int, step: int) -> int:
    return int(np.random.default_rng((seed, step, 1)).integers(2**62))


def _norms(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def _steps(steps: int | None, epochs: int | None, each: int) -> int:
    if (steps is None) == (epochs is None):
        raise ValueError(f"steps={steps!r} and epochs={epochs!r}: pass one of them")
    given = epochs if steps is None else steps
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError(f"steps={steps!r}, epochs={epochs!r}: pass an integer >= 1")
    return given * each if steps is None else given


def _check(
    lr: float,
    batch: int,
    temperature: float,
    label_weight: float,
    weight_decay: float,
    record_every: int,
) -> None:
    for name, value in (("batch", batch), ("record_every", record_every)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} is not an integer >= 1")
    for name, number, least in (("lr", lr, 0), ("temperature", temperature, 0)):
        if not least < number < math.inf:
            raise ValueError(f"{name}={number!r} is not a number above {least}")
    if not 0 <= label_weight <= 1 or not 0 <= weight_decay < math.inf:
        raise ValueError(
            f"label_weight={label_weight!r} is not from 0 to 1, or weight_decay={weight_decay!r} "
            "is not >= 0"
        )
