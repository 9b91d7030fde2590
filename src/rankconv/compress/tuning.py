"""Times of layers measured before, in a file of the user's: a second run need not measure them."""

from __future__ import annotations

import json
import math
import os
import threading
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

from rankconv.calibration import calibration_file
from rankconv.compress.network import Layer
from rankconv.machine import machine
from rankconv.stages import Factorization, Stage

FORMAT = 1
Times = Mapping[str, tuple[float, float]]  # key -> seconds of the layer, and of the chain


def tuning_file() -> Path:
    """Where this machine's times are kept, in the user's cache folder.

    Raises RuntimeError where the user has none, as in some containers.

    >>> tuning_file().suffix
    '.json'
    """
    here = zlib.crc32(json.dumps(machine(), sort_keys=True).encode())
    return calibration_file().with_name(f"layer-times-{here:08x}.json")


def key(layer: Layer, chain: Factorization, *, engine: str, batch: int, threads: int) -> str:
    """What a time depends on: engine, batch, threads, and the shapes of the layer and the chain.

    >>> import numpy as np
    >>> layer = Layer("conv1", Stage(np.ones((4, 2, 1, 1))), None, (2, 8, 8))
    >>> chain = Factorization("dense", 2, (layer.stage,), 0.0, 0.0, (4, 2, 1, 1))
    >>> key(layer, chain, engine="numpy 2.0", batch=1, threads=1)
    'numpy 2.0;batch 1;threads 1;image 2x8x8;4x2x1x1;4x2x1x1'
    """
    image = "x".join(map(str, layer.input_shape))
    stages = "+".join(_shape(stage) for stage in chain.stages)
    bias = "" if layer.bias is None else ",bias"
    return (
        f"{engine};batch {batch};threads {threads};image {image};{_shape(layer.stage)}{bias};"
        f"{stages}"
    )


def load(path: Path | None) -> dict[str, tuple[float, float]]:
    """The times in a file; none for no path or no such file.

    A file that is damaged, or of another machine, is ignored with a RuntimeWarning.
    """
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["machine"] != machine():
            raise ValueError("it is of another machine or version")
        times = {}
        for name, (before, after) in content["seconds"].items():
            if not (0 < float(before) < math.inf and 0 < float(after) < math.inf):
                raise ValueError(f"the times of {name!r} make no sense")
            times[name] = float(before), float(after)
        return times
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        warnings.warn(
            f"{path} is left aside ({type(error).__name__}: {error}): the layers are measured "
            "again, and the file is written anew",
            RuntimeWarning,
            stacklevel=3,
        )
        return {}


def save(path: Path | None, times: Times) -> None:
    """Write the times beside their place and rename the file; nothing for no path.

    Where the folder cannot be written, the times are lost with a RuntimeWarning.
    """
    if path is None:
        return
    content = {"format": FORMAT, "machine": machine(), "seconds": dict(sorted(times.items()))}
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(content, indent=0), encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error}): the next run measures the layers again; pass "
            "tuning=None, or a file that can be written",
            RuntimeWarning,
            stacklevel=3,
        )


def _shape(stage: Stage) -> str:
    parts = ["x".join(map(str, stage.weight.shape))]
    usual = Stage(stage.weight)
    for name in ("stride", "padding", "dilation", "groups"):
        value = getattr(stage, name)
        if value != getattr(usual, name):
            parts.append(f"{name[0]}{value}".replace(" ", ""))
    if stage.permute is not None:
        parts.append("permuted")
    return ",".join(parts)
