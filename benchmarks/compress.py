"""Compress the benchmark's networks, and compare them with the originals and with other tools.

    make bench-compress
    python benchmarks/compress.py --work runs/compress [--nets vgg,resnet20] [--peers DIR]
        [--stages compress,tune,int8,score] [--json FILE] [--docs DIR]

Needs CIFAR-10 (RANKCONV_DATA or --data) and the weights of the ResNets (RANKCONV_MODELS, see
benchmarks/nets/README.md). Each stage keeps its files in the work folder and goes on where it was
stopped; what is there is not made again. Only `score` looks at the test images. Times are worth
something on a machine that does nothing else. DIR is a folder of compress_peers/run.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

import compress_make as make
from compress_report import show, write_page
from compress_score import run
from compress_work import NETS, read, write

STAGES = ("compress", "tune", "int8", "score")
HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "compress.json"
TUNE_STEPS = 550  # a few minutes a network on a core
DOCS = HERE.parent / "docs" / "benchmarks"


def listed(text: str, allowed: tuple[str, ...]) -> list[str]:
    """Names with commas, in the order of those allowed."""
    names = text.split(",")
    for name in names:
        if name not in allowed:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(allowed)}")
    return [name for name in allowed if name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "compress")
    parser.add_argument(
        "--nets", type=lambda t: listed(t, tuple(NETS)), default=list(NETS), metavar="NAMES"
    )
    parser.add_argument(
        "--stages", type=lambda t: listed(t, STAGES), default=list(STAGES), metavar="NAMES"
    )
    parser.add_argument("--peers", type=Path, help="folder that compress_peers/run.py made")
    parser.add_argument("--data", help="CIFAR-10 (default: RANKCONV_DATA)")
    parser.add_argument(
        "--tune-steps", type=int, default=TUNE_STEPS, help="of 128 images (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--docs", type=Path, default=DOCS)
    given = parser.parse_args()
    console = Console(stderr=True)

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    work = given.work.absolute()
    make.originals(work, given.nets, given.data, tell)
    for net in given.nets:
        if "compress" in given.stages:
            make.compressed(work, net, tell)
        if "tune" in given.stages:
            make.tuned(work, net, given.data, tell, steps=given.tune_steps)
        if "int8" in given.stages:
            make.int8(work, net, tell)
    if "score" in given.stages:
        result = run(work, given.nets, given.peers, threads=given.threads, tell=tell)
        write(given.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        show(read(given.json), Console())
        print(write_page(result, given.docs))


if __name__ == "__main__":
    main()
