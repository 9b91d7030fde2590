"""Stages against scipy.signal, one output channel at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from rankconv import Factorization, Stage
from rankconv.geometry import sides
from rankconv.stages import apply

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
ends = st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)))


def layer(stage, images):
    """The stage by its definition: a dilated filter, correlated everywhere, then every s-th."""
    w, (dH, dW) = stage.weight, stage.dilation
    wide = np.zeros((*w.shape[:2], dH * (w.shape[2] - 1) + 1, dW * (w.shape[3] - 1) + 1))
    wide[:, :, ::dH, ::dW] = w
    if stage.permute:
        images = images[:, list(stage.permute)]
    sH, sW = stage.stride
    images = np.pad(images, ((0, 0), (0, 0), *sides(stage.padding)))
    per_in, per_out = w.shape[1], w.shape[0] // stage.groups
    result = []
    for image in images:
        planes = []
        for o, filters in enumerate(wide):
            first = o // per_out * per_in
            planes.append(
                sum(
                    signal.correlate2d(image[first + i], f, "valid") for i, f in enumerate(filters)
                )[::sH, ::sW]
            )
        result.append(planes)
    return np.array(result)


@settings(max_examples=150)
@given(
    kernel=pairs, stride=pairs, dilation=pairs,
    padding=st.tuples(ends, ends),
    groups=st.integers(1, 3), per=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    shuffled=st.booleans(), n=st.integers(1, 2), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_apply_is_the_layer(kernel, stride, dilation, padding, groups, per, shuffled, n, seed):
    rng = np.random.default_rng(seed)
    channels = groups * per[0]
    stage = Stage(
        rng.standard_normal((groups * per[1], per[0], *kernel)),
        stride, padding, dilation, groups,
        tuple(rng.permutation(channels).tolist()) if shuffled else None,
    )  # fmt: skip
    images = rng.standard_normal((n, channels, 9, 8))
    result = apply([stage], images)
    assert result.shape[2:] == stage.output_shape((9, 8))
    np.testing.assert_allclose(result, layer(stage, images), atol=1e-12)


def test_apply_keeps_float32():
    stage = Stage(np.ones((1, 1, 2, 2), np.float32))
    assert apply([stage], np.ones((1, 1, 4, 4), np.float32)).dtype == np.float32


def test_apply_refuses_images_that_do_not_fit():
    stage = Stage(np.ones((2, 3, 3, 3)))
    with pytest.raises(ValueError, match="3 input channels"):
        apply([stage], np.ones((1, 2, 5, 5)))
    with pytest.raises(ValueError, match="pass \\(N, C_in, H, W\\)"):
        apply([stage], np.ones((3, 5, 5)))
    with pytest.raises(ValueError, match="does not fit into an image"):
        apply([stage], np.ones((1, 3, 2, 5)))


def test_counts_follow_the_shapes():
    first = Stage(np.ones((4, 1, 3, 1)), stride=(2, 1), padding=(1, 0), groups=2)
    second = Stage(np.ones((2, 2, 1, 3)), stride=(1, 2), padding=(0, 1), groups=2)
    chain = Factorization("example", 2, (first, second), 0.0, None, (2, 1, 3, 3))
    assert chain.parameters == 12 + 12
    # 8 x 10 -> 4 x 10 after the first stage, 4 x 5 after the second
    assert first.output_shape((8, 10)) == (4, 10)
    assert chain.multiply_adds((8, 10)) == 4 * 10 * 12 + 4 * 5 * 12


def test_dense_of_a_chain_with_three_stages_and_groups():
    rng = np.random.default_rng(0)
    stages = (
        Stage(rng.standard_normal((6, 2, 3, 1)), groups=2, padding=(1, 0), stride=(2, 1)),
        Stage(rng.standard_normal((6, 1, 1, 2)), groups=6, dilation=(1, 2)),
        Stage(rng.standard_normal((4, 3, 1, 1)), groups=2),
    )
    chain = Factorization("example", 3, stages, 0.0, None, (4, 2, 3, 2))
    dense = chain.dense()
    assert dense.shape == (4, 2, 3, 2)
    whole = Stage(dense, groups=2, padding=(1, 0), stride=(2, 1), dilation=(1, 2))
    images = rng.standard_normal((2, 4, 9, 7))
    np.testing.assert_allclose(apply(stages, images), apply([whole], images), atol=1e-12)
