"""Draw the pictures of README and documentation from the library's own functions.

    python tools/docs_pictures.py               draw all pictures into docs/pictures
    python tools/docs_pictures.py slides bound  draw these
    python tools/docs_pictures.py --measure     take the times of `overview` anew before

Each picture is written twice, for a light and for a dark ground. The photograph is scikit-image's
`camera` (by Lav Varshney, CC0).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

import rankconv
from rankconv.drawing.palette import COLOURS, DIVERGING

Array = NDArray[Any]
Colour = Callable[[str], str]  # a name of the palette -> its colour on this ground

PICTURES_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
TIMES = PICTURES_FOLDER / "overview-times.json"
THEMES = ("light", "dark")
SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING)
SUB = "₁₂₃₄₅"
RANK_COLOURS = ("rank 1", "rank 2", "rank 3", "rank 4", "rank 5")


# What is shown.


@cache
def photograph() -> Array:
    """A grey photograph (512, 512), float32 in [0, 1]."""
    from skimage import data

    camera: Array = data.camera()  # type: ignore[no-untyped-call]
    return np.asarray(camera / np.float32(255), np.float32)


def line_detector(size: int, *, degrees: float = 30, long: float, wide: float) -> Array:
    """A filter (size, size) that answers to bright lines at an angle; no row or column suits it."""
    reach = (size - 1) / 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = np.deg2rad(degrees)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    F = (1 - (across / wide) ** 2) * np.exp(-((along / long) ** 2 + (across / wide) ** 2) / 2)
    F -= F.mean()
    return np.asarray(F / np.abs(F).sum())


LARGE = line_detector(15, long=6, wide=2).astype(np.float32)
SMALL = line_detector(5, long=2, wide=0.8)


def factors(F: Array, rank: int) -> tuple[Array, Array]:
    """Column filters f_i (rank, kH) and row filters g_i (rank, kW) of the nearest filter.

    Both signs of a pair may change without changing f_i g_i^T: here each g_i is mostly positive.
    """
    columns, rows = rankconv.factorize(F, rank=rank).stages
    f, g = columns.weight.reshape(rank, -1), rows.weight.reshape(rank, -1)
    sign = np.sign(np.take_along_axis(g, np.abs(g).argmax(axis=1)[:, None], axis=1))
    return f * sign, g * sign


# The pictures.


def overview(colour: Colour) -> Figure:
    """The filter, its approximations, what they make of a photograph, and their times."""
    ranks = [1, 2, 3, 4, 5, None]
    crop = np.s_[265:405, 190:330]
    chains = [rankconv.factorize(LARGE, rank=rank) for rank in ranks]
    results = [
        rankconv.correlate2d(photograph(), LARGE, "same", "reflect", rank=rank)[crop]
        for rank in ranks
    ]
    figure = Figure(figsize=(8.0, 5.5))
    grid = figure.add_gridspec(
        4, 7, left=0.005, right=0.995, top=0.95, bottom=0.06, hspace=0.08, wspace=0.06,
        height_ratios=(1, 1, 1, 1),
    )  # fmt: skip
    for column, (chain, result) in enumerate(zip(chains, results, strict=True)):
        top, middle, low = (figure.add_subplot(grid[row, column + 1]) for row in range(3))
        signed_map(top, chain.dense(), colour, scale=np.abs(LARGE).max())
        title = "whole filter" if ranks[column] is None else f"rank {chain.rank}"
        top.set_title(title, fontsize=11, fontweight="bold", color=colour("text"))
        photo(middle, result, colour, low=-0.15, high=0.15)
        signed_map(low, result - results[-1], colour, scale=0.15)
    photo(figure.add_subplot(grid[1, 0]), photograph()[crop], colour, low=0, high=1)
    for row, text in ((0, "filter of\n15 × 15"), (2, "difference\nfrom the\nwhole filter"),
                      (3, "time for\n512 × 512\npixels")):  # fmt: skip
        label = figure.add_subplot(grid[row, 0])
        label.axis("off")
        label.text(0.95, 0.5, text, ha="right", va="center", fontsize=10, color=colour("text"))
    _time_bars(figure.add_subplot(grid[3, 1:]), chains, colour)
    return figure


def _time_bars(axes: Axes, chains: list[rankconv.Factorization], colour: Colour) -> None:
    measured = json.loads(TIMES.read_text(encoding="utf-8"))
    bars = measured["milliseconds"]
    for x, (quartile1, median, quartile3) in enumerate(bars):
        name = RANK_COLOURS[x] if x < 5 else "paper"
        axes.bar(x, median, 0.52, color=colour(name))
        axes.plot([x, x], [quartile1, quartile3], color=colour("text"), lw=1)
        error = f"{chains[x].error:.0%} error" if x < 5 else "exact"
        axes.text(x, quartile3, f"{median:.1f} ms\n{error}", ha="center", va="bottom",
                  fontsize=10, color=colour("text"))  # fmt: skip
    axes.set_xlim(-0.5, 5.5)
    axes.set_ylim(0, 1.7 * max(high for _, _, high in bars))
    axes.set_xticks(range(6), [f"rank {chain.rank}" for chain in chains])
    axes.tick_params(colors=colour("muted"), length=0, labelsize=10)
    axes.set_yticks([])
    frame(axes, colour, ("bottom",))


def terms(colour: Colour) -> Figure:
    """A 5 x 5 filter as the sum of its rank-1 terms, each a column times a row."""
    f, g = factors(SMALL, 5)
    figure = Figure(figsize=(9.6, 2.75))
    scale = np.abs(SMALL).max()
    grid = figure.add_gridspec(1, 6, left=0.01, right=0.99, top=0.74, bottom=0.21, wspace=0.5)
    for i in range(-1, 5):
        axes = figure.add_subplot(grid[0, i + 1])
        signed_map(axes, SMALL if i < 0 else np.outer(f[i], g[i]), colour, scale=scale)
        name = "F" if i < 0 else f"f{SUB[i]} g{SUB[i]}ᵀ"
        axes.set_title(name, fontsize=12, color=colour("text"), y=1.02 if i < 0 else 1.2)
        if i < 0:
            continue
        sign = axes.text(-0.33, 0.5, "+" if i else "=", fontsize=15, color=colour("text"))
        sign.set(transform=axes.transAxes, ha="center", va="center")
        top = axes.inset_axes((0, 1.06, 1, 0.13))
        left = axes.inset_axes((-0.19, 0, 0.13, 1))
        signed_map(top, g[i][None], colour, scale=np.abs(g).max())
        signed_map(left, f[i][:, None], colour, scale=np.abs(f).max())
        error = rankconv.factorize(SMALL, rank=i + 1).error
        left_over = f"{100 * error:.1f} %" if error > 1e-12 else "0"
        axes.set_xlabel(f"σ{SUB[i]} = {np.linalg.norm(f[i]):.3f}\nleft over: {left_over}",
                        fontsize=10, color=colour("muted"))  # fmt: skip
    return figure


def slides(colour: Colour) -> Figure:
    """The rank-1 term as a product of three matrices, f* A g*^T = B."""
    A = photograph()[150:222:4, 210:306:4]  # 18 x 24
    f, g = factors(SMALL, 1)
    F, G = rankconv.extended_slide(f[0], A.shape[0]), rankconv.extended_slide(g[0], A.shape[1]).T
    B = F @ A @ G
    figure = Figure(figsize=(9.6, 3.1))
    parts = ((F, "f*", "·"), (A, "A", "·"), (G, "g*ᵀ", "="), (B, "B", ""))
    _product(figure, parts, colour, photos=("A", "B"))
    return figure


def stacked(colour: Colour) -> Figure:
    """Three terms as two products: [f1* f2* f3*] times the products A g_i*^T one below another."""
    A = photograph()[150:222:4, 210:306:4]
    f, g = factors(SMALL, 3)
    H, W = A.shape
    left = np.concatenate([rankconv.extended_slide(v, H) for v in f], axis=1)  # (14, 3 * 18)
    lines = np.concatenate([A @ rankconv.extended_slide(v, W).T for v in g])  # (3 * 18, 20)
    figure = Figure(figsize=(9.6, 4.9))
    parts = ((left, "[ f₁*  f₂*  f₃* ]", "·"), (lines, "", "="), (left @ lines, "B", ""))
    made = _product(figure, parts, colour, photos=("B",), gap=11.0)
    for axes, cut in ((made[0], "v"), (made[1], "h")):
        for at in (H - 0.5, 2 * H - 0.5):
            line = axes.axvline if cut == "v" else axes.axhline
            line(at, color="#1b1f24", lw=1.2)
    for i in range(3):
        name = made[1].text(-1.3, (i + 0.5) * H, f"A g{SUB[i]}*ᵀ", fontsize=12)
        name.set(ha="right", va="center", color=colour("text"))
    return figure


def _product(
    figure: Figure,
    parts: tuple[tuple[Array, str, str], ...],
    colour: Colour,
    *,
    photos: tuple[str, ...],
    gap: float = 4.0,
) -> list[Axes]:
    """Matrices side by side at one scale, so that their sizes can be compared."""
    width = sum(part.shape[1] for part, _, _ in parts) + gap * len(parts)
    per_inch = figure.get_figwidth() / width
    made = []
    x = gap / 2
    for matrix, name, sign in parts:
        h, w = matrix.shape[0] * per_inch / figure.get_figheight(), matrix.shape[1] / width
        axes = figure.add_axes((x / width, (0.93 - h) / 2, w, h))
        if name in photos:
            edge = np.abs(matrix).max()
            photo(axes, matrix, colour, low=0 if name == "A" else -edge, high=edge)
        else:
            signed_map(axes, matrix, colour, scale=np.abs(matrix).max())
        axes.set_title(name, fontsize=13, color=colour("text"), linespacing=1.1)
        axes.set_xlabel(f"{matrix.shape[0]} × {matrix.shape[1]}", fontsize=10,
                        color=colour("muted"))  # fmt: skip
        figure.text((x + matrix.shape[1] + min(gap / 2, 2.4)) / width, 0.465, sign, fontsize=18,
                    ha="center", va="center", color=colour("text"))  # fmt: skip
        x += matrix.shape[1] + gap
        made.append(axes)
    return made


def bound(colour: Colour) -> Figure:
    """What approximation does to results: measured on images, and what is proven for all."""
    A = photograph()
    noise = np.random.default_rng(0).standard_normal(A.shape)
    plans = [rankconv.plan(A.shape, LARGE, rank=r) for r in range(1, 11)]
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_axes((0.1, 0.13, 0.6, 0.82))
    ranks = [plan.rank for plan in plans]
    shown = {
        "proven for every image": ([plan.output_gain for plan in plans], "text", "-"),
        "worst image for each rank": (
            [_gain(_worst(LARGE, r, A.shape), LARGE, r) for r in ranks], "rank 1", "o"),
        "white noise": ([_gain(noise, LARGE, r) for r in ranks], "rank 5", "s"),
        "the photograph": ([_gain(A, LARGE, r) for r in ranks], "rank 3", "^"),
    }  # fmt: skip
    for name, (values, key, mark) in shown.items():
        line = {"lw": 1.8} if mark == "-" else {"lw": 0.8, "marker": mark, "ms": 5}
        axes.semilogy(ranks, values, color=colour(key), **line)
        nudge = 4 if mark == "-" else -3 if mark == "o" else 0
        axes.annotate(name, (ranks[-1], values[-1]), (8, nudge), textcoords="offset points",
                      va="center", fontsize=10, color=colour(key))  # fmt: skip
    plot(axes, colour, "rank m", "|B − Bₘ| / |A|")
    return figure


def _gain(A: Array, F: Array, rank: int) -> float:
    exact = rankconv.correlate2d(A, F, algorithm="direct")
    near = rankconv.correlate2d(A, F, rank=rank, algorithm="separable")
    return float(np.linalg.norm(exact - near) / np.linalg.norm(A))


def _worst(F: Array, rank: int, shape: tuple[int, ...]) -> Array:
    """The wave that the neglected part of the filter amplifies most."""
    rest = F - rankconv.factorize(F, rank=rank).dense()
    spectrum = np.abs(np.fft.fft2(rest, (256, 256)))
    v, h = np.unravel_index(spectrum.argmax(), spectrum.shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.cos(2 * np.pi * (v * y + h * x) / 256))


def cost(colour: Colour) -> Figure:
    """Multiply-adds a pixel of each form, over the side of a square image."""
    sides = [32, 64, 128, 256, 512, 1024, 2048, 4096]
    names = {"toeplitz": "dense Toeplitz", "direct": "direct (k²)", "toeplitz_blocked": "in tiles",
             "separable": "two passes (2 k r)"}  # fmt: skip
    figure = Figure(figsize=(7.6, 4.0))
    axes = figure.add_axes((0.1, 0.14, 0.62, 0.81))
    counts: dict[str, list[float]] = {name: [] for name in names}
    for side in sides:
        planned = rankconv.plan((side, side), LARGE, rank=3, mode="same", dtype="float32")
        for candidate in planned.candidates:
            if candidate.algorithm in counts:
                counts[candidate.algorithm].append(candidate.multiply_adds / side**2)
    keys = ("rank 1", "rank 2", "rank 3", "rank 5")
    for key, (name, values) in zip(keys, counts.items(), strict=True):
        axes.loglog(sides, values, color=colour(key), lw=1.8, marker="o", ms=4)
        nudge = {"toeplitz_blocked": 5, "direct": -5}.get(name, 0)
        axes.annotate(names[name], (sides[-1], values[-1]), (8, nudge), va="center",
                      textcoords="offset points", fontsize=10, color=colour(key))  # fmt: skip
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.minorticks_off()
    plot(axes, colour, "side of the image (pixels)", "multiply-adds a pixel")
    return figure


def photos(colour: Colour) -> Figure:
    """The photograph, blurred and its edges: the results of the first tutorial."""
    from rankconv.kernels import gaussian, sobel

    A = photograph()
    soft = rankconv.correlate2d(A, gaussian(sigma=3), "same", "reflect")
    edges = np.hypot(*(rankconv.correlate2d(A, sobel(axis=i), "same", "reflect") for i in (0, 1)))
    figure = Figure(figsize=(9.6, 3.5))
    parts = ((A, "the photograph", 0, 1), (soft, "Gaussian, σ = 3 pixels", 0, 1),
             (edges, "Sobel, length of the gradient", 0, 2))  # fmt: skip
    for i, (image, name, low, high) in enumerate(parts):
        axes = figure.add_axes((0.005 + 0.333 * i, 0.01, 0.323, 0.885))
        photo(axes, image[::3, ::3], colour, low=low, high=high)
        axes.set_title(name, fontsize=12, color=colour("text"))
    return figure


PICTURES: dict[str, Callable[[Colour], Figure]] = {
    "overview": overview,
    "terms": terms,
    "slides": slides,
    "stacked": stacked,
    "bound": bound,
    "cost": cost,
    "photos": photos,
}


# How it is shown.


def signed_map(axes: Axes, values: Array, colour: Colour, *, scale: float) -> None:
    """A matrix in colours: blue below zero, red above."""
    axes.imshow(values, cmap=SIGNED, vmin=-scale, vmax=scale, interpolation="nearest",
                aspect="auto")  # fmt: skip
    _bare(axes, colour)


def photo(axes: Axes, image: Array, colour: Colour, *, low: float, high: float) -> None:
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    _bare(axes, colour)


def _bare(axes: Axes, colour: Colour) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour("axis"), linewidth=0.8)


def frame(axes: Axes, colour: Colour, sides: tuple[str, ...]) -> None:
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set(visible=side in sides, color=colour("axis"))


def plot(axes: Axes, colour: Colour, x: str, y: str) -> None:
    frame(axes, colour, ("left", "bottom"))
    axes.grid(True, color=colour("grid"), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colour("muted"), length=0, labelsize=9, which="both")
    axes.set_xlabel(x, color=colour("muted"))
    axes.set_ylabel(y, color=colour("muted"))


# Times and files.


def measure(rounds: int = 41) -> dict[str, Any]:
    """Quartiles of the processor time of ranks 1 to 5 and of the whole filter, in milliseconds.

    The tiled Toeplitz form on the photograph in float32, all ranks in turn in every round.
    Processor time, on one thread, leaves out what the machine does for others meanwhile.
    """
    from threadpoolctl import threadpool_limits

    from rankconv.machine import machine, versions

    ranks = [1, 2, 3, 4, 5, None]
    taken: list[list[float]] = [[] for _ in ranks]
    with threadpool_limits(1):
        for round_ in range(-1, rounds):
            for rank, times in zip(ranks, taken, strict=True):
                start = time.process_time()
                rankconv.correlate2d(
                    photograph(), LARGE, "same", rank=rank, algorithm="toeplitz_blocked"
                )
                if round_ >= 0:
                    times.append(1e3 * (time.process_time() - start))
    quartiles = [[round(float(q), 3) for q in np.quantile(t, (0.25, 0.5, 0.75))] for t in taken]
    return {
        "what": "processor time of correlate2d, 512 x 512 float32, 15 x 15 filter, mode='same', "
        "algorithm='toeplitz_blocked'",
        "ranks": ["1", "2", "3", "4", "5", "all"],
        "milliseconds": quartiles,
        "rounds": rounds,
        "threads": 1,
        "machine": machine(),
        "versions": versions(("numpy",)),
    }


def draw(name: str, theme: str) -> bytes:
    """One picture as SVG; the same bytes each time."""
    side = THEMES.index(theme)
    figure = PICTURES[name](lambda key: COLOURS[key][side])
    figure.set_facecolor("none")
    file = io.BytesIO()
    settings: Any = {"svg.hashsalt": "rankconv", "svg.fonttype": "path"}
    with mpl.rc_context(settings):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def files(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """File name, picture and theme of everything that is drawn."""
    for name in names:
        for theme in THEMES:
            yield f"{name}-{theme}.svg", name, theme


def write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; default: all")
    parser.add_argument("--measure", action="store_true", help="take the times anew")
    parser.add_argument("--out", type=Path, default=PICTURES_FOLDER, help="the folder")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in PICTURES]:
        parser.error(f"{unknown} are not among {', '.join(PICTURES)}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.measure:
        write(TIMES, (json.dumps(measure(), indent=1) + "\n").encode())
    for file, name, theme in files(chosen.names or list(PICTURES)):
        write(chosen.out / file, draw(name, theme))


if __name__ == "__main__":
    main()
