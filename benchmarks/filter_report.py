"""A stored result of `make bench-filter` for people: tables on the screen and a page of Markdown.

python benchmarks/filter_report.py FILE              print the gates
python benchmarks/filter_report.py FILE --docs DIR   also write DIR/filter.md and its pictures
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from filter_gates import MIDDLE, Verdict, ratio, verdicts
from filter_pictures import LABELS, pictures
from filter_task import KERNELS, KINDS, SIZES

HEAD = ("against", "wanted", "worst cell", "", "geometric mean", "aim", "verdict")


def show(result: dict[str, Any], console: Console) -> None:
    """Print the gates, and what was left out and why."""
    for verdict in verdicts(result):
        title, wanted, worst, where, mean, aim, told = _fields(verdict)
        style = {"met": "green", "MISSED": "bold red"}.get(verdict.verdict, "dim")
        console.print(f"[{style}]{told}[/] [bold]{title}[/]", highlight=False)
        if worst != "-":
            line = f"    wanted {wanted}, worst {worst} at {where}"
            if mean not in ("-", worst):
                line += f"; geometric mean {mean}" if aim == "-" else f"; mean {mean}, aim {aim}"
            console.print(line, highlight=False, soft_wrap=True)
    for line in _left_out(result):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_conditions(result), highlight=False, soft_wrap=True)


def page(result: dict[str, Any], drawn: dict[str, list[Path]]) -> str:
    """The whole of filter.md."""
    lines = [
        "# Filtering against other libraries",
        "",
        "<!-- Written by benchmarks/filter_report.py from a stored run; not by hand. -->",
        "",
        "Everyone correlates the same float32 image with the same kernel, mode 'valid', in turn, "
        "one thread each, and every result is compared with SciPy's in float64 before anything is "
        "timed. Figures are ratios of medians: the other's time over rankconv's, for a filter "
        "that was made before. Where a library has several ways, the fastest one counts. OpenCV "
        "can give a result of the image's size only, and is timed for that.",
        "",
        *_conditions(result).splitlines(),
        "",
        "## What it must reach",
        "",
        *_markdown(HEAD, [_fields(verdict) for verdict in verdicts(result)]),
        "",
    ]
    for peer, paths in drawn.items():
        label = result["labels"][peer]
        alt = f"Time of {label} over rankconv's, by image size and length of the kernel"
        lines += [f"## {label}", ""]
        lines += [f"![{alt}]({path.name}#only-{path.stem.rsplit('-', 1)[1]})" for path in paths]
        lines.append("")
        if peer == "cv2":
            lines += [_per_pixel(result), ""]
    for kind in KINDS:
        rows = list(_times(result, kind))
        if rows:
            lines += [f"## Microseconds of rankconv, {kind}", ""]
            lines += _markdown(("size", *(f"k = {k}" for k in KERNELS)), rows)
            lines.append("")
    lines += ["## Left out", "", *(f"- {line}" for line in _left_out(result)), ""]
    return "\n".join(lines)


def write_page(result: dict[str, Any], folder: Path) -> Path:
    """filter.md and its pictures, in `folder`."""
    drawn = pictures(result, result["labels"], folder)
    path = folder / "filter.md"
    write(path, page(result, drawn))
    return path


def write(path: Path, text: str) -> None:
    """Beside its place first, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    os.replace(beside, path)


def _fields(verdict: Verdict) -> tuple[str, ...]:
    told = verdict.verdict
    if verdict.verdict == "MISSED" and verdict.cells > 1:
        told += f" ({verdict.below} of {verdict.cells} cells)"
    return (
        verdict.title,
        verdict.wanted,
        verdict.worst,
        verdict.where,
        verdict.mean,
        verdict.aim,
        told,
    )


def _conditions(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    loads = " to ".join(f"{load:.1f}" for load in result["load_average"])
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; rankconv's instruction set: {result['isa']}.\n"
        f"Load average {loads}; {result['started']}, {result['minutes']:.1f} minutes; "
        f"`{result['command']}`.\n"
        f"Versions: {versions}."
    )


def _left_out(result: dict[str, Any]) -> Iterator[str]:
    for name, why in result["missing"].items():
        yield f"{result['labels'][name]}: not there ({why})"
    by_peer: dict[str, list[str]] = {}
    for cell in result["cells"]:
        for name in cell["skipped"]:
            by_peer.setdefault(name, []).append(f"{cell['size']} k={cell['k']} {cell['kind']}")
    for name, cells in by_peer.items():
        yield f"{result['labels'][name]}, a call would take too long: {', '.join(cells)}"


def _per_pixel(result: dict[str, Any]) -> str:
    """OpenCV's ratio if the pixels outside the valid part, which it has to compute, are its own."""
    found = []
    for cell in result["cells"]:
        value = ratio(cell, "cv2")
        if value is not None and cell["kind"] == "rank 1" and cell["size"] in MIDDLE:
            height, width = SIZES[cell["size"]]
            reach = cell["k"] - 1
            found.append(value * (height - reach) * (width - reach) / (height * width))
    if not found:
        return "Rank 1 at 256² to 1080p was not timed."
    return (
        "OpenCV computes the margins too. Divided by the pixels that each computes, the ratios at "
        f"rank 1 and 256² to 1080p are {min(found):.2f} at least and "
        f"{np.exp(np.mean(np.log(found))):.2f} in the geometric mean."
    )


def _times(result: dict[str, Any], kind: str) -> Iterator[tuple[str, ...]]:
    cells = {(c["size"], c["k"]): c for c in result["cells"] if c["kind"] == kind}
    for size in SIZES:
        row = []
        for k in KERNELS:
            cell = cells.get((size, k))
            timed = cell is not None and ratio(cell, "rankconv") is not None
            row.append(f"{cell['peers']['rankconv']['median'] * 1e6:.3g}" if timed and cell else "")
        if any(row):
            yield (LABELS.get(size, size), *row)


def _markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", type=Path)
    arguments = parser.parse_args()
    result = json.loads(arguments.file.read_text())
    show(result, Console())
    if arguments.docs is not None:
        write_page(result, arguments.docs)


if __name__ == "__main__":
    main()
