"""Every competitor: a function from a task to its ways of doing it, the fastest of which counts.

One thread each. Each gets what makes it fastest: memory for the result where it takes any,
factors instead of the whole kernel, plans and sessions made before, both settings of switches
such as oneDNN. Intel IPP, Halide and numba are in the folder peers.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import rankconv
from filter_task import Array, Task, Variant, itself, require
from peers import frameworks, halide_peer, ipp_peer, numba_peer, scipy_peer

PACKAGES = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "ipp-static",
    "halide",
    "numba",
    "torch",
    "onnxruntime",
)


def one_thread() -> None:
    """One thread for those who have a switch of their own."""
    try:
        import cv2

        cv2.setNumThreads(1)
    except ImportError:
        pass
    import torch

    torch.set_num_threads(1)


def peer_versions() -> dict[str, str]:
    """The installed versions of everyone."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# rankconv: the only place that knows its interface.


def rankconv_filter(kernel: Array, **options: Any) -> Callable[..., Array]:
    """A filter made once for a kernel, called as `f(image, out=out)`; one thread by default."""
    return rankconv.SeparableFilter(kernel, **{"workers": 1, **options})


def rankconv_call(task: Task, algorithm: str = "auto", workers: int = 1) -> Callable[[], Array]:
    """The call that anyone would write, by the plan's choice or by one of its candidates."""
    return partial(
        rankconv.correlate2d,
        task.image,
        task.kernel,
        "valid",
        algorithm=algorithm,
        out=task.out,
        workers=workers,
    )


def rankconv_plan(task: Task) -> rankconv.Plan:
    """What it would do, and what it thinks the others cost."""
    return rankconv.plan(task.image.shape, task.kernel, mode="valid", dtype=task.image.dtype)


def rankconv_calibrate() -> None:
    """Measure this machine's constants for this process; the user's own are left alone."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            rankconv.calibrate()
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def rankconv_peer(task: Task, workers: int = 1) -> list[Variant]:
    """The kernel alone is given: rankconv finds its rank and chooses the algorithm."""
    planned = rankconv_filter(task.kernel, mode="valid", workers=workers)
    return [
        Variant("SeparableFilter", partial(planned, task.image, out=task.out), itself),
        Variant("correlate2d", rankconv_call(task, workers=workers), itself),
    ]


# The others.


def opencv(task: Task) -> list[Variant]:
    """sepFilter2D for each term, cv2.add for their sum, filter2D at full rank.

    OpenCV gives a result of the image's size only; the valid part is cut out.
    """
    cv2 = require("cv2")
    image, same, spare = task.image, task.same, task.spare
    edge, depth = cv2.BORDER_REPLICATE, cv2.CV_32F
    terms = list(zip(task.rows, task.columns, strict=True))

    def separable() -> None:
        cv2.sepFilter2D(image, depth, *terms[0], dst=same, borderType=edge)
        for term in terms[1:]:
            cv2.sepFilter2D(image, depth, *term, dst=spare, borderType=edge)
            cv2.add(same, spare, dst=same)

    row, column = terms[0] if terms else (None, None)
    calls: dict[str, Callable[[], Any]] = {
        "sepFilter2D": lambda: cv2.sepFilter2D(
            image, depth, row, column, dst=same, borderType=edge
        ),
        "sepFilter2D and add": separable,
        "filter2D": lambda: cv2.filter2D(image, depth, task.kernel, dst=same, borderType=edge),
    }
    name = ("filter2D", "sepFilter2D", "sepFilter2D and add")[min(len(terms), 2)]

    @contextmanager
    def own_ipp(used: bool) -> Iterator[None]:
        before = cv2.ipp.useIPP()
        cv2.ipp.setUseIPP(used)
        try:
            yield
        finally:
            cv2.ipp.setUseIPP(before)

    return [
        Variant(
            f"{name}, its IPP {'on' if used else 'off'}",
            calls[name],
            lambda _: task.valid(same),
            partial(own_ipp, used),
        )
        for used in (True, False)
    ]


#: name -> (how it is called in tables, its ways); the first one is what the others are held to.
PEERS: dict[str, tuple[str, Callable[[Task], list[Variant]]]] = {
    "rankconv": ("rankconv", rankconv_peer),
    "cv2": ("OpenCV", opencv),
    "ipp": ("Intel IPP", ipp_peer.ipp),
    "halide": ("Halide", halide_peer.halide),
    "numba": ("numba", numba_peer.numba),
    "ndimage": ("scipy.ndimage", scipy_peer.ndimage),
    "signal": ("scipy.signal", scipy_peer.signal),
    "scipy fft": ("scipy.signal, FFT", scipy_peer.fft),
    "torch": ("PyTorch", frameworks.pytorch),
    "onnxruntime": ("ONNX Runtime", frameworks.onnxruntime),
    "rankconv 2": ("rankconv, 2 threads", partial(rankconv_peer, workers=2)),
}
