"""MkDocs hook: the command reference, written from the command's own help at every build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MARK = "<!-- command reference -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference where a page has the mark."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown


def reference() -> str:
    """A section for each command with its arguments, options and defaults."""
    import typer

    from rankconv.cli import app

    return "\n\n".join(_command(("rankconv",), typer.main.get_command(app)))


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    children = getattr(command, "commands", {})
    yield f"## {' '.join(path)}"
    yield re.sub(r"(?m)^Example: (.*)$", r"Example: `\1`", (command.help or "").strip())
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = [*path, "[OPTIONS]", *map(_placeholder, arguments), *(["COMMAND"] if children else [])]
    yield "```text\n" + " ".join(usage) + "\n```"
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            yield f"{_names(parameter)}\n:   {_meaning(parameter)}"
    for name, child in children.items():
        yield from _command((*path, name), child)


def _meaning(parameter: Any) -> str:
    text = _text(" ".join((parameter.help or "").split()))
    default = parameter.default
    if parameter.required:
        return f"{text} Required."
    if default is None or default is False or default == [] or callable(default):
        return text
    shown = parameter.opts[0] if parameter.secondary_opts else default
    return f"{text} Default: `{shown}`."


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_placeholder(parameter)}`"
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else f" {_placeholder(parameter)}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _placeholder(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _text(text: str) -> str:
    """Plain text: nothing in it is markup."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return "".join(f"\\{sign}" if sign in "*_`[]" else sign for sign in text)
