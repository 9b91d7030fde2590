"""Make the environment in which the peers of the compression benchmark run, apart from ours.

    python benchmarks/compress_peers/install.py [--env build/compress-peers]

Everything is pinned in benchmarks/compress_peers.txt and installed without asking the packages
what they need, because two of them would pull other builds of PyTorch: aimet-torch asks for
torchvision, and torchvision for the CUDA build of its own PyTorch. torchvision's wheel is taken as
it is; run_aimet.py says how it is imported beside a PyTorch without CUDA. PyTorch comes first, the
way tools/install.py gets it for the project (TORCH_INDEX and ALLOW_CUDA work here too).

MUSCO needs tensorly 0.4.5 and TensorLy-Torch a newer one, so MUSCO and what it alone needs
(benchmarks/compress_peers/musco.txt) lie in a folder `musco` of the environment, which
run_musco.py puts before the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = ROOT / "build" / "compress-peers"
PINS = HERE.parent / "compress_peers.txt"
MUSCO_PINS = HERE / "musco.txt"


def python_of(environment: Path) -> Path:
    """The environment's interpreter."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(environment: Path) -> Path:
    """Make the environment if it is not there, or not this one, and return its interpreter."""
    python, done = python_of(environment), environment / "installed"
    wanted = hashlib.sha256(PINS.read_bytes() + MUSCO_PINS.read_bytes()).hexdigest()
    if done.exists() and done.read_text() == wanted:
        return python
    run(sys.executable, "-m", "venv", "--clear", str(environment))
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps")
    run(str(python), "-c", "import install; install.install_torch()", folder=ROOT / "tools")
    run(*pip, "-r", str(PINS))
    run(*pip, "--target", str(environment / "musco"), "-r", str(MUSCO_PINS))
    done.write_text(wanted)
    return python


def run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, check=True, cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env", type=Path, default=ENVIRONMENT, help="where the environment lies")
    print(install(parser.parse_args().env.absolute()))


if __name__ == "__main__":
    main()
