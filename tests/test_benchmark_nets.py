"""The networks of the compression benchmark: built, trained, stored, exported as they should be."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
DATA = os.environ.get("RANKCONV_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="needs CIFAR-10 (RANKCONV_DATA)")


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The folder on the path, as when its scripts run, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))
    torch.set_num_threads(threads)


def load(name: str) -> Any:
    return importlib.import_module(f"nets.{name}")


def shaken(network: Any) -> Any:
    """Batch norms as after training, so that leaving one out would show."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if "running" in name or tensor.ndim == 1:
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def pixels(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("name", "weights"), [("vgg", 1_148_874), ("depthwise", 217_354)])
def test_shapes_of_the_own_nets(name: str, weights: int) -> None:
    network = load("nets").NETS[name]().eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert network(torch.zeros(1, 3, 24, 24)).shape == (1, 10)
    assert sum(p.numel() for p in network.parameters()) == weights
    kernels = {(m.kernel_size, m.groups > 1) for m in network if isinstance(m, torch.nn.Conv2d)}
    wanted = {
        "vgg": {((3, 3), False)},
        "depthwise": {((3, 3), False), ((1, 1), False), ((5, 5), True)},
    }
    assert kernels == wanted[name]


@pytest.mark.parametrize("name", ["vgg", "depthwise"])
def test_weights_come_back(name: str, tmp_path: Path) -> None:
    nets = load("nets")
    written, read = shaken(nets.NETS[name]()), nets.NETS[name]()
    nets.write_weights(written, tmp_path / "new" / f"{name}.npz")
    nets.read_weights(read, tmp_path / "new" / f"{name}.npz")
    for key, tensor in written.state_dict().items():
        rounding = 0 if tensor.ndim < 2 else 2**-11
        torch.testing.assert_close(read.state_dict()[key], tensor, rtol=rounding, atol=1e-7)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"{name}.npz"]
    with pytest.raises(RuntimeError, match="Missing key"):
        nets.read_weights(
            torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "new" / f"{name}.npz"
        )


