"""What the options of `rankconv compress` mean: texts into numbers, functions and checked paths."""

from __future__ import annotations

import importlib
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


def parse_drop(text: str) -> tuple[float, str]:
    """`"1%"` as 1.0 and `"%"`; the unit is '' where the text has none.

    Raises ValueError for anything but a number >= 0 and an optional %, points or dB.

    >>> parse_drop("1%"), parse_drop("0.3 dB"), parse_drop("0.02"), parse_drop("1 point")
    ((1.0, '%'), (0.3, 'dB'), (0.02, ''), (1.0, '%'))
    """
    number, unit = _number_and_unit(text)
    known = {"": "", "%": "%", "point": "%", "points": "%", "db": "dB"}
    if unit.lower() not in known or number < 0:
        raise ValueError(f"--max-drop {text!r} is not a number >= 0, as 1%, 0.3dB or 0.02")
    return number, known[unit.lower()]


def parse_seconds(text: str) -> float:
    """`"2ms"` as 0.002.

    Raises ValueError for anything but a positive number with s, ms or us.

    >>> parse_seconds("2ms"), parse_seconds("0.5 s")
    (0.002, 0.5)
    """
    number, unit = _number_and_unit(text)
    if unit.lower() not in UNITS or number <= 0:
        raise ValueError(f"--time {text!r} is not a time, as 2ms, 0.5s or 300us: give its unit")
    return number * UNITS[unit.lower()]


def _number_and_unit(text: str) -> tuple[float, str]:
    found = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([%a-zA-Zµ]*)\s*", text)
    try:
        number = float(found[1]) if found else -1.0
    except ValueError:
        number = -1.0
    return (number if math.isfinite(number) else -1.0), found[2] if found else ""


def parse_numbers(text: str, name: str) -> tuple[float, ...]:
    """`"0.5,0.4,0.3"` as numbers; ValueError that names the option for anything else.

    >>> parse_numbers("0.5, 0.4", "--mean")
    (0.5, 0.4)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"{name} {text!r} is not numbers with commas between, as 0.5,0.5"
        ) from None


def parse_size(text: str) -> tuple[int, int]:
    """`"224"` or `"240x320"` as rows and columns; ValueError for anything else.

    >>> parse_size("224"), parse_size("240x320")
    ((224, 224), (240, 320))
    """
    found = re.fullmatch(r"([1-9][0-9]*)(?:[x×]([1-9][0-9]*))?", text.strip().lower())
    if not found:
        raise ValueError(f"--size {text!r} is not rows x columns, as 224 or 240x320")
    return int(found[1]), int(found[2] or found[1])


def load_function(text: str) -> Callable[[Any], float]:
    """The function that `"package.module:function"` names; nothing else is imported.

    Modules in the present folder are found after the installed ones.
    Raises ValueError where the text, the module or the function is not right.

    >>> load_function("math:isnan")(1.0)
    False
    """
    module, _, name = text.partition(":")
    if not module or not name or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"--evaluate {text!r} is not package.module:function")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"--evaluate {text!r}: {module} cannot be imported: {error}") from error
    finally:
        sys.path.remove(here)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"--evaluate {text!r}: {module} has no function {name!r}")
    function: Callable[[Any], float] = found
    return function


def check_targets(
    targets: Mapping[str, Path | None], inputs: Mapping[str, Path], *, force: bool
) -> None:
    """Whether all files can be written, before the long work; option -> path, None for none.

    Raises ValueError for a file that exists (unless `force`), is an input or named twice, or
    whose folder cannot be written.
    """
    taken = {path.resolve(): name for name, path in inputs.items()}
    for option, path in targets.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise ValueError(
                f"{option} {path} is the same file as {taken[path.resolve()]}: choose another"
            )
        taken[path.resolve()] = option
        if path.is_dir():
            raise ValueError(f"{option} {path} is a folder: name a file")
        if path.exists() and not force:
            raise ValueError(f"{option} {path} exists: add --force to overwrite it")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            reason = (
                "the folder does not exist" if not path.parent.is_dir() else error.strerror or error
            )
            raise ValueError(f"{option} {path} cannot be written: {reason}") from error
