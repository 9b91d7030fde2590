"""The harness beyond the paper's network: other models, filters, images, and several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rankconv.paper import experiment
from rankconv.paper.chains import chain_network, slices, spatial, spatial_rank, unsplit
from rankconv.paper.engines import onnxruntime_network, torch_jit
from rankconv.paper.model import logits_float64, weights_of
from rankconv.paper.networks import build, folded
from rankconv.paper.preparing import prepared
from test_experiment import digits, small


def trained_a_little(model: str, filter_size: int, image_size: int) -> nn.Sequential:
    torch.manual_seed(filter_size)
    network = build(model, filter_size=filter_size, image_size=image_size, hidden=12)
    for layer in network:  # statistics that folding must not lose
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return network.eval()


CASES = [("paper", 3, 20), ("paper", 7, 41), ("lenet", 5, 32), ("lenet", 4, 23), ("vgg", 3, 24)]


@pytest.mark.parametrize(("model", "filter_size", "image_size"), CASES)
def test_every_engine_gives_pytorchs_classes(model: str, filter_size: int, image_size: int) -> None:
    network = trained_a_little(model, filter_size, image_size)
    channels = (3,) if model == "vgg" else ()
    shape = (20, *channels, image_size, image_size)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images).reshape(20, -1, *shape[-2:])).argmax(dim=1)
    predictors = {
        "dense": chain_network(network, unsplit),
        "onnxruntime": onnxruntime_network(network, size=image_size),
        "jit": torch_jit(network, size=image_size),
    }
    if model != "vgg":
        predictors["slices"] = chain_network(network, slices(filter_size))
    for name, predict in predictors.items():
        assert [predict(image) for image in images] == expected.tolist(), name


def test_chains_of_lower_rank_are_the_networks_of_the_cut_filters() -> None:
    network = trained_a_little("lenet", 5, 32)
    image = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    for split in (slices(2), spatial(0.25)):
        cut = build("lenet")
        cut.load_state_dict(network.state_dict())
        for layer in cut:
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = torch.from_numpy(split(layer).dense())
        assert chain_network(network, split)(image) == int(
            cut(torch.from_numpy(image)[None, None]).argmax()
        )


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_pairs_stay_within_their_share(share: float) -> None:
    for layer in folded(build("vgg", filter_size=3)):
        if isinstance(layer, nn.Conv2d):
            rank = spatial_rank(layer, share)
            dense = layer.weight.numel()
            each = 3 * (layer.in_channels + layer.out_channels)
            assert rank is None or rank * each <= share * dense + 1e-9
            if rank is None:
                assert each > share * dense
            else:
                full = 3 * min(layer.in_channels, layer.out_channels)
                assert rank == full or (rank + 1) * each > share * dense
                assert sum(s.weight.size for s in spatial(share)(layer).stages) == rank * each


@pytest.mark.parametrize(
    ("model", "filter_size", "image_size"), [("paper", 3, 24), ("lenet", 5, 32), ("vgg", 3, 16)]
)
def test_a_run_of_each_model(tmp_path: Path, model: str, filter_size: int, image_size: int) -> None:
    data = digits(train=64, test=20)
    if model == "vgg":
        rgb = [np.repeat((a * 255).astype(np.uint8)[..., None], 3, 3) for a in
               (data.train_images, data.test_images)]  # fmt: skip
        data = type(data)(
            data.name, data.source, data.digest, data.classes,
            rgb[0], data.train_labels, rgb[1], data.test_labels,
        )  # fmt: skip
    config = small(model=model, filter_size=filter_size, image_size=image_size, epochs=1)
    records = list(experiment.run(config, data, tmp_path))
    trials = {r["method"]: r for r in records if r["type"] == "method"}
    assert {"rank -1", "dense", "onnxruntime", "torch jit"} <= set(trials)
    assert ("rank 1" in trials) == (model != "vgg")
    assert ("spatial 50" in trials) == (model != "paper")
    for method in records[0]["methods"]:
        trial = trials[method["key"]]
        assert trial["images"] == 20
        if method["exact"]:
            assert trial["disagreements"] == 0
            assert len(trial["ties"]) <= 1
    (epoch,) = (r for r in records if r["type"] == "epoch")
    assert set(epoch["filters"]) == ({"conv1", "conv2"} if model == "paper" else set())


@pytest.mark.parametrize("method", ["factors", "projection", "penalty"])
def test_training_towards_a_share(tmp_path: Path, method: str) -> None:
    config = small(model="lenet", epochs=1, train_share=0.3, train_method=method, hidden=8)
    records = list(experiment.run(config, digits(train=64, test=20), tmp_path))
    trials = {r["method"]: r for r in records if r["type"] == "method"}
    if method != "penalty":  # already within half of the multiply-adds: cutting changes nothing
        assert trials["spatial 50"]["correct"] == pytest.approx(trials["dense"]["correct"], abs=1)


def test_the_referee_agrees_with_pytorch_on_odd_maps() -> None:
    network = build("paper", filter_size=3, image_size=20, hidden=9).double()
    image = np.random.default_rng(2).standard_normal((20, 20)).astype(np.float32)
    expected = network(torch.from_numpy(image).double()[None, None])[0].detach().numpy()
    np.testing.assert_allclose(logits_float64(weights_of(network), image), expected, rtol=1e-5)


def test_images_are_resampled() -> None:
    data = digits(train=4, test=4)
    train, test = prepared(data, "none", 16)
    assert train.shape == test.shape == (4, 16, 16)
    means = data.train_images.reshape(4, 16, 2, 16, 2).mean(axis=(2, 4))
    assert np.corrcoef(train.ravel(), means.ravel())[0, 1] > 0.98
    assert prepared(data, "none", 32)[0].shape == (4, 32, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet"}, "model='resnet'"),
        ({"filter_size": 2}, "filter_size=2"),
        ({"filter_size": 12}, "filter_size=12"),
        ({"filter_size": 11}, "image_size=32 leaves nothing"),
        ({"model": "vgg", "filter_size": 4}, "filter_size=4 is even"),
        ({"filter_size": 3, "train_rank": 4}, "train_rank=4 is not a rank of a 3 x 3"),
        ({"train_share": 0.0}, "train_share=0.0"),
        ({"train_share": 0.5, "train_rank": 1}, "exclude each other"),
        ({"model": "lenet", "methods": ("stacked 5",)}, "stacked 5"),
    ],
)
def test_bad_configurations(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


TOGETHER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from rankconv.paper import experiment, logfile
from test_experiment import digits, small
config = small(**json.loads(sys.argv[3]))
folder = Path(sys.argv[2])
records = experiment.run(config, digits(train=100, test=20), folder, resume=True)
import os
if os.environ.get("RANK", "0") == "0":
    records = logfile.record_run(records, folder)
print(len(list(records)))
"""


@pytest.mark.parametrize("method", ["projection", pytest.param("penalty", marks=pytest.mark.long)])
def test_two_processes_train_as_one(tmp_path: Path, method: str) -> None:
    script = tmp_path / "run.py"
    script.write_text(TOGETHER)
    here = str(Path(__file__).parent)

    def run(processes: int, epochs: int, folder: str) -> list[dict]:
        settings = json.dumps(
            {"epochs": epochs, "methods": [], "train_rank": 1, "train_method": method,
             "schedule": "constant", "batch_size": 10}
        )  # fmt: skip
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}",
                  "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]  # fmt: skip
        subprocess.run(
            [sys.executable, *(launch if processes > 1 else []), str(script), here,
             str(tmp_path / folder), settings],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        lines = (tmp_path / folder / "log.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["type"] == "epoch"]

    alone = run(1, 2, "alone")
    together = run(2, 2, "together")
    for one, two in zip(alone, together, strict=True):
        assert two["train_accuracy"] == pytest.approx(one["train_accuracy"], abs=0.03)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
        for name in ("conv1", "conv2"):
            np.testing.assert_allclose(two["filters"][name], one["filters"][name], atol=1e-3)
