"""The harness around the peers of the compression benchmark; the peers themselves do not run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
from torch import nn  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "compress_peers"


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    """The folder on the path, as when its scripts run; its modules are forgotten afterwards."""
    threads = torch.get_num_threads()
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)
    torch.set_num_threads(threads)


def load(name: str) -> Any:
    return importlib.import_module(name)


class Net(nn.Module):
    """Convolutions with batch norms, one of them strided, grouped and 1 x 1 ones among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Sequential(nn.Conv2d(8, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.point = nn.Conv2d(6, 4, 1)
        self.linear = nn.Linear(4, 10)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.first(x)))
        return self.linear(self.point(self.depth(self.inner(x))).mean((2, 3)))


# 32 x 32 positions of the first layer, 16 x 16 of the rest
WORK = 1024 * 3 * 8 * 9 + 256 * (8 * 6 * 9 + 6 * 9 + 6 * 4) + 4 * 10


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    made = Net()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval()


def test_batch_norms_are_folded_and_the_function_stays(net: Any) -> None:
    runner = load("runner")
    x = torch.randn(5, 3, 32, 32)
    expected = net.double()(x.double())
    folded = runner.folded(net.float())
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(folded(x).double(), expected, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_that_cannot_be_folded_is_refused() -> None:
    lonely = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    with pytest.raises(ValueError, match="batch norm 2 does not follow a convolution"):
        load("runner").folded(lonely)


def test_the_first_the_grouped_and_the_1x1_are_not_compressed(net: Any) -> None:
    assert load("runner").compressible(net) == ["inner.0"]


def test_turned_comes_as_near_as_integer_ranks_let_it() -> None:
    runner = load("runner")

    def make(kept: float) -> nn.Module:
        rank = max(1, int(kept * 8))
        return nn.Sequential(nn.Conv2d(3, rank, 1, bias=False), nn.Conv2d(rank, 8, 1))

    counts = {rank: rank * 11 * 1024 for rank in range(1, 9)}
    assert runner.multiply_adds(make(0.5)) == counts[4]
    for wanted in (counts[1], counts[3] + 100, counts[5] - 2000, counts[7]):
        kept = runner.turned(make, wanted, low=0.0, high=1.0)
        nearest = min(counts.values(), key=lambda count: abs(count - wanted))
        assert runner.multiply_adds(make(kept)) == nearest


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_an_exported_network_has_the_counted_work_and_any_batch(net: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")  # torch.onnx.export needs it
    runner, score, onnx_cost = load("runner"), load("score"), load("onnx_cost")
    folded = runner.folded(net)
    runner.export(folded, tmp_path / "net.onnx")
    parameters = sum(parameter.numel() for parameter in folded.parameters())
    assert runner.multiply_adds(folded) == WORK
    assert onnx_cost.cost(tmp_path / "net.onnx") == (WORK, parameters)
    opened = score.session(str(tmp_path / "net.onnx"), 1)
    for batch in (1, 7):
        x = torch.randn(batch, 3, 32, 32)
        (logits,) = score.caller(opened, x.numpy())()
        np.testing.assert_allclose(logits, folded(x).numpy(), rtol=1e-4, atol=1e-5)
    x = torch.randn(130, 3, 32, 32)
    y = folded(x).argmax(1).numpy()
    y[:13] = (y[:13] + 1) % 10
    assert score.top1(opened, x.numpy(), y) == pytest.approx(90)


def test_products_of_constants_are_no_work(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "b"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [constant("a", 5, 2), constant("b", 2, 3)],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    assert load("onnx_cost").cost(tmp_path / "net.onnx") == (5 * 3, 10 + 6)


FAKE = """
import json, sys
net, setting, out = sys.argv[1:4]
if float(setting) < 0.4:
    raise ValueError("too small")
open(out, "w").write(net)
open(out.replace(".onnx", ".json"), "w").write(json.dumps({"net": net, "setting": setting}))
open(sys.argv[sys.argv.index("--work") + 1] + "/calls", "a").write(".")
"""


def test_a_run_goes_on_where_it_stopped_and_names_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load("run")
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    out = tmp_path / "out"
    monkeypatch.setattr(run, "PEERS", {"fake-a": (str(script), "a"), "fake-b": (str(script), "b")})
    monkeypatch.setattr(run, "write_calibration", lambda out, data: None)
    monkeypatch.setattr(run.install, "install", lambda environment: Path(sys.executable))
    (out / "vgg").mkdir(parents=True)
    (out / "vgg" / "original.json").write_text('{"net": "vgg", "setting": 1.0}')

    def command(settings: str) -> dict[str, Any]:
        arguments = ["--out", str(out), "--nets", "vgg", "--peers", "fake", "--settings", settings]
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        try:
            run.main()
        finally:
            found = json.loads((out / "peers.json").read_text())
        return found  # type: ignore[no-any-return]

    command("0.5")
    both = command("0.5,0.75")
    assert (out / "work" / "calls").read_text() == "...."  # two peers, two settings, each once
    names = [one["file"] for one in both["networks"] if one["peer"] != "original"]
    assert names == [f"vgg/fake-{peer}@{share}.onnx" for peer in "ab" for share in ("0.50", "0.75")]
    with pytest.raises(SystemExit, match="2 failed"):
        command("0.3")
    failures = json.loads((out / "peers.json").read_text())["failures"]
    assert failures == dict.fromkeys(
        ("vgg/fake-a@0.30", "vgg/fake-b@0.30"), "ValueError: too small"
    )


def test_bad_names_and_settings_are_refused() -> None:
    run = load("run")
    assert run.listed("tltorch,musco", tuple(run.PEERS), "peer") == [
        "tltorch-tucker",
        "musco-vbmf",
        "musco-rate",
    ]
    with pytest.raises(
        SystemExit, match="peer 'musc' is not one of aimet-spatial, aimet-spatial-fit,"
    ):
        run.listed("musc", tuple(run.PEERS), "peer")
    with pytest.raises(run.argparse.ArgumentTypeError, match="above 0 and below 1"):
        run.shares("0.5,1.5")
    with pytest.raises(run.argparse.ArgumentTypeError, match="not NET=FILE"):
        load("score").named("vgg")


def test_without_the_original_nothing_is_scored(tmp_path: Path) -> None:
    (tmp_path / "peers.json").write_text('{"networks": [], "failures": {}}')
    with pytest.raises(SystemExit, match=r"vgg/original\.onnx is missing"):
        load("score").found(tmp_path, [("vgg", tmp_path / "mine.onnx")])


def entry(name: str, top1: float, speedup: float, *, peer: str = "other") -> Any:
    times = {1: (speedup, speedup, speedup)}
    return load("score").Entry(
        "vgg", name, peer, None, name, name, 100, 10, top1, {1: (0.001, 0.001, 0.001)}, times
    )


def test_who_stands_above_whom() -> None:
    score = load("score")
    ours = [entry("a", 90, 1.5), entry("b", 88, 2.0), entry("c", 87, 1.2)]
    assert [one.name for one in score.front(ours, 1)] == ["a", "b"]
    peers = [entry("fast", 80, 3.0), entry("same", 90, 1.5), entry("better", 88, 2.1)]
    assert score.above(ours[0], peers, 1) == []
    assert score.above(ours[1], peers, 1) == ["better"]


def test_the_page_tells_every_network_and_the_verdict() -> None:
    score, table = load("score"), load("table")
    entries = [
        entry("original", 90, 1.0, peer="original"),
        entry("fast", 89.5, 2.5),
        entry("mine", 89, 2.0, peer=score.OURS),
    ]
    result = {
        "machine": {"processor": "P", "cores": 2, "system": "S", "python": "3"},
        "versions": {"numpy": "2"},
        "peer_versions": {"torch": "1"},
        "failures": {"vgg/slow@0.50": "ValueError: no"},
        "threads": 1,
        "rounds": 3,
        "images": 10,
        "networks": [json.loads(json.dumps(score.asdict(one))) for one in entries],
    }
    page = table.markdown(result)
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert rows == ["network", "original", "fast", "**mine**"]
    assert "| 89.50 | 0.50 | 1.000 [1.000, 1.000] | 2.50 [2.50, 2.50] |" in page
    assert "a peer beats at batch 1: mine by fast." in page
    assert "`vgg/slow@0.50`: ValueError: no" in page


def test_turns_are_interleaved_and_each_call_is_timed() -> None:
    score = load("score")
    order: list[int] = []
    calls = [lambda number=number: order.append(number) for number in range(3)]
    seconds = score.interleaved(calls, 4)
    assert seconds.shape == (4, 3)
    assert (seconds > 0).all()
    turns = [order[-63 * back :][:63] for back in range(4, 0, -1)]  # 3 x (1 + 20) calls a round
    assert all(sorted(turn) == sorted([0, 1, 2] * 21) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
