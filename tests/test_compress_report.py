"""The page of a compression: complete without a script, alone, and true to the report."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import compressions
from rankconv.compress.plot import front, plot, rising
from rankconv.compress.records import Point, Report
from rankconv.compress.report import page, write_html
from rankconv.drawing.ticks import linear_places
from rankconv.drawing.wording import seconds_text

VOID = {"meta", "link", "input", "br", "wbr"}


class Reader(HTMLParser):
    """Text, links and identifiers of a page; complains where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, name: str) -> list[str]:
        return [found[name] for _, found in self.attributes if name in found]


@pytest.fixture(scope="module")
def report() -> Report:
    return compressions.report()


@pytest.fixture(scope="module")
def shown(report: Report) -> Reader:
    return Reader(page(report))


def test_the_page_tells_all_of_the_report(report: Report, shown: Reader) -> None:
    told = [report.verdict, report.command, report.engine, "top-1 (%)"]
    told += [*report.machine.values(), *report.versions.values(), *report.left_alone.values()]
    told += [*report.left_alone, "1,024 images that neither fitted nor chose anything"]
    for point in report.points:
        told += [point.label, f"{point.score:.2f} %", f"{point.speedup:.2f}×"]
        told += [seconds_text(point.seconds)]
    for layer in report.layers:
        told += [layer.name, layer.reason, seconds_text(layer.seconds_before)]
        told += ["×".join(map(str, layer.weight_shape)), "×".join(map(str, layer.input_shape))]
        if layer.kind != "dense":
            told += [f"{layer.rank}of {layer.full_rank}", f"{100 * layer.output_error:.1f} %"]
            told += [seconds_text(layer.seconds_after), layer.kind.replace("_", " ")]
    assert [text for text in told if text not in shown.text] == []


def test_the_page_needs_nothing_else(report: Report, shown: Reader) -> None:
    links = shown.all("href") + shown.all("src")
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert "default-src 'none'" in next(c for c in shown.all("content") if "src" in c)
    identifiers = shown.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert {link[1:] for link in links if link.startswith("#")} <= set(identifiers)
    for names in shown.all("aria-labelledby"):
        assert set(names.split()) <= set(identifiers)
    assert not re.search(r"https?://", page(report))


def test_the_same_report_gives_the_same_bytes_and_half_a_page_is_never_left(
    report: Report, tmp_path: Path, monkeypatch
) -> None:
    path = write_html(report, tmp_path / "report.html")
    before = path.read_bytes()
    assert write_html(report, path).read_bytes() == before

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_html(compressions.unchanged(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_names_are_text_and_never_markup(report: Report) -> None:
    bad = "</script><script>alert(1)</script><b>&amp;"
    layer = replace(report.layers[1], name=bad, reason=bad)
    point = replace(report.points[1], label=bad, source=bad, choices={bad: ("cp", 3)})
    odd = replace(
        report,
        command=bad,
        verdict=bad,
        metric=bad,
        points=(report.points[0], point, *report.points[2:]),
        layers=(layer, *report.layers[1:]),
        left_alone={bad: bad},
        machine={bad: bad},
    )
    reader = Reader(page(odd))
    assert sum(tag == "script" for tag, _ in reader.attributes) == 1
    assert "alert(1)" in reader.text


def test_where_the_original_is_the_answer(tmp_path: Path) -> None:
    kept = compressions.unchanged()
    reader = Reader(page(kept))
    assert "The original stays" in reader.text
    assert kept.verdict in reader.text
    assert "0 of 6" in reader.text
    assert sum(tag == "a" and "mark" in a.get("class", "") for tag, a in reader.attributes) == 2


@pytest.mark.parametrize("change", [{"chosen": 7}, {"points": (), "chosen": 0}])
def test_a_report_without_its_chosen_point_is_refused(report: Report, change) -> None:
    with pytest.raises(ValueError, match="is none of the report's"):
        page(replace(report, **change))


def test_layers_that_are_odd_or_none(report: Report) -> None:
    odd = replace(
        report.layers[1], rank=(8, 16), full_rank=(64, 64), kind="tucker2", seconds_after=0.0
    )
    flat = replace(report.layers[2], spectrum=(1.0,), multiply_adds_before=0)
    text = Reader(page(replace(report, layers=(odd, flat)))).text
    assert "8, 16of 64, 64" in text
    empty = Reader(page(replace(report, layers=(), left_alone={}, split={}, versions={})))
    assert "no layer that could be replaced" in empty.text


def test_an_original_that_is_hardly_ever_right_is_doubted(report: Report) -> None:
    first = replace(report.points[0], score=9.7)
    doubted = replace(report, metric="top-1 (%)", points=(first, *report.points[1:]))
    assert "right on 9.70 % of them alone: check that the classes" in page(doubted)
    assert "of them alone" not in page(replace(report, metric="top-1 (%)"))
    assert "of them alone" not in page(replace(doubted, metric="PSNR (dB)"))


def test_the_users_own_score_is_not_told_to_be_on_unseen_images(report: Report) -> None:
    text = Reader(page(replace(report, metric="mylib.scores:mIoU"))).text
    assert "your own function, on the data that it brings itself" in text
    assert "1,024 images that" not in text


def test_few_images_are_told_to_be_few(report: Report) -> None:
    few = replace(report, split={**report.split, "report": 60}, budget={"max_drop": 1.0})
    told = "one image is 1.7 points, which is more than the budget: pass more images"
    assert told in Reader(page(few)).text
    assert "more than the budget" not in Reader(page(report)).text


# The plot.


def point(seconds: float, drop: float, *, score: float) -> Point:
    return Point("rankconv", "p", seconds, (seconds, seconds), 1.0, score, drop, 1, 1)


def test_front_holds_what_no_other_beats() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        points = [point(*map(float, rng.integers(1, 6, 2)), score=0.0) for _ in range(8)]
        kept = front(points)
        for i, p in enumerate(points):
            beaten = any(
                q.seconds <= p.seconds
                and q.drop <= p.drop
                and (q.seconds < p.seconds or q.drop < p.drop)
                for q in points
            )
            twin = any((points[j].seconds, points[j].drop) == (p.seconds, p.drop) for j in kept)
            assert twin != beaten
            assert i not in kept or not beaten


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1e-6, 10), st.floats(-50, 50), st.floats(0, 0.3)),
        min_size=1,
        max_size=9,
    ),
    st.booleans(),
    st.sampled_from([{}, {"max_drop": 1.0}, {"speedup": 2.0}, {"seconds": 1e-3}]),
    st.sampled_from([(780, 430, 13), (400, 420, 14)]),
)
def test_marks_stand_in_the_frame_in_their_order(found, up, budget, size) -> None:
    base = found[0][1]
    points = tuple(
        replace(
            point(s, (base - v) if up else (v - base), score=v),
            quartiles=(s * (1 - q), s * (1 + q)),
        )
        for s, v, q in found
    )
    report = replace(compressions.report(), points=points, chosen=len(points) - 1, budget=budget)
    drawn = plot(report, name="n", width=size[0], height=size[1], size=size[2], score=str)
    left, top, right, bottom = drawn.frame
    for mark in drawn.marks:
        assert left - 1 <= mark.low <= mark.x <= mark.high <= right + 1
        assert top - 1 <= mark.y <= bottom + 1
    for tick in (*drawn.seconds, *drawn.speedups):
        assert left - 1 <= tick.at <= right + 1
    for limit in drawn.limits:
        assert left - 1 <= limit.x1 <= limit.x2 <= right + 1
        assert top - 1 <= limit.y1 <= limit.y2 <= bottom + 1
    assert bool(drawn.limits) == bool(budget)
    for a in drawn.marks:
        for b in drawn.marks:
            if points[a.index].seconds < points[b.index].seconds:
                assert a.x <= b.x
            if points[a.index].drop < points[b.index].drop:
                assert a.y <= b.y + 0.02
    assert len(drawn.labels) <= len(points)


