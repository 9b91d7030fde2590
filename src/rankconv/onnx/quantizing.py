"""Static quantisation to 8-bit integers by ONNX Runtime's own tools."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnxruntime import quantization

from rankconv.compress.network import Array, Inputs
from rankconv.onnx.network import OnnxNetwork
from rankconv.onnx.original import check_inputs, pieces_of

CALIBRATION_BATCH = 32
X86 = ("x86_64", "amd64", "i386", "i686")


def quantize(
    network: OnnxNetwork, inputs: Inputs, *, reduce_range: bool | None = None
) -> OnnxNetwork:
    """The network with weights (a scale for each output channel) and activations of 8 bits.

    The ranges of the activations are the least and largest values that `inputs` give.
    `reduce_range` leaves the weights 7 bits: without it sums of products overflow on x86
    processors without VNNI, so by default those get it and no others. The result predicts, can
    be timed and saved; it has no layers to replace.

    Raises ValueError for inputs that do not fit.
    Equivalent: `onnxruntime.quantization.quantize_static` in the QDQ format.
    Source: ONNX Runtime's documentation, "Quantize ONNX models".

    >>> import numpy as np
    >>> from onnx import helper, numpy_helper
    >>> rng = np.random.default_rng(0)
    >>> weight = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    >>> graph = helper.make_graph(
    ...     [helper.make_node("Conv", ["x", "w"], ["y"], name="first")],
    ...     "tiny",
    ...     [helper.make_tensor_value_info("x", 1, ["batch", 3, 8, 8])],
    ...     [helper.make_tensor_value_info("y", 1, ["batch", 8, 6, 6])],
    ...     [numpy_helper.from_array(weight, "w")],
    ... )
    >>> opset = [helper.make_opsetid("", 13)]
    >>> network = OnnxNetwork(helper.make_model(graph, opset_imports=opset, ir_version=8))
    >>> x = rng.standard_normal((16, 3, 8, 8)).astype(np.float32)
    >>> small = quantize(network, (x,))
    >>> bool(np.abs(small.predict((x,)) - network.predict((x,))).max() < 0.5)
    True
    >>> small.layers, dict(small.left_alone)
    ((), {'first': 'it is quantised'})
    """
    feed = check_inputs(inputs, network.inputs)
    if reduce_range is None:
        reduce_range = not sums_are_wide()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(network.model, before)
        quantization.quantize_static(
            before,
            after,
            _Reader(pieces_of(feed, network.batch or CALIBRATION_BATCH)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(after)
    return network.quantized_as(model)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Batches of inputs, handed out one by one as ONNX Runtime's calibration asks for them."""

    def __init__(self, pieces: list[tuple[dict[str, Array], int]]) -> None:
        self._pieces = iter(pieces)

    def get_next(self) -> dict[str, Array] | None:
        return next((feed for feed, _ in self._pieces), None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Where nobody set up logging, ONNX Runtime's advice is not printed, nor set up for good."""
    silent = logging.NullHandler()
    logging.root.addHandler(silent)
    try:
        yield
    finally:
        logging.root.removeHandler(silent)


def sums_are_wide() -> bool:
    """Whether products of 8 bits are summed without overflow: by VNNI on x86, or on no x86."""
    if platform.machine().lower() not in X86:
        return True
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False  # not known: the safe side
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_vnni" in flags or "avx_vnni" in flags
