"""rankconv.nn.compress and its data: a clock of its own decides, so that the outcome is known."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rankconv.nn as rn
from rankconv.compress import layer_times, verify
from rankconv.compress.data import Data
from rankconv.nn.data import as_data
from rankconv.nn.export import to_onnx
from rankconv.onnx import OnnxNetwork

torch.set_num_threads(1)
SECONDS = 1e-9  # for each multiply-add


class Timed:
    """A call that says what it would cost."""

    def __init__(self, call, seconds):
        self.call, self.seconds = call, seconds

    def __call__(self):
        return self.call()


@pytest.fixture
def clock(monkeypatch):
    """Time is the number of multiply-adds, in layers and in networks."""

    def work(module, x):
        adds = 0

        def count(layer, args, output):
            nonlocal adds
            adds += output.numel() * layer.weight[0].numel()

        layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        handles = [layer.register_forward_hook(count) for layer in layers]
        with torch.no_grad():
            module(*x)
        for handle in handles:
            handle.remove()
        return adds * SECONDS

    timed = rn.network._timed

    def counting(module, inputs, threads):
        return Timed(timed(module, inputs, threads), work(module, inputs))

    def interleaved(calls, **_):
        return np.array([[getattr(call, "seconds", 1.0) for call in calls]] * 7)

    monkeypatch.setattr(rn.network, "_timed", counting)
    monkeypatch.setattr(verify, "interleaved", interleaved)
    monkeypatch.setattr(layer_times, "interleaved", interleaved)


def model(classes=5):
    """A network whose layers are near rank 4, and so may be cut."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )
    rn.project_(net, {"3": 8, "5": 8}, kind="spatial_svd")
    return net


def images(n=60, dtype=torch.float32):
    return torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_it_is_faster_within_the_budget_and_the_original_stays(clock):
    net = model().train()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    told = []
    made, report = rn.compress(
        net, images(), max_drop=10, metric="output_error", progress=lambda *a: told.append(a)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(v, before[name]) for name, v in net.state_dict().items())
    assert not any(m.training for m in made.modules())
    kinds = {name: type(made.get_submodule(name)) for name in ("0", "3", "5", "9")}
    assert kinds["3"] is kinds["5"] is rn.LowRankConv2d
    chosen = report.points[report.chosen]
    assert chosen.source == "rankconv"
    assert chosen.speedup > 1.5
    assert chosen.drop < 10
    assert report.engine.startswith("PyTorch")
    assert report.command == (
        "rankconv.nn.compress(model, data, max_drop=10, metric='output_error', threads=1, batch=1)"
    )
    assert told
    x = images(8)
    with torch.no_grad():
        expected = net.eval()(x)
        error = (made(x) - expected).norm() / expected.norm()
    assert error < 0.1
    assert made[5].padding_mode == "reflect"
    # What came back can be trained.
    made.train()(x).sum().backward()
    assert made[3].chain[0].weight.grad.abs().sum() > 0


def test_your_own_score_and_labels_from_a_loader(clock):
    net = model()
    x = images()
    with torch.no_grad():
        y = net.eval()(x).argmax(1)
    seen = []

    def accuracy(made):
        seen.append(made)
        with torch.no_grad():
            return 100 * float((made(x).argmax(1) == y).float().mean())

    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    made, report = rn.compress(net, loader, max_drop=5, evaluate=accuracy)
    assert report.metric == "accuracy"
    assert all(isinstance(m, nn.Module) for m in seen)
    assert report.points[0].score == 100
    assert accuracy(made) >= 95
    _, report = rn.compress(net, loader, max_drop=5)
    assert report.metric.startswith("top-1")


def test_a_score_that_changes_its_model_changes_nothing_else(clock):
    x = images()

    def careless(made):
        made.train()
        with torch.no_grad():
            score = float(made(x).mean())
            for parameter in made.parameters():
                parameter.zero_()
        return score

    net = model()
    made, report = rn.compress(net, x, max_drop=1e9, evaluate=careless)
    assert len({point.score for point in report.points}) > 1  # not of zeros
    assert float(made(x).detach().abs().max()) > 0
    assert not made.training


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = model()

    def forward(self, x):
        return self.inner(x + 0.01 * torch.randn_like(x))


def test_random_numbers_go_on_as_if_nothing_had_run(clock):
    net, x = Noisy(), images()
    before = torch.get_rng_state()
    rn.compress(net, x, max_drop=50)
    assert torch.equal(torch.get_rng_state(), before)


