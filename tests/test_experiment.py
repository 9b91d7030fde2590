"""The experiment: its records, its exact methods, its resume, and what its timing is made of."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rankconv.paper import checkpoint, experiment, logfile
from rankconv.paper.data import Dataset, load
from rankconv.paper.methods import methods
from rankconv.paper.model import logits_float64, paper_network, weights_of
from rankconv.paper.preparing import prepared

TIMES = ("seconds", "setup_seconds", "scaled_seconds", "train_seconds")


def digits(train: int = 192, test: int = 60, seed: int = 0) -> Dataset:
    """Images that a network can learn: class c is bright in the c-th band of rows."""
    rng = np.random.default_rng(seed)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.sort(rng.integers(0, 10, n))
        images = rng.random((n, 32, 32), np.float32) * 0.3
        for image, label in zip(images, labels, strict=True):
            image[3 * label : 3 * label + 4] += 0.7
        return images, labels

    (a, b), (c, d) = part(train), part(test)
    classes = tuple(f"band {i}" for i in range(10))
    return Dataset("bands", "made by the tests", f"seed {seed}", classes, a, b, c, d)


def small(**changes: object) -> experiment.Config:
    settings: dict[str, object] = {"epochs": 2, "hidden": 20, "naive_images": 7, "block": 16}
    return experiment.Config(**{**settings, **changes})  # type: ignore[arg-type]


def timeless(records: list[dict]) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in TIMES} for r in records]


def run(config: experiment.Config, folder: Path, *, resume: bool = False, stop: int = 0) -> None:
    records = experiment.run(config, digits(), folder, resume=resume)
    for number, _ in enumerate(logfile.record_run(records, folder), 1):
        if number == stop:
            return  # as a crash would: nothing after this record happens


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / logfile.LOG).read_text().splitlines()]


def test_records_of_a_whole_run(tmp_path: Path) -> None:
    run(small(), tmp_path)
    records = logged(tmp_path)
    keys = [method["key"] for method in records[0]["methods"]]
    assert [r["type"] for r in records] == [
        "run",
        *(["epoch"] + ["method"] * len(keys)) * 2,
        "samples",
        "end",
    ]
    assert keys[:7] == [f"rank {r}" for r in (-1, 0, 1, 2, 3, 4, 5)]
    trials = {r["method"]: r for r in records if r["type"] == "method" and r["epoch"] == 2}
    exact = {method["key"] for method in records[0]["methods"] if method["exact"]}
    assert exact >= {"rank -1", "rank 0", "rank 5", "stacked 5", "onnxruntime", "torch jit"}
    for key, trial in trials.items():
        assert trial["seconds"] >= trial["setup_seconds"] > 0
        assert trial["accuracy"] == trial["correct"] / trial["images"]
        assert trial["disagreements"] == 0, key
        if key in exact and not trial["ties"] and not trial["scaled"]:
            assert trial["accuracy"] == trials["rank -1"]["accuracy"], key
    for r in (1, 2, 3, 4):  # the stacked form computes what the paper's form computes
        assert trials[f"stacked {r}"]["accuracy"] == pytest.approx(
            trials[f"rank {r}"]["accuracy"], abs=1 / 60
        )
    naive = trials["rank 0"]
    assert naive["scaled"]
    assert naive["images"] == 7
    assert naive["scaled_seconds"] == pytest.approx(
        naive["setup_seconds"] + (naive["seconds"] - naive["setup_seconds"]) * 60 / 7
    )


def test_the_network_learns_real_digits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("RANKCONV_DATA", raising=False)
    data = load(cache_dir=tmp_path / "cache")
    assert data.name.startswith("MNIST")
    config = small(epochs=3, hidden=100, methods=("rank 5",), flip=False)
    list(logfile.record_run(experiment.run(config, data, tmp_path), tmp_path))
    epochs = [r for r in logged(tmp_path) if r["type"] == "epoch"]
    trials = [r for r in logged(tmp_path) if r.get("method") == "rank 5"]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] - 0.3
    assert trials[-1]["accuracy"] > 0.6


def test_progress_names_stage_method_and_images(tmp_path: Path) -> None:
    records = list(experiment.run(small(epochs=1, methods=("rank 1",)), digits(), tmp_path))
    progress = [r for r in records if r["type"] == "progress"]
    assert {(r["stage"], r["method"]) for r in progress} == {
        ("train", ""),
        ("test", "PyTorch"),
        ("test", "NumPy, rank 1"),
    }
    assert {r["total"] for r in progress} == {192, 60}
    assert all(0 <= r["done"] <= r["total"] for r in progress)


def test_a_run_repeats_from_its_seed(tmp_path: Path) -> None:
    config = small(methods=("rank 1",))
    run(config, tmp_path / "a")
    run(config, tmp_path / "b")
    run(dataclasses.replace(config, seed=4), tmp_path / "c")
    assert timeless(logged(tmp_path / "a")) == timeless(logged(tmp_path / "b"))
    first, other = (
        next(r for r in logged(tmp_path / x) if r["type"] == "epoch") for x in ("a", "c")
    )
    assert first["filters"] != other["filters"]


@pytest.mark.parametrize("stop", [1, 3, 5, 9, 12, 14])
def test_resume_gives_the_uninterrupted_records(tmp_path: Path, stop: int) -> None:
    config = small(epochs=4, methods=("rank 1", "rank 0"), naive_every=2)
    run(config, tmp_path / "whole")
    run(config, tmp_path / "broken", stop=stop)
    run(config, tmp_path / "broken", resume=True)
    resumed = [r for r in logged(tmp_path / "broken") if r["type"] != "resume"]
    assert timeless(resumed) == timeless(logged(tmp_path / "whole"))
    text = (tmp_path / "broken" / logfile.TEXT_LOG).read_text()
    assert text.count("train_accuracy") == 4
    assert text.count("rank: 0") == 2


def test_resume_cuts_a_half_written_line(tmp_path: Path) -> None:
    config = small(epochs=3, methods=("rank 1",))
    run(config, tmp_path / "whole")
    records = experiment.run(config, digits(), tmp_path / "broken")
    for record in logfile.record_run(records, tmp_path / "broken"):
        if record["type"] == "epoch" and record["epoch"] == 3:
            break
    with (tmp_path / "broken" / logfile.LOG).open("a") as file:
        file.write('{"type": "method", "epoch": 3, "meth')
    run(config, tmp_path / "broken", resume=True)
    resumed = [r for r in logged(tmp_path / "broken") if r["type"] != "resume"]
    assert timeless(resumed) == timeless(logged(tmp_path / "whole"))


def test_resume_refuses_another_configuration_and_other_data(tmp_path: Path) -> None:
    config = small(epochs=1, methods=("rank 1",))
    run(config, tmp_path)
    with pytest.raises(ValueError, match=r"hidden=20 there, 30 here"):
        run(dataclasses.replace(config, hidden=30), tmp_path, resume=True)
    with pytest.raises(ValueError, match="other data"):
        list(experiment.run(config, digits(seed=1), tmp_path, resume=True))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    config = small(epochs=1, methods=("rank 1",))

    class Harm:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "harmed",)

    torch.save({"identity": Harm()}, tmp_path / checkpoint.NAME)
    with pytest.raises(ValueError, match="not a checkpoint"):
        run(config, tmp_path, resume=True)
    assert not (tmp_path / "harmed").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch
) -> None:
    config = small(epochs=2, methods=("rank 1",))
    run(config, tmp_path, stop=5)
    before = (tmp_path / checkpoint.NAME).read_bytes() if stopped(tmp_path) else b""

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        run(config, tmp_path, resume=True)
    assert ((tmp_path / checkpoint.NAME).read_bytes() if stopped(tmp_path) else b"") == before
    assert not list(tmp_path.glob("*.part"))


def stopped(folder: Path) -> bool:
    return (folder / checkpoint.NAME).exists()


def test_a_wrong_exact_method_is_noticed(tmp_path: Path, monkeypatch) -> None:
    wrong = [dataclasses.replace(m, exact=True) if m.key == "rank 1" else m for m in methods()]
    monkeypatch.setattr(experiment, "methods", lambda *network: tuple(wrong))
    run(small(epochs=3, batch_size=16, methods=("rank 1",), seed=1), tmp_path)
    trials = [r for r in logged(tmp_path) if r.get("method") == "rank 1"]
    assert sum(r["disagreements"] for r in trials) > 0


def test_a_tie_is_told_from_a_disagreement() -> None:
    torch.manual_seed(0)
    network = paper_network(hidden=6)
    with torch.no_grad():
        for parameter in network[9].parameters():
            parameter[1] = parameter[0]  # classes 0 and 1 always have the same logit
            parameter[2:] -= 10
    weights = weights_of(network)
    image = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    labels = np.zeros(1, np.int64)
    method = next(m for m in methods() if m.key == "rank 5")
    given, reference = np.array([1]), np.array([0])
    referee = partial(logits_float64, weights)
    trial = experiment._Trial(method, lambda _: 1, np.array([0]), 0.0, 1.0, given)
    record = experiment._method_record(trial, reference, referee, image[None], labels, 1)
    assert record["disagreements"] == 0
    assert record["ties"] == [{"image": 0, "reference": 0, "prediction": 1, "margin": 0.0}]
    trial.classes[:] = 5
    record = experiment._method_record(trial, reference, referee, image[None], labels, 1)
    assert record["disagreements"] == 1


@pytest.mark.parametrize("key", [m.key for m in methods()])
def test_every_method_gives_the_classes_of_its_filters(key: str) -> None:
    torch.manual_seed(2)
    network = paper_network(hidden=30).eval()
    method = next(m for m in methods() if m.key == key)
    images = np.random.default_rng(1).standard_normal((12, 32, 32)).astype(np.float32)
    weights = weights_of(network)
    rank = next((int(part) for part in key.split() if part.isdigit()), 5)
    if rank in (1, 2, 3, 4):
        u, s, vt = np.linalg.svd(weights.kernel1)
        v = np.linalg.svd(weights.kernel2)
        weights = dataclasses.replace(
            weights,
            kernel1=(u[:, :rank] * s[:rank]) @ vt[:rank],
            kernel2=(v[0][:, :rank] * v[1][:rank]) @ v[2][:rank],
        )
    expected = [int(logits_float64(weights, image).argmax()) for image in images]
    predict = method.prepare(network)
    with method.around():
        got = predict(images) if method.batch else [predict(image) for image in images]
    assert list(got) == expected


def test_float64_logits_are_the_networks() -> None:
    torch.manual_seed(3)
    network = paper_network(hidden=9).double()
    image = np.random.default_rng(2).standard_normal((32, 32)).astype(np.float32)
    expected = network(torch.from_numpy(image).double()[None, None])[0].detach().numpy()
    np.testing.assert_allclose(logits_float64(weights_of(network), image), expected, rtol=1e-5)


def test_normalized_images() -> None:
    data = digits()
    data.train_images[0] = 0.25  # a constant image has no deviation to divide by
    train, test = prepared(data, "image", 32)
    assert not train[0].any()
    np.testing.assert_allclose(test.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(test.std(axis=(1, 2)), 1, atol=1e-4)
    train, test = prepared(data, "dataset", 32)
    assert train.mean() == pytest.approx(0, abs=1e-5)
    assert train.std() == pytest.approx(1, abs=1e-4)
    expected = (data.test_images - data.train_images.mean()) / data.train_images.std()
    np.testing.assert_allclose(test, expected, atol=1e-4)
    assert np.array_equal(prepared(data, "none", 32)[1], data.test_images)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"naive_images": 0}, "naive_images=0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 must be positive"),
        ({"schedule": "cosin"}, "schedule='cosin' is not one of 'anneal'"),
        ({"normalize": "pixel"}, "normalize='pixel'"),
        ({"methods": ("rank 9",)}, r"methods=\['rank 9'\] are not among"),
    ],
)
def test_bad_configurations_are_named(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment.Config(**setting)


def test_a_diverging_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="diverged in epoch 1"):
        run(small(learning_rate=1e30, methods=("rank 1",)), tmp_path)
