"""Halide: separable filters compiled ahead of time for this processor and called without Python.

Two schedules a length, both sliding: the rows' pass is done just before the strip of the result
that needs it, and a block of the result stays in registers. The faster one counts. Halide's way
to schedule a two-pass filter is in its tutorial, lesson 8 (halide-lang.org/tutorials).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filter_task import Array, MissingPeerError, Task, Variant
from peers.building import FOLDER, library

BLOCKS = {"4 rows": (2, 4), "2 rows": (4, 2)}  # vectors x rows of the result in registers
STRIP = 64


def halide(task: Task) -> list[Variant]:
    """All buffers are described once; a call is one call of C."""
    if len(task.rows) != 1 or min(task.shape) < STRIP:
        return []
    lib, out = _library(task.k), task.out
    arrays = (task.image, task.columns[0], task.rows[0], out)
    buffers = [_describe(array) for array in arrays]
    arguments = [ctypes.byref(buffer) for buffer in buffers]
    return [
        Variant(name, _caller(getattr(lib, _symbol(task.k, block)), arguments), _viewer(out))
        for name, block in BLOCKS.items()
    ]


def _caller(function: Any, arguments: list[Any]) -> Callable[[], int]:
    return lambda: function(*arguments)


def _viewer(out: Array) -> Callable[[int], Array]:
    def view(status: int) -> Array:
        if status:
            raise MissingPeerError(f"Halide returned status {status}")
        return out

    return view


def _symbol(k: int, block: tuple[int, int]) -> str:
    return f"separable_{k}_{block[0]}_{block[1]}"


@cache
def _library(k: int) -> ctypes.CDLL:
    try:
        import halide as hl
    except ImportError as error:
        raise MissingPeerError(f"Halide: {error}") from error
    target = str(hl.get_host_target())
    version = importlib.metadata.version("halide")
    key = "\n".join([version, target, Path(__file__).read_text()])
    FOLDER.mkdir(parents=True, exist_ok=True)
    objects = [FOLDER / f"{_symbol(k, block)}.o" for block in BLOCKS.values()]
    names = [str(path) for path in objects]

    def compile_objects() -> None:
        for path, block in zip(objects, BLOCKS.values(), strict=True):
            _compile(hl, k, block, path)

    path = library(f"halide-{k}", key, [*names, "-lpthread", "-ldl"], before=compile_objects)
    return ctypes.CDLL(str(path))


def _compile(hl: Any, k: int, block: tuple[int, int], path: Path) -> None:
    x, y, strip, row, group, lane = (hl.Var(name) for name in ("x", "y", "s", "r", "g", "l"))
    lanes = hl.get_host_target().natural_vector_size(hl.Float(32))
    image = hl.ImageParam(hl.Float(32), 2, "image")
    columns = hl.ImageParam(hl.Float(32), 1, "columns")
    rows = hl.ImageParam(hl.Float(32), 1, "rows")
    across, out = hl.Func("across"), hl.Func("out")
    across[x, y] = _sum([rows[i] * image[x + i, y] for i in range(k)])
    out[x, y] = _sum([columns[j] * across[x, y + j] for j in range(k)])
    vectors, tall = block
    out.split(y, strip, y, STRIP).split(y, y, row, tall)
    out.split(x, x, group, lanes * vectors).split(group, group, lane, lanes)
    out.reorder(lane, group, row, x, y, strip).vectorize(lane).unroll(group).unroll(row)
    across.store_at(out, strip).compute_at(out, y)
    across.split(x, x, group, lanes * 4).split(group, group, lane, lanes)
    across.vectorize(lane).unroll(group)
    arguments = [image, columns, rows]
    out.compile_to_object(str(path), arguments, _symbol(k, block), hl.Target("host"))


def _sum(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class _Dimension(ctypes.Structure):
    _fields_ = (
        ("min", ctypes.c_int32),
        ("extent", ctypes.c_int32),
        ("stride", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    )


class _Buffer(ctypes.Structure):  # halide_buffer_t of HalideRuntime.h
    _fields_ = (
        ("device", ctypes.c_uint64),
        ("device_interface", ctypes.c_void_p),
        ("host", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("dimensions", ctypes.c_int32),
        ("dim", ctypes.POINTER(_Dimension)),
        ("padding", ctypes.c_void_p),
    )


def _describe(array: Array) -> _Buffer:
    axes = [  # the innermost comes first
        _Dimension(0, array.shape[axis], array.strides[axis] // array.itemsize, 0)
        for axis in reversed(range(array.ndim))
    ]
    dimensions = (_Dimension * array.ndim)(*axes)
    return _Buffer(0, None, array.ctypes.data, 0, 2, 32, 1, array.ndim, dimensions, None)
