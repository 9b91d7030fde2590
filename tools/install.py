"""Install the project into the running environment, with the pinned versions.

PyTorch comes first and alone, because its newest wheels for Linux bring gigabytes of CUDA
libraries. The pinned version is taken where a build without them is on offer; where there is none,
nothing is installed and the message says what to do.

    TORCH_INDEX=URL   take PyTorch from this package index (PyTorch's own index of CPU wheels)
    ALLOW_CUDA=1      take whatever build there is, CUDA included
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"


def pip(*arguments: str, capture: bool = False) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE if capture else None
    )
    return done.stdout or ""


def pinned_torch() -> str:
    match = re.search(r"^torch==\S+", CONSTRAINTS.read_text(), re.MULTILINE)
    if match is None:
        sys.exit(f"{CONSTRAINTS.name} does not pin torch")
    return match.group()


def install_torch() -> None:
    wanted = pinned_torch()
    index = os.environ.get("TORCH_INDEX")
    source = ("--index-url", index) if index else ()
    report = json.loads(
        pip("install", "--quiet", "--dry-run", "--no-deps", "--report", "-", *source, wanted,
            capture=True)
    )  # fmt: skip
    if not report["install"]:
        return  # it is here
    needs = report["install"][0]["metadata"].get("requires_dist", [])
    cuda = [need for need in needs if re.match(r"(nvidia|cuda|triton)", need)]
    if cuda and not os.environ.get("ALLOW_CUDA"):
        sys.exit(
            f"\nThe only {wanted} on offer here brings CUDA ({len(cuda)} more packages, gigabytes)."
            "\nSet TORCH_INDEX to PyTorch's index of CPU wheels (named on pytorch.org, 'Get"
            "\nstarted', Compute Platform: CPU) and run the same command again, or set"
            "\nALLOW_CUDA=1 to take the CUDA build."
        )
    # The wheel alone: its needs come below from the ordinary index, with their pins.
    pip("install", "--quiet", "--no-deps", *source, wanted)


def main() -> None:
    install_torch()
    pip("install", "--quiet", "-c", str(CONSTRAINTS), "-e", f"{ROOT}[dev]")
    # Compiled now, so that the first import does not change the folders that make looks at.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "src")], check=True)
    subprocess.run([sys.executable, "-c", "import rankconv"], check=True)


if __name__ == "__main__":
    main()
