"""CP: monotone descent, planted terms, the chain of four stages."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankconv.factorizations import cp, factorize

shapes = st.tuples(*(st.integers(1, 5) for _ in range(4)))


@settings(max_examples=60)
@given(
    groups=st.integers(1, 2), shape=shapes, rank=st.integers(1, 12), seed=st.integers(0, 2**32 - 1)
)
def test_no_sweep_raises_the_error(groups, shape, rank, seed):
    W = np.random.default_rng(seed).standard_normal((groups, *shape))
    terms, sizes = cp.exact_terms(W)
    rank = min(rank, sizes.shape[1])
    _, errors = cp.fit(W, terms, rank)
    slack = 1e-14 * errors[0] + 1e-26 * np.vdot(W, W)
    assert all(later <= earlier + slack for earlier, later in pairwise(errors))


@settings(max_examples=60)
@given(groups=st.integers(1, 2), shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_exact_terms_sum_to_the_weight(groups, shape, seed):
    W = np.random.default_rng(seed).standard_normal((groups, *shape))
    terms, sizes = cp.exact_terms(W)
    np.testing.assert_allclose(cp.compose(terms), W, atol=1e-13)
    assert sizes.shape[1] == cp.full_rank(shape)
    assert (np.diff(sizes, axis=1) <= 0).all()


@pytest.mark.parametrize("mode", range(4))
def test_a_factor_is_the_least_squares_solution(mode):
    rng = np.random.default_rng(mode)
    W = rng.standard_normal((1, 5, 4, 3, 3))
    factors = [rng.standard_normal((1, 3, n)) for n in W.shape[1:]]
    factors[mode] = cp.update(W, None, factors, mode, steps=2)
    others = [f[0] for m, f in enumerate(factors) if m != mode]
    design = np.einsum("rx,ry,rz->xyzr", *others).reshape(-1, 3)
    flat = np.moveaxis(W[0], mode, -1).reshape(-1, W.shape[mode + 1])
    expected = np.linalg.lstsq(design, flat, rcond=None)[0]
    np.testing.assert_allclose(factors[mode][0], expected, atol=1e-10)


def test_planted_terms_are_found():
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.standard_normal((3, n)) for n in (10, 9, 5, 5))
    chain = factorize(np.einsum("ro,ri,rp,rq->oipq", a, b, c, d), rank=3, kind="cp")
    assert chain.error < 1e-6
    assert chain.bound is None


def test_the_chain_has_two_depthwise_stages():
    weight = np.random.default_rng(1).standard_normal((8, 3, 3, 5))
    chain = factorize(
        weight, rank=4, kind="cp", groups=2, stride=(2, 3), padding=(1, 2), dilation=(1, 2)
    )
    assert [stage.weight.shape for stage in chain.stages] == [
        (8, 3, 1, 1), (8, 1, 3, 1), (8, 1, 1, 5), (8, 4, 1, 1)
    ]  # fmt: skip
    assert [stage.groups for stage in chain.stages] == [2, 8, 8, 2]
    assert [stage.stride for stage in chain.stages] == [(1, 1), (2, 1), (1, 3), (1, 1)]
    assert [stage.padding for stage in chain.stages] == [(0, 0), (1, 0), (0, 2), (0, 0)]
    assert [stage.dilation for stage in chain.stages] == [(1, 1), (1, 1), (1, 2), (1, 1)]
    # Full rank 3 * 3 * 5 = 45 terms: four of them leave something.
    assert 0.1 < chain.error < 1