@pytest.mark.parametrize("size", [(780, 430, 13), (400, 420, 14)])
def test_texts_cover_no_mark_and_no_other_text(report: Report, size) -> None:
    drawn = plot(report, name="n", width=size[0], height=size[1], size=size[2], score=str)
    assert any(label.strong for label in drawn.labels)
    boxes = []
    for label in drawn.labels:
        wide = len(label.text) * size[2] * 0.55
        x = label.x - wide * {"start": 0, "middle": 0.5, "end": 1}[label.anchor]
        boxes.append((x, label.y - 0.7 * size[2], x + wide, label.y))
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for mark in drawn.marks:
            assert not (x1 < mark.x < x2 and y1 < mark.y < y2)
        for a1, b1, a2, b2 in boxes[:i]:
            assert not (x1 < a2 and a1 < x2 and y1 < b2 and b1 < y2)


@pytest.mark.parametrize("size", [(780, 430, 13), (400, 420, 14)])
def test_the_chosen_point_is_named_in_any_crowd(report: Report, size) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        crowd = [
            point(float(s), 0.9 - float(v), score=91 + float(v))
            for s, v in zip(rng.normal(2e-3, 3e-5, 12), rng.normal(0, 0.05, 12), strict=True)
        ]
        whole = replace(report, points=(report.points[0], *crowd), chosen=int(rng.integers(1, 13)))
        drawn = plot(whole, name="n", width=size[0], height=size[1], size=size[2], score=str)
        (label,) = [label for label in drawn.labels if label.strong]
        (mark,) = [mark for mark in drawn.marks if mark.chosen]
        if abs(label.y - mark.y) > 3 * size[2]:
            assert label.leader.startswith(f"M{mark.x} ")


def test_a_lower_score_may_be_the_better_one(report: Report) -> None:
    assert rising(report.points)
    points = (point(2.0, 0.0, score=3.0), point(1.0, 4.0, score=7.0))
    assert not rising(points)
    lower = replace(report, points=points, chosen=1, budget={"max_drop": 2.0})
    drawn = plot(lower, name="n", width=780, height=430, size=13, score=lambda v: f"{v:g}")
    assert drawn.marks[0].y < drawn.limits[0].y1 < drawn.marks[1].y
    assert drawn.limits[0].text == "budget: 5"
    assert [t.at for t in drawn.scores] == sorted(t.at for t in drawn.scores)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_round_places_lie_within_and_are_few(low: float, length: float) -> None:
    high = low + length
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    places = linear_places(low, high)
    slack = 1e-6 * (high - low)
    assert all(low - slack <= place <= high + slack for place in places)
    assert 2 <= len(places) <= 7
    steps = np.diff(places)
    assert math.isclose(steps.min(), steps.max(), rel_tol=1e-3)
