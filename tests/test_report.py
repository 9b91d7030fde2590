"""The report holds what the log holds: read back, summed up, drawn and written."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from rankconv.drawing.files import write_beside
from rankconv.drawing.palette import COLOURS
from rankconv.paper import reference
from rankconv.paper.charts import LineChart, bars, curves, filters, points
from rankconv.paper.comparison import compare
from rankconv.paper.figures import draw, draw_figure2, write_figure2
from rankconv.paper.findings import findings, tiles
from rankconv.paper.interactive import interactive
from rankconv.paper.report import sections, write_report
from rankconv.paper.runlog import LogError, read_log
from rankconv.paper.summary import (
    approximation,
    complete_epochs,
    pareto_front,
    relative_singular_values,
    summarise,
    times_as_fast,
)
from synthetic_log import CLASSES, EXTRA, PAPER, records, write_log

Records = list[dict[str, Any]]


def trials(lines: Records, method: str) -> Records:
    return [line for line in lines if line["type"] == "method" and line["method"] == method]


@pytest.fixture(scope="module")
def lines() -> Records:
    return records()


@pytest.fixture(scope="module")
def log_path(lines: Records, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "log.jsonl", lines)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (60, 32, 32)).astype(np.uint8)


@pytest.fixture(scope="module")
def page(log_path: Path, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(log_path, tmp_path_factory.mktemp("report"), test_images=images)


# Reading.


def test_reads_every_record(lines: Records, log_path: Path) -> None:
    log = read_log(log_path)
    assert [epoch.train_loss for epoch in log.epochs] == [
        line["train_loss"] for line in lines if line["type"] == "epoch"
    ]
    assert len(log.trials) == sum(line["type"] == "method" for line in lines)
    assert [t.accuracy for t in log.of("rank 3")] == [
        line["accuracy"] for line in trials(lines, "rank 3")
    ]
    assert log.finished
    assert log.notes == ()
    assert log.samples is not None
    assert list(log.samples.labels) == lines[-2]["labels"]


def test_a_line_cut_in_half_is_left_out_and_noted(lines: Records, tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", lines)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b'"epochs"')])
    log = read_log(path)
    assert not log.finished
    assert len(log.trials) == sum(line["type"] == "method" for line in lines)
    assert log.notes == (f"The last line of the log ({len(lines)}) was cut off and is left out.",)


def test_a_broken_line_within_the_log_is_refused(lines: Records, tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", lines)
    rows = path.read_text().split("\n")
    rows[4] = rows[4][:-9]
    path.write_text("\n".join(rows))
    with pytest.raises(LogError, match=r"log\.jsonl, line 5: not a JSON record"):
        read_log(path)


def test_records_logged_again_after_a_resume_replace_the_first(
    lines: Records, tmp_path: Path
) -> None:
    again = dict(trials(lines, "rank 2")[-1], seconds=99.0)
    resume = {"type": "resume", "epoch": 5, "machine": {}, "versions": {}}
    log = read_log(write_log(tmp_path / "log.jsonl", [*lines[:-1], resume, again]))
    assert log.of("rank 2")[-1].seconds == 99.0
    assert len(log.of("rank 2")) == 6
    assert log.notes == ("1 records were logged again after a resume; the later ones count.",)
    assert [resume.epoch for resume in log.resumes] == [5]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("run", {"version": 2}, "version=2 is not 1"),
        ("run", {"threads": 0}, "threads=0 is not a whole number of at least 1"),
        ("run", {"methods": []}, "must name at least one method"),
        ("run", {"data": {"name": "x"}}, "lacks the field 'train'"),
        ("run", {"config": 3}, "config=3 is not an object"),
        ("epoch", {"train_accuracy": 1.5}, "train_accuracy=1.5 is not a number between 0 and 1"),
        ("epoch", {"epoch": True}, "epoch=True is not a whole number"),
        ("epoch", {"filters": {"conv1": [1, 2]}}, r"shape \(2,\), not \(rows, columns\)"),
        ("epoch", {"filters": {"conv1": [["a"]]}}, "not a matrix of numbers"),
        ("epoch", {"biases": {"conv1": None}}, "conv1=None is not a number"),
        ("method", {"method": "rank 9"}, "'rank 9' is not one that the run declares"),
        ("method", {"seconds": -1.0}, "seconds=-1.0 is not a number between"),
        ("method", {"seconds": 10**400}, "is not a number that a float can hold"),
        ("method", {"accuracy": 0.9}, "is not correct/images"),
        ("method", {"scaled": 1}, "scaled=1 is not true or false"),
        ("method", {"scaled": True}, "scaled_seconds=None is not a number"),
        ("method", {"ties": [7]}, "an entry of ties is 7, not an object"),
        ("samples", {"labels": [1]}, "labels is not a list of one class for each of the 12"),
        ("samples", {"predictions": {"no": []}}, "predictions names 'no'"),
        ("end", {"type": "stop"}, "type='stop' is not one of"),
    ],
)
def test_a_wrong_record_is_refused_by_file_and_line(
    kind: str, change: dict[str, Any], message: str, lines: Records, tmp_path: Path
) -> None:
    place = next(i for i, line in enumerate(lines) if line["type"] == kind)
    changed = [*lines[:place], {**lines[place], **change}, *lines[place + 1 :]]
    path = write_log(tmp_path / "log.jsonl", changed)
    with pytest.raises(LogError, match=rf"log\.jsonl, line {place + 1}: .*{message}"):
        read_log(path)


def test_files_that_are_no_logs(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="No such file"):
        read_log(tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(LogError, match="holds no record"):
        read_log(empty)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\n" * 3)
    with pytest.raises(LogError, match="line 1: not a JSON record"):
        read_log(binary)
    deep = tmp_path / "deep.jsonl"
    deep.write_text("[" * 100_000 + "\n")
    with pytest.raises(LogError, match="line 1: "):
        read_log(deep)


# Numbers.


def test_averages_are_those_of_the_log(lines: Records, log_path: Path) -> None:
    rows = {row.method.key: row for row in summarise(read_log(log_path))}
    for key in (*PAPER, *EXTRA):
        own = trials(lines, key)
        seconds = [line["seconds"] for line in own]
        assert rows[key].seconds == pytest.approx(np.mean(seconds), rel=1e-12)
        assert rows[key].seconds_median == pytest.approx(np.median(seconds), rel=1e-12)
        assert rows[key].accuracy == pytest.approx(
            np.mean([line["accuracy"] for line in own]), rel=1e-12
        )
        assert rows[key].epochs == len(own)
    assert rows["rank 0"].partial
    assert not rows["rank 0"].scaled
    assert rows["rank 5"].ties == 1


def test_the_loop_is_compared_in_its_own_epochs(lines: Records, log_path: Path) -> None:
    loop = {line["epoch"]: line["seconds"] for line in trials(lines, "rank 0")}
    pytorch = {line["epoch"]: line["seconds"] for line in trials(lines, "rank -1")}
    expected = sum(pytorch[epoch] for epoch in loop) / sum(loop.values())
    assert times_as_fast(read_log(log_path), "rank 0") == pytest.approx(expected, rel=1e-12)
    row = next(r for r in summarise(read_log(log_path)) if r.method.key == "rank 0")
    exact = np.mean([line["accuracy"] for line in trials(lines, "rank -1")])
    assert row.accuracy_matched == pytest.approx(exact, abs=1e-12)
    assert abs(row.accuracy - exact) > 1e-3  # the plain average is over other epochs


def test_an_epoch_that_some_methods_did_not_finish_is_left_out(
    lines: Records, tmp_path: Path
) -> None:
    cut = max(i for i, line in enumerate(lines) if line.get("method") == "rank 3")
    log = read_log(write_log(tmp_path / "log.jsonl", lines[: cut + 1]))
    assert complete_epochs(log) == (1, 2, 3, 4, 5)
    assert {row.epochs for row in summarise(log) if row.method.key != "rank 0"} == {5}


def test_front_against_its_definition() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        seconds, accuracy = rng.integers(1, 8, 12).tolist(), rng.integers(1, 8, 12).tolist()
        front = pareto_front(seconds, accuracy)
        for i in range(12):
            beaten = any(
                seconds[j] <= seconds[i]
                and accuracy[j] >= accuracy[i]
                and (seconds[j], accuracy[j]) != (seconds[i], accuracy[i])
                for j in range(12)
            )
            same = [j for j in range(12) if (seconds[j], accuracy[j]) == (seconds[i], accuracy[i])]
            assert bool(set(same) & set(front)) != beaten


def test_singular_values_and_approximations(lines: Records, log_path: Path) -> None:
    log = read_log(log_path)
    for layer in ("conv1", "conv2"):
        relative = relative_singular_values(log, layer)
        assert relative.shape == (6, 5)
        np.testing.assert_allclose((relative**2).sum(axis=1), 1, rtol=1e-12)
        matrix = np.array(next(x for x in lines if x.get("epoch") == 4)["filters"][layer])
        expected = np.linalg.svd(matrix, compute_uv=False) / np.linalg.norm(matrix)
        np.testing.assert_allclose(relative[3], expected, atol=1e-12)
        frame = filters.filters(log).frames[3]  # type: ignore[union-attr]
        place = ("conv1", "conv2").index(layer)
        for rank in range(1, 6):
            tail = np.sqrt((expected[rank:] ** 2).sum())
            assert frame.errors[place][rank] == pytest.approx(tail, abs=1e-12)
            assert np.linalg.matrix_rank(approximation(matrix, rank)) == rank


def test_a_diverged_run_still_has_a_report(tmp_path: Path) -> None:
    lines = records(epochs=2)
    for line in lines:
        if line["type"] == "epoch":
            line["train_loss"] = float("nan")
            line["filters"] = {k: [[float("nan")] * 5] * 5 for k in line["filters"]}
    log = read_log(write_log(tmp_path / "log.jsonl", lines))
    assert np.isnan(relative_singular_values(log, "conv1")).all()
    assert filters.filters(log) is None
    text = write_report(log.path, tmp_path / "out").read_text(encoding="utf-8")
    assert embedded(text, "figures")["figure-6-train-loss"]["data"][0]["y"] == [None, None]


# The paper.


def test_each_printed_number_of_the_paper_stands_beside_ours(log_path: Path) -> None:
    log = read_log(log_path)
    table = {(row.group, row.name): row for row in compare(log)}
    rows = {row.method.key: row for row in summarise(log)}
    printed = " ".join(row.paper for row in table.values())
    for number in (9.1, 7.95, 8.04, 8.35, 8.68, 9.03):
        assert f"{number:.2f} s" in printed
    for number in ("0.39713", "0.39202", "0.37782", "0.35717", "0.23452", "13×", "42.5 %"):
        assert number in printed
    seconds = table["Average seconds for the test images", "NumPy, rank 3"]
    assert seconds.ratio == pytest.approx(rows["rank 3"].seconds / 8.35, rel=1e-12)
    accuracy = table["Average test accuracy", "NumPy, rank 2"]
    assert accuracy.ratio == pytest.approx(rows["rank 2"].accuracy / 0.35717, rel=1e-12)
    speed = table["Times as fast as PyTorch", "NumPy, rank 1"]
    ours = rows["rank -1"].seconds / rows["rank 1"].seconds
    assert speed.ratio == pytest.approx(ours / (9.1 / 7.95), rel=1e-12)
    nearest = table["Times as slow as the slowest other method", "NumPy loop"]
    factor = times_as_fast(log, "rank 0")
    assert factor is not None
    assert nearest.ratio == pytest.approx(1 / factor / 13, rel=1e-12)


def test_times_are_compared_per_image(tmp_path: Path) -> None:
    small = read_log(write_log(tmp_path / "log.jsonl", records(epochs=2, test=1000)))
    row = compare(small)[0]
    seconds = summarise(small)[0].seconds
    assert row.ratio == pytest.approx(10 * seconds / 9.1, rel=1e-12)
    assert "1,000 images" in row.note
    assert "not the paper's" in findings(small)[0]


def test_findings_follow_the_numbers(log_path: Path, tmp_path: Path) -> None:
    text = " ".join(findings(read_log(log_path)))
    assert "stays below the paper's 0.39713" in text
    assert "Time falls with the rank" in text
    assert "all but 1 equal PyTorch's" in text
    changed = records()
    for line in changed:
        if line["type"] == "method":
            line["accuracy"], line["correct"] = 0.41, 4100
            if line["method"] == "rank 1":
                line["seconds"] = 2.5
            if line["method"] == "rank 5":
                line["disagreements"], line["seconds"] = 3, 5.0
    text = " ".join(findings(read_log(write_log(tmp_path / "log.jsonl", changed))))
    assert "matches or beats the paper's" in text
    assert "Time does not fall with every step" in text
    assert "18 differ from PyTorch's by more than rounding" in text
    assert "not faster than PyTorch" in text
    assert "Rank 1 does not fall away here" in text


# Drawings.


def test_curves_hold_the_values_of_the_log(lines: Records, log_path: Path) -> None:
    log = read_log(log_path)
    time, accuracy = curves.testing_time(log), curves.testing_accuracy(log)
    assert time is not None
    assert accuracy is not None
    timed = [key for key in PAPER if key != "rank 0"]
    for chart, keys, field in ((time, timed, "seconds"), (accuracy, list(PAPER), "accuracy")):
        expected = [
            ([line["epoch"] for line in own], [line[field] for line in own])
            for own in (trials(lines, key) for key in keys)
        ]
        axes = draw(chart).axes[0]
        drawn = [(list(x.get_xdata()), list(x.get_ydata())) for x in axes.lines[: len(keys)]]
        assert drawn == expected
        shown = [(list(trace.x), list(trace.y)) for trace in interactive(chart).data]
        assert shown == expected


@pytest.mark.parametrize("make", [curves.train_accuracy, curves.train_loss])
def test_training_curves(make: Any, lines: Records, log_path: Path) -> None:
    chart: LineChart = make(read_log(log_path))
    field = "train_accuracy" if "accuracy" in chart.key else "train_loss"
    expected = [line[field] for line in lines if line["type"] == "epoch"]
    assert list(draw(chart).axes[0].lines[0].get_ydata()) == expected
    assert list(interactive(chart).data[0].y) == expected


def test_bars_hold_the_averages(log_path: Path) -> None:
    log = read_log(log_path)
    rows = [row for row in summarise(log) if row.method.group == "paper"]
    for chart, expected in (
        (bars.average_time(log), [row.seconds for row in rows]),
        (bars.average_accuracy(log), [row.accuracy for row in rows]),
    ):
        assert chart is not None
        assert [patch.get_width() for patch in draw(chart).axes[0].patches] == expected
        assert list(interactive(chart).data[0].x) == expected
    diamonds = interactive(bars.average_accuracy(log)).data[1]  # type: ignore[arg-type]
    assert list(diamonds.x) == [reference.ACCURACY[row.method.key] for row in rows]


def test_the_front_leaves_out_batches_and_what_was_scaled(tmp_path: Path) -> None:
    lines = records(naive_images=500)
    for loop in trials(lines, "rank 0"):  # lucky on its few images, but not to be believed
        loop.update(accuracy=0.8, correct=400, disagreements=200)
    log = read_log(write_log(tmp_path / "log.jsonl", lines))
    chart = points.plane(log)
    fronts = {name: [chart.points[i].name for i in places] for name, places in chart.fronts}
    assert fronts["Front of the paper's seven"] == [f"NumPy, rank {r}" for r in range(1, 6)]
    assert fronts["Front of all, one by one"] == ["Native kernel"]
    placed = {trace.name: (trace.x[0], trace.y[0]) for trace in interactive(chart).data}
    for row in summarise(log):
        code = next(p.code for p in chart.points if p.name.startswith(row.method.label))
        name = next(name for name in placed if name.startswith(f"{code} · {row.method.label}"))
        assert placed[name] == (row.seconds, row.accuracy_matched)


def test_filters_are_drawn_as_they_are(lines: Records, log_path: Path) -> None:
    chart = filters.filters(read_log(log_path))
    assert chart is not None
    last = [line for line in lines if line["type"] == "epoch"][-1]["filters"]
    grid = draw(chart).axes
    np.testing.assert_array_equal(np.asarray(grid[0].images[0].get_array()), last["conv1"])
    np.testing.assert_array_equal(np.asarray(grid[6].images[0].get_array()), last["conv2"])
    mosaic = interactive(chart).data[0].z
    np.testing.assert_array_equal([row[:5] for row in mosaic[:5]], last["conv1"])
    rank_1 = np.array([row[6:11] for row in mosaic[:5]], float)
    np.testing.assert_allclose(rank_1, approximation(np.array(last["conv1"]), 1), atol=1e-15)
    steps = interactive(chart).layout.sliders[0].steps
    assert [step.label for step in steps] == ["1", "2", "3", "4", "5", "6"]


def test_what_was_scaled_is_labelled_so(tmp_path: Path) -> None:
    lines = records(naive_images=500)
    log = read_log(write_log(tmp_path / "log.jsonl", lines))
    chart = curves.loop_time(log)
    assert chart is not None
    own = trials(lines, "rank 0")
    assert chart.lines[0].y == tuple(line["scaled_seconds"] for line in own)
    assert chart.lines[0].name == "NumPy loop (scaled)"
    assert chart.y_label == "Seconds, scaled"
    ground = COLOURS["ground"][0]
    faces = draw(chart).axes[0].collections[0].get_facecolors()
    assert {to_hex(face) for face in faces} == {ground}
    assert set(interactive(chart).data[0].marker.color) == {ground}
    loop = next(bar for bar in bars.average_time(log).bars if "loop" in bar.name)  # type: ignore[union-attr]
    assert "(scaled)" in loop.text
    assert "(scaled)" in next(p.name for p in points.plane(log).points if "loop" in p.name)
    assert "(scaled)" in next(tile.name for tile in tiles(log) if "loop" in tile.name)
    assert any("scaled from 500 images" in sentence for sentence in findings(log))
    notes = [row.note for row in compare(log) if row.name == "NumPy loop"]
    assert any("scaled" in note for note in notes)
    assert all("500 of 10,000 images" in note for note in notes)


def test_figure_2(tmp_path: Path) -> None:
    measured = {
        "loop_seconds": 3.25,
        "matmul_seconds": 1.5,
        "threads": 1,
        "machine": {"processor": "Test $processor$"},
    }
    shapes = {"image": [12, 12], "filter": [3, 3], "left": [10, 20], "right": [20, 30]}
    seconds, rates = draw_figure2({**measured, **shapes}).axes
    assert [bar.get_width() for bar in seconds.patches] == [
        7.74310302734375,
        3.25,
        4.093238830566406,
        1.5,
    ]
    assert [bar.get_width() for bar in rates.patches][1::2] == [900 / 3.25, 6000 / 1.5]
    names = [label.get_text() for label in seconds.get_yticklabels()]
    assert names[1::2] == [
        "Python loop, here (another size)",
        "matrix product, here (another size)",
    ]
    names = [label.get_text() for label in draw_figure2(measured).axes[0].get_yticklabels()]
    assert names[1::2] == ["Python loop, here", "matrix product, here"]
    png, svg = write_figure2(measured, tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    with pytest.raises(ValueError, match=r"matmul_seconds=None is not a positive number"):
        write_figure2({"loop_seconds": 1.0}, tmp_path)
    with pytest.raises(ValueError, match=r"loop_seconds=0 is not a positive number"):
        write_figure2({"loop_seconds": 0, "matmul_seconds": 1.0}, tmp_path)


# The page.


class Page(HTMLParser):
    """Collects what a page holds, and complains about tags that do not match."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "src" or (name == "href" and tag == "link"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def embedded(text: str, key: str) -> Any:
    found = re.search(rf'<script id="{key}" type="application/json">(.*?)</script>', text, re.S)
    assert found is not None
    assert "<" not in found.group(1)  # so nothing in it can end the element
    return json.loads(found.group(1))


