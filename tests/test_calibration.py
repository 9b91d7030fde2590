"""Constants of this machine: fitted, stored, checked when read. No timing decides anything here."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from rankconv import calibrate, calibration, correlate2d, plan
from rankconv.correlate import ALGORITHMS
from rankconv.correlate.constants import SHIPPED
from rankconv.correlate.costs import COUNTS, Job


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, nothing read from it, and cells too few to take time."""
    monkeypatch.setattr(calibration, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(calibration, "_current", None)
    monkeypatch.setattr(calibration, "ROUND_SECONDS", 0.002)
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    return tmp_path / "cache"


def test_shipped_constants_fit_the_counts():
    for name, rows in SHIPPED.seconds.items():
        for char, row in rows.items():
            counts = COUNTS[name](Job(1, 40, 50, 3, 5, 2, np.dtype("l" if char == "i" else char)))
            assert len(counts.counts) == len(row), name
            assert all(0 <= value < 1e-3 for value in row)
            assert any(row)
    assert set(SHIPPED.seconds) == set(COUNTS)


def test_without_a_file_the_shipped_ones_are_used(cache):
    assert calibration.current() is SHIPPED
    assert plan((30, 30), np.ones((3, 3))).constants == "shipped"
    assert not cache.exists()


def test_calibrate_writes_what_the_next_process_reads(cache, monkeypatch):
    steps = []
    image, kernel = np.ones((30, 30)), np.ones((3, 3))
    correlate2d(image, kernel)
    path = calibrate(progress=lambda done, total: steps.append((done, total)))
    total = 2 * len(ALGORITHMS)
    assert steps == [(n, total) for n in range(total + 1)]
    assert [file.name for file in cache.iterdir()] == [path.name]
    own = calibration.current()
    assert own.source.startswith("calibrated 20")
    assert "estimates use the calibrated 20" in str(plan(image.shape, kernel))
    monkeypatch.setattr(calibration, "_current", None)
    read = calibration.current()
    assert read is not own
    assert (read.source, read.seconds) == (own.source, own.seconds)
    for name in ALGORITHMS:  # measured: neither as shipped nor zero
        assert read.seconds[name]["f"] != SHIPPED.seconds[name]["f"]
        assert any(read.seconds[name]["d"])
    np.testing.assert_allclose(correlate2d(image, kernel, "valid"), np.full((28, 28), 9.0))


def test_new_constants_are_used_by_later_calls(cache, monkeypatch):
    kernel = np.random.default_rng(0).standard_normal((5, 5))
    for name in ("separable", "fft"):
        rows = {
            other: {char: tuple(v * (1e-9 if other == name else 1) for v in row)
                    for char, row in rows.items()}
            for other, rows in SHIPPED.seconds.items()
        }  # fmt: skip
        monkeypatch.setattr(calibration, "_current", calibration.Constants(name, rows))
        assert plan((60, 60), kernel).algorithm == name
        expected = correlate2d(np.eye(60), kernel, algorithm=name)
        np.testing.assert_array_equal(correlate2d(np.eye(60), kernel), expected)


def written(cache, change=lambda content: None):
    content = {
        "format": calibration.FORMAT, "machine": calibration.machine(), "made": "2026-01-01 00:00",
        "seconds": json.loads(json.dumps(SHIPPED.seconds)),
    }  # fmt: skip
    change(content)
    cache.mkdir(exist_ok=True)
    calibration.calibration_file().write_text(json.dumps(content))


def test_a_good_file_is_read(cache):
    written(cache)
    assert calibration.current().source == "calibrated 2026-01-01 00:00"
    assert calibration.current() is calibration.current()


def put(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", value=0), "another version of rankconv"),
        (put("machine", "processor", value="PDP-11"), "was measured on .*PDP-11"),
        (put("machine", "numpy", value="1.0"), "was measured on"),
        (put("machine", "native", value="v0"), "was measured on"),
        (put("seconds", value=[]), "is broken"),
        (put("seconds", "fft", value={}), "is broken"),
        (put("seconds", "fft", "d", value=[1e-9]), "fft d make no sense"),
        (put("seconds", "direct", "f", value=[1e-9, -1e-9, 0]), "direct f make no sense"),
        (put("seconds", "direct", "f", value=[float("nan"), 1e-9, 0]), "make no sense"),
        (put("seconds", "direct", "f", value=[0, 0, 0]), "make no sense"),
        (put("seconds", "direct", "f", value=["x", 1, 1]), "is broken"),
    ],
)
def test_a_file_that_is_broken_or_foreign_is_ignored_with_a_warning(cache, change, message):
    written(cache, change)
    with pytest.warns(RuntimeWarning, match=message):
        assert calibration.current() is SHIPPED
    assert calibration.current() is SHIPPED  # said once


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\x00\xff", "[" * 100_000, '{"format": 1}'])
def test_a_file_that_is_no_calibration_is_ignored_with_a_warning(cache, text):
    cache.mkdir()
    calibration.calibration_file().write_bytes(text.encode("latin-1"))
    with pytest.warns(RuntimeWarning, match="Run `rankconv calibrate` or delete the file"):
        assert calibration.current() is SHIPPED


def test_a_folder_in_the_files_place_is_ignored_with_a_warning(cache):
    calibration.calibration_file().mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert calibration.current() is SHIPPED


def test_without_a_home_the_shipped_ones_are_used(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(calibration, "_cache_folder", homeless)
    monkeypatch.setattr(calibration, "_current", None)
    assert calibration.current() is SHIPPED


def test_a_failed_write_leaves_the_old_file(cache, monkeypatch):
    written(cache)
    before = calibration.calibration_file().read_text()

    def fail(self, target):
        raise OSError("no space")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="no space"):
        calibrate()
    assert [file.read_text() for file in cache.iterdir()] == [before]


def test_threads_read_it_once(cache, monkeypatch):
    reads, found = [], []
    load = calibration._load
    monkeypatch.setattr(calibration, "_load", lambda path: reads.append(path) or load(path))
    written(cache)
    threads = [
        threading.Thread(target=lambda: found.append(calibration.current())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_fit_finds_the_constants_despite_disturbed_cells():
    rng = np.random.default_rng(1)
    counts = rng.uniform(1, 1000, (40, 4))
    true = np.array([2e-6, 0, 3e-9, 5e-7])
    seconds = counts @ true
    seconds[::10] *= 3
    found = calibration._fit(counts, seconds)
    np.testing.assert_allclose(counts @ found, counts @ true, rtol=0.02)
    assert min(found) >= 0


def test_least_squares_is_scipys():
    from scipy.optimize import nnls

    rng = np.random.default_rng(2)
    for _ in range(200):
        A, b = rng.standard_normal((12, 6)), rng.standard_normal(12)
        np.testing.assert_allclose(calibration._least_squares(A, b), nnls(A, b)[0], atol=1e-8)


@pytest.mark.parametrize(
    ("platform", "variable", "end"),
    [
        ("linux", "XDG_CACHE_HOME", "rankconv"),
        ("win32", "LOCALAPPDATA", "rankconv/rankconv/Cache"),
    ],
)
def test_the_cache_folder_is_the_users(monkeypatch, tmp_path, platform, variable, end):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert calibration._cache_folder() == tmp_path / end
    monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert (tmp_path / "home") in calibration._cache_folder().parents


def test_the_command_shows_what_it_did(tmp_path):
    small = "import rankconv.calibration as c; c.ROUND_SECONDS, c.ROUNDS = 0.002, 1; "
    code = small + "import sys; sys.argv = ['rankconv', 'calibrate']; from rankconv import cli; "
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + "cli.main()"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "rankconv").iterdir()
    assert f"constants: {file}" in done.stdout
