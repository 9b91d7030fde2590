"""One picture of a filtering: original, result, difference and spectrum side by side."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.drawing.palette import DIVERGING, light
from rankconv.images import Picture
from rankconv.picture_filter import FilteredPicture

try:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as missing:
    raise ImportError(
        f"a picture of the comparison needs the package {missing.name}: pip install matplotlib"
    ) from missing

Array = NDArray[Any]

SUFFIXES = (".png", ".svg", ".pdf")
MOST_PIXELS = 800  # of a side of a panel; larger images are shown as means over squares
ROUNDING = 1e-14  # of the largest singular value: what is not above it is 0
SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING)
GAIN = LinearSegmentedColormap.from_list("gain", ["#ffffff", light("rank 5"), "#0b2545"])


def write_comparison(
    path: Path, original: Picture, done: FilteredPicture, kernel: Array, *, name: str = "kernel"
) -> None:
    """Draw what `filter_picture(original, kernel)` did into a .png, .svg or .pdf.

    Four panels: the original; the result; the difference to the exact result where the rank was
    cut, and to the original otherwise; and the kernel's singular values with those in use, above
    the transfer function |K| of the kernel in use. Of several pages the first is shown.
    Raises ValueError for another kind of file and where it cannot be written.
    """
    check_target(path)
    figure = _draw(original, done, np.asarray(kernel, np.float64), name)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=110)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content.getvalue())
        beside.replace(path)
    except OSError as error:
        reason = "the folder does not exist" if not path.parent.is_dir() else str(error)
        raise ValueError(f"{path} cannot be written: {reason}") from error
    finally:
        beside.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """ValueError unless the name ends in a kind of picture that can be drawn."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is of no known kind: use one of {', '.join(SUFFIXES)}")


def _draw(original: Picture, done: FilteredPicture, kernel: Array, name: str) -> Figure:
    before, after, exact = (_shown(values) for values in _first_page(original, done))
    smoothing = kernel.sum() > 0.5 * np.abs(kernel).sum()
    limits = _limits(before, original.pixels)
    reach = _symmetric(after)
    cut = bool(done.error)
    difference = after - (exact if cut else before)
    if difference.ndim == 3:
        difference = difference.mean(axis=-1)
    largest = _symmetric(difference)

    sheet = _Sheet(before.shape[1] / before.shape[0])
    figure = sheet.figure
    figure.text(
        0.16 / sheet.width, 1 - 0.3 / sheet.height, _plain(_headline(done, name)),
        fontsize=13, color=light("text"), va="center",
    )  # fmt: skip
    note = f"black is {limits[0]:.4g}, white is {limits[1]:.4g}"
    _image(sheet.panel(0), before, limits, "Original", note)
    if smoothing:
        _image(sheet.panel(1), after, limits, "Result", "the same scale")
    else:
        note = f"mid-grey is 0, white is {reach:.3g}"
        _image(sheet.panel(1), after, (-reach, reach), "Result", note)
    title = "Result − exact result" if cut else "Result − original"
    shown = _image(sheet.panel(2), difference, (-largest, largest), title, "", SIGNED)
    _bar(figure, shown, sheet.below(2), "horizontal")
    _singular_values(sheet.spectrum(0), kernel, done)
    shown = _transfer(sheet.spectrum(1), kernel, done)
    _bar(figure, shown, sheet.beside(), "vertical")
    return figure


class _Sheet:
    """Where everything stands, in inches: three panels as tall as each other, and the spectrum."""

    TOP, FOOT, GAP, EDGE = 0.95, 0.62, 0.3, 0.16
    SQUARE, BAR = 1.95, 0.12

    def __init__(self, ratio: float) -> None:
        self.tall = min(max(4.2 / ratio, 0.2), 5.6)
        self.image = min(self.tall * ratio, 4.2)  # wide
        self.wide = max(self.image, 2.2)
        self.room = max(self.tall, 4.35)
        self.column = self.EDGE + 3 * (self.wide + self.GAP) + 0.55  # left of the spectrum
        self.width = self.column + self.SQUARE + 0.8
        self.height = self.TOP + self.room + self.FOOT
        self.figure = Figure((self.width, self.height), facecolor=light("ground"))

    def _axes(self, left: float, top: float, wide: float, tall: float) -> Axes:
        """Axes at a distance from the left and from the top of the sheet."""
        bottom = self.height - top - tall
        box = left / self.width, bottom / self.height, wide / self.width, tall / self.height
        return self.figure.add_axes(box)

    def panel(self, at: int) -> Axes:
        axes = self._axes(self.EDGE + at * (self.wide + self.GAP), self.TOP, self.wide, self.tall)
        axes.set_anchor("NW")
        return axes

    def below(self, at: int) -> Axes:
        left = self.EDGE + at * (self.wide + self.GAP)
        return self._axes(left, self.TOP + self.tall + 0.12, max(self.image, 1.8), self.BAR)

    def spectrum(self, at: int) -> Axes:
        if at == 0:
            return self._axes(self.column, self.TOP, self.SQUARE + 0.5, self.room - self.SQUARE - 1)
        return self._axes(self.column, self.TOP + self.room - self.SQUARE, self.SQUARE, self.SQUARE)

    def beside(self) -> Axes:
        top = self.TOP + self.room - self.SQUARE
        return self._axes(self.column + self.SQUARE + 0.1, top, self.BAR, self.SQUARE)


