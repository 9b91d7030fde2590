"""Padding against numpy.pad, sizes against scipy.signal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from rankconv.geometry import (
    BOUNDARIES,
    MODES,
    conv_output_shape,
    conv_padding,
    output_shape,
    pad,
    pair,
    sides,
)

NUMPY_NAMES = {
    "fill": "constant",
    "wrap": "wrap",
    "symm": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
}
small = st.integers(0, 20)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@settings(max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    lead=st.sampled_from([(), (2,), (1, 3)]),
    pads=st.tuples(st.tuples(small, small), st.tuples(small, small)),
)
def test_pad_is_numpy_pad(boundary, shape, lead, pads):
    image = np.arange(np.prod(lead + shape), dtype=float).reshape(lead + shape)
    expected = np.pad(
        image, [(0, 0)] * len(lead) + list(pads), mode=NUMPY_NAMES[BOUNDARIES[boundary]]
    )
    np.testing.assert_array_equal(pad(image, pads, boundary=boundary), expected)


def test_pad_fills_with_the_value_and_keeps_the_dtype():
    padded = pad(np.ones((1, 1), np.uint8), ((1, 0), (0, 1)), fillvalue=7)
    assert padded.dtype == np.uint8
    np.testing.assert_array_equal(padded, [[7, 7], [1, 7]])


@pytest.mark.parametrize("mode", MODES)
@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_output_shape_is_scipys(mode, image, kernel):
    if mode == "valid" and (kernel[0] > image[0] or kernel[1] > image[1]):
        with pytest.raises(ValueError, match="swap the arguments"):
            output_shape(image, kernel, mode)
    else:
        expected = signal.correlate2d(np.ones(image), np.ones(kernel), mode).shape
        assert output_shape(image, kernel, mode) == expected


@given(
    n=st.integers(1, 30),
    k=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_conv_output_shape_counts_the_positions(n, k, stride, padding, dilation):
    last = n + 2 * padding - dilation * (k - 1) - 1
    options = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    if last < 0:
        with pytest.raises(ValueError, match="does not fit"):
            conv_output_shape((n, 1), (k, 1), **options)
    else:
        positions = len(range(0, last + 1, stride))
        assert conv_output_shape((n, 1), (k, 1), **options) == (positions, 1)


def test_pair():
    assert pair(2, "stride", least=1) == (2, 2)
    assert pair([0, 3], "padding", least=0) == (0, 3)
    for bad in (0, (1, 2, 3), (1.0, 2), "12", (1, 0)):
        with pytest.raises(ValueError, match=r"stride=.* at least 1"):
            pair(bad, "stride", least=1)


@given(top=st.integers(0, 3), bottom=st.integers(0, 3), left=st.integers(0, 3), n=st.integers(3, 9))
def test_a_layer_padded_at_each_end_alone(top, bottom, left, n):
    padding = conv_padding(((top, bottom), [left, np.int64(left)]))
    assert padding == (top if top == bottom else (top, bottom), left)
    assert sides(padding) == ((top, bottom), (left, left))
    shape = conv_output_shape((n, n), (3, 2), stride=(2, 1), padding=padding, dilation=(1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(np.ones((n, n)), sides(padding)), (3, 2)
    )
    assert shape == windows[::2].shape[:2]


@pytest.mark.parametrize(
    "padding", [-1, (1, 2, 3), ((0, -1), 1), ((0, 1, 2), 1), (1.0, 1), "same", ((0, "1"), 1)]
)
def test_other_paddings_are_refused(padding):
    with pytest.raises(
        ValueError, match=r"padding=.* must be one integer or two .* \(\(0, 1\), 1\)"
    ):
        conv_padding(padding)
