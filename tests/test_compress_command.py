"""`rankconv compress` as a user meets it: checks first, files last, and a plain word of each."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import compressions
from rankconv.compress.report_json import read_json

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
typer = pytest.importorskip("typer")

from typer.testing import CliRunner  # noqa: E402

from onnx_models import small_net  # noqa: E402
from rankconv.cli import app  # noqa: E402
from rankconv.compress.data import MOST, SHARES  # noqa: E402
from rankconv.compress_command import Request, compress  # noqa: E402
from rankconv.compress_options import (  # noqa: E402
    check_targets,
    load_function,
    parse_drop,
    parse_numbers,
    parse_seconds,
    parse_size,
)
from rankconv.onnx import load  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, its images and their labels, in the present folder."""
    rng = np.random.default_rng(3)
    onnx.save(small_net(rng, widths=(8, 24, 24)), tmp_path / "net.onnx")
    x = rng.standard_normal((40, 3, 16, 16)).astype(np.float32)
    labels = load(tmp_path / "net.onnx").predict((x,)).argmax(axis=1)
    np.savez(tmp_path / "calib.npz", x=x, y=labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Fake:
    """Stands for `rankconv.compress.run.compress`: remembers what it was asked for."""

    def __init__(self, faster: bool = True) -> None:
        self.faster = faster
        self.asked: dict[str, Any] = {}

    def __call__(self, network: Any, data: Any, **asked: Any) -> Any:
        from rankconv.compress.run import Compressed

        self.asked = {"network": network, "data": data, **asked}
        asked["progress"]("timing layers", 1, 4)
        asked["progress"]("verifying", 1, 1)
        report = compressions.report() if self.faster else compressions.unchanged()
        return Compressed(network, replace(report, command=asked["command"]), {})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    stands = Fake()
    monkeypatch.setattr("rankconv.compress.run.compress", stands)
    return stands


def request(**options: Any) -> Request:
    needed = {"model": Path("net.onnx"), "data": Path("calib.npz"), "out": Path("fast.onnx")}
    return Request(**{**needed, **options})


def said(asked: Request) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=120)
    faster = compress(console, asked)
    return faster, console.file.getvalue()  # type: ignore[attr-defined]


