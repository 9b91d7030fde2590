"""The report of a compression: one page that needs no other file and no network."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from rankconv.compress.metrics import METRICS
from rankconv.compress.plot import plot
from rankconv.compress.plot_parts import Plot
from rankconv.compress.records import LayerRecord, Point, Report
from rankconv.drawing.files import write_beside
from rankconv.drawing.wording import count_text, percent_text, seconds_text, times_text
from rankconv.geometry import Pair

_TEMPLATES = Path(__file__).with_name("templates")
FLOOR = 1e-4  # of the largest singular value: what is smaller is drawn there
DOUBTFUL = 20.0  # % of right answers of the original: fewer look like wrong labels
# source -> (name in the legend, colour of the palette, shape)
SOURCES = {
    "original": ("the original", "rank -1", "square"),
    "rankconv": ("low rank", "rank 5", "circle"),
    "int8": ("int8 alone", "rank 2", "triangle"),
    "rankconv+int8": ("low rank, then int8", "rank 3", "diamond"),
    "fine-tuned": ("low rank, fine-tuned", "rank 0", "cross"),
}


@dataclass(frozen=True)
class Tile:
    """A number that says the most, its name, and what it stands beside."""

    name: str
    value: str
    beside: str


@dataclass(frozen=True)
class Score:
    """How the metric's values are written."""

    name: str
    unit: str

    def value(self, score: float) -> str:
        """A score with its unit."""
        digits = ".2f" if self.unit in ("%", "dB") else ".4g"
        return f"{score:{digits}} {self.unit}".rstrip().replace("-", "−")

    def drop(self, drop: float) -> str:
        """How much worse, without its sign."""
        digits = ".2f" if self.unit in ("%", "dB") else ".3g"
        unit = "points" if self.unit == "%" else self.unit
        return f"{abs(drop):{digits}} {unit}".rstrip()

    def change(self, drop: float) -> str:
        """How much worse or better, in words.

        >>> Score("top-1", "%").change(-0.25), Score("PSNR", "dB").change(1.0)
        ('0.25 points better', '1.00 dB worse')
        """
        if not drop:
            return "the same"
        return f"{self.drop(drop)} {'worse' if drop > 0 else 'better'}"


def write_html(report: Report, path: Path | str) -> Path:
    """Write a report as one page, beside its place and then renamed; returns the path.

    The page is a function of the report alone, the same bytes each time. It needs no network, and
    no script to be read.

    Raises OSError where the file cannot be written, ValueError for a report without points.

    >>> import tempfile
    >>> from rankconv.compress.records import Point
    >>> point = Point("original", "original", 2e-3, (2e-3, 2e-3), 1.0, 91.0, 0.0, 10**6, 10**4)
    >>> report = Report(
    ...     command="", machine={}, versions={}, engine="an engine", threads=1, batch=1,
    ...     budget={"max_drop": 1.0}, metric="top-1 (%)", split={}, points=(point,), chosen=0,
    ...     verdict="The original.", layers=(), left_alone={}, seconds_taken=1.0,
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     "The original." in write_html(report, f"{folder}/report.html").read_text("utf-8")
    True
    """
    path = Path(path)
    write_beside(path, page(report).encode("utf-8"))
    return path


def page(report: Report) -> str:
    """The page of a report as text; ValueError for a report without points."""
    from rankconv.drawing.page import STYLE, environment, source
    from rankconv.drawing.palette import COLOURS

    if not 0 <= report.chosen < len(report.points):
        raise ValueError(
            f"chosen={report.chosen} is none of the report's {len(report.points)} points: the "
            "original stands first, and one of them is chosen"
        )
    score = score_of(report)
    templates = environment(_TEMPLATES)
    templates.filters.update(
        seconds=seconds_text,
        times=times_text,
        percent=percent_text,
        count=count_text,
        rank=rank_text,
        shape=lambda shape: "×".join(map(str, shape)),
        breaks=_breaks,
        kind=lambda kind: kind.replace("_", " "),
    )
    present = [key for key in SOURCES if any(point.source == key for point in report.points)]
    present += sorted({point.source for point in report.points} - set(SOURCES))
    return templates.get_template("report.html.j2").render(
        report=report,
        first=report.points[0],
        chosen=report.points[report.chosen],
        kept=report.chosen == 0,
        score=score,
        tiles=tiles(report, score),
        plots=_plots(report, score),
        tip=lambda mark: _tip(report.points[mark.index], score),
        look=lambda key: SOURCES.get(key, (key, "extra 7", "circle")),
        sources=present,
        colours=COLOURS,
        class_of=lambda key: "s-" + re.sub(r"[^a-z0-9]+", "-", key.lower()),
        longest=max((max(la.seconds_before, la.seconds_after) for la in report.layers), default=0),
        spectra=[(layer, *_spectrum(layer)) for layer in report.layers if len(layer.spectrum) > 1],
        floor=FLOOR,
        budget=budget_text(report, score),
        seen=seen_text(report, score),
        style=source(STYLE),
        own_style=source(_TEMPLATES / "report.css"),
        script=source(_TEMPLATES / "report.js"),
    )


