"""Channel SVD of both sides against its own definition."""

import numpy as np
import pytest

from rankconv.factorizations import factorize

rng = np.random.default_rng(0)
WEIGHT = rng.standard_normal((6, 4, 3, 5))


def nearest(matrix, rank):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_output_side(rank):
    chain = factorize(WEIGHT, rank=rank, kind="channel_svd", stride=2, padding=(1, 2), dilation=2)
    expected = nearest(WEIGHT.reshape(6, -1), rank).reshape(WEIGHT.shape)
    np.testing.assert_allclose(chain.dense(), expected, atol=1e-13)
    first, second = chain.stages
    assert (first.weight.shape, second.weight.shape) == ((rank, 4, 3, 5), (6, rank, 1, 1))
    assert (first.stride, first.padding, first.dilation) == ((2, 2), (1, 2), (2, 2))
    assert (second.stride, second.padding, second.dilation) == ((1, 1), (0, 0), (1, 1))


@pytest.mark.parametrize("rank", [1, 3])
def test_input_side(rank):
    chain = factorize(
        WEIGHT, rank=rank, kind="channel_svd_input", stride=2, padding=(1, 2), dilation=2
    )
    matrix = WEIGHT.swapaxes(0, 1).reshape(4, -1)
    expected = nearest(matrix, rank).reshape(4, 6, 3, 5).swapaxes(0, 1)
    np.testing.assert_allclose(chain.dense(), expected, atol=1e-13)
    first, second = chain.stages
    assert (first.weight.shape, second.weight.shape) == ((rank, 4, 1, 1), (6, rank, 3, 5))
    assert (first.stride, first.padding, first.dilation) == ((1, 1), (0, 0), (1, 1))
    assert (second.stride, second.padding, second.dilation) == ((2, 2), (1, 2), (2, 2))


@pytest.mark.parametrize("kind", ["channel_svd", "channel_svd_input", "spatial_svd"])
def test_a_1_x_1_layer_is_the_plain_svd_of_its_matrix(kind):
    matrix = rng.standard_normal((7, 5))
    chain = factorize(matrix[..., None, None], rank=3, kind=kind, stride=2)
    np.testing.assert_allclose(chain.dense()[..., 0, 0], nearest(matrix, 3), atol=1e-13)
    assert [stage.weight.shape for stage in chain.stages] == [(3, 5, 1, 1), (7, 3, 1, 1)]
    assert sorted(stage.stride for stage in chain.stages) in ([(1, 1), (2, 2)], [(1, 2), (2, 1)])
