"""The paper's experiment trained towards low rank: what its filters and its tests become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rankconv.paper import checkpoint, experiment
from test_experiment import digits, small, timeless

METHODS = ("factors", "penalty", "projection")


def records(folder: Path, **changes: object) -> list[dict]:
    return list(experiment.run(small(naive_images=3, **changes), digits(), folder))


def spectra(record: dict) -> np.ndarray:
    filters = [np.array(record["filters"][name]) for name in ("conv1", "conv2")]
    values = np.linalg.svd(np.stack(filters), compute_uv=False)
    return values / values[:, :1]


def epochs(found: list[dict]) -> list[dict]:
    return [record for record in found if record["type"] == "epoch"]


@pytest.mark.parametrize("method", ["factors", "projection"])
@pytest.mark.parametrize("rank", [1, 3])
def test_filters_have_the_rank_after_every_epoch(tmp_path: Path, method: str, rank: int) -> None:
    found = epochs(records(tmp_path, train_rank=rank, train_method=method))
    for record in found:
        assert record["rank"] == rank
        assert (spectra(record)[:, rank:] < 1e-6).all()
        assert (spectra(record)[:, rank - 1] > 1e-4).all()


@pytest.mark.parametrize("method", ["factors", "projection"])
def test_the_trained_rank_is_exact(tmp_path: Path, method: str) -> None:
    found = records(tmp_path, train_rank=2, train_method=method)
    trials = {r["method"]: r for r in found if r["type"] == "method" and r["epoch"] == 2}
    for key in ("rank 2", "rank 3", "rank 5", "onnxruntime"):
        assert trials[key]["accuracy"] == pytest.approx(trials["rank -1"]["accuracy"], abs=1 / 60)
        assert trials[key]["disagreements"] == 0


def test_the_penalty_pushes_the_trailing_values_down(tmp_path: Path) -> None:
    last = {
        strength: spectra(
            epochs(
                records(
                    tmp_path / str(strength),
                    train_rank=1,
                    train_method="penalty",
                    penalty=strength,
                    epochs=4,
                )
            )[-1]
        )[:, 1:].sum()
        for strength in (1e-6, 1.0)
    }
    assert last[1.0] < 0.5 * last[1e-6]


def test_the_rank_falls_by_the_schedule(tmp_path: Path) -> None:
    found = epochs(records(tmp_path, train_rank=1, rank_epochs=4, epochs=6))
    assert [record["rank"] for record in found] == [5, 4, 3, 2, 1, 1]
    for record in found:
        values = spectra(record)
        assert (values[:, record["rank"] :] < 1e-6).all()
        assert (values[:, record["rank"] - 1] > 1e-4).all()


@pytest.mark.parametrize("method", METHODS)
def test_resume_gives_the_same_records(tmp_path: Path, method: str) -> None:
    config = small(epochs=2, naive_images=3, train_rank=1, train_method=method)
    whole = timeless(list(experiment.run(config, digits(), tmp_path / "whole")))
    for record in experiment.run(config, digits(), tmp_path / "cut"):
        if record["type"] == "epoch" and record["epoch"] == 2:
            break
    again = timeless(list(experiment.run(config, digits(), tmp_path / "cut", resume=True)))
    assert [r for r in again if r["type"] == "epoch"] == [
        r for r in whole if r["type"] == "epoch" and r["epoch"] == 2
    ]


def test_training_freely_is_as_it_was(tmp_path: Path) -> None:
    free, cut = (
        epochs(records(tmp_path / name, train_rank=rank))[-1]
        for name, rank in (("free", None), ("full", 5))
    )
    assert free["rank"] is None
    np.testing.assert_allclose(  # cutting to the full rank changes nothing but the rounding
        free["filters"]["conv1"], cut["filters"]["conv1"], rtol=1e-3, atol=1e-5
    )


def test_checkpoints_of_other_ways_are_refused(tmp_path: Path) -> None:
    records(tmp_path, train_rank=1)
    assert (tmp_path / checkpoint.NAME).exists()
    with pytest.raises(ValueError, match="train_rank=1 there, 2 here"):
        list(experiment.run(small(naive_images=3, train_rank=2), digits(), tmp_path, resume=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_rank": 0}, "train_rank=0"),
        ({"train_rank": 6}, "train_rank=6"),
        ({"train_rank": 1, "train_method": "hope"}, "train_method='hope'"),
        ({"train_rank": 1, "penalty": float("nan")}, "penalty=nan"),
        ({"train_rank": 1, "penalty": 0.0}, "penalty=0.0"),
        ({"train_rank": 1, "project_every": 0}, "project_every=0"),
        ({"train_rank": 1, "train_method": "factors", "rank_epochs": 3}, "rank_epochs=3"),
        ({"rank_epochs": 3}, "rank_epochs=3 needs a train_rank"),
    ],
)
def test_bad_configurations(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_seeds_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(99)
    one = epochs(records(tmp_path / "one", train_rank=1, train_method="factors"))
    torch.manual_seed(1)
    two = epochs(records(tmp_path / "two", train_rank=1, train_method="factors"))
    assert timeless(one) == timeless(two)
