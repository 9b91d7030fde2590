"""JSON Lines with their places, so that each complaint names the file and the line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn


class LogError(ValueError):
    """A log that cannot be read: the text names the file, the line and what was expected."""


@dataclass(frozen=True)
class Line:
    """One record with its place in the file, so that each error can name it."""

    path: Path
    number: int
    record: Mapping[str, Any]

    def fail(self, message: str) -> NoReturn:
        raise LogError(f"{self.path}, line {self.number}: {message}")

    def get(self, key: str) -> Any:
        if key not in self.record:
            self.fail(f"{self._name} lacks the field {key!r}")
        return self.record[key]

    @property
    def _name(self) -> str:
        return f"the record of type {self.record['type']!r}" if "type" in self.record else "a part"

    def part(self, record: Any, what: str) -> Line:
        if not isinstance(record, dict):
            self.fail(f"{what} is {short(record)}, not an object")
        return Line(self.path, self.number, record)

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            self.fail(f"{key}={short(value)} is not a text")
        return value

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            self.fail(f"{key}={short(value)} is not true or false")
        return value

    def count(self, key: str, *, low: int = 0, high: int | None = None) -> int:
        return self.checked_count(self.get(key), key, low=low, high=high)

    def checked_count(self, value: Any, key: str, *, low: int = 0, high: int | None = None) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            upper = "" if high is None else f" and at most {high}"
            self.fail(f"{key}={short(value)} is not a whole number of at least {low}{upper}")
        return int(value)

    def real(
        self, key: str, *, low: float = -math.inf, high: float = math.inf, finite: bool = True
    ) -> float:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(f"{key}={short(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            self.fail(f"{key}={short(value)} is not a number that a float can hold")
        if finite and not (math.isfinite(number) and low <= number <= high):
            self.fail(f"{key}={number} is not a number between {low:g} and {high:g}")
        return number

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.get(key)
        if not isinstance(value, dict):
            self.fail(f"{key}={short(value)} is not an object")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list):
            self.fail(f"{key}={short(value)} is not a list")
        return value


def read_lines(path: Path) -> tuple[list[Line], list[str]]:
    try:
        raw = path.read_bytes().split(b"\n")
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise LogError(f"{path}: {reason}; pass the log that `rankconv reproduce` wrote") from error
    lines: list[Line] = []
    for number, text in enumerate(raw, start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            if number == len(raw):  # no newline behind it: the writer was stopped within the line
                return lines, [f"The last line of the log ({number}) was cut off and is left out."]
            raise LogError(f"{path}, line {number}: not a JSON record ({error})") from error
        if not isinstance(record, dict):
            raise LogError(f"{path}, line {number}: {short(record)} is not a JSON object")
        lines.append(Line(path, number, record))
    return lines, []


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
