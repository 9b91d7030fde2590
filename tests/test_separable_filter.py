"""SeparableFilter against scipy.signal in float64, and against correlate2d."""

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from rankconv import SeparableFilter, correlate2d
from rankconv.correlate import ALGORITHMS, takes
from rankconv.geometry import BOUNDARIES, MODES
from rankconv.separable_filter import MOST_SHAPES

sides = st.integers(1, 24)
RESULTS = {"uint8": "float32", "uint16": "float32", "float32": "float32", "float64": "float64",
           "int32": "float64", "complex64": "complex64", "bool": "float32"}  # fmt: skip


def draw_image(rng, shape, dtype):
    if np.dtype(dtype).kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    high = {"bool": 2, "uint8": 256, "uint16": 65536}.get(dtype, 1000)
    values = rng.integers(0, high, shape).astype(dtype)
    return values if values.dtype.kind in "biu" else values / values.dtype.type(7)


def tolerance(image, kernel, dtype):
    ulps = 8 + 4 * sum(kernel.shape)
    return ulps * np.finfo(dtype).eps * np.abs(kernel).sum() * max(np.abs(image).max(), 1)


@settings(max_examples=400)
@given(
    dtype=st.sampled_from(list(RESULTS)), kernel_dtype=st.sampled_from(["float64", "int16"]),
    image_shape=st.tuples(sides, sides), kernel_shape=st.tuples(sides, sides),
    mode=st.sampled_from(MODES), boundary=st.sampled_from(["fill", "wrap", "symm"]),
    lead=st.sampled_from([(), (2,)]), algorithm=st.sampled_from(["auto", *ALGORITHMS]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_it_is_scipys_correlation_in_the_images_precision(
    dtype, kernel_dtype, image_shape, kernel_shape, mode, boundary, lead, algorithm, seed
):
    rng = np.random.default_rng(seed)
    if mode == "valid":
        kernel_shape = tuple(map(min, kernel_shape, image_shape))
    image = draw_image(rng, lead + image_shape, dtype)
    kernel = rng.integers(-50, 50, kernel_shape).astype(kernel_dtype)
    result_dtype = RESULTS[dtype]
    if algorithm != "auto" and not takes(algorithm, np.dtype(result_dtype)):
        algorithm = "auto"
    made = SeparableFilter(kernel, mode=mode, boundary=boundary, algorithm=algorithm)
    wide = np.result_type(result_dtype, float)
    planes = image.reshape(-1, *image_shape).astype(wide)
    expected = np.array(
        [signal.correlate2d(p, kernel.astype(float), mode, boundary) for p in planes]
    )
    out = np.empty((*lead, *expected.shape[1:]), result_dtype)
    first, again = made(image), made(image)
    assert made(image, out=out) is out
    assert first.dtype == result_dtype
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, out)
    atol = tolerance(image, kernel, result_dtype)
    np.testing.assert_allclose(first.reshape(expected.shape), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integer_results_are_rounded_and_saturated(algorithm, dtype):
    rng = np.random.default_rng(0)
    image = draw_image(rng, (40, 50), dtype)
    kernel = rng.uniform(-1, 1, (3, 5))
    kernel += 0.05 - kernel.mean()
    made = SeparableFilter(kernel, mode="same", boundary="symm", dtype=dtype, algorithm=algorithm)
    top = np.iinfo(dtype).max
    exact = signal.correlate2d(image.astype(float), kernel, "same", "symm")
    result = made(image)
    assert result.dtype == dtype
    assert (exact < 0).any()
    assert (exact > top).any()
    error = np.abs(result - exact.clip(0, top))
    assert error.max() <= 0.5 + tolerance(image, kernel, "float32")
    wider = np.empty(image.shape, "int64")
    np.testing.assert_array_equal(made(image, out=wider), result)
    if algorithm != "fft":  # which has no exact halves
        halves = SeparableFilter([[0.5]], dtype=dtype, algorithm=algorithm)
        assert halves(np.array([[0, 1, 2, 3, 4, 5]], dtype)).tolist() == [[0, 0, 1, 2, 2, 2]]


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_factors_as_they_are(algorithm):
    rng = np.random.default_rng(1)
    f, g = rng.standard_normal((2, 5)), rng.standard_normal((2, 4))
    image = rng.standard_normal((30, 20))
    two = SeparableFilter.from_factors(f, g, mode="valid", algorithm=algorithm)
    np.testing.assert_allclose(two.kernel, f.T @ g)
    np.testing.assert_allclose(two(image), signal.correlate2d(image, f.T @ g, "valid"), atol=1e-12)
    assert two.plan((30, 20)).rank == 2
    one = SeparableFilter.from_factors(f[0], g[0], mode="valid", algorithm=algorithm)
    expected = signal.correlate2d(image, np.outer(f[0], g[0]), "valid")
    np.testing.assert_allclose(one(image), expected, atol=1e-12)


def test_complex_factors_are_conjugated_as_the_kernel_is():
    rng = np.random.default_rng(2)
    f, g = (rng.standard_normal((2, n)) + 1j * rng.standard_normal((2, n)) for n in (3, 4))
    image = rng.standard_normal((9, 8))
    expected = signal.correlate2d(image, f.T @ g)
    for made in (SeparableFilter.from_factors(f, g), SeparableFilter(f.T @ g)):
        np.testing.assert_allclose(made(image), expected, atol=1e-12)
        np.testing.assert_allclose(made.kernel, f.T @ g)


def test_dtype_decides_the_precision():
    image, kernel = np.random.default_rng(3).standard_normal((40, 40)), np.ones((7, 7))
    assert SeparableFilter(kernel, dtype="float32")(image).dtype == np.float32
    wide = SeparableFilter(kernel, dtype=float)(image.astype("f4"))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, signal.correlate2d(image.astype("f4"), kernel), atol=1e-12)


def test_rank_and_tol_are_those_of_correlate2d():
    rng = np.random.default_rng(4)
    image, kernel = rng.standard_normal((40, 40)), np.diag([100.0, 10, 1, 0.1])
    for options in ({"rank": 2}, {"tol": 0.05}):
        made = SeparableFilter(kernel, **options)
        assert made.plan(image.shape, float).rank == 2
        assert made.plan(image.shape, float).error > 0
        expected = correlate2d(image, kernel, **options)
        np.testing.assert_allclose(made(image), expected, atol=1e-11)


def test_channels_last():
    rng = np.random.default_rng(5)
    image, kernel = rng.integers(0, 256, (12, 15, 3)).astype("u1"), rng.standard_normal((3, 3))
    expected = np.stack(
        [signal.correlate2d(image[..., c].astype(float), kernel, "same") for c in range(3)], -1
    )
    made = SeparableFilter(kernel, mode="same", axes=(0, 1))
    for result in (made(image), made(image), made(image, out=np.empty(image.shape, "f8"))):
        assert result.flags.c_contiguous
        np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_any_boundary_and_workers_give_the_bits_of_one_thread(boundary):
    image = np.random.default_rng(6).standard_normal((3, 50, 60)).astype("f4")
    kernel = np.random.default_rng(7).standard_normal((5, 4)).astype("f4")
    expected = correlate2d(image, kernel, "same", boundary, 2.5)
    for workers in (1, 3, -1, None):
        made = SeparableFilter(
            kernel, mode="same", boundary=boundary, fillvalue=2.5, workers=workers
        )
        np.testing.assert_array_equal(made(image), expected)


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
def test_any_layout_also_at_the_second_call(change):
    plain = np.random.default_rng(8).standard_normal((40, 30))
    image, kernel = change(plain), np.ones((3, 4))
    expected = signal.correlate2d(np.array(image, float), kernel)
    made = SeparableFilter(kernel)
    for _ in range(2):
        np.testing.assert_allclose(made(image), expected, atol=1e-12)


def test_after_a_plain_image_odd_ones_of_its_shape_are_filtered_as_if_they_were_the_first():
    plain = np.random.default_rng(12).standard_normal((40, 30)).astype("f4")
    kernel = np.outer([1, 2, 1], [1, 0, -1])
    expected = signal.correlate2d(plain.astype(float), kernel)
    made = SeparableFilter(kernel)
    odd = [
        plain.astype(">f4"),
        plain.view(np.recarray),
        plain.astype("f8"),
        np.asfortranarray(plain),
    ]
    for image in odd:
        made(plain)
        np.testing.assert_allclose(made(image), expected, rtol=0, atol=1e-5)
        assert type(made(image)) is np.ndarray
    for dtype in ("f4", "f8", ">f4"):
        made(plain)
        out = np.zeros(expected.shape, dtype)
        assert made(plain, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(made(plain, out=None), made(plain))
    with pytest.raises(ValueError, match="out of shape"):
        made(plain, out=np.zeros((2, 2), "f4"))
    for arguments, names in [((), {}), ((plain, plain), {}), ((plain,), {"to": None}),
                             ((plain,), {"out": None, "to": None})]:  # fmt: skip
        with pytest.raises(TypeError):
            made(*arguments, **names)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_out_may_be_the_image(algorithm):
    image = np.random.default_rng(9).standard_normal((30, 20))
    made = SeparableFilter(np.ones((5, 3)), mode="same", algorithm=algorithm)
    expected = made(image.copy())
    for _ in range(2):
        work = image.copy()
        assert made(work, out=work) is work
        np.testing.assert_array_equal(work, expected)


def test_only_windows_that_see_nan_hold_it():
    image = np.random.default_rng(10).standard_normal((300, 310)).astype("f4")
    image[50, 60] = np.nan
    for k, rank in ((3, 1), (9, 2), (63, 63), (41, 41)):
        kernel = np.random.default_rng(k).standard_normal((k, k))
        result = SeparableFilter(kernel, mode="valid", rank=rank)(image)
        assert np.isnan(result).sum() == min(k, 51) * min(k, 61)


def test_many_shapes_and_threads_at_once():
    kernel = np.random.default_rng(11).standard_normal((3, 3))
    made = SeparableFilter(kernel, mode="valid")
    shapes = [(5 + n, 6) for n in range(MOST_SHAPES + 20)]
    images = [np.random.default_rng(n).standard_normal(shape) for n, shape in enumerate(shapes)]
    expected = [correlate2d(image, kernel, "valid") for image in images]
    wrong = []

    def work():
        for _ in range(3):
            for image, right in zip(images, expected, strict=True):
                if not np.array_equal(made(image), right):
                    wrong.append(image.shape)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(made._ready) <= MOST_SHAPES + 8


def test_the_kernel_is_copied_and_a_filter_travels():
    kernel, image = np.ones((3, 3)), np.ones((6, 6))
    made = SeparableFilter(kernel, mode="valid")
    before = made(image)
    kernel[:] = 5
    np.testing.assert_array_equal(made(image), before)
    made.kernel[:] = 7
    np.testing.assert_array_equal(made(image), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(image), before)
    assert repr(made) == "<SeparableFilter 3x3, mode='valid', boundary='fill'>"


IMAGE = np.ones((6, 7), "f4")
K = np.ones((3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "smae"}, "mode='smae'"),
        ({"boundary": "pad"}, "boundary='pad'"),
        ({"rank": 0}, "rank=0"),
        ({"rank": 1, "tol": 0.1}, "pass one of them"),
        ({"dtype": "int32"}, "dtype='int32' is not one of 'float32'"),
        ({"dtype": "uint8", "fillvalue": 300}, "fillvalue=300 cannot be held by uint8"),
        ({"dtype": "float32", "fillvalue": 1j}, "fillvalue=1j cannot be held by float32"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        SeparableFilter(K, **options)


@pytest.mark.parametrize(
    ("options", "image", "message"),
    [
        ({}, IMAGE[0], r"image of shape \(7,\)"),
        ({}, IMAGE[:0], r"image of shape \(0, 7\)"),
        ({"mode": "valid"}, IMAGE[:2], "does not fit"),
        ({}, np.ma.masked_equal(IMAGE, 1), "masked array"),
        ({}, IMAGE.astype("f2"), "float16 is not supported"),
        ({"dtype": "uint8"}, IMAGE, "dtype float32 cannot be filtered with dtype='uint8'"),
        ({"dtype": "float32"}, IMAGE * 1j, "complex64 cannot be filtered with dtype='float32'"),
        ({"algorithm": "magic"}, IMAGE, "algorithm='magic'"),
        ({"axes": (1, 1)}, IMAGE, r"axes=\(1, 1\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(options, image, message):
    made = SeparableFilter(K, **options)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            made(image)


@pytest.mark.parametrize(
    "out",
    [[1.0], np.ones((6, 7), "f4"), np.ones((8, 9), "f2"), np.ma.ones((8, 9), "f4")],
    ids=["list", "shape", "dtype", "masked"],
)
def test_an_out_that_does_not_fit_is_refused(out):
    made = SeparableFilter(K)
    for _ in range(2):
        with pytest.raises(ValueError, match="out"):
            made(IMAGE, out=out)


def test_factors_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="have 2 and 3 terms"):
        SeparableFilter.from_factors(np.ones((2, 5)), np.ones((3, 5)))
    with pytest.raises(ValueError, match="f of shape"):
        SeparableFilter.from_factors([], [1])
    with pytest.raises(ValueError, match="complex kernel"):
        SeparableFilter.from_factors([1j], [1], dtype="float32")
