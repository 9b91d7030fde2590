"""Pages that stand alone: style, script and figures in one file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

STYLE = Path(__file__).with_name("page.css")


def environment(templates: Path) -> Environment:
    """Where the templates of a folder are rendered: escaped, and every name must be known."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source(path: Path) -> Markup:
    """A style or a script of this package, as it is."""
    return Markup(path.read_text(encoding="utf-8"))


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element that it stands in.

    >>> str(script_json({"name": "</script>", "loss": float("nan")}))
    '{"name":"\\\\u003c/script\\\\u003e","loss":null}'
    """
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    """The same value with null where JSON has no number: a diverged run has NaN losses."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