def test_the_page_holds_itself_and_every_figure(page: Path, log_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert all(load.startswith("data:") for load in parsed.loads)
    assert len(parsed.ids) == len(set(parsed.ids))
    charts = [chart for section in sections(read_log(log_path)) for chart in section.charts]
    drawn = embedded(text, "figures")
    for chart in charts:
        assert chart.key == "samples" or chart.key in drawn
        assert chart.key in parsed.ids or f"figure-{chart.key}" in parsed.ids
        png = page.parent / "figures" / f"{chart.key}.png"
        with Image.open(png) as picture:
            assert picture.width > 1000
        svg = ElementTree.parse(png.with_suffix(".svg")).getroot()
        assert len(list(svg.iter())) > 30
    for link in parsed.links:
        assert link[1:] in parsed.ids if link[0] == "#" else (page.parent / link).is_file()
    assert {"figure-5-train-accuracy", "figure-6-train-loss", "figure-7-test-time"} < set(drawn)
    assert {"figure-8-loop-time", "figure-9-test-accuracy", "average-test-time"} < set(drawn)
    assert {"average-test-accuracy", "time-accuracy-plane", "filters"} < set(drawn)
    assert not list(page.parent.rglob("*.partial"))


def test_every_linked_picture_of_the_comparison_is_written(page: Path) -> None:
    assert (page.parent / "figures" / "beside-the-paper.svg").is_file()


def test_the_header_tells_how_the_run_was_made(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for fact in ("CIFAR-10-images", "Test processor", "torch 2.13.0", "1 for every method"):
        assert fact in text
    command = "rankconv reproduce --data CIFAR-10-images.tar.xz --epochs 6 --batch-size 64 --seed 0"
    assert command in text
    assert "Unfinished run" not in text
    assert "Not the paper's data" not in text


def test_the_same_log_gives_the_same_report(page: Path, log_path: Path, images: Any) -> None:
    once = {path: path.read_bytes() for path in page.parent.rglob("*.*")}
    write_report(log_path, page.parent, test_images=images)
    assert {path: path.read_bytes() for path in page.parent.rglob("*.*")} == once


def test_text_from_the_log_stays_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    lines = records(epochs=2, end=False)
    run = lines[0]
    run["data"] = {**run["data"], "name": evil, "source": evil, evil: evil}
    run["data"]["classes"] = [f"{evil}{i}" for i in range(10)]
    run["config"] = {**run["config"], evil: evil}
    run["machine"] = {**run["machine"], "processor": evil}
    run["versions"] = {evil: evil}
    for i, method in enumerate(run["methods"]):
        method["label"] = f"{evil} $x^{{$ {i}"
    for line in lines:
        if line["type"] == "epoch":
            line["filters"] = {evil: line["filters"]["conv1"]}
            line["biases"] = {}
    text = write_report(write_log(tmp_path / "log.jsonl", lines), tmp_path).read_text("utf-8")
    Page(text)
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    labels = [trace.get("name", "") for trace in embedded(text, "figures")["set-up-time"]["data"]]
    assert not any("<" in label or "$" in label for label in labels)
    assert "Unfinished run" in text
    assert "Not the paper's data" in text


def test_samples_are_pictures_where_images_are_given(
    page: Path, images: np.ndarray, log_path: Path, tmp_path: Path
) -> None:
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    log = read_log(log_path)
    assert log.samples is not None
    assert len(addresses) == len(log.samples.images)
    for address, index in zip(addresses, log.samples.images, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(address))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[index])
    grey = filters.samples(log, images / 255)
    assert grey is not None
    np.testing.assert_array_equal(grey.samples[0].picture, images[log.samples.images[0]])
    plain = filters.samples(log)
    assert plain is not None
    assert plain.samples[0].picture is None
    shown = {answer.name for sample in plain.samples for answer in sample.answers}
    assert shown <= set(CLASSES)
    for wrong, message in ((images[0], "has shape"), (images[:5], "holds 5")):
        with pytest.raises(ValueError, match=message):
            write_report(log_path, tmp_path, test_images=wrong)
    assert not list(tmp_path.iterdir())


def test_without_images_samples_are_a_table(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("rankconv.paper.report.save", lambda *_: None)  # the page alone
    lines = records(epochs=1)
    lines[-2]["predictions"] = {"rank -1": [3] * 12, "rank 1": [5] * 12}
    lines[-2]["labels"] = [3] * 12
    text = write_report(write_log(tmp_path / "log.jsonl", lines), tmp_path).read_text("utf-8")
    assert "<img" not in text
    assert "figures/samples.png" not in text
    assert text.count("<b>✓ cat</b> PyTorch</span>") == 12
    assert text.count("<b>✗ dog</b> NumPy, rank 1</span>") == 12


def test_ties_are_listed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    row = re.search(r"<tr>(?:(?!</tr>).)*1\.0e-07(?:(?!</tr>).)*</tr>", text, re.S)
    assert row is not None
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row.group())
    assert cells == ["2", "NumPy, rank 5", "123", "cat", "dog", "1.0e-07"]


def test_a_log_without_a_tested_epoch_is_refused(lines: Records, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no epoch has been trained and tested"):
        write_report(write_log(tmp_path / "log.jsonl", lines[:2]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_pytorch_alone_still_has_a_report(tmp_path: Path) -> None:
    lines = [line for line in records(epochs=2) if line.get("method", "rank -1") == "rank -1"]
    lines = [line for line in lines if line["type"] != "samples"]
    text = write_report(write_log(tmp_path / "log.jsonl", lines), tmp_path).read_text("utf-8")
    assert "figure-8-loop-time" not in embedded(text, "figures")
    assert Page(text).ids.count("samples") == 0


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "report.html"
    write_beside(path, b"old")

    def refuse(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_beside(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
