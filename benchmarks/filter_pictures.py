"""Heat maps of the ratios, size by length of the kernel, for a light and for a dark ground."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from filter_gates import ratio
from filter_task import KERNELS, KINDS, SIZES
from rankconv.drawing.palette import COLOURS

THEMES = ("light", "dark")
WIDEST = 4.0  # powers of two to the end of the scale
LABELS = {"32": "32²", "256": "256²", "512": "512²", "4096": "4096²", "8192": "8192²"}


def pictures(result: dict[str, Any], labels: dict[str, str], folder: Path) -> dict[str, list[Path]]:
    """One picture a competitor and ground, as SVG files in `folder`; competitor -> its files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for peer, label in labels.items():
        kinds = [
            kind
            for kind in KINDS
            if any(c["kind"] == kind and ratio(c, peer) for c in result["cells"])
        ]
        if peer.startswith("rankconv") or not kinds:
            continue
        paths = []
        for theme in THEMES:
            path = folder / f"filter-{peer.replace(' ', '-')}-{theme}.svg"
            _write(path, heat_map(result["cells"], peer, label, kinds, theme))
            paths.append(path)
        found[peer] = paths
    return found


def heat_map(
    cells: list[dict[str, Any]], peer: str, label: str, kinds: Sequence[str], theme: str
) -> bytes:
    """The picture as SVG: blue where rankconv is faster, orange where the other is."""
    index = THEMES.index(theme)

    def colour(name: str) -> str:
        return COLOURS[name][index]

    scale = LinearSegmentedColormap.from_list(
        "ratio", [colour("rank 1"), colour("ground"), colour("rank 5")]
    )
    figure = Figure(figsize=(1.2 + 3.3 * len(kinds), 3.0), layout="constrained")
    figure.patch.set_alpha(0)
    all_axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(all_axes, kinds, strict=True):
        table = np.full((len(SIZES), len(KERNELS)), np.nan)
        for cell in cells:
            value = ratio(cell, peer)
            if cell["kind"] == kind and value is not None:
                table[list(SIZES).index(cell["size"]), KERNELS.index(cell["k"])] = value
        _panel(axes, table, scale, colour("ground"), colour("text"), colour("muted"))
        axes.set_title(kind, color=colour("text"), fontsize=10)
        axes.set_xlabel("length of the kernel", color=colour("muted"), fontsize=8)
    figure.suptitle(
        f"Time of {label} / time of rankconv, one thread", color=colour("text"), fontsize=11
    )
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "rankconv", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _panel(axes: Axes, table: Any, scale: Any, ground: str, text: str, muted: str) -> None:
    norm = Normalize(-WIDEST, WIDEST, clip=True)
    axes.imshow(np.log2(table), cmap=scale, norm=norm, aspect="auto")
    axes.patch.set_alpha(0)
    for (row, column), value in np.ndenumerate(table):
        if np.isnan(value):
            shown, ink = "–", muted
        else:
            digits = 2 if value < 0.995 else 1 if value < 9.95 else 0
            shown = f"{value:.{digits}f}"
            ink = _ink(scale(norm(np.log2(value))), ground, text)
        axes.text(column, row, shown, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(KERNELS)), [str(k) for k in KERNELS])
    axes.set_yticks(range(len(SIZES)), [LABELS.get(size, size) for size in SIZES])
    axes.tick_params(colors=muted, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ink(fill: tuple[float, ...], ground: str, text: str) -> str:
    """Of the two, the colour that stands out more from `fill` (WCAG's contrast)."""

    def brightness(colour: Any) -> float:
        parts = np.array(mpl.colors.to_rgb(colour))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05

    def contrast(colour: str) -> float:
        pair = sorted((brightness(colour), brightness(fill)))
        return pair[1] / pair[0]

    return max((ground, text), key=contrast)


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    os.replace(beside, path)
