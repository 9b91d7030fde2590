"""What a measurement was made on: processor, cores, system and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from rankconv.calibration import processor

PACKAGES = ("rankconv", "numpy", "torch", "onnxruntime", "scikit-image")


def machine() -> dict[str, str | int]:
    """The processor, the number of cores that may be used, the system and the Python version."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    return {
        "processor": processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The installed versions of the packages that a measurement depends on."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
