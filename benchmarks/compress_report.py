"""A stored result of `make bench-compress` for people: tables on the screen, a page of Markdown.

python benchmarks/compress_report.py FILE              print the gates
python benchmarks/compress_report.py FILE --docs DIR   also write DIR/compress.md and its pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from compress_gates import PEER, Row, beating, drop, front, verdicts
from compress_pictures import pictures
from compress_work import INT8, ORIGINAL, OURS, TUNED, read, write

QUIET = 2.0  # load average at the start above which the times are noise
TOOLS = {"AIMET": "aimet", "MUSCO": "musco", "TensorLy-Torch": "tltorch", "fasterai": "fasterai"}
HEAD = ("network", "what was asked for", "score", "lost", "times as fast", "ms", "multiply-adds")


def show(result: dict[str, Any], console: Console) -> None:
    """Print the gates."""
    for verdict in verdicts(result):
        told = {True: "met", False: "MISSED", None: "not measured"}[verdict.met]
        style = {True: "green", False: "bold red", None: "dim"}[verdict.met]
        line = f"[{style}]{told}[/] [bold]{verdict.title}[/]: {verdict.found}; {verdict.wanted}"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(conditions(result), highlight=False, soft_wrap=True)


def page(result: dict[str, Any], drawn: Sequence[Path]) -> str:
    """The whole of compress.md."""
    rows = result["networks"]
    lines = [
        "# Compressed networks against the originals and other tools",
        "",
        "<!-- Written by benchmarks/compress_report.py from a stored run; not by hand. -->",
        "",
        f"Every network of a table runs in ONNX Runtime, {result['threads']} thread, one image a "
        f"call, and is timed in one run of {result['rounds']} rounds with a turn in every round, "
        "in an order drawn anew. A speed-up is the median over the rounds of the original's time "
        "over the network's, with the quartiles in brackets. The networks were compressed on "
        "training images; the scores are of test images at which nothing looked before.",
        "",
    ]
    alt = "Speed-up against the score lost, one panel a network, of rankconv and of other tools"
    lines += [f"![{alt}]({path.name}#only-{path.stem.rsplit('-', 1)[1]})" for path in drawn]
    lines += ["", "## What it must reach", ""]
    told = {True: "met", False: "**missed**", None: "not measured"}
    lines += _table(
        ("gate", "wanted", "found", "verdict"),
        [(v.title, v.wanted, v.found, told[v.met]) for v in verdicts(result)],
    )
    lines += [
        "",
        "After fine-tuning, the drop counts from the original, or from the original fine-tuned in "
        "the same way where that scores higher.",
        "",
        *conditions(result).splitlines(),
    ]
    for net, title in result["titles"].items():
        mine = [row for row in rows if row["net"] == net]
        lines += ["", f"## {title}", "", *_net(result, net, mine)]
    if result["failures"]:
        lines += ["", "## Tools that gave no file", ""]
        lines += [f"- `{name}`: {words}" for name, words in sorted(result["failures"].items())]
    return "\n".join(lines) + "\n"


def conditions(result: dict[str, Any]) -> str:
    """Machine, versions, load."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    theirs = ", ".join(f"{name} {number}" for name, number in result["peer_versions"].items())
    loads = " to ".join(f"{load:.1f}" for load in result["load_average"])
    noisy = " **The machine was not quiet: the times are rough.**"
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}. Load average {loads}; {result['started']}.\n"
        f"Versions: {versions}."
        + (f" Of the other tools' environment: {theirs}." * bool(theirs))
        # One is this run's own process.
        + noisy * (result["load_average"][0] > QUIET)
    )


def _net(result: dict[str, Any], net: str, rows: list[Row]) -> Iterator[str]:
    unit = result["units"][net]
    score = "top-1, %" if unit == "points" else "PSNR, dB"
    own = [row for row in rows if row["source"] != PEER]
    peers = [row for row in rows if row["source"] == PEER]
    order = (ORIGINAL, OURS, TUNED, INT8, f"{OURS}+{INT8}", f"{TUNED}+{INT8}")
    own.sort(key=lambda row: (order.index(row["source"]), row["drop"]))
    head = (HEAD[0], HEAD[1], score, *HEAD[3:])
    yield f"{result['images'][net]} test images; drops in {unit}."
    yield ""
    yield from _table(head, [_row(row, rows, _asked(row)) for row in own])
    for name, why in result["nothing_faster"].get(net, {}).items():
        yield ""
        yield f"`{name}` has no file: {why}"
    yield ""
    missing = [tool for tool, word in TOOLS.items() if not any(word in r["name"] for r in peers)]
    if not peers:
        yield "No other tool was run on this network."
        return
    yield (
        "Other tools, none of them with training; `@0.50` asks for half of the multiply-adds. "
        "Listed are the settings that were run, not all that `benchmarks/compress_peers/run.py` "
        "can make" + (f"; not run on this network: {', '.join(missing)}." if missing else ".")
    )
    yield ""
    ours = [row for row in own if row["source"] == OURS]
    peers.sort(key=lambda row: row["drop"])
    yield from _table(
        (*head[:1], "points of ours above it", *head[2:]),
        [_row(row, rows, ", ".join(r["name"] for r in beating(row, ours)) or "-") for row in peers],
    )
    both = front([*ours, *peers, *(row for row in own if row["source"] == ORIGINAL)])
    yield ""
    yield (
        "The common front, the most exact first: "
        + ", ".join(f"**{row['name']}**" if row["source"] == OURS else row["name"] for row in both)
        + "."
    )


def _row(row: Row, rows: list[Row], second: str) -> tuple[str, ...]:
    original = next(r for r in rows if r["source"] == ORIGINAL)
    lost = f"{row['drop']:.2f}"
    other = drop(rows, row)
    if abs(other - row["drop"]) > 0.005:
        lost += f" ({other:.2f} from the tuned original)"
    adds = row["multiply_adds"] / original["multiply_adds"]
    return (
        f"**{row['name']}**" if row["source"] == OURS else row["name"],
        second,
        f"{row['score']:.2f}",
        lost,
        "{:.2f} [{:.2f}, {:.2f}]".format(*row["speedup"]),
        f"{1000 * row['seconds'][0]:.3f}",
        f"{adds:.0%}" if row["multiply_adds"] else "-",
    )


def _asked(row: Row) -> str:
    made = row["made"]
    if row["source"] == OURS and not made["command"]:
        return f"{made['notes']} of its report"
    if row["source"] == OURS:
        return (
            f"`{made['command']}`: {made['seconds']:.0f} s, {made['cpu_seconds']:.0f} s of the "
            f"processor, {made['peak_mib']:.0f} MiB"
        )
    if row["source"] == TUNED:
        return f"{made['budget']}, {made['notes']}: {made['cpu_seconds']:.0f} s of the processor"
    return "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def write_page(result: dict[str, Any], folder: Path) -> Path:
    """compress.md and its pictures, in `folder`."""
    path = folder / "compress.md"
    write(path, page(result, pictures(result, folder)))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    result = read(given.file)
    show(result, Console())
    if given.docs is not None:
        print(write_page(result, given.docs))


if __name__ == "__main__":
    main()
