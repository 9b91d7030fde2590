"""This machine's constants for the planner: measured once, kept in the user's cache folder."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv._native_module import native
from rankconv.correlate import ALGORITHMS, SplitKernel
from rankconv.correlate.constants import SHIPPED, Constants, Seconds
from rankconv.correlate.costs import COUNTS, Job, rolls

Array = NDArray[Any]
Progress = Callable[[int, int], None]

FORMAT = 2
SIZES = (16, 32, 64, 100, 200, 420, 800, 1500)
KERNELS = (1, 2, 3, 4, 5, 7, 9, 11, 15, 21, 31, 47, 63)
RANKS = (1, 2, 3, 4, 6, 8, 15, 31)
ROUNDS = 3
# Of each algorithm and dtype, times its effort: more for those that are chosen most.
ROUND_SECONDS = 0.035
EFFORT = {"native_separable": 3, "native_direct": 3, "fft": 2, "loop": 0.3, "toeplitz_terms": 0.3}
CELLS = 80
# The processor's time leaves out what other processes take; Windows counts it in steps of 16 ms.
_clock = time.perf_counter if sys.platform == "win32" else time.process_time

_lock = threading.Lock()
_current: Constants | None = None


def calibrate(*, progress: Progress | None = None) -> Path:
    """Measure what filtering costs on this machine, and plan with it from now on.

    Takes five to ten seconds, best on an idle machine. The constants are written to the user's
    cache folder, from where later processes read them; the answer is that file.
    `progress(done, total)` is called after each step.

    Raises OSError where the folder cannot be written, RuntimeError where the user has none.

    >>> file = calibrate()  # doctest: +SKIP
    """
    global _current
    steps = [(name, char) for char in "fd" for name in ALGORITHMS]
    seconds: Seconds = {name: dict(row) for name, row in SHIPPED.seconds.items()}
    for done, (name, char) in enumerate(steps):
        if progress is not None:
            progress(done, len(steps))
        seconds[name][char] = _fit(*_measure(name, np.dtype(char)))
    if progress is not None:
        progress(len(steps), len(steps))
    made = time.strftime("%Y-%m-%d %H:%M")
    content = {"format": FORMAT, "machine": machine(), "made": made, "seconds": seconds}
    path = calibration_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    with _lock:
        _current = Constants(f"calibrated {made}", seconds)
    return path


def current() -> Constants:
    """The calibrated constants where this machine has some, the shipped ones otherwise."""
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                try:
                    _current = _load(calibration_file())
                except RuntimeError:  # no home folder, as in some containers
                    _current = SHIPPED
    return _current


def calibration_file() -> Path:
    """Where the constants of this processor are kept."""
    parts = (processor(), getattr(native, "isa", "none"))
    return _cache_folder() / f"calibration-{zlib.crc32(repr(parts).encode()):08x}.json"


def machine() -> dict[str, str]:
    """What the constants hold for."""
    return {
        "processor": processor(),
        "native": getattr(native, "isa", "none"),
        "rankconv": metadata.version("rankconv"),
        "numpy": np.__version__,
    }


def _load(path: Path) -> Constants:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return SHIPPED
    except (OSError, UnicodeDecodeError) as error:
        return _refused(path, f"cannot be read ({error})")
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            return _refused(path, "was written by another version of rankconv")
        if content["machine"] != machine():
            return _refused(path, f"was measured on {content['machine']}, and this is {machine()}")
        return Constants(f"calibrated {content['made']}", _checked(content["seconds"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return _refused(path, f"is broken ({type(error).__name__}: {error})")


def _refused(path: Path, reason: str) -> Constants:
    warnings.warn(
        f"{path} {reason}; plans use the shipped constants. Run `rankconv calibrate` or delete "
        "the file.",
        RuntimeWarning,
        stacklevel=4,
    )
    return SHIPPED


def _checked(rows: dict[str, dict[str, list[float]]]) -> Seconds:
    """The rows as numbers; ValueError where one is missing, too short, negative or not finite."""
    seconds: Seconds = {}
    for name, shipped in SHIPPED.seconds.items():
        seconds[name] = {}
        for char, example in shipped.items():
            row = tuple(float(value) for value in rows[name][char])
            if len(row) != len(example) or not all(0 <= v < 1 for v in row) or not any(row):
                raise ValueError(f"the constants of {name} {char} make no sense")
            seconds[name][char] = row
    return seconds


def _measure(name: str, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Counts (cells, constants) and the least of `ROUNDS` times (cells,), cells in turn."""
    rng = np.random.default_rng(0)
    row = SHIPPED.of(name, dtype)
    cells: list[tuple[Job, Callable[[], Array], int]] = []
    images = {n: rng.standard_normal((n, n)).astype(dtype) for n in SIZES}
    left = ROUND_SECONDS * EFFORT.get(name, 1)
    for job in _jobs(rng, dtype):
        expected = float(np.dot(COUNTS[name](job).counts, row))
        repeats = max(1, int(2e-4 / max(expected, 1e-7)))
        if expected * repeats > left or len(cells) == CELLS:
            continue
        left -= expected * repeats
        cells.append((job, _call(name, job, images[job.H], rng), repeats))
    least = np.full(len(cells), np.inf)
    for _ in range(ROUNDS):
        for i, (_, call, repeats) in enumerate(cells):
            call()  # brings the image near
            start = _clock()
            for _ in range(repeats):
                call()
            least[i] = min(least[i], (_clock() - start) / repeats)
    return np.array([COUNTS[name](job).counts for job, _, _ in cells], float), least


