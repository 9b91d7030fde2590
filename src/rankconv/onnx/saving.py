"""Reading and writing networks."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from rankconv.compress.network import Inputs
from rankconv.onnx.network import OnnxNetwork
from rankconv.onnx.original import original_of
from rankconv.onnx.reading import LIMIT, read


def load(path: str | os.PathLike[str], *, sample: Inputs | None = None) -> OnnxNetwork:
    """The network of an ONNX file, read as data; the file is not changed.

    `sample`, one batch, is needed where the file leaves rows and columns of the images open.
    Raises OSError where the file cannot be read, and ValueError for a file that is no ONNX model,
    a model of over 2 GiB (external data included), with control flow, in training mode, with NaN
    in a weight, with no layer that can be replaced, or that ONNX Runtime refuses.

    >>> load("no_model.onnx")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no_model.onnx'
    """
    original = original_of(read(path), str(path), sample)
    network = OnnxNetwork.made(original.model, original)
    if not network.replaceable:
        reasons = "; ".join(f"{name}: {why}" for name, why in network.left_alone.items())
        raise ValueError(
            f"{path} has no convolution or linear layer that can be replaced"
            + (f" ({reasons})" if reasons else "")
        )
    return network


def save(network: OnnxNetwork, path: str | os.PathLike[str]) -> None:
    """Write the network's model, checked, in one file; an older one is replaced at the end.

    The metadata entry 'rankconv.layers' tells which layers were replaced by what. Raises OSError
    where the path cannot be written, and ValueError for a model of over 2 GiB or one that ONNX's
    checker refuses; nothing is written then.
    """
    path = Path(path)
    size = network.model.ByteSize()
    if size > LIMIT:
        raise ValueError(f"the model has {size / 2**30:.1f} GiB: over 2 GiB cannot be written")
    try:
        onnx.checker.check_model(network.model)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"the model is not valid ONNX and was not written: {error}") from None
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(network.model.SerializeToString())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
