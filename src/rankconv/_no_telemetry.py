"""To be imported before ONNX Runtime: its builds of 1.32 and later send usage data by default.

They keep a device id in the user's cache folder for it. What the user set counts.

Source: Privacy.md of the package onnxruntime, "Disabling Telemetry".
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