def _headline(done: FilteredPicture, name: str) -> str:
    rows, columns = done.plan.kernel_shape
    height, width = done.plan.image_shape[-2:]
    text = f"{name}: {rows} x {columns}, rank {done.plan.rank} of {done.plan.full_rank}"
    if done.error is not None:
        text += f", relative error of the result {done.error:.2g}"
    return f"{text}. {width} x {height} pixels in {done.seconds * 1e3:.3g} ms"


def _first_page(original: Picture, done: FilteredPicture) -> list[Array]:
    """Original, result and exact result as (H, W) or (3, H, W): the first page, without alpha."""
    pixels = original.pixels
    if original.bands.endswith("A"):
        pixels = pixels[..., :-1, :, :]
    kept = 3 if original.bands in ("RGB", "RGBA") else 2
    pages = [v.reshape(-1, *v.shape[v.ndim - kept :])[0] for v in (pixels, done.values, done.exact)]
    return [page.astype(np.float64) for page in pages]


def _shown(values: Array) -> Array:
    """(H, W) or (H, W, 3), at most MOST_PIXELS a side: means over squares of a larger image."""
    if values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    step = -(-max(values.shape[:2]) // MOST_PIXELS)
    high, wide = (min(step, n) for n in values.shape[:2])
    rows, columns = values.shape[0] // high, values.shape[1] // wide
    tiles = values[: rows * high, : columns * wide].reshape(rows, high, columns, wide, -1)
    return np.asarray(tiles.mean(axis=(1, 3)).reshape(rows, columns, *values.shape[2:]))


def _limits(values: Array, pixels: Array) -> tuple[float, float]:
    """What black and white stand for: the range of bytes, or nearly all of the values."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [0.5, 99.5]) if finite.size else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _symmetric(values: Array) -> float:
    """The size that nearly no value exceeds."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 99.8)) if finite.size and finite.max() > 0 else 1.0


def _image(
    axes: Axes,
    values: Array,
    limits: tuple[float, float],
    title: str,
    note: str,
    colours: Any = "gray",
) -> Any:
    low, high = limits
    if values.ndim == 3:
        values = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)
    shown = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    _title(axes, title)
    axes.set_xticks([])
    axes.set_yticks([])
    _note(axes, note)
    for spine in axes.spines.values():
        spine.set_color(light("grid"))
    return shown


def _singular_values(axes: Axes, kernel: Array, done: FilteredPicture) -> None:
    """The singular values, largest first; those in use in colour."""
    sigma = np.linalg.svd(kernel, compute_uv=False)
    share = sigma[:25] / (sigma[0] or 1.0)
    places = np.arange(1, len(share) + 1)
    there, used = share > ROUNDING, places <= done.plan.rank
    lowest = int(np.floor(np.log10(share[there].min(initial=1.0)) - 0.3))
    axes.bar(places[there & used], share[there & used], 0.7, color=light("rank 5"))
    axes.bar(places[there & ~used], share[there & ~used], 0.7, color=light("axis"))
    axes.set_yscale("log")
    axes.set_ylim(10.0**lowest, 2)
    powers = range(0, lowest - 1, -max(-lowest // 3, 1))
    axes.set_yticks([10.0**p for p in powers], [f"$10^{{{p}}}$" if p else "1" for p in powers])
    axes.minorticks_off()
    axes.set_xlim(0.3, max(len(share), 4) + 0.7)
    axes.set_xticks(places if len(places) <= 9 else [1, *range(5, len(places) + 1, 5)])
    _title(axes, "Singular values")
    _note(axes, "relative to the first; in use: blue")
    axes.grid(True, axis="y", color=light("grid"), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=light("muted"), length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _transfer(axes: Axes, kernel: Array, done: FilteredPicture) -> Any:
    """|K(f)| of the kernel in use, the frequency 0 in the middle."""
    u, s, vt = np.linalg.svd(kernel, full_matrices=False)
    rank = done.plan.rank
    size = max(256, *kernel.shape)
    used = (u[:, :rank] * s[:rank]) @ vt[:rank]
    gain = np.abs(np.fft.fftshift(np.fft.fft2(used, (size, size))))
    shown = axes.imshow(
        gain, cmap=GAIN, vmin=0, vmax=float(gain.max()) or 1.0, extent=(-0.5, 0.5, 0.5, -0.5)
    )
    _title(axes, "Transfer function |K|")
    _note(axes, "cycles a pixel, across and down")
    axes.set_xticks([-0.5, 0, 0.5])
    axes.set_yticks([-0.5, 0, 0.5])
    axes.tick_params(colors=light("muted"), length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(light("grid"))
    return shown


def _bar(figure: Figure, shown: Any, axes: Axes, orientation: Any) -> None:
    """The colours of a panel and what they stand for."""
    bar = figure.colorbar(shown, cax=axes, orientation=orientation)
    outline: Any = bar.outline
    outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    axes.tick_params(labelsize=9, colors=light("muted"), length=0)


def _note(axes: Axes, text: str) -> None:
    axes.set_xlabel(text, fontsize=9, color=light("muted"), loc="left")


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11.5, pad=7, fontweight="bold", color=light("text"))


def _plain(text: str) -> str:
    """Text as it is: matplotlib reads a pair of dollars as mathematics."""
    return (text if len(text) <= 150 else text[:149] + "…").replace("$", r"\$")
