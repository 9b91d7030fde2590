"""Filtering against OpenCV, Intel IPP, Halide, numba, SciPy, PyTorch and ONNX Runtime.

    make bench-filter                                  everything, about 11 minutes
    make bench-filter ARGS="--quick"                   a few cells, less than a minute
    make bench-filter ARGS="--out FILE --docs DIR"     store the figures; write the page, pictures
    make bench-filter ARGS="--cells 256:3,5:rank-1 --only cv2,ipp --no-extra"

`--cells` is size:k:kind, each a list with commas or left empty for all. One process, one thread
for everyone, interleaved; results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from threadpoolctl import threadpool_limits

from filter_cells import Cell, Memory, cells, measure
from filter_extra import blur, network, planner, plans
from filter_peers import PEERS, one_thread, peer_versions, rankconv_calibrate
from filter_report import show, write, write_page
from filter_task import KERNELS, KINDS, SIZES, MissingPeerError
from rankconv.machine import machine

QUICK = [
    ("32", 5, "rank 1"),
    ("256", 5, "rank 1"),
    ("256", 5, "rank 3"),
    ("256", 5, "full"),
    ("1080p", 5, "rank 1"),
    ("1080p", 15, "rank 1"),
]
# The planner is asked about all sizes that its slow candidates can be run on.
PLANNER_SIZES = ("32", "256", "512", "1080p", "4096")


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few cells, less than a minute")
    parser.add_argument("--cells", type=parse_cells, help="sizes:lengths:kinds")
    parser.add_argument("--only", type=parse_peers, help=f"of {', '.join(PEERS)}")
    parser.add_argument("--no-extra", action="store_true", help="no blur, planner, network")
    parser.add_argument("--effort", type=float, default=1.0, help="times the time of a cell")
    parser.add_argument("--out", type=Path, help="store everything as JSON")
    parser.add_argument("--docs", type=Path, help="write filter.md and its pictures here")
    return parser.parse_args(argv)


def parse_cells(text: str) -> list[Cell]:
    """'256,512:3,5:rank-1' -> the cells; an empty part is all of it."""
    parts = [part.split(",") if part else None for part in (text + "::").split(":")[:3]]
    sizes, lengths, kinds = parts
    kinds = kinds and [kind.replace("-", " ") for kind in kinds]
    for given, known in (
        (sizes, list(SIZES)),
        (lengths, [str(k) for k in KERNELS]),
        (kinds, list(KINDS)),
    ):
        if unknown := [name for name in given or () if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown} not among {', '.join(known)}")
    return cells(sizes, [int(k) for k in lengths] if lengths else None, kinds)


def parse_peers(text: str) -> list[str]:
    """'cv2,ipp' -> the competitors, rankconv always first."""
    names = text.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{unknown} not among {', '.join(PEERS)}")
    return ["rankconv", *(name for name in PEERS if name in names and name != "rankconv")]


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The whole result, as it is stored."""
    began = time.time()
    wanted = arguments.cells or (QUICK if arguments.quick else cells())
    names = arguments.only or list(PEERS)
    memory = Memory()
    result: dict[str, Any] = {
        "command": command(arguments),
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "machine": machine(),
        "versions": peer_versions(),
        "isa": instruction_set(),
        "threads": 1,
        "load_average": [os.getloadavg()[0]],
        "labels": {name: label for name, (label, _) in PEERS.items()},
        "missing": memory.missing,
    }
    asked = [c for c in wanted if c[0] in PLANNER_SIZES and c[2] != "gaussian"]
    shipped = plans(asked)
    rankconv_calibrate()
    rows = measure(wanted, names, memory, effort=arguments.effort)
    result["cells"] = list(
        track(rows, "filters", total=len(wanted), console=console, transient=True)
    )
    if not arguments.no_extra:
        quick = arguments.quick or arguments.cells is not None
        result |= extra(quick, asked, shipped, console)
    result["load_average"].append(os.getloadavg()[0])
    result["minutes"] = (time.time() - began) / 60
    return result


def command(arguments: argparse.Namespace) -> str:
    """What was run; where its results went does not matter."""
    options = []
    if arguments.quick:
        options.append("--quick")
    if arguments.cells is not None:
        options.append(f"--cells ({len(arguments.cells)} cells)")
    if arguments.only is not None:
        options.append(f"--only {','.join(arguments.only)}")
    if arguments.no_extra:
        options.append("--no-extra")
    if arguments.effort != 1.0:
        options.append(f"--effort {arguments.effort:g}")
    return "make bench-filter" + (f' ARGS="{" ".join(options)}"' if options else "")


def extra(quick: bool, asked: list[Cell], shipped: list[str], console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["blur"] = list(blur((3, 5) if quick else BLUR_LENGTHS))
    except MissingPeerError as error:
        console.print(f"no blur: {error}")
    rows = planner(asked, shipped)
    found["planner"] = list(
        track(rows, "planner", total=len(asked), console=console, transient=True)
    )
    found["network"] = network(rounds=5 if quick else 25)
    return found


BLUR_LENGTHS = (3, 5, 7, 11, 15, 31)


def instruction_set() -> str:
    """What rankconv's kernels were chosen for at run time."""
    from rankconv._native_module import native

    return "none (NumPy)" if native is None else str(native.isa)


def main(argv: list[str] | None = None) -> None:
    arguments = arguments_of(argv)
    console = Console()
    one_thread()
    with threadpool_limits(1):
        result = run(arguments, console)
    show(result, console)
    if arguments.out is not None:
        write(arguments.out, json.dumps(result, indent=1) + "\n")
    if arguments.docs is not None:
        write_page(result, arguments.docs)


if __name__ == "__main__":
    main()
