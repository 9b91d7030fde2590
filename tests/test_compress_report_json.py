"""Reports of compressions in JSON: exact there and back, and clear about damage."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import compressions
from rankconv.compress.records import Report
from rankconv.compress.report_json import ReportError, read_json, write_json

numbers = st.floats(allow_nan=False, width=64)
counts = st.integers(0, 2**60)
texts = st.text(max_size=20)
pairs = st.tuples(counts, counts)
ranks = st.none() | counts | pairs
mappings = {
    "machine": st.dictionaries(texts, texts, max_size=2),
    "versions": st.dictionaries(texts, texts, max_size=2),
    "budget": st.dictionaries(texts, numbers, max_size=2),
    "split": st.dictionaries(texts, counts, max_size=2),
    "left_alone": st.dictionaries(texts, texts, max_size=2),
}
whole_points = st.builds(
    replace,
    st.just(compressions.report().points[1]),
    label=texts,
    seconds=numbers,
    quartiles=st.tuples(numbers, numbers),
    score=numbers,
    multiply_adds=counts,
    choices=st.dictionaries(texts, st.tuples(texts, ranks), max_size=2),
)
whole_layers = st.builds(
    replace,
    st.just(compressions.report().layers[1]),
    weight_shape=st.lists(counts, max_size=5).map(tuple),
    rank=ranks,
    full_rank=ranks,
    spectrum=st.lists(numbers, max_size=4).map(tuple),
)
whole_reports = st.builds(
    replace,
    st.just(compressions.report()),
    chosen=st.just(0),
    seconds_taken=numbers,
    points=st.lists(whole_points, min_size=1, max_size=2).map(tuple),
    layers=st.lists(whole_layers, max_size=2).map(tuple),
    **mappings,
)


@settings(max_examples=60, deadline=None)
@given(whole_reports)
def test_round_trip_is_exact(tmp_path_factory, report: Report) -> None:
    path = write_json(report, tmp_path_factory.mktemp("json") / "report.json")
    assert read_json(path) == report


def test_a_realistic_report_comes_back_as_plain_json(tmp_path: Path) -> None:
    report = compressions.report()
    path = write_json(report, tmp_path / "report.json")
    assert read_json(path) == report
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]

    def refuse(text: str) -> float:
        raise AssertionError(text)

    plain = json.loads(path.read_text(), parse_constant=refuse)
    assert plain["version"] == 1
    assert plain["report"]["points"][3]["choices"] == {
        layer.name: [layer.kind, layer.rank] for layer in report.layers
    }


def test_numbers_that_are_not_finite_and_those_of_numpy(tmp_path: Path) -> None:
    report = compressions.report()
    odd = replace(
        report.points[0], score=math.inf, drop=-math.inf, seconds=np.float32(0.5), speedup=math.nan
    )
    report = replace(report, points=(odd,), chosen=0, threads=np.int64(2))
    back = read_json(write_json(report, tmp_path / "report.json"))
    point = back.points[0]
    assert (point.score, point.drop, point.seconds) == (math.inf, -math.inf, 0.5)
    assert math.isnan(point.speedup)
    assert back.threads == 2
    assert type(back.threads) is int


def _damage(change):
    def damaged(whole: dict) -> dict:
        change(whole["report"])
        return whole

    return damaged


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda whole: [], "is no report"),
        (lambda whole: {**whole, "format": "another"}, "is no report"),
        (lambda whole: {**whole, "version": 2}, "has version 2, and this rankconv reads version 1"),
        (lambda whole: {**whole, "report": None}, "report is null, not an object"),
        (_damage(lambda r: r.pop("engine")), "report lacks the field 'engine'"),
        (_damage(lambda r: r.update(colour=1)), "report has the unknown field 'colour'"),
        (_damage(lambda r: r.update(threads=1.5)), "threads is 1.5, not a whole number"),
        (_damage(lambda r: r.update(threads=True)), "threads is true, not a whole number"),
        (_damage(lambda r: r.update(chosen=7)), "chosen=7 is none of its 7 points"),
        (_damage(lambda r: r.update(chosen=-1)), "chosen=-1 is none"),
        (_damage(lambda r: r.update(split=[1])), "split is [1], not an object"),
        (_damage(lambda r: r.update(points={})), "points is {}, not a list"),
        (
            _damage(lambda r: r["points"][2].update(seconds="fast")),
            'points[2].seconds is "fast", not a number',
        ),
        (
            _damage(lambda r: r["points"][0].update(quartiles=[1.0])),
            "points[0].quartiles is [1.0], not a list of 2",
        ),
        (
            _damage(lambda r: r["layers"][1].update(rank="eight")),
            'layers[1].rank is "eight", not a whole number or a pair or null',
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, damage, complaint: str) -> None:
    path = write_json(compressions.report(), tmp_path / "report.json")
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ReportError) as raised:
        read_json(path)
    assert complaint in str(raised.value)
    assert str(path) in str(raised.value)


def test_files_that_are_cut_short_missing_or_binary(tmp_path: Path) -> None:
    path = write_json(compressions.report(), tmp_path / "report.json")
    path.write_text(path.read_text()[:300])
    with pytest.raises(ReportError, match=r"is no JSON.*cut short"):
        read_json(path)
    path.write_bytes(b"\xff\xfe\x00PK")
    with pytest.raises(ReportError, match="is no JSON"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ReportError, match="is no JSON"):
        read_json(path)
    with pytest.raises(ReportError, match=r"nowhere.json cannot be read"):
        read_json(tmp_path / "nowhere.json")


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch) -> None:
    path = write_json(compressions.report(), tmp_path / "report.json")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_json(compressions.unchanged(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
