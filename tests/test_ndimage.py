"""`rankconv.ndimage` against `scipy.ndimage`, argument by argument."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as scipy_ndimage

from rankconv import ndimage
from rankconv.ndimage import exact, integers
from rankconv.ndimage.arguments import MODES

FLOATS = ["float64", "float32"]
INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
COMPLEX = ["complex64", "complex128"]

modes = st.sampled_from(sorted(MODES))
orders = st.integers(0, 3)
numbers = st.floats(-3, 3).map(lambda v: round(v, 3))


@st.composite
def images(
    draw, dtypes=(*FLOATS, *INTEGERS, *COMPLEX), least: int = 1, most: int = 3
) -> np.ndarray:
    shape = draw(st.lists(st.integers(1, 9), min_size=least, max_size=most))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = rng.integers(0, 200, shape) - (100 if dtype.kind in "ifc" else 0)
    if dtype.kind == "i" and dtype.itemsize == 1:
        image //= 2
    if dtype.kind in "fc":
        image = image + np.where(rng.random(shape) < 0.5, rng.random(shape), 0)
    if dtype.kind == "c":
        image = image + 1j * rng.integers(-50, 50, shape)
    image = (image % 2 if dtype.kind == "b" else image).astype(dtype)
    return image.T if draw(st.booleans()) else image


@st.composite
def chosen_axes(draw, ndim: int) -> Any:
    axes = draw(st.none() | st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim))
    if axes is None:
        return None, ndim
    signs = draw(st.lists(st.booleans(), min_size=len(axes), max_size=len(axes)))
    signed = tuple(a - ndim if s else a for a, s in zip(axes, signs, strict=True))
    if len(axes) == 1 and draw(st.booleans()):  # a single negative one SciPy takes not everywhere
        return axes[0], 1
    return signed, len(axes)


def one_or_each(values, n: int):
    return values | st.lists(values, min_size=n, max_size=n)


@st.composite
def weights_and_origin(draw, n: int, kinds: str = "fic"):
    shape = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(kinds))
    weights = rng.integers(-3, 4, shape)
    if kind != "i":
        weights = weights + rng.standard_normal(shape) * draw(st.sampled_from([0, 1]))
    if kind == "c":
        weights = weights + 1j * rng.standard_normal(shape)
    if draw(st.booleans()):
        weights = weights + weights[tuple([slice(None, None, -1)] * n)]  # symmetric
    origins = [draw(st.integers(-(k // 2), (k - 1) // 2)) for k in shape]
    return weights, origins


@st.composite
def cvals(draw, image: np.ndarray):
    if image.dtype.kind == "c" and draw(st.booleans()):
        return complex(draw(numbers), draw(numbers))
    return draw(st.just(0.0) | numbers)


@st.composite
def calls(draw, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """An image and the other arguments of a call of `name`."""
    image = draw(images())
    kwargs: dict[str, Any] = {"cval": draw(cvals(image))}
    if name in ("correlate", "convolve"):
        kwargs["axes"], n = draw(chosen_axes(image.ndim))
        kwargs["weights"], origins = draw(weights_and_origin(n))
        permuted = kwargs["axes"] is not None and n > 1
        kwargs["origin"] = 0 if permuted else draw(st.sampled_from([0, origins]))
        kwargs["mode"] = draw(modes)
    elif name in ("correlate1d", "convolve1d"):
        weights, (origin,) = draw(weights_and_origin(1))
        kwargs |= {"weights": weights, "origin": origin, "mode": draw(modes)}
        kwargs["axis"] = draw(st.integers(-image.ndim, image.ndim - 1))
    elif name == "gaussian_filter1d":
        kwargs |= {"sigma": draw(st.floats(0.3, 3)), "order": draw(orders), "mode": draw(modes)}
        kwargs["axis"] = draw(st.integers(-image.ndim, image.ndim - 1))
        kwargs |= draw(widths(1))
    elif name == "gaussian_filter":
        kwargs["axes"], n = draw(chosen_axes(image.ndim))
        kwargs["sigma"] = draw(one_or_each(st.just(0) | st.floats(0.3, 3), n))
        kwargs["order"] = draw(one_or_each(orders, n))
        kwargs["mode"] = draw(one_or_each(modes, n))
        kwargs |= draw(widths(n))
    elif name == "uniform_filter1d":
        size = draw(st.integers(1, 6))
        kwargs |= {"size": size, "origin": draw(st.integers(-(size // 2), (size - 1) // 2))}
        kwargs |= {"mode": draw(modes), "axis": draw(st.integers(-image.ndim, image.ndim - 1))}
    elif name == "uniform_filter":
        kwargs["axes"], n = draw(chosen_axes(image.ndim))
        sizes = draw(st.lists(st.integers(1, 6), min_size=n, max_size=n))
        kwargs["origin"] = [draw(st.integers(-(k // 2), (k - 1) // 2)) for k in sizes]
        kwargs |= {"size": sizes, "mode": draw(one_or_each(modes, n))}
        if draw(st.booleans()):
            kwargs |= {"size": draw(st.integers(1, 6)), "origin": 0}
    elif name in ("sobel", "prewitt"):
        kwargs["axis"] = draw(st.integers(-image.ndim, image.ndim - 1))
        kwargs["mode"] = draw(one_or_each(modes, image.ndim))
    else:
        kwargs["axes"], n = draw(chosen_axes(image.ndim))
        kwargs["mode"] = draw(one_or_each(modes, n))
        if name != "laplace":
            m = image.ndim if name == "gaussian_gradient_magnitude" else n
            kwargs["sigma"] = draw(one_or_each(st.just(0) | st.floats(0.4, 2), m))
            kwargs |= draw(widths(image.ndim))
    if draw(st.booleans()):
        kwargs["output"] = draw(outputs(image, kwargs))
    return image, kwargs


@st.composite
def widths(draw, n: int) -> dict[str, Any]:
    which = draw(st.sampled_from(["", "truncate", "radius"]))
    if which == "truncate":
        return {"truncate": draw(st.floats(0, 4))}
    if which == "radius":
        radii = st.integers(0, 5)
        return {"radius": draw(radii if n == 1 else one_or_each(radii, n))}
    return {}


@st.composite
def outputs(draw, image: np.ndarray, kwargs: dict[str, Any]):
    # Not uint64: SciPy leaves its negative values and those above 2**63 to the C compiler.
    complex_result = image.dtype.kind == "c" or np.iscomplexobj(kwargs.get("weights"))
    dtype = np.dtype(draw(st.sampled_from(COMPLEX if complex_result else FLOATS + INTEGERS[1:-1])))
    form = draw(st.sampled_from(["dtype", "name", "type", "array", "strided"]))
    if form == "name":
        return dtype.name
    if form == "type":
        return dtype.type
    if form == "array":
        return np.full(image.shape, 7, dtype)
    if form == "strided":
        return np.full((*image.shape, 2), 7, dtype)[..., 1]
    return dtype


def scale(name: str, image: np.ndarray, kwargs: dict[str, Any]) -> float:
    """A bound of what the sums and their terms can reach, which rounding is relative to."""
    largest = float(np.abs(image.astype(complex)).max()) + abs(kwargs["cval"]) + 1
    gain = float(np.abs(kwargs["weights"]).sum()) if "weights" in kwargs else 1.0
    if "sigma" in kwargs:  # each derivative divides by sigma, a few times in these tests
        gain = 300.0
    return largest * max(gain, 50.0)


NAMES = sorted(ndimage.__all__)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100)
@given(data=st.data())
def test_results_are_scipys(name: str, data: st.DataObject) -> None:
    image, kwargs = data.draw(calls(name))
    given_output = kwargs.get("output")
    if isinstance(given_output, np.ndarray):
        kwargs = {**kwargs, "output": given_output.copy()}
    before = image.copy()
    # SciPy stores the parts of a sum in the result's type; what that cannot hold is open.
    with np.errstate(all="ignore"):
        expected = getattr(scipy_ndimage, name)(image, **kwargs)
        if isinstance(given_output, np.ndarray):
            kwargs["output"] = given_output
        found = getattr(ndimage, name)(image, **kwargs)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert (found is given_output) == isinstance(given_output, np.ndarray)
    np.testing.assert_array_equal(image, before)
    single = found.dtype in (np.float32, np.complex64) or image.dtype == np.complex64
    if found.dtype.kind in "fc":
        eps = (2e-6 if single else 1e-13) * scale(name, image, kwargs)
        if name == "gaussian_gradient_magnitude":  # a root, of what may be nearly 0 or complex
            found, expected, eps = found**2, expected**2, eps * scale(name, image, kwargs)
        np.testing.assert_allclose(found, expected, rtol=1e-6 if single else 1e-13, atol=eps)
    elif found.dtype.kind == "b":
        np.testing.assert_array_equal(found, expected.view(np.uint8) != 0)
    else:
        # Sums that 64 bits cannot hold are open in C: SciPy's builds then give 2^63.
        defined = expected != 2**63 if found.dtype == np.uint64 else np.ones(found.shape, bool)
        np.testing.assert_array_equal(found[defined], expected[defined])


PARAMETERS = {
    "correlate": {"weights": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0.0]])},
    "convolve": {"weights": np.array([[0, 1], [2, -3.0]])},
    "correlate1d": {"weights": [1, 0, -2.0]},
    "convolve1d": {"weights": [1, 2, 0, -1.0]},
    "gaussian_filter": {"sigma": 1.5},
    "gaussian_filter1d": {"sigma": 2},
    "gaussian_laplace": {"sigma": 1.0},
    "gaussian_gradient_magnitude": {"sigma": 1.0},
    "uniform_filter": {"size": 4},
    "uniform_filter1d": {"size": 5},
}


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_scipys(name: str) -> None:
    def arguments(function):
        return {
            p.name: (p.kind, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.kind is not inspect.Parameter.VAR_KEYWORD
        }

    ours, theirs = arguments(getattr(ndimage, name)), arguments(getattr(scipy_ndimage, name))
    if name in ("gaussian_laplace", "gaussian_gradient_magnitude"):  # SciPy's **kwargs, spelled out
        assert ours.pop("truncate")[1] == 4.0
        assert ours.pop("radius")[1] is None
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int16", "bool"])
@pytest.mark.parametrize("name", NAMES)
def test_images_larger_than_a_block(name: str, dtype: str) -> None:
    rng = np.random.default_rng(5)
    image = (rng.random((150, 170)) * 255).astype(dtype)
    image[40:90, 30:120] = 1 if dtype == "bool" else 100  # a flat area
    for view in (image, np.asfortranarray(image), image[::-1, ::2]):
        expected = getattr(scipy_ndimage, name)(view, **PARAMETERS.get(name, {}))
        found = getattr(ndimage, name)(view, **PARAMETERS.get(name, {}))
        if dtype.startswith("float"):
            atol = 1e-11 if dtype == "float64" else 2e-3
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol)
        elif dtype == "bool":
            np.testing.assert_array_equal(found, expected.view(np.uint8) != 0)
        else:
            np.testing.assert_array_equal(found, expected)


def test_blocks_of_long_and_of_wide_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(6).integers(0, 255, (37, 11, 41), np.uint8)
    whole = ndimage.gaussian_filter(image, 0.7)
    mean = ndimage.uniform_filter(image, 3)
    taps = np.random.default_rng(7).standard_normal((3, 2, 4))
    cube = ndimage.correlate(image, taps)
    monkeypatch.setattr(exact, "CACHE_BYTES", 24 * 5)  # blocks of a few numbers
    np.testing.assert_array_equal(ndimage.gaussian_filter(image, 0.7), whole)
    np.testing.assert_array_equal(ndimage.uniform_filter(image, 3), mean)
    np.testing.assert_array_equal(ndimage.correlate(image, taps), cube)
    np.testing.assert_array_equal(whole, scipy_ndimage.gaussian_filter(image, 0.7))
    np.testing.assert_array_equal(mean, scipy_ndimage.uniform_filter(image, 3))
    np.testing.assert_array_equal(cube, scipy_ndimage.correlate(image, taps))


@pytest.mark.parametrize("sigma", [9.0, (12.0, 0.5)])
@pytest.mark.parametrize("mode", ["reflect", "mirror", "wrap", "nearest", "constant"])
def test_filters_larger_than_the_image(sigma: Any, mode: str) -> None:
    image = np.random.default_rng(8).standard_normal((13, 17))
    for order in (0, 1, (2, 0)):
        expected = scipy_ndimage.gaussian_filter(image, sigma, order, mode=mode, cval=0.7)
        found = ndimage.gaussian_filter(image, sigma, order, mode=mode, cval=0.7)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_constant_edge_is_not_filtered_by_the_first_pass() -> None:
    image = np.zeros((5, 5))
    for name in ("sobel", "prewitt", "gaussian_laplace", "laplace"):
        kwargs = PARAMETERS.get(name, {})
        expected = getattr(scipy_ndimage, name)(image, mode="constant", cval=3.0, **kwargs)
        found = getattr(ndimage, name)(image, mode="constant", cval=3.0, **kwargs)
        np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("uniform")])
def test_nan_and_infinity_reach_as_far_as_in_scipy(name: str, dtype: str, value: float) -> None:
    image = np.random.default_rng(9).standard_normal((12, 14)).astype(dtype)
    image[5, 6] = value
    with np.errstate(all="ignore"):
        expected = getattr(scipy_ndimage, name)(image, **PARAMETERS.get(name, {}))
        found = getattr(ndimage, name)(image, **PARAMETERS.get(name, {}))
    assert not np.isfinite(found).all()
    if dtype == "complex128" and name == "gaussian_gradient_magnitude":
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_nan_in_a_mean_stays_in_its_windows() -> None:
    image = np.ones((9, 9))
    image[4, 4] = np.nan
    hidden = np.isnan(ndimage.uniform_filter(image, (3, 5)))
    assert hidden.sum() == 15
    assert hidden[3:6, 2:7].all()


def test_constant_edges_of_nan_and_complex_infinity() -> None:
    image = np.ones((4, 4))
    found = ndimage.uniform_filter(image, 3, mode="constant", cval=np.nan)
    assert np.isnan(found).sum() == 12
    expected = scipy_ndimage.gaussian_filter(image, 0.6, mode="constant", cval=np.inf)
    np.testing.assert_array_equal(
        ndimage.gaussian_filter(image, 0.6, mode="constant", cval=np.inf), expected
    )


def test_flat_images_have_no_derivative() -> None:
    image = np.full((6, 7), 0.1)
    for name in ("sobel", "prewitt", "laplace"):
        assert not getattr(ndimage, name)(image).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_output_may_be_the_image(name: str) -> None:
    image = np.random.default_rng(10).standard_normal((8, 9))
    kwargs = PARAMETERS.get(name, {})
    expected = getattr(ndimage, name)(image, **kwargs)
    assert getattr(ndimage, name)(image, output=image, **kwargs) is image
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("name", NAMES)
def test_kinds_of_input(name: str) -> None:
    kwargs = PARAMETERS.get(name, {})
    image = np.random.default_rng(11).standard_normal((6, 7)).astype(np.float32)
    expected = getattr(ndimage, name)(image, **kwargs)
    swapped = image.astype(image.dtype.newbyteorder())
    frozen = image.copy()
    frozen.flags.writeable = False
    for other in (swapped, frozen, image.tolist()):
        found = getattr(ndimage, name)(other, **kwargs)
        assert found.dtype == (np.float64 if isinstance(other, list) else np.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    kwargs = kwargs | {"axes": (0, 1)} if name in ("correlate", "convolve") else kwargs
    empty = getattr(ndimage, name)(np.zeros((0, 3), np.int16), **kwargs)
    assert (empty.shape, empty.dtype) == ((0, 3), np.int16)


def test_results_are_new_arrays_in_c_order() -> None:
    image = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    for found in (
        ndimage.gaussian_filter(image, 0),
        ndimage.uniform_filter(image, 1),
        ndimage.laplace(image, axes=()),
        ndimage.correlate(image, [[1.0]]),
        ndimage.sobel(image),
    ):
        assert not np.shares_memory(found, image)
        assert found.flags.c_contiguous
        assert found.flags.writeable
    assert ndimage.gaussian_filter(5.0, 1.0).shape == ()
    assert ndimage.correlate(np.array(5), np.array(2)) == 10


def test_what_a_type_cannot_hold_wraps_around() -> None:
    image = np.array([200, 100, 0, 255], np.uint8)
    np.testing.assert_array_equal(ndimage.correlate1d(image, [1, 1, 1]), [244, 44, 99, 254])
    np.testing.assert_array_equal(ndimage.correlate1d(image, [-1, 0, 1]), [156, 56, 155, 255])
    big = np.array([2**31 - 1, 5], np.int32)
    np.testing.assert_array_equal(ndimage.correlate1d(big, [2.0]), [-2, 10])
    below = ndimage.correlate1d(np.array([3, 2**60], np.uint64), [-1])
    np.testing.assert_array_equal(below, [2**64 - 3, 2**64 - 2**60])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: ndimage.sobel(a, axis=2), "axis=2 is not an axis of an image with 2"),
        (lambda a: ndimage.sobel(a, axis=1.5), "axis=1.5 is not an integer"),
        (lambda a: ndimage.gaussian_filter(a, 1, axes=(0, -2)), r"axes=\(0, -2\) names an axis"),
        (lambda a: ndimage.gaussian_filter(a, (1, 2, 3)), r"sigma=\(1, 2, 3\) has 3 values for 2"),
        (lambda a: ndimage.gaussian_filter(a, -1), "sigma=-1 is not a finite number"),
        (lambda a: ndimage.gaussian_filter(a, np.nan), "sigma=nan is not a finite number"),
        (lambda a: ndimage.gaussian_filter1d(a, 0), "sigma=0 is not a finite number"),
        (lambda a: ndimage.gaussian_filter(a, 1, order=-1), "order=-1 is below 0"),
        (lambda a: ndimage.gaussian_filter(a, 1, radius=1.5), "radius=1.5 is not a whole number"),
        (lambda a: ndimage.gaussian_filter(a, 1, truncate=-9), "radius=-8 is below 0"),
        (lambda a: ndimage.uniform_filter(a, 2.5), "size=2.5 is not a whole number"),
        (lambda a: ndimage.uniform_filter(a, 0), "size=0 is not at least 1"),
        (lambda a: ndimage.uniform_filter(a, 3, origin=2), "origin=2 moves the centre out"),
        (lambda a: ndimage.correlate1d(a, [1, 1], origin=0.5), "origin=0.5 is not an integer"),
        (lambda a: ndimage.laplace(a, mode="edge"), "mode='edge' is not one of 'reflect'"),
        (lambda a: ndimage.correlate(a, np.ones((2, 2)), mode=["wrap"] * 2), "is not one of"),
        (lambda a: ndimage.correlate(a, np.ones(3)), "pass 2-D"),
        (lambda a: ndimage.correlate(a, np.ones((0, 3))), "is empty"),
        (lambda a: ndimage.correlate1d(a, [1, np.nan]), "holds NaN or infinity"),
        (lambda a: ndimage.sobel(a, cval=1j), "cval=1j is complex and the image is real"),
        (lambda a: ndimage.sobel(a, cval="x"), "cval='x' is not a number"),
        (lambda a: ndimage.sobel(a, output=np.zeros((2, 3))), r"output of shape \(2, 3\)"),
        (lambda a: ndimage.sobel(a + 1j, output=float), "cannot hold a complex result"),
        (lambda a: ndimage.sobel(a, output="nothing"), "is neither an array nor a dtype"),
        (lambda a: ndimage.sobel(a, output=np.float16), "float16 is not supported"),
        (lambda a: ndimage.sobel(a.astype(np.float16)), "float16 is not supported"),
        (lambda a: ndimage.sobel(np.ma.masked_less(a, 1)), "masked array"),
    ],
)
def test_what_is_not_allowed_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.arange(16.0).reshape(4, 4))


def test_a_read_only_output_is_refused() -> None:
    output = np.zeros((3, 3))
    output.flags.writeable = False
    with pytest.raises(ValueError, match="output is read-only"):
        ndimage.sobel(np.ones((3, 3)), output=output)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32"])
def test_integers_of_flat_areas_ramps_and_noise(dtype: str) -> None:
    """Sums that are nearly integers: the fast sums leave them to SciPy's order."""
    top = min(np.iinfo(dtype).max, 3000)
    image = np.random.default_rng(12).integers(0, top, (90, 140)).astype(dtype)
    image[:40, :90] = top - 2
    image[40:, :30] = 7
    image[60:80] = np.arange(140) % top  # a ramp: its mean is the pixel itself
    for name in ("gaussian_filter", "gaussian_laplace", "gaussian_gradient_magnitude"):
        for sigma in (0.5, 2.0, (1.0, 4.0)):
            for mode in ("reflect", "constant"):
                with np.errstate(invalid="ignore"):  # roots of squares that wrapped around
                    expected = getattr(scipy_ndimage, name)(image, sigma, mode=mode, cval=3.5)
                    found = getattr(ndimage, name)(image, sigma, mode=mode, cval=3.5)
                np.testing.assert_array_equal(found, expected)
    disk = np.ones((5, 7)) / 35
    np.testing.assert_array_equal(
        ndimage.correlate(image, disk), scipy_ndimage.correlate(image, disk)
    )
    wide = ndimage.uniform_filter(image, (3, 41), mode="constant", cval=0.5)
    np.testing.assert_array_equal(
        wide, scipy_ndimage.uniform_filter(image, (3, 41), mode="constant", cval=0.5)
    )


def test_integers_without_the_compiled_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(13).integers(0, 255, (40, 50), np.uint8)
    with_them = [ndimage.gaussian_filter(image, 2), ndimage.sobel(image), ndimage.laplace(image)]
    monkeypatch.setattr(integers, "available", False)
    without = [ndimage.gaussian_filter(image, 2), ndimage.sobel(image), ndimage.laplace(image)]
    for a, b in zip(with_them, without, strict=True):
        np.testing.assert_array_equal(a, b)
