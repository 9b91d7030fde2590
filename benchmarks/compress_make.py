"""The files that `make bench-compress` compares: compressed, fine-tuned, in int8."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compress_work import (
    CHOSEN,
    HARDER,
    INT8,
    NETS,
    ORIGINAL,
    OURS,
    TUNED_ORIGINAL,
    Made,
    keep,
    read,
    stored,
)

Tell = Callable[[str], None]
NOTHING_FASTER = 3  # exit status of rankconv compress
INT8_IMAGES = 512


def originals(work: Path, nets: list[str], data: str | None, tell: Tell) -> None:
    """Export the networks and their images, where that was not done before."""
    folder = work / "nets"
    wanted = [net for net in nets if not (folder / f"{net}.onnx").exists()]
    for name in dict.fromkeys(NETS[net].data for net in nets):
        if not (folder / f"{name}-test.npz").exists():
            wanted.append({"demosaicnet": "tiles"}.get(name, name))
    if wanted:
        tell(f"exporting {', '.join(wanted)}")
        here = str(Path(__file__).resolve().parent)
        command = [sys.executable, "-m", "nets.export", str(folder), *wanted]
        more = ["--data", data] if data else []
        subprocess.run([*command, *more], check=True, env=os.environ | {"PYTHONPATH": here})
    for net in nets:
        keep(work, Made(net, ORIGINAL, ORIGINAL, f"nets/{net}.onnx"))


def images(work: Path, net: str, part: str) -> tuple[Any, Any]:
    """The images of a network and their labels; `part` is 'calib' or 'test'."""
    with np.load(work / "nets" / f"{NETS[net].data}-{part}.npz", allow_pickle=False) as file:
        return file["x"], file["y"]


def compressed(work: Path, net: str, tell: Tell) -> None:
    """`rankconv compress` as a user would type it, and the other networks that its report names."""
    if not stored(work, net, CHOSEN):
        tell(f"{net}: compressing")
        keep(work, _by_command(work, net))
    front(work, net, tell)


def _by_command(work: Path, net: str) -> Made:
    out, told = f"{net}/{CHOSEN}.onnx", f"{net}/{CHOSEN}.report"
    images = f"{NETS[net].data}-calib.npz"
    budget = f"--max-drop={NETS[net].drop:g}"
    command = [
        str(Path(sys.executable).with_name("rankconv")), "compress",
        str(work / "nets" / f"{net}.onnx"), "--data", str(work / "nets" / images), budget,
        "-o", str(work / out), "--json", str(work / told), "--force", "--no-tuning",
    ]  # fmt: skip
    (work / net).mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (work / net / f"{CHOSEN}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    if code not in (0, NOTHING_FASTER):
        raise SystemExit(f"{' '.join(command)}: exit status {code}; see {work / net}/{CHOSEN}.log")
    return Made(
        net=net,
        name=CHOSEN,
        source=OURS,
        file=out if code == 0 else None,
        command=f"rankconv compress {net}.onnx --data {images} {budget} -o fast.onnx",
        seconds=round(time.perf_counter() - start, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_mib=round(usage.ru_maxrss / 1024),
        notes=read(work / told)["report"]["verdict"],
    )


def front(work: Path, net: str, tell: Tell) -> None:
    """Files of the other networks that the search measured, fitted again by what it chose."""
    from rankconv.compress.candidates import LAST_WORK, fitted
    from rankconv.compress.data import Data, split
    from rankconv.onnx import load, save

    report = read(work / net / f"{CHOSEN}.report")["report"]
    original, inputs = None, None
    for number, point in enumerate(report["points"]):
        name, file = f"front-{number}", f"{net}/front-{number}.onnx"
        if point["source"] != OURS or number == report["chosen"] or stored(work, net, name):
            continue
        if original is None or inputs is None:
            original = load(work / "nets" / f"{net}.onnx")
            inputs = split(Data(*images(work, net, "calib")), seed=0).fit.inputs
            each = float(np.cumsum([layer.multiply_adds for layer in original.layers]).sum())
            inputs = tuple(array[: max(1, int(LAST_WORK / each))] for array in inputs)
        tell(f"{net}: {point['label']}")
        begin = processor_seconds()
        made = original.swap(fitted(original, inputs, choices_in(point), seed=0))
        save(made, work / file)
        used = round(processor_seconds() - begin, 1)
        keep(work, Made(net, name, OURS, file, cpu_seconds=used, notes=point["label"]))


def choices_in(point: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Layer -> (kind, rank) of a point of a report that was read from JSON."""
    return {
        layer: (kind, tuple(rank) if isinstance(rank, list) else rank)
        for layer, (kind, rank) in point["choices"].items()
    }


def harder(work: Path, net: str) -> dict[str, Any] | None:
    """The point to fine-tune: the fastest that lost no more than `Net.tuned`; None without one."""
    report = read(work / net / f"{CHOSEN}.report")["report"]
    points = [
        point
        for point in report["points"]
        if point["source"] == OURS and point["drop"] <= NETS[net].tuned
    ]
    return max(points, key=lambda point: point["speedup"], default=None)


def int8(work: Path, net: str, tell: Tell) -> None:
    """The original, the compressed and the fine-tuned network, in int8."""
    from rankconv.onnx import load, quantize, save

    names = [ORIGINAL, CHOSEN, HARDER]
    x = images(work, net, "calib")[0][:INT8_IMAGES]
    for name in names:
        made = stored(work, net, name)
        if made is None or made.file is None:
            continue
        target = INT8 if name == ORIGINAL else f"{name}-int8"
        before = stored(work, net, target)
        if before and before.notes == made.sha256:
            continue
        tell(f"{net}: {name} to int8")
        begin = time.perf_counter()
        file = f"{net}/{target}.onnx"
        save(quantize(load(work / made.file), (x,)), work / file)
        source = INT8 if name == ORIGINAL else f"{made.source}+{INT8}"
        seconds = round(time.perf_counter() - begin, 1)
        keep(work, Made(net, target, source, file, seconds=seconds, notes=made.sha256))


def processor_seconds() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tuned(work: Path, net: str, data: str | None, tell: Tell, *, steps: int) -> None:
    """A network compressed further, and the original, both fine-tuned in the same way."""
    from compress_tune import tune_all

    point = harder(work, net) if NETS[net].tuned else None
    if point is None:
        return
    wanted = {HARDER: choices_in(point), TUNED_ORIGINAL: {}}
    if not all(stored(work, net, name) for name in wanted):
        for made in tune_all(work, net, wanted, data, tell, steps=steps):
            keep(work, made)
