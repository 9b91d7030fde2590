"""Plans: complete, readable, consistent with what runs. No timing decides anything here."""

import dataclasses

import numpy as np
import pytest

from rankconv import Plan, correlate2d, filtering, plan, splitting
from rankconv.calibration import current
from rankconv.correlate import ALGORITHMS, NATIVE, takes
from rankconv.planning import candidates, choose, exact_floats
from rankconv.prepared import apply

BOX = np.ones((7, 7))
RANDOM = np.random.default_rng(0).standard_normal((7, 7))


def test_plan_lists_every_algorithm_and_takes_the_cheapest():
    p = plan((100, 120), RANDOM, mode="same")
    assert [c.algorithm for c in p.candidates] == list(ALGORITHMS)
    assert p.algorithm == min(p.candidates, key=lambda c: c.estimated_seconds).algorithm
    assert all(c.measured_seconds is None and c.multiply_adds > 0 for c in p.candidates)
    assert (p.image_shape, p.kernel_shape, p.output_shape) == ((100, 120), (7, 7), (100, 120))
    assert (p.rank, p.full_rank, p.dtype) == (7, 7, "float64")


def test_plan_is_what_correlate2d_runs(monkeypatch):
    ran = []

    def spy(prepared, image, out=None):
        ran.append((prepared.algorithm, image.shape, prepared.kernel.rank))
        return apply(prepared, image, out)

    monkeypatch.setattr(filtering, "apply", spy)
    for shape, dtype in (((20, 30), "float32"), ((300, 200), "float64"), ((2, 64, 64), "uint8")):
        for kernel in (BOX, RANDOM, BOX.astype(int)):
            ran.clear()
            correlate2d(np.ones(shape, dtype), kernel, "full")
            p = plan(shape, kernel, mode="full", dtype=dtype)
            assert ran == [(p.algorithm, shape, p.rank)]


def test_rank_and_error_of_the_plan():
    exact, cut = plan((50, 50), RANDOM), plan((50, 50), RANDOM, rank=2)
    sigma = np.linalg.svd(RANDOM, compute_uv=False)
    error = np.linalg.norm(sigma[2:]) / np.linalg.norm(sigma)
    assert exact.error < 1e-14
    assert exact.output_gain == 0
    assert cut.rank == 2
    assert cut.error == pytest.approx(error)
    assert cut.error <= cut.bound == pytest.approx(error)
    assert cut.output_gain == pytest.approx(sigma[2] * 7)
    assert plan((50, 50), BOX, rank=5).rank == 1  # a box has no more than one


def test_rank_is_judged_in_the_dtype_of_the_result():
    kernel = np.outer(np.hanning(9), np.hanning(9)).astype(np.float32)
    kernel[0, 0] += 1e-9
    assert plan((50, 50), kernel, dtype=np.float32).rank == 1
    assert plan((50, 50), kernel.astype(float), dtype=np.float64).rank > 1


def test_integers_are_planned_exactly():
    p = plan((50, 50), BOX.astype(int), dtype=np.uint8)
    assert p.dtype == "int64"
    assert p.error == p.bound == p.output_gain == 0
    names = [name for name in ALGORITHMS if name in NATIVE or takes(name, np.dtype("int64"))]
    assert [c.algorithm for c in p.candidates] == names
    assert "fft" not in names


@pytest.mark.parametrize(
    ("taps", "rank"),
    [
        (np.outer([1, 2, 1], [-1, 0, 1]), 1),
        (np.outer([0, 6, -9], [4, 0, -6, 2]), 1),
        (np.ones((9, 9), int), 1),
        (np.zeros((3, 3), int), 3),
        (np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), 3),
        (np.array([[-128, 127]], "int8"), 1),
        (np.array([[-128]], "int8"), 1),
        (np.array([[2**63, 1]], "uint64"), 1),
        (np.array([[-(2**63), 1], [0, 1]]), 2),
    ],
)
def test_integer_factors_are_exact_and_of_rank_1_where_possible(taps, rank):
    split = splitting.split_kernel(taps, None, None).kernel
    assert split.rank == rank
    assert split.f.dtype == split.g.dtype == taps.dtype
    total = sum(np.outer(f.astype(object), g) for f, g in zip(split.f, split.g, strict=True))
    assert (total == taps).all()


@pytest.mark.parametrize(
    ("image", "tap", "expected"),
    [
        ("uint8", 2**16, "float32"),
        ("uint8", 2**17, "float64"),
        ("bool", -(2**23), "float32"),
        ("int8", 2**17, "float64"),
        ("uint16", 2**38, None),
        ("int32", 2**21, "float64"),
        ("int32", 2**22, None),
        ("int64", 1, None),
    ],
)
def test_floats_stand_for_integers_only_where_they_hold_every_sum(image, tap, expected):
    kernel = splitting.split_kernel(np.array([[tap]]), None, None).kernel
    found = exact_floats(np.dtype(image), np.dtype("int64"), kernel)
    assert found == (None if expected is None else np.dtype(expected))


