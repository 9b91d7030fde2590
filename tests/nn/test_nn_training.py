"""Penalty, projection and schedule: against NumPy, finite differences and a real training step."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rankconv.factorizations import factorize, full_rank
from rankconv.nn import (
    LowRankConv2d,
    RankSchedule,
    dense_copy,
    frobenius_decay,
    low_rank_copy,
    project_,
    stable_rank,
    trailing_penalty,
)
from rankconv.nn.singular import KINDS, folded, matrices

torch.set_num_threads(1)
SINGLE = [kind for kind in KINDS if kind != "tucker2"]


def layer(seed=0, groups=1, **options):
    torch.manual_seed(seed)
    return nn.Conv2d(4 * groups, 6 * groups, (3, 4), groups=groups, **options)


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("groups", [1, 2])
def test_penalty_is_what_the_cut_of_each_rank_loses(kind, groups):
    conv = layer(groups=groups, dtype=torch.float64)
    weight = conv.weight.detach().numpy()
    full = full_rank(weight.shape, kind=kind, groups=groups)
    nuclear = [float(trailing_penalty(conv, r, kind=kind).detach()) for r in range(1, full + 1)]
    assert nuclear[-1] == 0
    # The steps of the sum are the singular values; from them, the error of each cut.
    (batch,) = matrices(conv.weight.detach(), kind, groups)
    values = torch.linalg.svdvals(batch).sum(0).numpy()
    np.testing.assert_allclose(-np.diff(nuclear), values[1:], rtol=1e-10, atol=1e-12)
    energy = torch.linalg.svdvals(batch).square().sum(0).numpy()
    for r in range(1, full + 1):
        error = factorize(weight, rank=r, kind=kind, groups=groups).error
        assert np.sqrt(energy[r:].sum() / energy.sum()) == pytest.approx(error, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_penalty_by_finite_differences(kind):
    weight = layer(3, groups=2, dtype=torch.float64).weight.detach().requires_grad_()
    rank = (1, 2) if kind == "tucker2" else 1
    assert torch.autograd.gradcheck(
        lambda w: trailing_penalty(w, rank, kind=kind, groups=2), [weight]
    )
    assert torch.autograd.gradcheck(lambda w: stable_rank(w, kind=kind, groups=2), [weight])


def test_gradient_of_frobenius_decay_by_finite_differences():
    low = LowRankConv2d(3, 4, 3, rank=2, kind="tucker2", dtype=torch.float64)
    weights = [m.weight for m in low.chain]
    assert torch.autograd.gradcheck(lambda *_: frobenius_decay(low), weights)
    both = nn.Sequential(low, nn.ReLU(), LowRankConv2d(4, 2, 3, rank=1, dtype=torch.float64))
    expected = sum(m.weight.square().sum() for m in dense_copy(both) if hasattr(m, "weight"))
    torch.testing.assert_close(frobenius_decay(both), expected)


@pytest.mark.parametrize("kind", SINGLE)
def test_penalty_reaches_the_trailing_part_alone(kind):
    weight = layer(dtype=torch.float64).weight.detach().requires_grad_()
    trailing_penalty(weight, 2, kind=kind).backward()
    (batch,) = matrices(weight.detach(), kind)
    (slope,) = matrices(weight.grad, kind)
    u, _, vh = torch.linalg.svd(batch, full_matrices=False)
    along = (u.mT @ slope @ vh.mT).diagonal(dim1=1, dim2=2)
    assert along[:, :2].abs().max() < 1e-12
    torch.testing.assert_close(along[:, 2:], torch.ones_like(along[:, 2:]))


@settings(max_examples=30)
@given(
    kind=st.sampled_from(SINGLE),
    groups=st.integers(1, 3),
    per=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_folding_undoes_unfolding(kind, groups, per, kernel):
    weight = torch.randn(groups * per[0], per[1], *kernel)
    (batch,) = matrices(weight, kind, groups)
    assert torch.equal(folded(batch, kind, weight.shape, groups), weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [1, 2])
def test_projection_gives_exactly_the_rank_and_is_the_nearest(kind, groups):
    conv = layer(groups=groups)
    before = conv.weight.detach().clone()
    model = nn.Sequential(conv, nn.ReLU(), LowRankConv2d(6 * groups, 2, 3, rank=3))
    low = copy.deepcopy(model[2].state_dict())
    parameter = conv.weight
    changes = project_(model, 2, kind=kind)
    assert conv.weight is parameter
    for batch in matrices(conv.weight.detach(), kind, groups):
        values = torch.linalg.svdvals(batch.double())
        assert (values[:, 1] > 1e-3 * values[:, 0]).all()
        assert (values[:, 2:] < 1e-6 * values[:, :1]).all()
    chain = factorize(before.numpy(), rank=2, kind=kind, groups=groups)
    assert changes == {"0": pytest.approx(chain.error, rel=1e-5)}
    assert all(torch.equal(low[name], value) for name, value in model[2].state_dict().items())
    again = conv.weight.detach().clone()
    project_(model, {"0": 2}, kind=kind)
    torch.testing.assert_close(conv.weight.detach(), again, rtol=1e-5, atol=1e-6)


def test_a_penalised_filter_falls_to_rank_one_in_training():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 1, 5)
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.02)
    before = float(stable_rank(conv.weight.detach()))
    first = torch.linalg.svdvals(conv.weight.detach()[0, 0])[0]
    for _ in range(60):
        optimizer.zero_grad()
        trailing_penalty(conv, 1).backward()
        optimizer.step()
    values = torch.linalg.svdvals(conv.weight.detach()[0, 0])
    assert before > 1.5
    assert values[1:].max() < 0.03
    assert float(values[0]) == pytest.approx(float(first), rel=0.05)
    assert float(stable_rank(conv.weight.detach())) == pytest.approx(1, abs=0.05)


def test_stable_rank_counts_orthogonal_terms_and_zero():
    assert float(stable_rank(torch.eye(4)[None, None])) == 4
    assert float(stable_rank(torch.ones(2, 3, 4, 4))) == pytest.approx(1)
    assert float(stable_rank(torch.zeros(2, 3, 4, 4))) == 0


@given(
    full=st.integers(1, 12), part=st.floats(0, 1), steps=st.integers(1, 50), begin=st.integers(0, 9)
)
def test_schedule_falls_from_full_to_rank(full, part, steps, begin):
    rank = 1 + int(part * (full - 1))
    schedule = RankSchedule(full, rank, steps=steps, begin=begin)
    ranks = [schedule(step) for step in range(begin + steps + 3)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[: begin + 1] == [full] * (begin + 1)
    assert ranks[begin + steps :] == [rank] * 3
    assert steps == 1 or full == rank or ranks[begin + steps - 1] == rank + 1 or full - rank > steps


@pytest.mark.parametrize("kind", KINDS)
def test_copies_keep_the_model_and_compute_alike(kind):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=2))
    x = torch.randn(2, 3, 8, 8)
    project_(model, 2, kind=kind)
    expected = model(x)
    low = low_rank_copy(model, 2, kind=kind)
    assert [type(m) for m in low] == [LowRankConv2d, nn.ReLU, LowRankConv2d]
    torch.testing.assert_close(low(x), expected, rtol=1e-4, atol=1e-5)
    back = dense_copy(low)
    assert [type(m) for m in back] == [nn.Conv2d, nn.ReLU, nn.Conv2d]
    torch.testing.assert_close(back(x), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(x), expected)
    assert type(low_rank_copy(model[0], 1, kind="spatial_svd")) is LowRankConv2d


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: trailing_penalty(m, 0), "rank=0"),
        (lambda m: trailing_penalty(m, (1, 2)), r"rank=\(1, 2\)"),
        (lambda m: trailing_penalty(m, 1, kind="cp"), "kind='cp' is not one of"),
        (lambda m: trailing_penalty(m, 1, groups=2), "leave it out"),
        (lambda m: trailing_penalty(m.weight, {"0": 1}), "is for a model"),
        (lambda m: trailing_penalty(torch.ones(3), 1), "is neither"),
        (lambda m: stable_rank(m.weight, groups=5), "groups=5 is not a divisor"),
        (lambda m: project_(m, {"conv": 1}), "'conv' is not a plain"),
        (lambda m: project_(m, True), "rank=True"),
        (lambda m: low_rank_copy(m, 1, kind="dense"), "kind='dense'"),
        (lambda m: RankSchedule(1, 2, steps=3), "does not fall"),
        (lambda m: RankSchedule(3, 2, steps=0), "does not fall"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(layer())
