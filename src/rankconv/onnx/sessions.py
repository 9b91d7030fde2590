"""ONNX Runtime on the processor, set up so that what is timed is what a user gets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

ERRORS_ONLY = 3


def engine() -> str:
    """The engine's name and version."""
    return f"onnxruntime {onnxruntime.__version__} CPU"


def processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def session(
    model: onnx.ModelProto,
    *,
    threads: int,
    optimize: bool = True,
    optimized_path: Path | None = None,
) -> onnxruntime.InferenceSession:
    """A session for the model: one operator after the other, each in `threads` threads.

    Threads wait busily within a run and sleep between two, so that sessions that are timed in
    turn do not disturb each other. Raises ValueError where ONNX Runtime refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    data = model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of its own for every kind of failure
        raise ValueError(f"ONNX Runtime cannot run this model: {_reason(error)}") from None


def run(session: onnxruntime.InferenceSession, outputs: list[str] | None, feed: Any) -> Any:
    """One run; a failure becomes a ValueError of one line."""
    try:
        return session.run(outputs, feed)
    except Exception as error:
        raise ValueError(f"ONNX Runtime failed in this model: {_reason(error)}") from None


def bound_call(session: onnxruntime.InferenceSession, feed: dict[str, Any]) -> Callable[[], object]:
    """A call that runs the session once on these inputs, without copies in or out."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
