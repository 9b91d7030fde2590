"""Every competitor: a function from a task to its ways of doing it, the fastest of which counts.

One thread each. Each gets what makes it fastest: memory for the result where it takes any,
factors instead of the whole kernel, plans and sessions made before, both settings of switches
such as oneDNN. Intel IPP, Halide and numba are in the folder peers.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import rankconv
from filter_task import Array, Task, Variant, itself, require
from peers import frameworks, halide_peer, ipp_peer, numba_peer, scipy_peer
from rankconv.correlate import native
from rankconv.splitting import split_kernel

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


def rankconv_filters(
    kernel: Array, *, workers: int = 1, **options: Any
) -> dict[str, Callable[..., Array]]:
    """Filters made once for a kernel, each called as `f(image, out=out)`."""
    made: dict[str, Callable[..., Array]] = {}
    if native.available:
        split = split_kernel(kernel, None, None).kernel
        options["workers"] = workers
        made["separable"] = native.compile_filter(factors=(split.f, split.g), **options)
        made["direct"] = native.compile_filter(kernel, **options)
    return made


def rankconv_call(task: Task, algorithm: str = "auto") -> Callable[[], Array]:
    """The call that anyone would write, by the plan's choice or by one of its candidates."""
    return partial(rankconv.correlate2d, task.image, task.kernel, "valid", algorithm=algorithm)


def rankconv_peer(task: Task, workers: int = 1) -> list[Variant]:
    """The kernel alone is given; its rank is found, and the filter made, in advance."""
    image, out = task.image, task.out
    found = [
        Variant(name, partial(made, image, out=out), itself)
        for name, made in rankconv_filters(task.kernel, workers=workers).items()
        if name == "direct" or len(task.rows)
    ]
    if workers == 1:
        found.append(Variant("correlate2d", rankconv_call(task), itself))
    return found


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
