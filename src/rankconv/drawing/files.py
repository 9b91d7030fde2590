"""Files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_beside(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that no reader meets half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
