"""Networks in ONNX: read, run by ONNX Runtime, layers replaced by chains, written.

Needs the extra `onnx`: pip install 'rankconv[onnx]'.
"""

from __future__ import annotations

import rankconv._no_telemetry  # noqa: F401  # before ONNX Runtime is loaded
from rankconv.onnx.network import OnnxNetwork
from rankconv.onnx.original import InputSpec
from rankconv.onnx.quantizing import quantize
from rankconv.onnx.saving import load, save

__all__ = ["InputSpec", "OnnxNetwork", "load", "quantize", "save"]
