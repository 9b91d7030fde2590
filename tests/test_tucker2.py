"""Tucker-2: HOSVD's bound, HOOI's descent, and the cases with a known answer."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankconv.factorizations import factorize, tucker2

rng = np.random.default_rng(0)
WEIGHT = rng.standard_normal((6, 5, 3, 3))
shapes = st.tuples(*(st.integers(1, 5) for _ in range(4)))


def hosvd(weight, rank):
    """Truncated HOSVD of the two channel modes: its relative error, and its bound."""
    outputs, inputs = weight.shape[:2]
    a, sa, _ = np.linalg.svd(weight.swapaxes(0, 1).reshape(inputs, -1))
    u, su, _ = np.linalg.svd(weight.reshape(outputs, -1))
    a, u = a[:, : rank[0]], u[:, : rank[1]]
    near = np.einsum("ij,ok,kjpq->oipq", a, u, np.einsum("ij,ok,oipq->kjpq", a, u, weight))
    lost = np.sum(sa[rank[0] :] ** 2) + np.sum(su[rank[1] :] ** 2)
    norm = np.linalg.norm(weight)
    return np.linalg.norm(weight - near) / norm, np.sqrt(lost) / norm


@settings(max_examples=100)
@given(
    shape=shapes, part=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 2**32 - 1)
)
def test_never_worse_than_hosvd_and_never_above_the_bound(shape, part, seed):
    weight = np.random.default_rng(seed).standard_normal(shape)
    full = tucker2.full_rank(shape)
    rank = tuple(1 + int(p * (f - 1)) for p, f in zip(part, full, strict=True))
    chain = factorize(weight, rank=rank, kind="tucker2")
    error, bound = hosvd(weight, rank)
    assert chain.error <= error + 1e-13
    assert chain.bound == pytest.approx(min(bound, 1), abs=1e-11)
    assert chain.error <= chain.bound


def test_what_hooi_keeps_never_falls_and_grows():
    _, _, kept = tucker2.hooi(WEIGHT[None], (2, 2))
    assert len(kept) > 2
    assert all(later >= earlier * (1 - 1e-14) for earlier, later in pairwise(kept))
    assert kept[-1] > kept[0] * (1 + 1e-4)


def test_one_mode_at_full_rank_leaves_a_channel_svd():
    output = factorize(WEIGHT, rank=(5, 3), kind="tucker2")
    assert output.error == pytest.approx(factorize(WEIGHT, rank=3, kind="channel_svd").error)
    inner = factorize(WEIGHT, rank=(2, 6), kind="tucker2")
    assert inner.error == pytest.approx(factorize(WEIGHT, rank=2, kind="channel_svd_input").error)


def test_stages_and_options():
    chain = factorize(WEIGHT, rank=(2, 4), kind="tucker2", stride=2, padding=(1, 0), dilation=2)
    assert [stage.weight.shape for stage in chain.stages] == [
        (2, 5, 1, 1), (4, 2, 3, 3), (6, 4, 1, 1)
    ]  # fmt: skip
    middle = chain.stages[1]
    assert (middle.stride, middle.padding, middle.dilation) == ((2, 2), (1, 0), (2, 2))
    for stage in (chain.stages[0], chain.stages[2]):
        assert (stage.stride, stage.padding) == ((1, 1), (0, 0))


def test_one_integer_stands_for_both_ranks_as_far_as_each_goes():
    assert factorize(WEIGHT, rank=3, kind="tucker2").rank == (3, 3)
    assert factorize(WEIGHT, rank=6, kind="tucker2").rank == (5, 6)


def test_planted_ranks_are_found():
    core = rng.standard_normal((3, 2, 3, 3))
    U, A = rng.standard_normal((8, 3)), rng.standard_normal((2, 7))
    weight = np.einsum("ok,kjpq,ji->oipq", U, core, A)
    chain = factorize(weight, kind="tucker2")
    assert chain.rank == (2, 3)
    assert chain.error < 1e-13
