"""The compiled filters against SciPy in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from native_cases import PAD_MODES, check, correlate, random_case
from rankconv.correlate import SplitKernel
from rankconv.correlate.native import (
    DTYPES,
    available,
    compile_filter,
    correlate_native_direct,
    correlate_native_separable,
)

pytestmark = pytest.mark.skipif(not available, reason="the native module is not built")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_random_filterings_match_scipy(seed):
    case = random_case(np.random.default_rng(seed))
    check(case, case.filter()(case.image))


@pytest.mark.long
def test_twenty_thousand_filterings_match_scipy():
    rng = np.random.default_rng(20)
    for _ in range(20_000):
        case = random_case(rng)
        check(case, case.filter(int(rng.integers(1, 4)))(case.image))


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_every_instruction_set_matches_scipy(isa):
    code = (
        "import numpy as np; from native_cases import random_case, check\n"
        "rng = np.random.default_rng(3)\n"
        "for _ in range(150):\n"
        "    case = random_case(rng); check(case, case.filter()(case.image))\n"
    )
    environment = {**os.environ, "RANKCONV_ISA": isa, "PYTHONPATH": os.path.dirname(__file__)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("boundary", sorted(PAD_MODES))
@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (30, 40)])
def test_boundaries_are_those_of_ndimage(boundary, shape):
    rng = np.random.default_rng(1)
    image, kernel = rng.random(shape), rng.random((5, 7))
    names = {"fill": "constant", "symm": "reflect"}
    expected = ndimage.correlate(image, kernel, mode=names.get(boundary, boundary), cval=0.25)
    same = ((2, 2), (3, 3))
    one = compile_filter(kernel, padding=same, boundary=boundary, fillvalue=0.25)
    np.testing.assert_allclose(one(image), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [3, 5, 7, 9, 11])
def test_few_taps_give_the_same_bits_in_registers_and_through_the_ring(k, dtype):
    rng = np.random.default_rng(k)
    box = compile_filter(factors=(rng.standard_normal((1, k)), rng.standard_normal((1, k))))
    for height, width in [(1, 16), (2, 20), (17, 33), (60, 50), (130, 97), (40, 700)]:
        spread = rng.standard_normal((height + k - 1, 2 * (width + k - 1))).astype(dtype)
        apart = spread[:, ::2]  # pixels that do not stand side by side go through the ring
        image = np.ascontiguousarray(apart)
        np.testing.assert_array_equal(box(image), box(apart))
        np.testing.assert_array_equal(box(image[::-1]), box(apart[::-1]))


def test_rows_and_columns_of_pixels():
    image = np.arange(12.0).reshape(3, 4)
    row = compile_filter(factors=(np.ones((1, 1)), np.ones((1, 4))))
    column = compile_filter(factors=(np.ones((1, 3)), np.ones((1, 1))))
    np.testing.assert_array_equal(row(image), image.sum(1, keepdims=True))
    np.testing.assert_array_equal(column(image), image.sum(0, keepdims=True))


@pytest.mark.parametrize("size", [(20, 30), (3, 5)])
def test_direct_spreads_nan_and_infinity_no_further_than_scipy(size):
    rng = np.random.default_rng(2)
    image = rng.random((40, 70))
    image[7, 9], image[30, 69], image[0, 0] = np.nan, np.inf, -np.inf
    kernel = rng.random(size) + 0.1
    with np.errstate(invalid="ignore"):
        expected = correlate(image, kernel)
    np.testing.assert_allclose(compile_filter(kernel)(image), expected, rtol=1e-13)
    factors = rng.random((1, size[0])) + 0.1, rng.random((1, size[1])) + 0.1
    with np.errstate(invalid="ignore"):
        expected = correlate(image, factors[0].T @ factors[1])
    np.testing.assert_allclose(compile_filter(factors=factors)(image), expected, rtol=1e-13)


def test_integers_are_rounded_to_even_and_saturated():
    image = np.array([[0, 1, 2, 3, 5, 255]], np.uint8)
    half = compile_filter([[0.5]], keep_dtype=True)
    np.testing.assert_array_equal(half(image), [[0, 0, 1, 2, 2, 128]])
    up = compile_filter([[100.0]], keep_dtype=True)
    np.testing.assert_array_equal(up(image), [[0, 100, 200, 255, 255, 255]])
    down = compile_filter([[-1.0]], keep_dtype=True)
    np.testing.assert_array_equal(down(image.astype(np.uint16)), np.zeros((1, 6)))
    nan = compile_filter([[1.0, 1.0]], padding=((0, 0), (1, 0)), fillvalue=np.nan, keep_dtype=True)
    assert nan(image)[0, 0] == 0


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_out_may_overlap_the_image(rank):
    rng = np.random.default_rng(rank)
    image = rng.random((60, 80))
    f, g = rng.random((rank, 5)), rng.random((rank, 3))
    one = (
        compile_filter(factors=(f, g), padding=((2, 2), (1, 1)))
        if rank
        else compile_filter(rng.random((5, 3)), padding=((2, 2), (1, 1)))
    )
    expected = one(image)
    memory = np.zeros(2 * image.size)
    for start in (0, 1, 80, 2399):
        source = memory[start : start + image.size].reshape(image.shape)
        source[...] = image
        out = memory[: image.size].reshape(image.shape)
        assert one(source, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_out_in_any_layout():
    rng = np.random.default_rng(4)
    image = rng.random((2, 30, 40)).astype(np.float32)
    one = compile_filter(rng.random((3, 3)))
    expected = one(image)
    base = np.zeros((2, 60, 100), np.float32)
    for out in (
        base[:, :28, 10:48],
        base[:, 27::-1, :38],
        base[:, ::2, ::2][:, :28, :38],
        np.zeros((2, 38, 28), np.float32).transpose(0, 2, 1),
        np.zeros((2, 28, 38), ">f4"),
    ):
        assert one(image, out=out) is out
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(base[:, 56:, 80:], 0)  # nothing beside the views was written


def test_empty_stacks():
    one = compile_filter(np.ones((3, 3)))
    assert one(np.ones((0, 5, 5), np.float32)).shape == (0, 3, 3)


def test_algorithms_of_the_dictionary():
    rng = np.random.default_rng(5)
    f, g = rng.random((2, 5)), rng.random((2, 4))
    split = SplitKernel(f.T @ g, f, g)
    image = rng.random((3, 20, 21))
    expected = correlate(image, split.dense)
    np.testing.assert_allclose(correlate_native_direct(image, split), expected)
    np.testing.assert_allclose(correlate_native_separable(image, split), expected)


def test_refusals_say_what_was_passed():
    one = compile_filter(np.ones((3, 3)))
    image = np.ones((8, 9), np.float32)
    with pytest.raises(TypeError, match="int64"):
        one(np.ones((8, 9), np.int64))
    with pytest.raises(TypeError, match="list"):
        one([[1.0]])
    with pytest.raises(ValueError, match="two axes"):
        one(np.ones(5, np.float32))
    with pytest.raises(ValueError, match="2 x 9 is too small for a 3 x 3"):
        one(image[:2])
    with pytest.raises(ValueError, match=r"\(8, 9\).*\(6, 7\)"):
        one(image, out=image)
    with pytest.raises(ValueError, match="float64"):
        one(image, out=np.ones((6, 7)))
    frozen = np.ones((6, 7), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        one(image, out=frozen)
    with pytest.raises(TypeError, match="out"):
        one(image, frozen)
    with pytest.raises(TypeError, match="not a NumPy array"):
        one(image, out=[1])


def test_filters_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="either kernel or factors"):
        compile_filter()
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        compile_filter(np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 3\)"):
        compile_filter(factors=(np.ones((2, 3)), np.ones((1, 3))))
    with pytest.raises(ValueError, match="boundary='mirrored'"):
        compile_filter([[1.0]], boundary="mirrored")
    with pytest.raises(ValueError, match="workers=0"):
        compile_filter([[1.0]], workers=0)
    with pytest.raises(ValueError, match="negative"):
        compile_filter([[1.0]], padding=((0, -1), (0, 0)))


def test_dtypes_are_the_documented_ones():
    one = compile_filter([[2.0]])
    for name in DTYPES:
        result = one(np.ones((2, 2), name))
        assert result.dtype == (np.float64 if name == "float64" else np.float32)
        np.testing.assert_array_equal(result, 2)
