"""Static quantisation to 8-bit integers by ONNX Runtime's own tools."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime import quantization

from rankconv.compress.network import Inputs, batches
from rankconv.onnx.network import OnnxNetwork
from rankconv.onnx.original import check_inputs

CALIBRATION_BATCH = 32


def quantize(
    network: OnnxNetwork, inputs: Inputs, *, reduce_range: bool | None = None
) -> OnnxNetwork:
    """The network with weights (a scale for each output channel) and activations of 8 bits.

    The ranges of the activations are the least and largest values on `inputs`. `reduce_range`
    takes 7 bits for the weights: without it sums of products overflow on x86 processors that
    have no VNNI, so by default they get it and no others. The result predicts and can be timed;
    it has no layers to replace.

    Raises ValueError for inputs that do not fit.
    Equivalent: `onnxruntime.quantization.quantize_static` in the QDQ format.
    Source: ONNX Runtime's documentation, "Quantize ONNX models".
    """
    check_inputs(inputs, network.inputs)
    if reduce_range is None:
        reduce_range = not has_wide_sums()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(network.model, before)
        logging.getLogger().disabled, was = True, logging.getLogger().disabled
        try:
            quantization.quantize_static(
                before,
                after,
                _Reader(network, inputs),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        finally:
            logging.getLogger().disabled = was
        model = onnx.load(after)
    return network.quantized_as(model)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The inputs, batch by batch, as ONNX Runtime's calibration asks for them."""

    def __init__(self, network: OnnxNetwork, inputs: Inputs) -> None:
        self._names = [spec.name for spec in network.inputs]
        self._batches: Iterator[Inputs] = iter(batches(inputs, network.batch or CALIBRATION_BATCH))
        self._batch = network.batch

    def get_next(self) -> dict[str, Any] | None:
        piece = next(self._batches, None)
        if piece is None or (self._batch and piece[0].shape[0] != self._batch):
            return None
        return dict(zip(self._names, piece, strict=True))


def has_wide_sums() -> bool:
    """Whether products of 8 bits are summed without overflow: VNNI on x86, any other kind."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return True
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False  # not known: the safe side
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return "avx512_vnni" in flags.split() or "avx_vnni" in flags.split()
