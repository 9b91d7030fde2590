"""Pictures into files."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from rankconv.drawing.files import write_beside


def save(figure: Figure, folder: Path, key: str) -> tuple[Path, Path]:
    """Write `key`.png and `key`.svg into a folder, each beside its place and then renamed.

    The same figure gives the same bytes each time (with the same version of matplotlib).
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, for both files
    paths = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        # The salt makes the identifiers within an SVG repeatable.
        with matplotlib.rc_context({"svg.hashsalt": key}):
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
        path = folder / f"{key}.{kind}"
        write_beside(path, buffer.getvalue())
        paths.append(path)
    return paths[0], paths[1]


def png(picture: NDArray[np.uint8]) -> str:
    """A grey picture as a `data:` address that a page can hold within itself.

    >>> png(np.zeros((2, 2), np.uint8))[:26]
    'data:image/png;base64,iVBO'
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
