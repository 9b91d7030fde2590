"""Intel IPP: FilterSeparable and FilterBorder on margins in memory, through ipp.cpp."""

from __future__ import annotations

import ctypes
import sys
import weakref
from functools import lru_cache
from pathlib import Path

from filter_task import Array, MissingPeerError, Task, Variant
from peers.building import library

SOURCE = Path(__file__).with_name("ipp.cpp")
LIBRARIES = ("ippcv", "ippi", "ipps", "ippvm", "ippcore")  # each needs those after it


def ipp(task: Task) -> list[Variant]:
    """One plan, run into memory that is there; a small rank 1 kernel may be fastest whole."""
    found = []
    # FilterSeparable (2026.1) reads outside its memory for results of 2 x 2 pixels.
    tiny = min(task.out.shape) < 8
    if len(task.rows) == 1 and not tiny:
        found.append(_variant(task, "FilterSeparable"))
    if len(task.rows) == 0 or (len(task.rows) == 1 and (task.k <= 7 or tiny)):
        found.append(_variant(task, "FilterBorder"))
    return found


def _variant(task: Task, name: str) -> Variant:
    lib = ipp_library()
    height, width = task.shape
    size = (task.k, task.k, width, height)
    if name == "FilterSeparable":
        plan = lib.ipp_separable(_address(task.rows), _address(task.columns), *size)
    else:
        plan = lib.ipp_direct(_address(task.kernel), *size)
    if not plan:
        raise MissingPeerError(f"Intel IPP makes no {name} for {task.size}, k = {task.k}")
    first = task.image[task.k // 2 :, task.k // 2 :]
    arguments = (
        ctypes.c_void_p(plan),
        ctypes.c_void_p(_address(first)),
        ctypes.c_int(task.image.strides[0]),
        ctypes.c_void_p(_address(task.out)),
        ctypes.c_int(task.out.strides[0]),
    )
    run, out = lib.ipp_run, task.out

    def call() -> int:
        return run(*arguments)  # type: ignore[no-any-return]

    def view(status: int) -> Array:
        if status:
            raise MissingPeerError(f"Intel IPP's {name} returned status {status}")
        return out

    weakref.finalize(call, lib.ipp_free, plan)
    return Variant(name, call, view)


def _address(array: Array) -> int:
    return int(array.ctypes.data)


@lru_cache(maxsize=1)
def ipp_library() -> ctypes.CDLL:
    """The shim, linked with IPP's static libraries (packages ipp-static and ipp-include)."""
    include, folder = Path(sys.prefix) / "include", Path(sys.prefix) / "lib"
    if not (include / "ipp" / "ippcv.h").exists() or not (folder / "libippcv.a").exists():
        raise MissingPeerError("Intel IPP: the packages ipp-static and ipp-include are not here")
    path = library(
        "ipp",
        SOURCE.read_text(),
        [
            *("-O2", "-std=c++17", f"-I{include}", f"-I{include / 'ipp'}", str(SOURCE)),
            *(f"-L{folder}", *(f"-l{name}" for name in LIBRARIES), "-Wl,--gc-sections"),
        ],
    )
    lib = ctypes.CDLL(str(path))
    address, integer = ctypes.c_void_p, ctypes.c_int
    lib.ipp_separable.argtypes = [address, address, *[integer] * 4]
    lib.ipp_direct.argtypes = [address, *[integer] * 4]
    lib.ipp_separable.restype = lib.ipp_direct.restype = address
    lib.ipp_free.argtypes = [address]
    lib.ipp_free.restype = None
    lib.ipp_version.restype = ctypes.c_char_p
    return lib


def version() -> str:
    """IPP's own name of its version."""
    return str(ipp_library().ipp_version().decode())