def score_of(report: Report) -> Score:
    """How this report's scores are written: `"top-1 (%)"` names the score and its unit."""
    found = re.fullmatch(r"(.*) \(([^()]*)\)", report.metric)
    return Score(found[1], found[2]) if found else Score(report.metric, "")


def budget_text(report: Report, score: Score) -> str:
    """What was asked for, in words."""
    words = {
        "max_drop": lambda value: f"at most {score.drop(value)} worse",
        "speedup": lambda value: f"at least {times_text(value)} as fast",
        "seconds": lambda value: f"at most {seconds_text(value)} a call",
    }
    told = [words[k](v) if k in words else f"{k} {v:g}" for k, v in report.budget.items()]
    return ", ".join(told) or "none"


def rank_text(rank: int | Pair | None) -> str:
    """A rank as it is written in the table.

    >>> rank_text(8), rank_text((8, 16)), rank_text(None)
    ('8', '8, 16', '–')
    """
    if rank is None:
        return "–"
    return str(rank) if isinstance(rank, int) else ", ".join(map(str, rank))


def tiles(report: Report, score: Score) -> tuple[Tile, ...]:
    """The numbers that say the most."""
    first, chosen = report.points[0], report.points[report.chosen]
    images = report.split.get("report")
    told = f" on {images:,} images" if images and not _is_users_own(score) else ""
    changed = sum(layer.kind != "dense" for layer in report.layers)
    found = [
        Tile(
            "Speed-up, measured",
            times_text(chosen.speedup),
            f"{seconds_text(first.seconds)} → {seconds_text(chosen.seconds)} for "
            + ("one image" if report.batch == 1 else f"{report.batch} images"),
        ),
        Tile(
            score.name[:1].upper() + score.name[1:],
            score.value(chosen.score),
            f"{score.change(chosen.drop)}{told}" if report.chosen else f"the original's{told}",
        ),
        Tile("Layers replaced", f"{changed} of {len(report.layers)}", "each by a chain"),
    ]
    if first.multiply_adds:
        found.append(
            Tile(
                "Multiply-adds",
                percent_text(chosen.multiply_adds / first.multiply_adds, digits=0),
                f"{count_text(first.multiply_adds)} → {count_text(chosen.multiply_adds)}",
            )
        )
    if first.parameters:
        found.append(
            Tile(
                "Parameters",
                percent_text(chosen.parameters / first.parameters, digits=0),
                f"{count_text(first.parameters)} → {count_text(chosen.parameters)}",
            )
        )
    return tuple(found)


def _plots(report: Report, score: Score) -> tuple[Plot, Plot]:
    """The same plot for a screen and for a phone."""
    wide = plot(report, name="wide", width=780, height=430, size=13, score=score.value)
    narrow = plot(report, name="narrow", width=400, height=420, size=14, score=score.value)
    return wide, narrow


def _tip(point: Point, score: Score) -> str:
    low, high = point.quartiles
    return "\n".join(
        (
            point.label,
            f"{seconds_text(point.seconds)} (middle half {seconds_text(low)} to "
            f"{seconds_text(high)}), {times_text(point.speedup)}",
            f"{score.name} {score.value(point.score)}, {score.change(point.drop)}",
            f"{count_text(point.multiply_adds)} multiply-adds, "
            f"{count_text(point.parameters)} parameters",
        )
    )


def _spectrum(layer: LayerRecord) -> tuple[str, float | None]:
    """A line in a box of 100 x 60 on a logarithmic axis, and where a spatial split was cut."""
    values, count = layer.spectrum, len(layer.spectrum)
    depth = -math.log10(FLOOR)

    def y(value: float) -> float:
        return round(60 * min(1.0, -math.log10(max(value, FLOOR)) / depth), 2)

    steps = " ".join(f"{100 * i / (count - 1):.2f},{y(v)}" for i, v in enumerate(values))
    if layer.kind != "spatial_svd" or not isinstance(layer.rank, int) or layer.rank > count:
        return steps, None
    return steps, round(100 * (layer.rank - 1) / (count - 1), 2)


def _breaks(name: str) -> Markup:
    """A long name that may be broken after its dots and slashes."""
    return Markup(re.sub(r"(?<=[./_])(?=\w)", "<wbr>", str(escape(name))))


def seen_text(report: Report, score: Score) -> str:
    """On which images the scores of the page are, and how fine they are."""
    if _is_users_own(score):
        return "The score is that of your own function, on the data that it brings itself."
    images = report.split.get("report")
    if not images:
        return ""
    told = f"The scores are those of {images:,} images that neither fitted nor chose anything"
    if score.name.startswith("top-1"):
        told += f"; one image is {100 / images:.2g} points"
        if 100 / images > report.budget.get("max_drop", math.inf):
            told += ", which is more than the budget: pass more images to know the drop"
    right = report.points[0].score
    if score.name == "top-1" and right < DOUBTFUL:
        told += (
            f". The original itself is right on {score.value(right)} of them alone: check that "
            "the classes are in the order of its outputs, counted from 0, and the images prepared "
            "as it was trained on them"
        )
    return told + "."


def _is_users_own(score: Score) -> bool:
    return score.name not in {metric.name for metric in METRICS.values()}