def listed(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_from_a_file_to_a_faster_one_or_the_original(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("net.onnx", "calib.npz")}
    faster, text = said(
        request(
            max_drop="90%",
            report=Path("report.html"),
            json=Path("report.json"),
            no_tuning=True,
            kinds=("spatial_svd", "channel_svd"),
            int8=True,
        )
    )
    report = read_json("report.json")
    assert report.metric == "top-1 (%)"
    assert report.budget == {"max_drop": 90.0}
    assert report.points[0].score == 100.0
    assert "int8" in {point.source for point in report.points}
    assert report.verdict in Path("report.html").read_text()
    assert report.verdict in text.replace("\n", " ")
    assert faster == (report.chosen > 0) == Path("fast.onnx").exists()
    if faster:
        onnx.checker.check_model("fast.onnx")
        assert "model: fast.onnx" in text
        x = np.load("calib.npz")["x"]
        assert load("net.onnx").predict((x,)).shape == (40, 10)
    expected = {"calib.npz", "net.onnx", "report.html", "report.json"}
    assert set(listed(folder)) - {"fast.onnx"} == expected
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_beside_an_int8_answer_stands_the_network_that_was_quantised(
    folder: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = compressions.report()
    chosen = report.points[report.chosen]
    quick = replace(chosen, source="rankconv+int8", label="the answer in int8")
    told = replace(report, points=(*report.points, quick), chosen=len(report.points))
    monkeypatch.setattr(compressions, "report", lambda: told)
    _, text = said(request(write_int8=True))
    lines = [line.split(":")[0] for line in text.splitlines()]
    both = [quick.label, chosen.label]
    assert [label for label in lines if label in both] == both


def test_every_option_arrives(folder: Path, fake: Fake) -> None:
    _, text = said(
        request(
            max_drop="2.5 %", kinds=("cp",), threads=2, batch=8, seed=5, metric="agreement",
            write_int8=True, tuning=Path("times.json"), command="the command",
            report=Path("report.html"),
        )
    )  # fmt: skip
    asked = fake.asked
    numbers = {
        "max_drop": 2.5,
        "speedup": None,
        "seconds": None,
        "threads": 2,
        "batch": 8,
        "seed": 5,
    }
    assert {name: asked[name] for name in numbers} == numbers
    assert asked["kinds"] == ("cp",)
    assert asked["return_int8"] is True
    assert asked["quantize"] is not None
    assert asked["tuning"] == Path("times.json")
    assert asked["metric"].name == "top-1 agreement with the original"
    assert len(asked["data"]) == 40
    assert "the command" in Path("report.html").read_text()
    for told in (
        "net.onnx: 4 layers to choose for, onnxruntime", "calib.npz: 40 images",
        "5 of 6 layers replaced", "candidate 3: 1.9 ms (middle half 1.86 ms to 1.98 ms), 2.26×",
        "top-1 90.61 %, 0.73 points worse", "1,024 images that neither fitted nor chose",
        "original in int8: 2.7 ms", compressions.report().verdict, "model: fast.onnx",
        "report: report.html",
    ):  # fmt: skip
        assert told in text
    said(request(speedup=2.0, force=True))
    assert (fake.asked["speedup"], fake.asked["max_drop"], fake.asked["quantize"]) == (
        2.0,
        None,
        None,
    )
    assert fake.asked["tuning"].name.startswith("layer-times")
    said(request(time="2ms", no_tuning=True, force=True, metric="output_error"))
    assert (fake.asked["seconds"], fake.asked["tuning"]) == (0.002, None)
    assert fake.asked["metric"].name == "relative output error"


def test_bars_are_for_terminals_alone(folder: Path, fake: Fake) -> None:
    _, text = said(request())
    assert text.startswith("net.onnx: 4 layers")
    assert "timing layers" not in text
    console = Console(file=io.StringIO(), width=120, force_terminal=True, force_interactive=True)
    compress(console, request(force=True))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "timing layers" in shown
    assert "verifying" in shown


def test_a_score_of_the_users_own(folder: Path, fake: Fake) -> None:
    (folder / "scores.py").write_text("def worst(network):\n    return 0.25\n")
    path = list(sys.path)
    said(request(evaluate="scores:worst", lower_is_better=True, max_drop="0.1"))
    metric = fake.asked["metric"]
    assert metric.measure(None, None) == 0.25
    assert metric.drop(0.25, 0.5) == 0.25
    assert sys.path == path
    del sys.modules["scores"]


def test_where_the_original_is_the_answer(folder: Path, fake: Fake) -> None:
    fake.faster = False
    Path("fast.onnx").write_text("of a run before")
    faster, text = said(request(force=True, report=Path("report.html")))
    assert not faster
    assert "no model written: keep using net.onnx (what was there is as it was)" in text
    assert compressions.unchanged().verdict in text
    assert Path("fast.onnx").read_text() == "of a run before"
    assert Path("report.html").exists()


def test_pictures_of_a_folder(folder: Path, fake: Fake) -> None:
    rng = np.random.default_rng(0)
    for name in range(10):
        Path(f"pictures/{name}").mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8)).save(f"pictures/{name}/a.png")
    said(request(data=Path("pictures"), mean="0.5", std="0.5,0.5,0.25", images=9, size="16"))
    data = fake.asked["data"]
    assert data.inputs[0].shape == (9, 3, 16, 16)
    assert len(np.unique(data.labels)) == 9
    assert data.inputs[0].min() >= -2.01
    assert data.inputs[0][:, 2].max() > 1.2
    Path("pictures/10").mkdir()
    with pytest.raises(ValueError, match=r"11 classes.*the model tells 10 apart"):
        said(request(data=Path("pictures"), force=True))


REFUSED = [
    ({"max_drop": "a bit"}, r"--max-drop 'a bit' is not a number >= 0"),
    ({"max_drop": "1dB"}, r"is in dB, and the score is top-1 \(%\): give it in %"),
    ({"time": "2"}, r"--time '2' is not a time, as 2ms"),
    ({"metric": "best"}, r"metric='best' is not one of"),
    ({"metric": "psnr"}, "PSNR compares images"),
    ({"peak": 255.0}, "--peak is for --metric psnr"),
    ({"lower_is_better": True}, "--lower-is-better is for --evaluate"),
    ({"evaluate": "math:isnan", "metric": "top1"}, "exclude each other"),
    ({"evaluate": "nothing.here:score"}, "cannot be imported"),
    ({"tuning": Path("t.json"), "no_tuning": True}, "exclude each other"),
    ({"size": "16"}, r"--size is for a folder of pictures, and calib.npz is none"),
    ({"mean": "0"}, "--mean is for a folder"),
    ({"out": Path("net.onnx"), "force": True}, "--out net.onnx is the same file as the model"),
    ({"report": Path("calib.npz"), "force": True}, "same file as --data"),
    ({"report": Path("fast.onnx")}, "same file as --out"),
    ({"out": Path("nowhere/fast.onnx")}, "cannot be written: the folder does not exist"),
    ({"out": Path()}, "is a folder: name a file"),
    ({"model": Path("calib.npz"), "data": Path("none.npz")}, "is not an ONNX model"),
    ({"model": Path("none.onnx")}, "the model none.onnx does not exist"),
    ({"data": Path("none.npz")}, r"none.npz does not exist"),
    ({"data": Path("net.onnx")}, "net.onnx cannot be read"),
]


