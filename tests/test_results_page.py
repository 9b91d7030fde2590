"""The results page says what the committed logs say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rankconv.paper.runlog import read_log

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "page"),
    [("results_page", "results.md"), ("low_rank_page", "low-rank-training.md")],
)
def test_the_page_is_the_one_that_the_logs_give(name: str, page: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    committed = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert tool.written() == committed, f"run: python tools/{name}.py"


def test_training_at_low_rank_keeps_what_the_page_says() -> None:
    logs = [read_log(path) for path in (ROOT / "docs/results/low-rank").glob("*.jsonl")]
    free = {log.config["seed"]: log.of("rank -1")[-1].accuracy for log in logs
            if log.config.get("train_rank") is None}  # fmt: skip
    for rank in (1, 2):
        towards = [log for log in logs if log.config.get("train_rank") == rank]
        assert {0, 1, 2} <= {log.config["seed"] for log in towards}
        for log in towards:
            assert log.finished
            assert len(log.epochs) >= 40
            last = np.stack([*log.epochs[-1].filters.values()])
            values = np.linalg.svd(last, compute_uv=False)
            if log.config["train_method"] != "penalty":
                assert (values[:, rank:] < 1e-5 * values[:, :1]).all()
            assert log.of(f"rank {rank}")[-1].accuracy > free[log.config["seed"]] - 0.05


def test_the_committed_run_is_whole_and_its_exact_methods_agree() -> None:
    log = read_log(ROOT / "docs/results/log.jsonl")
    assert log.finished
    assert [epoch.epoch for epoch in log.epochs] == list(range(1, 251))
    assert log.data["name"] == "CIFAR-10-images"
    assert (log.data["train"], log.data["test"]) == (50_000, 10_000)
    exact = {method.key for method in log.methods if method.exact}
    trials = [trial for trial in log.trials if trial.method in exact]
    assert len(trials) > 500
    assert not any(trial.disagreements for trial in trials)


def test_every_figure_of_the_page_is_there() -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    figures = [part.split(")")[0] for part in page.split("](")[1:] if part.startswith("results/")]
    assert len(figures) > 10
    for figure in figures:
        assert (ROOT / "docs" / figure).stat().st_size > 1000, figure


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_seed_runs_are_the_experiment(seed: int) -> None:
    log = read_log(ROOT / f"docs/results/seeds/seed-{seed}.jsonl")
    full = read_log(ROOT / "docs/results/log.jsonl")
    assert log.config["seed"] == seed
    same = ("learning_rate", "schedule", "normalize", "flip", "hidden", "batch_size")
    assert {k: log.config[k] for k in same} == {k: full.config[k] for k in same}
    assert log.data["digest"] == full.data["digest"]
