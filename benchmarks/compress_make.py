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

from compress_work import INT8, NETS, ORIGINAL, OURS, Made, keep, read, stored

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
    """One run of `rankconv compress` for each budget, as a user would type it."""
    wanted = [(f"drop-{drop:g}", ("--max-drop", f"{drop:g}")) for drop in NETS[net].drops]
    wanted += [(f"speedup-{s:g}", ("--speedup", f"{s:g}")) for s in NETS[net].speedups]
    for number, (name, budget) in enumerate(wanted):
        if stored(work, net, name):
            continue
        # The first, by which time and memory are judged, measures all layers itself.
        tuning = ["--no-tuning"] if number == 0 else ["--tuning", str(work / "layer-times.json")]
        tell(f"{net}: compressing, {' '.join(budget)[2:]}")
        keep(work, _by_command(work, net, name, budget, tuning))


def _by_command(
    work: Path, net: str, name: str, budget: tuple[str, str], tuning: list[str]
) -> Made:
    out, told = f"{net}/{name}.onnx", f"{net}/{name}.report"
    shown = [
        "rankconv", "compress", f"{net}.onnx", "--data", f"{NETS[net].data}-calib.npz", *budget,
        "-o", f"{name}.onnx",
    ]  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("rankconv")), "compress",
        str(work / "nets" / f"{net}.onnx"), "--data", str(work / "nets" / shown[4]), *budget,
        "-o", str(work / out), "--json", str(work / told), "--force", *tuning,
    ]  # fmt: skip
    (work / net).mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with (work / net / f"{name}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    if code not in (0, NOTHING_FASTER):
        raise SystemExit(f"{' '.join(command)}: exit status {code}; see {work / net}/{name}.log")
    return Made(
        net=net,
        name=name,
        source=OURS,
        file=out if code == 0 else None,
        budget=" ".join(budget)[2:],
        command=" ".join(shown),
        seconds=round(time.perf_counter() - start, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_mib=round(usage.ru_maxrss / 1024),
        notes=read(work / told)["report"]["verdict"],
    )


def choices_of(work: Path, net: str, name: str) -> dict[str, tuple[str, Any]]:
    """Layer -> (kind, rank) of a compressed network, as its report tells."""
    report = read(work / net / f"{name}.report")["report"]
    chosen = report["points"][report["chosen"]]["choices"]
    return {
        layer: (kind, tuple(rank) if isinstance(rank, list) else rank)
        for layer, (kind, rank) in chosen.items()
    }


def int8(work: Path, net: str, tell: Tell) -> None:
    """The original, the first budget's network and the fine-tuned ones, in int8."""
    from rankconv.onnx import load, quantize, save

    first = f"drop-{NETS[net].drops[0]:g}"
    names = [ORIGINAL, first, *(f"tuned-{start}" for start in NETS[net].tuned)]
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


def tuned(work: Path, net: str, data: str | None, tell: Tell) -> None:
    """The points to start from, and the original, fine-tuned in the same way."""
    from compress_tune import tune_all

    starts = {}
    for name in NETS[net].tuned:
        made = stored(work, net, name)
        if made is not None and made.file is not None:
            starts[name] = choices_of(work, net, name)
        else:
            tell(f"{net}: nothing faster at {name}, so nothing to fine-tune")
    names = {**{f"tuned-{name}": c for name, c in starts.items()}, "tuned-original": {}}
    missing = {name: choices for name, choices in names.items() if not stored(work, net, name)}
    if starts and missing:
        for made in tune_all(work, net, missing, data, tell):
            keep(work, made)
