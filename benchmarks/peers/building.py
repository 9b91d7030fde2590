"""Where the compiled competitors are built, and how: once for each source and version."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from filter_task import MissingPeerError

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "build" / "bench"


def library(
    name: str, key: str, arguments: list[str], *, before: Callable[[], None] | None = None
) -> Path:
    """A shared library made by g++ with these arguments, or the one made before.

    `key` is what it depends on besides the arguments; `before` makes the files among them.
    Raises MissingPeerError with g++'s message.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join([key, *arguments]).encode()).hexdigest()[:16]
    target = FOLDER / f"lib{name}-{digest}.so"
    if target.exists():
        return target
    if before is not None:
        before()
    beside = target.with_name(f"{target.name}.{os.getpid()}")
    command = ["g++", "-shared", "-fPIC", "-o", str(beside), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingPeerError(f"{name}: g++ is not installed") from error
    if done.returncode:
        raise MissingPeerError(f"{name}: g++ failed: {done.stderr.strip()[-500:]}")
    os.replace(beside, target)
    return target
