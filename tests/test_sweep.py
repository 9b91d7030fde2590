"""Sweeps: the grid, going on where it stopped, the table, and runs drawn into one picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankconv.cli import app
from rankconv.paper import sweep
from rankconv.paper.report import write_report
from rankconv.paper.runlog import read_log
from test_experiment import digits, small

METHODS = ("rank 1", "rank 2")


def runs(epochs: int = 2) -> tuple[sweep.Run, ...]:
    return sweep.grid(
        small(epochs=epochs, methods=METHODS),
        seeds=(0, 1),
        ranks=(None, 1),
        train_methods=("projection", "factors"),
        filter_sizes=(5,),
    )


def test_the_grid_has_every_combination_once() -> None:
    assert [run.name for run in runs()] == [
        *("free-seed-0", "projection-rank-1-seed-0", "factors-rank-1-seed-0"),
        *("free-seed-1", "projection-rank-1-seed-1", "factors-rank-1-seed-1"),
    ]
    for run in runs():
        assert (run.config.train_rank is None) == run.name.startswith("free")
        assert run.name.endswith(f"seed-{run.config.seed}")
    sizes = sweep.grid(
        small(model="lenet"), seeds=(0,), ranks=(None,), train_methods=("factors",),
        filter_sizes=(3, 5),
    )  # fmt: skip
    assert [(run.name, run.config.filter_size) for run in sizes] == [
        ("free-filter-3-seed-0", 3),
        ("free-filter-5-seed-0", 5),
    ]


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data = digits()
    for record in sweep.sweep(runs(), data, tmp_path):
        if record["type"] == "epoch" and record["epoch"] == 2:
            break  # in the second epoch of the first run
    before = (tmp_path / "free-seed-0" / "log.jsonl").read_text().splitlines()
    assert not sweep.ended(tmp_path / "free-seed-0")

    heads = [r for r in sweep.sweep(runs(), data, tmp_path) if r["type"] in ("sweep", "resume")]
    assert [r["type"] for r in heads][:2] == ["sweep", "resume"]
    assert all(sweep.ended(tmp_path / run.name) for run in runs())
    after = (tmp_path / "free-seed-0" / "log.jsonl").read_text().splitlines()
    assert after[:2] == before[:2]  # what was logged of the first epoch is still there
    stamps = {run.name: (tmp_path / run.name / "log.jsonl").stat().st_mtime_ns for run in runs()}
    again = [r["type"] for r in sweep.sweep(runs(), data, tmp_path)]
    assert again == ["sweep"] * len(runs())
    for name, stamp in stamps.items():
        assert (tmp_path / name / "log.jsonl").stat().st_mtime_ns == stamp


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    list(sweep.sweep(runs(epochs=1), digits(), tmp_path))
    logs = sweep.read_all(tmp_path, warn=pytest.fail)
    rows = {(row.name, row.rank): row for row in sweep.table(logs)}
    assert set(rows) == {
        ("freely", None), ("freely", 1), ("freely", 2),
        ("projection to rank 1", 1), ("factors of rank 1", 1),
    }  # fmt: skip
    for (_, rank), row in rows.items():
        assert row.seeds == (0, 1)
        for seed, accuracy in zip(row.seeds, row.accuracies, strict=True):
            name = {"freely": "free", "projection to rank 1": "projection-rank-1",
                    "factors of rank 1": "factors-rank-1"}[row.name]  # fmt: skip
            log = read_log(tmp_path / f"{name}-seed-{seed}" / "log.jsonl")
            key = "rank -1" if rank is None else f"rank {rank}"
            assert log.of(key)[-1].accuracy == accuracy

    page = write_report(
        tmp_path / "projection-rank-1-seed-0" / "log.jsonl",
        tmp_path / "report",
        beside=[tmp_path / "free-seed-0" / "log.jsonl"],
    )
    text = page.read_text()
    assert "Trained freely, and towards low rank" in text
    assert "freely, then cut to rank 1" in text
    assert (tmp_path / "report" / "figures" / "beside-other-runs.svg").exists()


def test_damaged_logs_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "log.jsonl").write_text("{}\n")
    told: list[str] = []
    assert sweep.read_all(tmp_path, warn=told.append) == ()
    assert len(told) == 1
    assert "broken" in told[0]


@pytest.mark.parametrize("model", ["lenet", "paper"])
def test_reports_of_other_networks(tmp_path: Path, model: str) -> None:
    from rankconv.paper import experiment, logfile

    config = small(epochs=1, model=model, filter_size=3, image_size=24)
    list(logfile.record_run(experiment.run(config, digits(64, 20), tmp_path), tmp_path))
    text = write_report(tmp_path / "log.jsonl", tmp_path / "report").read_text()
    assert f"--model {model} --filter-size 3 --image-size 24" in text
    assert "slices of rank 1" in text
    assert "Beside the paper" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "one"], "--seeds: 'one'"),
        (["--seeds", ""], "--seeds is empty"),
        (["--train-ranks", "free,x"], "--train-ranks: 'x'"),
        (["--train-ranks", "7"], "train_rank=7"),
        (["--train-methods", "hope"], "train_method='hope'"),
    ],
)
def test_bad_words(words: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sweep", "--out", str(tmp_path), *words])
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_the_command_shows_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rankconv.commands.load_data", lambda *_, **__: digits(64, 20))
    CliRunner().invoke(
        app,
        ["sweep", "--out", str(tmp_path), "--seeds", "0", "--epochs", "1", "--train-ranks",
         "free,1", "--method", "rank 1"],
        catch_exceptions=False,
    )  # fmt: skip
    names = {path.parent.name for path in tmp_path.glob("*/log.jsonl")}
    assert names == {"free-seed-0", "projection-rank-1-seed-0"}
    first = json.loads((tmp_path / "free-seed-0" / "log.jsonl").read_text().splitlines()[0])
    assert first["config"]["epochs"] == 1
