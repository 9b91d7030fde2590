"""ONNX Runtime sends no usage data and keeps no device id because of this package."""

import os
import subprocess
import sys

import pytest

RUN = """
import numpy as np
from onnx import helper, numpy_helper
from rankconv.onnx import OnnxNetwork
weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w"], ["y"])],
    "tiny",
    [helper.make_tensor_value_info("x", 1, ["batch", 3, 8, 8])],
    [helper.make_tensor_value_info("y", 1, ["batch", 8, 6, 6])],
    [weight],
)
opset = [helper.make_opsetid("", 13)]
network = OnnxNetwork(helper.make_model(graph, opset_imports=opset, ir_version=8))
network.predict((np.ones((1, 3, 8, 8), np.float32),))
"""
PAPER = "import rankconv.paper.engines"


@pytest.mark.parametrize("code", [RUN, PAPER])
@pytest.mark.parametrize("wanted", [None, "0"])
def test_it_is_off_unless_the_user_says_otherwise(code, wanted, tmp_path):
    environment = dict(os.environ, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    if wanted is not None:
        environment["ORT_DISABLE_TELEMETRY"] = wanted
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport os\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == (wanted or "1")
    if wanted is None:
        assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