@pytest.mark.parametrize(("options", "complaint"), REFUSED)
def test_what_is_wrong_is_told_before_the_work(
    folder: Path, fake: Fake, options: dict[str, Any], complaint: str
) -> None:
    before = {name: (folder / name).read_bytes() for name in listed(folder)}
    with pytest.raises(ValueError, match=complaint):
        said(request(**options))
    assert fake.asked == {}
    assert {name: (folder / name).read_bytes() for name in listed(folder)} == before


def test_labels_beyond_the_classes_of_the_model(folder: Path, fake: Fake) -> None:
    x = np.load("calib.npz")["x"]
    np.savez("bad.npz", x=x, y=np.full(40, 10))
    with pytest.raises(ValueError, match="expected 0 to 9"):
        said(request(data=Path("bad.npz")))
    assert fake.asked == {}


def test_files_that_exist_need_force(folder: Path, fake: Fake) -> None:
    for name in ("fast.onnx", "report.html", "report.json"):
        Path(name).write_text("mine")
        with pytest.raises(ValueError, match=f"{name} exists: add --force"):
            said(request(report=Path("report.html"), json=Path("report.json")))
        assert Path(name).read_text() == "mine"
        assert fake.asked == {}
        Path(name).unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Path, fake: Fake) -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="cannot be written"):
        said(request(out=Path("locked/fast.onnx")))
    assert fake.asked == {}


def test_a_folder_without_room(folder: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("rankconv.compress_options.tempfile.TemporaryFile", full)
    with pytest.raises(ValueError, match=r"--out fast.onnx cannot be written: Read-only"):
        said(request())
    assert fake.asked == {}


@pytest.mark.parametrize("faster", [True, False])
def test_the_status_tells_whether_a_model_was_written(folder: Path, fake: Fake, faster) -> None:
    fake.faster = faster
    done = CliRunner().invoke(
        app,
        [
            "compress",
            "net.onnx",
            "--data",
            "calib.npz",
            "-o",
            "fast.onnx",
            "--kinds",
            "cp, tucker2",
        ],
    )
    assert done.exit_code == (0 if faster else 3), done.output
    assert Path("fast.onnx").exists() == faster
    assert fake.asked["kinds"] == ("cp", "tucker2")


def test_errors_are_one_line(folder: Path) -> None:
    command = [sys.executable, "-c", "from rankconv.cli import main; main()", "compress"]
    done = subprocess.run(
        [*command, "net.onnx", "--data", "net.onnx", "-o", "fast.onnx"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: calibration data net.onnx cannot be read")
    assert done.stderr.count("\n") == 1


def test_an_interrupted_run_leaves_nothing_behind(folder: Path) -> None:
    before = listed(folder)
    running = subprocess.Popen(
        [
            sys.executable, "-u", "-c", "from rankconv.cli import main; main()", "compress",
            "net.onnx", "--data", "calib.npz", "-o", "fast.onnx", "--report", "r.html",
            "--json", "r.json", "--no-tuning", "--int8",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if "the score is" in line:  # the long work begins
            break
    time.sleep(0.3)
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert listed(folder) == before


def test_the_documentation_names_every_option() -> None:
    page = (Path(__file__).parent.parent / "docs/compress.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app).commands["compress"]
    names = {name for p in command.params for name in p.opts if p.param_type_name == "option"}
    assert len(names) > 20
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
    fit, choose = (f"{share:.0%}".replace("%", " %") for share in SHARES)
    text = " ".join(page.split())
    assert f"{fit} ({MOST[0]:,} at most) fit" in text
    assert f"{choose} ({MOST[1]:,} at most) decide" in text


@pytest.mark.parametrize("text", ["", "1 %%", "-1%", "nan", "inf", "1e999", "1ms", "1.2.3"])
def test_drops_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number >= 0"):
        parse_drop(text)


@pytest.mark.parametrize("text", ["", "2", "0ms", "-1s", "2 hours", "nans", "inf s"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="give its unit"):
        parse_seconds(text)


@pytest.mark.parametrize("text", ["", "0", "16x", "x16", "1.5", "16x16x16", "-4"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not rows x columns"):
        parse_size(text)


def test_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"--std '0.5;0.4' is not numbers"):
        parse_numbers("0.5;0.4", "--std")


@pytest.mark.parametrize("text", ["math", ":f", "math:", "a b:c", "../x:f", "math:pi", "math:nope"])
def test_functions_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="--evaluate"):
        load_function(text)


def test_installed_modules_come_before_those_of_the_present_folder(folder: Path) -> None:
    (folder / "colorsys.py").write_text("raise RuntimeError('the wrong one')")
    sys.modules.pop("colorsys", None)
    assert load_function("colorsys:rgb_to_hsv")(0, 0, 0) == (0.0, 0.0, 0)  # type: ignore[call-arg]


def test_targets_that_may_be_written(tmp_path: Path) -> None:
    old = tmp_path / "old.onnx"
    old.write_text("x")
    check_targets({"--out": old, "--json": None}, {"the model": tmp_path / "m"}, force=True)
    assert old.read_text() == "x"
    assert listed(tmp_path) == ["old.onnx"]