def _jobs(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Job]:
    jobs = [
        Job(1, n, n, k, k, rank, dtype)
        for n in SIZES
        for k in KERNELS
        for rank in RANKS
        if 2 * k <= n and rank <= k
    ]
    order = [jobs[i] for i in rng.permutation(len(jobs))]
    # There are few of those with a constant of their own: chance might leave them all out.
    first = [job for job in order if rolls(job)][:12]
    return first + [job for job in order if job not in first]


def _call(name: str, job: Job, image: Array, rng: np.random.Generator) -> Callable[[], Array]:
    f, g = rng.standard_normal((2, job.rank, job.kH)).astype(job.dtype)
    kernel = SplitKernel(f.T @ g, f, g)
    if name.startswith("native"):
        from rankconv.correlate.native import compile_filter

        separable = name == "native_separable"
        run = compile_filter(factors=(f, g)) if separable else compile_filter(kernel.dense)
        return lambda: run(image)
    return lambda: ALGORITHMS[name](image, kernel)


def _fit(counts: Array, seconds: Array) -> tuple[float, ...]:
    """Constants >= 0 with small relative errors; the few cells that were disturbed count less."""
    relative = counts / seconds[:, None]
    weights = np.ones(len(seconds))
    for _ in range(5):
        found = _least_squares(relative * weights[:, None], weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ found - 1), 0.03))
    return tuple(float(value) for value in found)


def _least_squares(A: Array, b: Array) -> Array:
    """The x >= 0 with the least |A x - b|.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.
    """
    scale = np.linalg.norm(A, axis=0)
    scale[scale == 0] = 1
    A = A / scale
    x, free = np.zeros(A.shape[1]), np.zeros(A.shape[1], bool)
    for _ in range(10 * len(x)):
        gain = np.where(free, -1.0, A.T @ (b - A @ x))
        if gain.max() <= 1e-10:
            break
        free[gain.argmax()] = True
        while True:
            z = np.zeros(len(x))
            z[free] = np.linalg.lstsq(A[:, free], b, rcond=None)[0]
            below = free & (z <= 0)
            if not below.any():
                break
            x += (x[below] / (x[below] - z[below])).min() * (z - x)
            free &= x > 1e-12
            x[~free] = 0
        x = z
    return np.asarray(x / scale)


def _cache_folder() -> Path:
    """The user's cache folder, where platformdirs puts it too."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
        return base / "rankconv" / "rankconv" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rankconv"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(chosen) if chosen.startswith("/") else Path.home() / ".cache") / "rankconv"


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