def test_print_is_a_table():
    p = plan((1080, 1920), BOX, mode="same", dtype="float32", rank=1)
    text = str(p)
    assert "rank 1 of 7" in text
    assert "mode='same'" in text
    rows = text.splitlines()[3:-1]
    assert f"estimates use the {p.constants} constants" in text
    assert len(rows) == len(ALGORITHMS)
    assert rows[0].startswith(f"> {p.algorithm} ")
    assert all(row.count("estimated") == 1 for row in rows)
    assert sum(row.startswith(">") for row in rows) == 1


def test_measure_runs_the_near_candidates_and_says_so():
    p = plan((40, 40), BOX, measure=True)
    measured = {c.algorithm: c.measured_seconds for c in p.candidates if c.measured_seconds}
    assert len(measured) > 1
    assert "loop" not in measured
    assert p.algorithm == min(measured, key=measured.__getitem__)
    assert str(p).count("measured") == len(measured) + 1  # and the error in the heading
    assert str(p).count(" estimated") == len(p.candidates) - len(measured)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex128"])
def test_measure_takes_any_dtype_and_leading_axes(dtype):
    p = plan((2, 20, 20), BOX.astype(dtype), dtype=dtype, mode="valid", measure=True)
    assert p.output_shape == (2, 14, 14)


def test_plan_is_frozen_and_compares_by_value():
    assert plan((30, 30), BOX) == plan((30, 30), BOX)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan((30, 30), BOX).rank = 3
    assert isinstance(plan((30, 30), BOX), Plan)


def test_splits_and_plans_are_computed_once():
    kernel = np.random.default_rng(1).standard_normal((6, 5))
    image = np.ones((33, 34))
    correlate2d(image, kernel)
    caches = (filtering._prepared, splitting._split_cached, candidates)
    before = [cache.cache_info() for cache in caches]
    correlate2d(image, kernel.copy())
    after = [cache.cache_info() for cache in caches]
    assert after[0].hits == before[0].hits + 1
    assert [info.misses for info in after] == [info.misses for info in before]
    correlate2d(image[1:], kernel)  # another shape: planned anew, split once
    assert splitting._split_cached.cache_info().hits == before[1].hits + 1
    assert all(info.maxsize for info in before)


def test_a_large_kernel_is_not_kept():
    kernel = np.ones((100, 100))
    caches = (filtering._prepared, splitting._split_cached)
    before = [cache.cache_info() for cache in caches]
    correlate2d(np.ones((100, 100)), kernel, "valid")
    assert [cache.cache_info() for cache in caches] == before


def test_more_pixels_never_make_the_choice_dearer_than_the_plain_ways():
    for n in (8, 64, 512, 4096):
        options = candidates((n, n), (5, 5), 1, np.dtype("float32"), current())
        chosen = choose((n, n), (5, 5), 1, np.dtype("float32"))
        seconds = {c.algorithm: c.seconds for c in options}
        assert all(seconds[chosen] <= s for s in seconds.values())


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (((4,), BOX), {}, r"image_shape=\(4,\) is not \(..., H, W\)"),
        (((0, 4), BOX), {}, "all sizes above 0"),
        (((4, 4), BOX), {"mode": "valid"}, "does not fit"),
        (((9, 9), BOX), {"mode": "half"}, "mode='half'"),
        (((9, 9), BOX), {"boundary": "half"}, "boundary='half'"),
        (((9, 9), BOX), {"rank": 8}, "rank=8"),
        (((9, 9), BOX[0]), {}, "pass 2-D"),
        (((9, 9), BOX), {"dtype": "float16"}, "float16 is not supported"),
        (((9, 9), BOX), {"dtype": object}, "does not hold numbers"),
    ],
)
def test_bad_input_is_refused(args, options, message):
    with pytest.raises(ValueError, match=message):
        plan(*args, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kernel",
    [[[1, 1]], [[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.full((3, 5), 1 / 15), [[0, 0], [0.1, 0]]],
)
def test_simple_kernels_of_rank_1_are_split_to_the_bit(kernel, dtype):
    taps = np.asarray(kernel, dtype)
    split = splitting.split_kernel(taps, None, None)
    assert np.array_equal(split.kernel.f[0][:, None] * split.kernel.g[0], taps)
    assert split.error == 0
    image = np.random.default_rng(0).integers(0, 256, (9, 12)).astype(dtype)
    if (taps == np.round(taps)).all():  # whole numbers stay whole
        expected = correlate2d(image.astype(np.int64), taps.astype(np.int64), mode="valid")
        assert np.array_equal(correlate2d(image, taps, mode="valid"), expected)
