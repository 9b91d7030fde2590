"""Griffe extension: the plain docstrings of this project as Markdown.

Examples that begin with >>> become code blocks, and the lines that begin with a word such as
`Source:` paragraphs of their own.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

LABELS = ("Raises", "Equivalent:", "Source:")


class DocstringBlocks(griffe.Extension):
    """Applied to everything that has a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with examples fenced and labelled lines set apart."""
    parts = re.split(r"(?m)^\s*\n", text)
    return "\n\n".join(_paragraph(part.rstrip("\n")) for part in parts if part.strip())


def _paragraph(part: str) -> str:
    if part.lstrip().startswith(">>>"):
        lines = [re.sub(r"\s*# doctest: \+\w+$", "", line) for line in part.splitlines()]
        return "\n".join(["```pycon", *lines, "```"])
    labels = "|".join(map(re.escape, LABELS))
    marked = re.sub(rf"(?m)^({labels})(?= )", r"\n**\1**", part)
    return marked.lstrip("\n")
