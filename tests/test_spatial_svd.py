"""Spatial SVD against its own definition."""

import numpy as np
import pytest

from rankconv.factorizations import factorize

rng = np.random.default_rng(0)
WEIGHT = rng.standard_normal((6, 4, 3, 5))


def reference(weight, rank):
    """Jaderberg's scheme 2 by Tai's matrix: rows (input, p), columns (output, q)."""
    outputs, inputs, kH, kW = weight.shape
    matrix = weight.transpose(1, 2, 0, 3).reshape(inputs * kH, outputs * kW)
    u, s, vt = np.linalg.svd(matrix)
    cut = (u[:, :rank] * s[:rank]) @ vt[:rank]
    return cut.reshape(inputs, kH, outputs, kW).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_it_is_the_nearest_matrix_of_its_rank(rank):
    chain = factorize(WEIGHT, rank=rank, kind="spatial_svd")
    np.testing.assert_allclose(chain.dense(), reference(WEIGHT, rank), atol=1e-13)


def test_rows_belong_to_the_first_stage_and_columns_to_the_second():
    chain = factorize(
        WEIGHT, rank=7, kind="spatial_svd", stride=(2, 3), padding=(1, 2), dilation=(3, 1)
    )
    first, second = chain.stages
    assert first.weight.shape == (7, 4, 3, 1)
    assert second.weight.shape == (6, 7, 1, 5)
    assert (first.stride, first.padding, first.dilation) == ((2, 1), (1, 0), (3, 1))
    assert (second.stride, second.padding, second.dilation) == ((1, 3), (0, 2), (1, 1))


def test_a_depthwise_layer_is_the_papers_form():
    weight = rng.standard_normal((5, 1, 3, 3))
    chain = factorize(weight, rank=1, kind="spatial_svd", groups=5)
    paper = factorize(weight, rank=1, kind="slice_svd", groups=5)
    np.testing.assert_allclose(chain.dense(), paper.dense(), atol=1e-13)
    assert chain.parameters == paper.parameters == 5 * 6


def test_the_scale_is_shared_by_both_stages():
    chain = factorize(1e6 * WEIGHT, rank=12, kind="spatial_svd")
    norms = [np.linalg.norm(stage.weight) for stage in chain.stages]
    assert norms[0] == pytest.approx(norms[1], rel=2)
