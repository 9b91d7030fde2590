"""A report as a JSON file and back, exactly."""

from __future__ import annotations

import contextlib
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from rankconv.compress.records import Report
from rankconv.drawing.files import write_beside

FORMAT = "rankconv compression report"
VERSION = 1
# JSON has no such numbers: the distance of equal pictures is inf dB.
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class ReportError(ValueError):
    """A report that cannot be read: the text names the file, the field and what is expected."""


def write_json(report: Report, path: Path | str) -> Path:
    """Write a report as JSON, beside its place and then renamed; returns the path.

    Raises OSError where the file cannot be written.
    """
    whole = {"format": FORMAT, "version": VERSION, "report": _plain(report)}
    text = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path = Path(path)
    write_beside(path, text.encode("utf-8"))
    return path


def read_json(path: Path | str) -> Report:
    """The report in a file that `write_json` wrote; equal to the one that was written.

    Raises ReportError that names the file and the field where it is missing or damaged.

    >>> import tempfile
    >>> from rankconv.compress.records import Point
    >>> point = Point("original", "original", 2e-3, (2e-3, 2e-3), 1.0, 91.0, 0.0, 10**6, 10**4)
    >>> report = Report(
    ...     command="", machine={}, versions={}, engine="an engine", threads=1, batch=1,
    ...     budget={"max_drop": 1.0}, metric="top-1 (%)", split={}, points=(point,), chosen=0,
    ...     verdict="The original.", layers=(), left_alone={}, seconds_taken=1.0,
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_json(write_json(report, f"{folder}/report.json")) == report
    True
    """
    path = Path(path)
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"report {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"report {path} is no JSON: {error}; was it cut short?") from error
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ReportError(f"{path} is no report: it has not the format {FORMAT!r}")
    if whole.get("version") != VERSION:
        raise ReportError(
            f"report {path} has version {_short(whole.get('version'))}, and this rankconv reads "
            f"version {VERSION}: read it with the rankconv that wrote it"
        )
    report = cast(Report, _Reader(path).value(whole.get("report"), Report, "report"))
    if not 0 <= report.chosen < len(report.points):
        raise ReportError(
            f"report {path}: chosen={report.chosen} is none of its {len(report.points)} points"
        )
    return report


def _plain(value: Any) -> Any:
    """The value in what JSON has."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


class _Reader:
    """Reads plain JSON into the types that the records declare."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def value(self, found: Any, kind: Any, place: str) -> Any:
        """`found` as a value of the type `kind`, or an error that names its place."""
        origin, parts = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._one_of(found, parts, place)
        if origin is tuple:
            return self._tuple(found, parts, place)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            if not isinstance(found, dict):
                self._fail(found, place, "an object")
            return {
                key: self.value(part, parts[1], f"{place}.{key}") for key, part in found.items()
            }
        if is_dataclass(kind):
            return self._record(found, kind, place)
        return self._scalar(found, kind, place)

    def _scalar(self, found: Any, kind: Any, place: str) -> Any:
        if kind is float and isinstance(found, str) and found in _NOT_FINITE:
            return _NOT_FINITE[found]
        allowed = (int, float) if kind is float else (kind,)
        if isinstance(found, bool) or not isinstance(found, allowed):
            names = {str: "a text", int: "a whole number", float: "a number"}
            self._fail(found, place, names.get(kind, "null"))
        return float(found) if kind is float else found

    def _record(self, found: Any, kind: Any, place: str) -> Any:
        if not isinstance(found, dict):
            self._fail(found, place, "an object")
        hints = get_type_hints(kind)
        unknown = sorted(set(found) - set(hints))
        if unknown:
            raise ReportError(f"report {self._path}: {place} has the unknown field {unknown[0]!r}")
        values = {}
        for field in fields(kind):
            if field.name in found:
                within = f"{place}.{field.name}".removeprefix("report.")
                values[field.name] = self.value(found[field.name], hints[field.name], within)
            elif field.default is MISSING and field.default_factory is MISSING:
                raise ReportError(f"report {self._path}: {place} lacks the field {field.name!r}")
        return kind(**values)

    def _one_of(self, found: Any, kinds: tuple[Any, ...], place: str) -> Any:
        for kind in kinds:
            with contextlib.suppress(ReportError):
                return self.value(found, kind, place)
        return self._fail(found, place, " or ".join(_named(kind) for kind in kinds))

    def _tuple(self, found: Any, parts: tuple[Any, ...], place: str) -> tuple[Any, ...]:
        if not isinstance(found, list):
            self._fail(found, place, "a list")
        repeated = parts[1:] == (Ellipsis,)
        if not repeated and len(found) != len(parts):
            self._fail(found, place, f"a list of {len(parts)}")
        kinds = (parts[0],) * len(found) if repeated else parts
        return tuple(
            self.value(part, kind, f"{place}[{i}]")
            for i, (part, kind) in enumerate(zip(found, kinds, strict=True))
        )

    def _fail(self, found: Any, place: str, expected: str) -> NoReturn:
        raise ReportError(f"report {self._path}: {place} is {_short(found)}, not {expected}")


def _named(kind: Any) -> str:
    if kind is type(None):
        return "null"
    return "a pair" if get_origin(kind) is tuple else "a whole number" if kind is int else str(kind)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