def test_stored_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "vgg.npz", **{"0.weight": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        load("nets").trained("vgg", folder=tmp_path)
    with pytest.raises(ValueError, match="'vgg', 'depthwise'"):
        load("nets").trained("lenet")


@pytest.mark.parametrize("side", [24, 32])
def test_crops_are_cut_mirrored_and_normalised(side: int) -> None:
    train, images = load("train"), load("images")
    whole = pixels(6)
    padded = np.pad(whole, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    chosen = torch.tensor([5, 0, 3, 3])
    mirror = torch.tensor([True, False, True, False])
    found = train.crops(
        torch.from_numpy(padded), chosen, side, mirror, torch.Generator().manual_seed(3)
    )
    low, high = (0, 8) if side == 32 else (4, 12)
    top, left = torch.randint(
        low, high + 1, (2, 4, 1), generator=torch.Generator().manual_seed(3)
    ).tolist()
    for i, image in enumerate(chosen.tolist()):
        (t,), (s,) = top[i], left[i]
        cut = padded[image, t : t + side, s : s + side]
        cut = cut[:, ::-1] if mirror[i] else cut
        wanted = (cut / 255 - images.MEAN) / images.STD
        np.testing.assert_allclose(found[i].permute(1, 2, 0), wanted, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_normalised_images() -> None:
    images, whole = load("images"), pixels(3)
    found = images.normalise(whole)
    assert (found.shape, found.dtype) == ((3, 3, 32, 32), np.float32)
    for channel, (mean, std) in enumerate(zip(images.MEAN, images.STD, strict=True)):
        wanted = (whole[..., channel] / 255 - mean) / std
        np.testing.assert_allclose(found[:, channel], wanted, atol=1e-6)


def small_network() -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 3, 5, 2, groups=3, bias=False),
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 16, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def test_stopped_training_goes_on_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = load("train")
    recipe = train.Recipe("depthwise", epochs=2, falling_epochs=1, whole_epochs=1, batch=20)
    data, labels = pixels(60), np.arange(60) % 10

    def run(folder: Path, seed: int) -> Any:
        torch.manual_seed(seed)
        network = small_network()
        train.train(network, data, labels, recipe, "digest", folder)
        return network.state_dict()

    whole = run(tmp_path / "whole", 0)
    save = train.checkpoint.save

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", 0)
    resumed = run(tmp_path / "stopped", 1)  # the first weights come from the checkpoint
    for key, tensor in whole.items():
        assert torch.equal(resumed[key], tensor), key
    other = train.Recipe("depthwise", epochs=2, falling_epochs=1, whole_epochs=1, batch=20, seed=1)
    with pytest.raises(ValueError, match="seed=0 there, 1 here"):
        train.train(small_network(), data, labels, other, "digest", tmp_path / "stopped")


def test_the_rate_rises_stays_and_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = load("train")
    rates: list[float] = []
    step = torch.optim.SGD.step

    def noted(self: Any, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    tiny = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 10)
    )
    recipe = train.Recipe("vgg", epochs=4, falling_epochs=2, whole_epochs=1, batch=5, peak_rate=0.4)
    train.train(tiny, pixels(20), np.arange(20) % 10, recipe, "digest", tmp_path)
    wanted = [0.1, 0.2, 0.3, *[0.4] * 6, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05]
    np.testing.assert_allclose(rates, wanted, rtol=1e-6)


def test_depthwise_layers_stay_in_float32() -> None:
    train = load("train")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 5, 2, padding=2, groups=8, bias=False))
    x = torch.randn(2, 8, 9, 9)
    wanted = network(x)
    train.keep_depthwise_float32(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert list(network.state_dict()) == ["0.weight"]


def test_accuracy_counts_right_answers() -> None:
    train, images = load("train"), load("images")
    x = np.zeros((7, 3, 1, 1), np.float32)
    x[np.arange(7), [0, 1, 2, 0, 1, 2, 0]] = 1
    labels = np.array([0, 1, 2, 0, 0, 0, 1])
    found = train.accuracy(torch.nn.Flatten(), images.Labelled(x, labels), batch=3)
    assert found == pytest.approx(4 / 7)


def test_calibration_images_are_training_images() -> None:
    images, data = load("images"), importlib.import_module("rankconv.paper.data")
    train, labels = pixels(30), np.arange(30)
    made = data.Dataset("CIFAR-10", "", "", (), train, labels, train[:4] // 2, labels[:4] + 100)
    x, y = images.calibration(made, count=12)
    assert len(set(y.tolist())) == 12
    assert y.tolist() != sorted(y.tolist())
    np.testing.assert_array_equal(x, images.normalise(train)[y])
    assert images.test_images(made).y.tolist() == [100, 101, 102, 103]


def test_other_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "few" / name / "0000.png")
    with pytest.raises(SystemExit, match="need CIFAR-10"):
        load("images").cifar10(str(tmp_path / "few"))


def test_a_block_that_halves_the_image_adds_channels_of_zeros() -> None:
    block = load("resnet").Block(4, 8, 2).eval()
    for tensor in (block.conv1.weight, block.conv2.weight):
        torch.nn.init.zeros_(tensor)
    x = torch.rand(2, 4, 6, 6)
    y = block(x)  # the shortcut alone
    torch.testing.assert_close(y[:, 2:6], x[:, :, ::2, ::2])
    assert y.shape == (2, 8, 3, 3)
    assert not y[:, [0, 1, 6, 7]].any()


def test_resnet_weights_missing_or_hostile(tmp_path: Path) -> None:
    resnet = load("resnet")
    with pytest.raises(FileNotFoundError, match="RANKCONV_MODELS"):
        resnet.resnet("resnet20", folder=tmp_path)
    with pytest.raises(ValueError, match="'resnet20', 'resnet56'"):
        resnet.resnet("resnet18", folder=tmp_path)
    torch.save({"state_dict": Path("/")}, tmp_path / resnet.FILES["resnet20"])
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        resnet.resnet("resnet20", folder=tmp_path)


def test_the_mosaic_has_one_colour_a_pixel() -> None:
    image = np.random.default_rng(0).random((2, 3, 6, 8)).astype(np.float32) + 1
    mosaic = load("demosaic").bayer(image)
    assert ((mosaic != 0).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(
        (mosaic != 0).argmax(axis=1)[0, :2, :4], [[1, 0, 1, 0], [2, 1, 2, 1]]
    )
    np.testing.assert_array_equal(mosaic[mosaic != 0], image[mosaic != 0])


def test_tiles_and_their_middles() -> None:
    metrics, demosaic = pytest.importorskip("skimage.metrics"), load("demosaic")
    x, y = demosaic.tiles("astronaut", step=192)
    assert x.shape == (9, 3, 128, 128)
    assert y.shape == (9, 3, 66, 66)
    kept = x[:, :, 31:97, 31:97] != 0
    np.testing.assert_array_equal(x[:, :, 31:97, 31:97][kept], y[kept])
    noisy = np.clip(y + np.random.default_rng(0).normal(0, 0.1, y.shape), 0, 1).astype(np.float32)
    wanted = np.mean(
        [metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(y, noisy, strict=True)]
    )
    assert demosaic.psnr(noisy, y) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.skipif(not importlib.util.find_spec("demosaicnet"), reason="needs demosaicnet")
def test_demosaicnet_rebuilds_images() -> None:
    pytest.importorskip("skimage")
    demosaic = load("demosaic")
    x, y = demosaic.tiles("astronaut", step=384)
    with torch.inference_mode():
        found = demosaic.demosaicnet()(torch.from_numpy(x)).numpy()
    assert demosaic.psnr(found, y) > 35


def test_exported_networks_give_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = shaken(load("resnet").ResNet(1))
    path = tmp_path / "net.onnx"
    load("export").export(network, (3, 32, 32), path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    session = runtime.InferenceSession(path)
    for batch in (1, 3):
        x = torch.randn(batch, 3, 32, 32)
        (found,) = session.run(["y"], {"x": x.numpy()})
        np.testing.assert_allclose(found, network(x).detach(), rtol=1e-4, atol=1e-4)


def some(images: Any, count: int) -> Any:
    chosen = np.random.default_rng(0).choice(len(images.y), count, replace=False)
    return type(images)(images.x[chosen], images.y[chosen])


@pytest.mark.parametrize("name", ["vgg", "depthwise"])
def test_stored_weights_are_small_and_of_the_recipe(name: str) -> None:
    train, nets = load("train"), load("nets")
    record = json.loads((nets.WEIGHTS / f"{name}.json").read_text())
    for key, value in dataclasses.asdict(train.RECIPES[name]).items():
        assert record[key] == value, key
    assert (nets.WEIGHTS / f"{name}.npz").stat().st_size < 3_000_000
    assert not any(module.training for module in nets.trained(name).modules())


@needs_data
@pytest.mark.cifar
@pytest.mark.parametrize("name", ["vgg", "depthwise"])
def test_stored_nets_are_as_accurate_as_said(name: str) -> None:
    train, nets, images = load("train"), load("nets"), load("images")
    record = json.loads((nets.WEIGHTS / f"{name}.json").read_text())
    test = some(images.test_images(images.cifar10()), 200)
    # 200 images: within 3.5 standard deviations of what was measured on all
    assert abs(train.accuracy(nets.trained(name), test) - record["test_accuracy"]) < 0.09


@needs_data
@pytest.mark.cifar
@pytest.mark.parametrize(("name", "share"), [("resnet20", 0.8103), ("resnet56", 0.8320)])
def test_nets_made_by_others_are_as_accurate_as_known(name: str, share: float) -> None:
    train, resnet, images = load("train"), load("resnet"), load("images")
    if not (resnet.models_folder() / resnet.FILES[name]).exists():
        pytest.skip("needs the weights (RANKCONV_MODELS)")
    test = some(images.test_images(images.cifar10()), 200)
    assert abs(train.accuracy(resnet.resnet(name), test) - share) < 0.09