def test_when_nothing_is_faster_the_original_comes_back(clock, monkeypatch):
    monkeypatch.setattr(verify, "interleaved", lambda calls, **_: np.ones((7, len(calls))))
    net = model()
    made, report = rn.compress(net, images(), max_drop=1)
    assert [type(m) for m in made] == [type(m) for m in net]
    assert report.verdict.startswith("The original")
    assert report.chosen == 0
    x = images(4)
    with torch.no_grad():
        torch.testing.assert_close(made(x), net.eval()(x))


def test_int8_is_two_more_points(clock):
    made, report = rn.compress(model(), images(), max_drop=10, metric="output_error", int8=True)
    sources = [point.source for point in report.points]
    assert sources.count("int8") == sources.count("rankconv+int8") == 1
    assert isinstance(made, nn.Sequential)
    assert report.points[sources.index("int8")].score < 20


def test_double_precision_models_keep_theirs(clock):
    made, _ = rn.compress(model().double(), images(24).numpy(), max_drop=10, metric="output_error")
    assert {p.dtype for p in made.parameters()} == {torch.float64}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("kind", "mode"), [("slice_svd", "reflect"), ("tucker2", "zeros"), ("cp", "circular")]
)
def test_onnx_export_computes_the_same_for_any_batch(kind, mode, older, monkeypatch):
    if older:  # the exporter that needs no other package
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    elif importlib.util.find_spec("onnxscript") is None:
        pytest.skip("needs onnxscript")
    torch.manual_seed(0)
    low = rn.LowRankConv2d(
        4, 6, (3, 2), rank=2, kind=kind, padding="same", dilation=(1, 2), padding_mode=mode
    )
    exported = OnnxNetwork(to_onnx(low, [torch.zeros(2, 4, 8, 9)]))
    x = torch.randn(5, 4, 8, 9)
    got = exported.predict((x.numpy(),))
    np.testing.assert_allclose(got, low(x).detach().numpy(), atol=1e-5)


def test_compiled_with_channels_last_it_computes_the_same():
    torch.manual_seed(0)
    low = rn.LowRankConv2d(8, 8, 3, rank=2, kind="slice_svd", padding=1)
    x = torch.randn(2, 8, 9, 9)
    compiled = torch.compile(low, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), low(x))
    layout = low.to(memory_format=torch.channels_last)
    y = layout(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(y, low(x))


def test_data_in_every_form_is_the_same():
    x, y = images(12), torch.arange(12)
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    forms = [
        as_data(x, y),
        as_data(x.numpy(), y.numpy()),
        as_data((x, y)),
        as_data(loader),
        as_data(Data(x.numpy(), y.numpy())),
        as_data(iter(loader)),
    ]
    for data in forms:
        np.testing.assert_array_equal(data.inputs[0], x.numpy())
        np.testing.assert_array_equal(data.labels, y.numpy())
    assert as_data(DataLoader(TensorDataset(x), batch_size=5)).labels is None
    assert len(as_data(loader, samples=7)) == 7
    two = as_data([((x, x[:, :1]), y)])
    assert [a.shape for a in two.inputs] == [(12, 3, 12, 12), (12, 1, 12, 12)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: as_data("file.npz"), "data is str"),
        (lambda: as_data(iter([])), "holds no batch"),
        (lambda: as_data(TensorDataset(images(2), torch.zeros(2))), "DataLoader"),
        (lambda: as_data([images(2), (images(2), torch.zeros(2))]), "others do not"),
        (lambda: as_data([{"x": images(2)}]), "batch of data is dict"),
        (lambda: as_data((images(2), torch.zeros(2)), torch.zeros(2)), "labels beside data"),
        (lambda: as_data(Data(images(2).numpy()), [0, 1]), "given twice"),
        (lambda: rn.compress(model(), images(4)), "too few"),
        (lambda: rn.compress(model(), images(), max_drop=1, speedup=2), "exclude"),
        (lambda: rn.compress(model(), images()[:, :2]), "does not take inputs"),
        (lambda: rn.compress(nn.ReLU(), images()), "no layer"),
        (
            lambda: rn.compress(torch.compile(model(), backend="eager"), images()),
            "^the model comes from torch",
        ),
        (
            lambda: rn.compress(nn.Sequential(torch.compile(model(), backend="eager")), images()),
            "its part '0', comes from torch.compile",
        ),
        (
            lambda: rn.compress(model(), images(), evaluate=lambda m: 1.0, metric="top1"),
            "evaluate excludes",
        ),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
