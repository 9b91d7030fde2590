"""Dask arrays give what NumPy arrays give, chunk by chunk, on threads, processes and from Zarr."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankconv

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
import rankconv.dask  # noqa: E402 - needs dask

FUNCTIONS = ("correlate2d", "convolve2d")
BOUNDARIES = ("fill", "wrap", "symm", "constant", "nearest", "reflect", "mirror")


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def splits(total: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Ways to cut an axis into chunks."""
    cuts = st.sets(st.integers(1, max(total - 1, 1)), max_size=3)
    return cuts.map(
        lambda at: tuple(np.diff([0, *sorted(c for c in at if c < total), total]).tolist())
    )


@settings(max_examples=100)
@given(data=st.data())
def test_chunks_give_what_the_whole_gives(data: st.DataObject) -> None:
    draw = data.draw
    lead = draw(st.sampled_from([(), (3,), (2, 2)]))
    shape = (*lead, draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    dtype = draw(st.sampled_from(["float64", "float32", "uint8", "int64", "complex128"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    image = rng.integers(0, 255, shape).astype(dtype)
    taps = rng.integers(-3, 4, (draw(st.integers(1, 6)), draw(st.integers(1, 6))))
    kernel = taps.astype(draw(st.sampled_from(["int64", "float32", "complex64"])))
    mode = draw(st.sampled_from(["full", "same", "valid"]))
    if mode == "valid" and (taps.shape[0] > shape[-2] or taps.shape[1] > shape[-1]):
        mode = "same"
    arguments: dict[str, Any] = {"mode": mode, "boundary": draw(st.sampled_from(BOUNDARIES))}
    integers = dtype in ("uint8", "int64") and kernel.dtype == np.int64
    arguments["fillvalue"] = draw(st.sampled_from([0, 7, 7 if integers else 0.5]))
    if draw(st.booleans()):
        arguments |= draw(st.sampled_from([{"rank": 1}, {"tol": 0.5}, {"algorithm": "direct"}]))
    name = draw(st.sampled_from(FUNCTIONS))
    expected = getattr(rankconv, name)(image, kernel, **arguments)
    chunks = tuple(draw(splits(n)) for n in shape)
    found = getattr(rankconv.dask, name)(da.from_array(image, chunks=chunks), kernel, **arguments)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    result = found.compute()
    assert result.shape == found.shape
    assert result.dtype == expected.dtype
    single = expected.dtype in (np.float32, np.complex64)
    if expected.dtype.kind in "fc":
        atol = (1e-5 if single else 1e-13) * 255 * (1 + np.abs(taps).sum())
        np.testing.assert_allclose(result, expected, rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_many_chunks_and_even_kernels(name: str, mode: str, boundary: str) -> None:
    image = np.random.default_rng(3).integers(0, 99, (30, 37))
    for shape in ((2, 4), (6, 1), (3, 5)):
        kernel = np.arange(1, 1 + shape[0] * shape[1]).reshape(shape)
        expected = getattr(rankconv, name)(image, kernel, mode, boundary)
        lazy = da.from_array(image, chunks=(7, 9))
        found = getattr(rankconv.dask, name)(lazy, kernel, mode, boundary)
        np.testing.assert_array_equal(found.compute(), expected)
        parts = dask.compute(*found.to_delayed().ravel())
        told = [(h, w) for h in found.chunks[0] for w in found.chunks[1]]
        assert [part.shape for part in parts] == told


def test_nothing_is_computed_before_the_result() -> None:
    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lazy = da.zeros((64, 64), chunks=16).map_blocks(refuse, dtype=float, meta=np.empty((0, 0)))
    result = rankconv.dask.correlate2d(lazy, np.ones((3, 3)), "same", "wrap", rank=1)
    assert result.shape == (64, 64)
    assert result.numblocks == (4, 4)
    with pytest.raises(AssertionError, match="computed"):
        result.compute()


def test_chunks_smaller_than_the_kernel_are_joined() -> None:
    image = da.ones((40, 7), chunks=((1,) * 40, 1))
    result = rankconv.dask.correlate2d(image, np.ones((4, 9)), "same")
    assert result.chunks == ((4,) * 10, (7,))
    expected = rankconv.correlate2d(np.ones((40, 7)), np.ones((4, 9)), "same")
    np.testing.assert_allclose(result.compute(), expected, rtol=1e-14)


def test_a_nan_stays_within_its_windows() -> None:
    image = np.ones((20, 20))
    image[9, 10] = np.nan  # next to the corner of four chunks
    result = rankconv.dask.correlate2d(da.from_array(image, chunks=10), np.ones((3, 3)), "same")
    assert np.isnan(result.compute()).sum() == 9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((4, 4)), np.ones((2, 2))), TypeError, "image is a ndarray: pass a Dask array"),
        ((da.ones(4), np.ones((2, 2))), ValueError, r"image of shape \(4,\) is not"),
        ((da.ones((4, 4)), np.ones(2)), ValueError, "kernel of shape"),
        ((da.ones((4, 4)), [[np.nan]]), ValueError, "NaN or infinity"),
        ((da.ones((4, 4)), np.ones((2, 2)), "smae"), ValueError, "mode='smae'"),
        ((da.ones((4, 4)), np.ones((2, 2)), "same", "edge"), ValueError, "boundary='edge'"),
        ((da.ones((4, 4)), np.ones((5, 2)), "valid"), ValueError, r"kernel of shape \(5, 2\)"),
        (
            (da.ones((4, 4), dtype=int), np.ones((2, 2), int), "same", "fill", 0.5),
            ValueError,
            "fillvalue=0.5",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_before_computing(arguments, error, message: str) -> None:
    with pytest.raises(error, match=message):
        rankconv.dask.correlate2d(*arguments)


def test_unknown_sizes_are_refused() -> None:
    image = da.ones((4, 4))
    with pytest.raises(ValueError, match="known sizes"):
        rankconv.dask.correlate2d(image[image[:, 0] > 0], np.ones((2, 2)))


def cluster(workers: int, memory: str):
    """Workers in processes of their own, without the dashboard."""
    import distributed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ports and pages that are not used here
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory,
            dashboard_address=None,
            silence_logs=50,
        )


def test_a_cluster_filters_a_zarr_store(tmp_path: Path) -> None:
    import distributed

    rng = np.random.default_rng(1)
    image = rng.integers(0, 60000, (150, 210)).astype(np.uint16)
    da.from_array(image, chunks=(64, 64)).to_zarr(str(tmp_path / "in.zarr"))
    kernel = rng.standard_normal((7, 5)).astype(np.float32)
    with cluster(2, "400MB") as local, distributed.Client(local):
        lazy = da.from_zarr(str(tmp_path / "in.zarr"))
        result = rankconv.dask.convolve2d(lazy, kernel, "same", "wrap", tol=0.2)
        result.to_zarr(str(tmp_path / "out.zarr"))
    written = da.from_zarr(str(tmp_path / "out.zarr")).compute()
    expected = rankconv.convolve2d(image, kernel, "same", "wrap", tol=0.2)
    assert written.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(written, expected, rtol=0, atol=1e-5 * 60000 * 35)


@pytest.mark.long
def test_2_gb_under_500_mb_a_worker(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    import distributed

    rows, columns, chunk = 16384, 32768, 2048  # float32: 2 GiB
    kernel = np.outer(np.hanning(17), np.hanning(17)).astype(np.float32)

    def tile(block_id: tuple[int, int]) -> np.ndarray:
        rng = np.random.default_rng(block_id)
        return rng.integers(0, 256, (chunk, chunk)).astype(np.float32)

    lazy = da.map_blocks(
        tile, chunks=((chunk,) * (rows // chunk), (chunk,) * (columns // chunk)),
        dtype=np.float32, meta=np.empty((0, 0), np.float32),
    )  # fmt: skip
    settings = {"distributed.worker.memory.terminate": 1.0}  # at the limit itself, not before
    with dask.config.set(settings), cluster(2, "500MB") as local, distributed.Client(local) as c:
        lazy.to_zarr(str(tmp_path / "in.zarr"))
        stored = da.from_zarr(str(tmp_path / "in.zarr"))
        assert stored.nbytes == 2 * 2**30
        result = rankconv.dask.correlate2d(stored, kernel, "same", "mirror")
        result.to_zarr(str(tmp_path / "out.zarr"))
        workers = c.scheduler_info()["workers"].values()
        assert len(workers) == 2
        assert all(w["memory_limit"] == 500_000_000 for w in workers)
        peaks = c.run(_peak_bytes)
    assert max(peaks.values()) < 500_000_000, peaks
    request.addfinalizer(lambda: shutil.rmtree(tmp_path))  # pytest would keep the gigabytes
    out = da.from_zarr(str(tmp_path / "out.zarr"))
    assert out.shape == (rows, columns)
    for top, left in ((0, 0), (chunk - 50, 3 * chunk - 60), (rows - 100, columns - 120)):
        part = np.s_[max(top - 8, 0) : top + 108, max(left - 8, 0) : left + 128]
        around = stored[part].compute()
        expected = rankconv.correlate2d(around.astype(np.float64), kernel, "same", "mirror")
        inner = np.s_[top - part[0].start :, left - part[1].start :]
        height, width = min(100, rows - top), min(120, columns - left)
        np.testing.assert_allclose(
            out[top : top + height, left : left + width].compute(),
            expected[inner][:height, :width],
            rtol=1e-5,
        )


def _peak_bytes() -> int:
    """The most memory that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
