"""correlate2d and convolve2d against scipy.signal and scipy.ndimage."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from rankconv import convolve2d, correlate2d, extended_slide, factorize, plan
from rankconv.correlate import ALGORITHMS, takes
from rankconv.geometry import MODES, padding

FLOATS = ["float32", "float64", "complex64", "complex128"]
INTEGERS = ["uint8", "int8", "uint16", "int32", "int64"]
NDIMAGE = ["constant", "nearest", "reflect", "mirror", "wrap"]
OURS = {"correlate2d": correlate2d, "convolve2d": convolve2d}
THEIRS = {"correlate2d": signal.correlate2d, "convolve2d": signal.convolve2d}

sides = st.integers(1, 24)
seeds = st.integers(0, 2**32 - 1)


def draw_array(rng, shape, dtype):
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -1000), min(info.max, 1000) + 1, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def tolerance(image, kernel, dtype, fillvalue=0):
    """What rounding in `dtype` can do: a few ulps of the largest possible sum."""
    largest = max(np.abs(image.astype(complex)).max(), abs(fillvalue))
    ulps = 8 + 4 * sum(kernel.shape)
    return ulps * np.finfo(dtype).eps * np.abs(kernel.astype(complex)).sum() * largest


def wider(array):
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


@pytest.mark.parametrize("function", OURS)
@settings(max_examples=1000)
@given(
    image_dtype=st.sampled_from(FLOATS + INTEGERS), kernel_dtype=st.sampled_from(FLOATS),
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    mode=st.sampled_from(MODES), boundary=st.sampled_from(["fill", "wrap", "symm"]),
    fillvalue=st.sampled_from([0, 1, -2.5]), algorithm=st.sampled_from(["auto", *ALGORITHMS]),
    seed=seeds,
)  # fmt: skip
def test_floats_are_scipys(
    function, image_dtype, kernel_dtype, image_shape, kernel_shape, mode, boundary, fillvalue,
    algorithm, seed,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    image = draw_array(rng, image_shape, image_dtype)
    if mode == "valid":
        kernel_shape = tuple(map(min, kernel_shape, image_shape))
    kernel = draw_array(rng, kernel_shape, kernel_dtype)
    if algorithm != "auto" and not takes(algorithm, np.result_type(image, kernel)):
        algorithm = "auto"
    args = mode, boundary, fillvalue
    result = OURS[function](image, kernel, *args, algorithm=algorithm)
    expected = THEIRS[function](wider(image), wider(kernel), *args)
    assert result.dtype == THEIRS[function](image[:1, :1], kernel[:1, :1]).dtype
    assert result.flags.c_contiguous
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=tolerance(image, kernel, result.dtype, fillvalue)
    )


@pytest.mark.parametrize("function", OURS)
@settings(max_examples=500)
@given(
    dtypes=st.tuples(st.sampled_from(INTEGERS), st.sampled_from([*INTEGERS, "bool"])),
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    mode=st.sampled_from(MODES), boundary=st.sampled_from(["fill", "wrap", "symm"]),
    fillvalue=st.sampled_from([0, 3]),
    algorithm=st.sampled_from(["auto", "loop", "direct", "toeplitz"]), seed=seeds,
)  # fmt: skip
def test_integers_are_scipys_bit_for_bit(
    function, dtypes, image_shape, kernel_shape, mode, boundary, fillvalue, algorithm, seed
):
    rng = np.random.default_rng(seed)
    image = draw_array(rng, image_shape, dtypes[0])
    if mode == "valid":
        kernel_shape = tuple(map(min, kernel_shape, image_shape))
    kernel = draw_array(rng, kernel_shape, "int16").astype(dtypes[1])
    args = mode, boundary, fillvalue
    result = OURS[function](image, kernel, *args, algorithm=algorithm)
    expected = THEIRS[function](image, kernel, *args)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("image_dtype", ["bool", "uint8", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("kernel_dtype", ["int8", "int64", "uint8", "uint16"])
@pytest.mark.parametrize("rank", ["one", "full"])
def test_integers_at_their_limits_are_scipys_bit_for_bit(image_dtype, kernel_dtype, rank):
    rng = np.random.default_rng(14)
    image = rng.integers(0, 2, (60, 70)).astype(image_dtype)
    if image_dtype != "bool":
        info = np.iinfo(image_dtype)
        image = np.where(image, info.min, info.max).astype(image_dtype)
    low, high = np.iinfo(kernel_dtype).min, np.iinfo(kernel_dtype).max
    for most in (100, 2**20, 2**40):
        edge = rng.integers(max(low, -most), min(high, most), 7, endpoint=True)
        other = np.ones(5, int) if rank == "one" else rng.integers(0, 2, 5)
        kernel = np.outer(edge, other).astype(kernel_dtype)
        if rank == "full":
            kernel[0, 0] = high
        if np.result_type(image, kernel).kind == "f":
            continue
        result = correlate2d(image, kernel, "same", "symm")
        expected = signal.correlate2d(image, kernel, "same", "symm")
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@settings(max_examples=500)
@given(
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    boundary=st.sampled_from(NDIMAGE), fillvalue=st.sampled_from([0, 1.5]), seed=seeds,
)  # fmt: skip
def test_boundaries_are_ndimages(image_shape, kernel_shape, boundary, fillvalue, seed):
    rng = np.random.default_rng(seed)
    # scipy.ndimage 1.17 leaves the image with 'reflect' where half a filter spans it four times.
    kernel_shape = [min(k, 4 * n) for k, n in zip(kernel_shape, image_shape, strict=True)]
    image, kernel = rng.standard_normal(image_shape), rng.standard_normal(kernel_shape)
    # ndimage centres an even filter one tap further; origin takes that back.
    origin = [-1 if k % 2 == 0 else 0 for k in kernel_shape]
    args = {"mode": boundary, "cval": fillvalue}
    atol = tolerance(image, kernel, float, fillvalue)
    np.testing.assert_allclose(
        correlate2d(image, kernel, "same", boundary, fillvalue),
        ndimage.correlate(image, kernel, origin=origin, **args),
        rtol=0, atol=atol,
    )  # fmt: skip
    np.testing.assert_allclose(
        convolve2d(image, kernel, "same", boundary, fillvalue),
        ndimage.convolve(image, kernel, origin=origin, **args),
        rtol=0, atol=atol,
    )  # fmt: skip


@settings(max_examples=400)
@given(
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    m=st.integers(1, 24), mode=st.sampled_from(MODES),
    boundary=st.sampled_from(["fill", "wrap", "symm", "mirror", "nearest"]),
    dtype=st.sampled_from(["float64", "float32", "complex128"]),
    algorithm=st.sampled_from(["auto", *ALGORITHMS]), seed=seeds,
)  # fmt: skip
def test_rank_filters_with_the_nearest_kernel_within_the_bound(
    image_shape, kernel_shape, m, mode, boundary, dtype, algorithm, seed
):
    rng = np.random.default_rng(seed)
    image = draw_array(rng, image_shape, dtype)
    if mode == "valid":
        kernel_shape = tuple(map(min, kernel_shape, image_shape))
    kernel = draw_array(rng, kernel_shape, dtype)
    m = min(m, *kernel_shape)
    if algorithm != "auto" and not takes(algorithm, np.dtype(dtype)):
        algorithm = "auto"
    cut = correlate2d(image, kernel, mode, boundary, rank=m, algorithm=algorithm)
    u, s, vt = np.linalg.svd(wider(kernel))
    nearest = (u[:, :m] * s[:m]) @ vt[:m]
    atol = tolerance(image, kernel, dtype)
    expected = correlate2d(wider(image), nearest, mode, boundary, algorithm="direct")
    if m == s.size or s[m - 1] - s[m] > 1e-2 * s[0]:  # else the nearest kernel is ill-conditioned
        np.testing.assert_allclose(cut, expected, rtol=0, atol=100 * atol)
    exact = correlate2d(wider(image), wider(kernel), mode, boundary, algorithm="direct")
    chosen = plan(image_shape, kernel, mode=mode, boundary=boundary, dtype=dtype, rank=m)
    pads = padding(kernel_shape, mode)
    numpys = {"fill": "constant", "symm": "symmetric", "mirror": "reflect", "nearest": "edge"}
    padded = np.linalg.norm(np.pad(image, pads, mode=numpys.get(boundary, boundary)))
    allowed = chosen.output_gain * padded + atol * np.sqrt(cut.size)
    assert np.linalg.norm(exact - cut) <= allowed


def test_the_bound_is_nearly_reached():
    # Second singular vectors constant, image constant: nothing is lost in the proof.
    k = 4
    sign = np.array([1, -1, 1, -1])
    kernel = 10 * np.outer(sign, sign) / k + np.ones((k, k)) / k
    image = np.ones((200, 200))
    lost = correlate2d(image, kernel, "valid") - correlate2d(image, kernel, "valid", rank=1)
    gain = plan(image.shape, kernel, mode="valid", rank=1).output_gain
    bound = gain * np.linalg.norm(image)
    assert 0.97 * bound < np.linalg.norm(lost) <= bound


def test_tol_uses_the_smallest_rank_within_it():
    kernel = np.diag([100.0, 10, 1, 0.1])
    image = np.random.default_rng(0).standard_normal((20, 20))
    for tol, rank in ((0.5, 1), (0.05, 2), (0.005, 3), (0, 4)):
        assert plan(image.shape, kernel, tol=tol).rank == rank
        np.testing.assert_array_equal(
            correlate2d(image, kernel, tol=tol), correlate2d(image, kernel, rank=rank)
        )


def test_integer_kernel_at_a_lower_rank_is_float64():
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    result = correlate2d(image, kernel, "same", rank=2)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, signal.correlate2d(image, kernel, "same"), atol=1e-12)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("boundary", ["fill", "symm", "wrap"])
def test_leading_axes_are_images(algorithm, boundary):
    rng = np.random.default_rng(1)
    images, kernel = rng.standard_normal((2, 3, 12, 10)), rng.standard_normal((4, 3))
    result = convolve2d(images, kernel, "same", boundary, algorithm=algorithm)
    for i in np.ndindex(2, 3):
        expected = signal.convolve2d(images[i], kernel, "same", boundary)
        np.testing.assert_allclose(result[i], expected, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(300, 310), (12, 12)])
def test_auto_keeps_non_finite_pixels_in_their_windows(bad, shape):
    image = np.random.default_rng(2).standard_normal(shape)
    image[5, 6] = bad
    kernel = np.ones((3, 5))
    with np.errstate(invalid="ignore"):
        result = correlate2d(image, kernel, "same")
        expected = signal.correlate2d(image, kernel, "same")
    assert np.isfinite(result).sum() == image.size - kernel.size
    np.testing.assert_allclose(result, expected, atol=1e-12)
    filled = correlate2d(np.ones(shape), kernel, "same", fillvalue=np.nan)
    np.testing.assert_array_equal(np.isnan(filled[1:-1, 2:-2]), False)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(">f8"),
        np.asfortranarray,
        lambda a: a[::-1, ::2],
        lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view("f8").reshape(a.shape),
        lambda a: a.tolist(),
    ],
    ids=["big-endian", "fortran", "strided", "unaligned", "list"],
)
def test_any_layout_of_image_and_kernel(change):
    rng = np.random.default_rng(3)
    image, kernel = change(rng.standard_normal((40, 30))), change(rng.standard_normal((5, 4)))
    before = np.array(image, copy=True), np.array(kernel, copy=True)
    result = correlate2d(image, kernel)
    np.testing.assert_allclose(result, signal.correlate2d(*before), atol=1e-12)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(kernel, before[1])


def test_the_result_is_never_the_input_or_a_cache():
    image, kernel = np.ones((4, 4)), np.ones((1, 1))
    for algorithm in ("auto", *ALGORITHMS):
        first = correlate2d(image, kernel, "valid", algorithm=algorithm)
        first[:] = 7
        assert (image == 1).all()
        assert (correlate2d(image, kernel, "valid", algorithm=algorithm) == 1).all()


def test_changing_a_kernel_in_place_is_seen():
    image, kernel = np.ones((3, 3)), np.ones((2, 2))
    assert correlate2d(image, kernel, "valid")[0, 0] == pytest.approx(4)
    kernel *= 2
    assert correlate2d(image, kernel, "valid")[0, 0] == pytest.approx(8)


def test_many_threads_give_the_same_bits():
    rng = np.random.default_rng(4)
    image, kernels = rng.standard_normal((60, 60)), rng.standard_normal((8, 5, 5))
    expected = [correlate2d(image, k) for k in kernels]
    wrong = []

    def work():
        for _ in range(10):
            for k, e in zip(kernels, expected, strict=True):
                if not np.array_equal(correlate2d(image, k), e):
                    wrong.append(k)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@settings(max_examples=300)
@given(
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    mode=st.sampled_from(MODES), dtype=st.sampled_from(["float32", "float64", "uint8"]),
    out_dtype=st.sampled_from(["float32", "float64", "complex128"]),
    layout=st.sampled_from(["plain", "fortran", "reversed", "wide"]),
    algorithm=st.sampled_from(["auto", *ALGORITHMS]), seed=seeds,
)  # fmt: skip
def test_out_takes_the_result_and_nothing_else_is_written(
    image_shape, kernel_shape, mode, dtype, out_dtype, layout, algorithm, seed
):
    rng = np.random.default_rng(seed)
    if mode == "valid":
        kernel_shape = tuple(map(min, kernel_shape, image_shape))
    image = draw_array(rng, image_shape, dtype)
    kernel = draw_array(rng, kernel_shape, "float32" if dtype != "float64" else dtype)
    expected = correlate2d(image, kernel, mode, algorithm=algorithm)
    if not np.can_cast(expected.dtype, out_dtype):
        out_dtype = "float64"
    H, W = expected.shape
    whole = np.full((H + 2, 2 * W + 2), 7, out_dtype, order="F" if layout == "fortran" else "C")
    view = {"reversed": whole[-2:0:-1, W:0:-1], "wide": whole[1:-1, 1:-1:2]}
    out = view.get(layout, whole[1:-1, 1 : W + 1])
    assert correlate2d(image, kernel, mode, algorithm=algorithm, out=out) is out
    np.testing.assert_array_equal(out, expected)
    out[:] = 7
    assert (whole == 7).all()


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_out_may_overlap_the_image(algorithm, shift):
    memory = np.random.default_rng(9).standard_normal((40, 20))
    image, kernel = memory[2:32], np.random.default_rng(10).standard_normal((5, 3))
    expected = correlate2d(image.copy(), kernel, "same", "nearest", algorithm=algorithm)
    out = memory[2 + shift : 32 + shift]
    correlate2d(image, kernel, "same", "nearest", algorithm=algorithm, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("axes", [(0, 1), (-3, -2), (1, 0), (0, 2), (2, 0), (-1, -2), (1, 2)])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "fft"])
def test_axes_name_rows_and_columns(axes, algorithm):
    rng = np.random.default_rng(11)
    image, kernel = rng.standard_normal((13, 11, 9)), rng.standard_normal((4, 3))
    moved = np.moveaxis(image, axes, (-2, -1))
    expected = np.moveaxis(correlate2d(moved, kernel, "full", "wrap"), (-2, -1), axes)
    result = correlate2d(image, kernel, "full", "wrap", axes=axes, algorithm=algorithm)
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected, atol=1e-12)
    out = np.zeros(expected.shape, complex)
    assert correlate2d(image, kernel, "full", "wrap", axes=axes, out=out) is out
    np.testing.assert_allclose(out, expected, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("shape", [(3, 40, 50), (1300, 1250)])
def test_results_do_not_depend_on_workers(algorithm, shape):
    if algorithm in ("loop", "toeplitz", "toeplitz_terms"):
        shape = (*shape[:-2], 40, 50)  # their cost grows faster than the image
    rng = np.random.default_rng(12)
    image, kernel = rng.standard_normal(shape).astype("f4"), rng.standard_normal((5, 4))
    kernel = kernel.astype("f4")
    expected = correlate2d(image, kernel, "same", "mirror", algorithm=algorithm, workers=1)
    for workers in (None, 2, 3, -1):
        result = correlate2d(image, kernel, "same", "mirror", algorithm=algorithm, workers=workers)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinities_are_those_of_a_direct_sum_at_any_rank(bad):
    rng = np.random.default_rng(13)
    image = rng.standard_normal((300, 310)).astype("f4")
    image[20, 30], image[20, 33] = bad, np.nan
    kernel = (rng.standard_normal((9, 3)) @ rng.standard_normal((3, 9))).astype("f4")
    with np.errstate(invalid="ignore"):
        result, expected = correlate2d(image, kernel, "same"), signal.correlate2d(image, kernel)
    np.testing.assert_allclose(result, expected[4:-4, 4:-4], rtol=0, atol=1e-4)
    assert np.isinf(result).sum() == 27  # one infinity's windows but those that see the NaN


A, K = np.ones((4, 5)), np.ones((3, 3))
READ_ONLY = np.ones((6, 7))
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize("function", OURS.values(), ids=OURS)
@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((A, np.ones((5, 3)), "valid"), {}, r"kernel of shape \(5, 3\) does not fit"),
        ((A, K, "smae"), {}, "mode='smae' is not one of 'full', 'same', 'valid'"),
        ((A, K, "full", "pad"), {}, "boundary='pad' is not one of 'fill'"),
        ((A, K, "full", "fill", "0"), {}, "fillvalue='0' is not a number"),
        ((A, K, "full", "fill", [0]), {}, "is not a number"),
        ((A, K, "full", "fill", 1j), {}, "fillvalue=1j cannot be held by float64"),
        ((A.astype(int), K.astype(int), "full", "fill", 0.5), {}, "cannot be held by int64"),
        ((A.astype("u1"), K.astype("u1"), "full", "fill", -1), {}, "cannot be held by uint8"),
        ((A.astype("u1"), K.astype("u1"), "full", "fill", np.nan), {}, "cannot be held by uint8"),
        ((A[0], K), {}, r"image of shape \(5,\) is not"),
        ((A[:0], K), {}, r"image of shape \(0, 5\)"),
        ((A.astype(object), K), {}, "image of dtype object does not hold numbers"),
        ((A.astype("f2"), K), {}, "image of dtype float16 is not supported: use float32"),
        ((A.astype("g"), K), {}, "is not supported"),
        ((np.ma.masked_equal(A, 1), K), {}, "image.filled"),
        ((A, K[None]), {}, "kernel of shape .* has 3 dimensions: pass 2-D"),
        ((A, K[:0]), {}, "kernel of shape .* is empty"),
        ((A, K * np.nan), {}, "kernel holds NaN or infinity"),
        ((A, K.astype(object)), {}, "kernel of dtype object"),
        ((A, K), {"rank": 0}, "rank=0 is not an integer from 1 to 3"),
        ((A, K), {"rank": 4}, "rank=4 is not an integer from 1 to 3"),
        ((A, K), {"rank": 1.5}, "for an accuracy instead of a rank pass tol="),
        ((A, K), {"tol": -1}, "tol=-1"),
        ((A, K), {"rank": 1, "tol": 0.1}, "pass one of them"),
        ((A, K), {"algorithm": "magic"}, "algorithm='magic' is not one of 'auto', 'loop'"),
        ((A.astype(int), K.astype(int)), {"algorithm": "fft"}, "'fft' does not work in int64"),
        ((A, K), {"out": [1]}, "out is list, and must be a plain numpy.ndarray"),
        ((A, K), {"out": np.ma.ones((6, 7))}, "out is MaskedArray"),
        ((A, K), {"out": np.ones((4, 5))}, r"out of shape \(4, 5\) .* pass shape \(6, 7\)"),
        ((A, K), {"out": np.ones((6, 7), "f4")}, "out of dtype float32 cannot hold the float64"),
        ((A, K), {"out": np.ones((6, 7), int)}, "out of dtype int64 cannot hold the float64"),
        ((A, K), {"out": READ_ONLY}, "out is read-only"),
        ((A, K), {"axes": (0, 2)}, r"axes=\(0, 2\) are not two different axes of .* 2 dim"),
        ((A, K), {"axes": (0, -2)}, "are not two different axes"),
        ((A, K), {"axes": (0,)}, r"axes=\(0,\) is not a pair of integers"),
        ((A, K), {"axes": 1}, "axes=1 is not a pair of integers"),
        ((A, K), {"axes": (0.0, 1)}, "is not a pair of integers"),
        ((A, K), {"workers": 0}, "workers=0 is not a number of threads"),
        ((A, K), {"workers": -1000}, "workers=-1000 is not a number of threads"),
        ((A, K), {"workers": 1.5}, "workers=1.5 is not an integer"),
        ((A, K), {"workers": True}, "workers=True is not an integer"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_way_out(function, args, options, message):
    with pytest.raises(ValueError, match=message):
        function(*args, **options)


def test_the_four_public_ways_to_a_result_agree():
    rng = np.random.default_rng(5)
    image, kernel = rng.standard_normal((9, 8)), rng.standard_normal((3, 4))
    first, second = factorize(kernel).stages
    f, g = first.weight[:, 0, :, 0], second.weight[0, :, 0]
    by_hand = sum(
        extended_slide(f_i, 9) @ image @ extended_slide(g_i, 8).T
        for f_i, g_i in zip(f, g, strict=True)
    )
    np.testing.assert_allclose(by_hand, correlate2d(image, kernel, "valid"), atol=1e-13)
