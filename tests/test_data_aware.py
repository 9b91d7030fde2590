"""Fits to a layer's outputs: closed forms, descent, and never worse than without the data."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_cases import LAYERS, build, by_torch, layer_by_torch, relative
from rankconv.compress.covariance import patch_covariance
from rankconv.factorizations import cp, factorize, full_rank
from rankconv.factorizations.for_data import FOR_DATA, factorize_for_data
from rankconv.factorizations.outputs import bias_shift
from rankconv.factorizations.two_factors_for_data import fit
from rankconv.stages import Stage


def covariance(rng, groups, size, samples=None, decay=1.0):
    """A random second moment with a spectrum that falls by `decay`, (groups, size, size)."""
    factor = rng.standard_normal((groups, size, samples or 2 * size))
    factor *= np.logspace(0, -decay, size)[:, None]
    factor = np.linalg.qr(rng.standard_normal((groups, size, size)))[0] @ factor
    return factor @ factor.swapaxes(1, 2) / factor.shape[2]


def output_error(weight, near, S):
    """The definition, by an eigenvalue root of S (groups, D, D)."""
    value, vector = np.linalg.eigh(S)
    root = vector * np.sqrt(value.clip(min=0))[:, None]
    flat = weight.reshape(S.shape[0], -1, S.shape[1])
    return np.linalg.norm((flat - near.reshape(flat.shape)) @ root) / np.linalg.norm(flat @ root)


@pytest.mark.parametrize("kind", FOR_DATA)
@settings(max_examples=25)
@given(case=LAYERS, part=st.floats(0, 1))
def test_output_error_is_real_and_never_worse_than_without_the_data(kind, case, part):
    weight, options, images, rng = build(case)
    images += 2 * rng.standard_normal((1, images.shape[1], 1, 1))
    S = patch_covariance([images], case["kernel"], **options).second_moment()
    full = full_rank(weight.shape, kind=kind, groups=options["groups"])
    rank = (
        1 + int(part * (full - 1))
        if isinstance(full, int)
        else tuple(1 + int(part * (f - 1)) for f in full)
    )
    result = factorize_for_data(weight, S, rank=rank, kind=kind, **options)
    expected = layer_by_torch(weight, options, images)
    real = relative(by_torch(result.chain.stages, images), expected)
    assert result.output_error == pytest.approx(real, abs=1e-8)
    assert result.chain.rank == rank
    assert result.chain.kind == kind
    assert result.chain.error == pytest.approx(relative(result.chain.dense(), weight), abs=1e-12)
    plain = factorize(weight, rank=rank, kind=kind, **options)
    assert real <= relative(by_torch(plain.stages, images), expected) + 1e-8
    if kind == "channel_svd":
        assert result.output_bound is not None
    assert result.output_bound is None or result.output_error <= result.output_bound + 1e-15


@pytest.mark.parametrize("kind", FOR_DATA)
def test_correlated_inputs_are_worth_a_lot(kind):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 8, 3, 3))
    S = covariance(rng, 1, 72, decay=2.0)
    plain = factorize(weight, rank=6, kind=kind)
    result = factorize_for_data(weight, S, rank=6, kind=kind)
    assert result.output_error < 0.8 * output_error(weight, plain.dense(), S)
    assert result.output_error == pytest.approx(output_error(weight, result.chain.dense(), S))
    assert result.chain.error >= plain.error - 1e-9  # the weight's own best is given up


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("rank", [1, 4])
def test_channel_svd_is_the_closed_form(groups, rank):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((groups * 6, 4, 3, 2))
    S = covariance(rng, groups, 24)
    result = factorize_for_data(weight, S, rank=rank, kind="channel_svd", groups=groups, ridge=0)
    lost = total = 0.0
    for g in range(groups):
        value, vector = np.linalg.eigh(S[g])
        root = (vector * np.sqrt(value)) @ vector.T
        flat = weight.reshape(groups, 6, 24)[g]
        u, s, vt = np.linalg.svd(flat @ root, full_matrices=False)
        nearest = (u[:, :rank] * s[:rank]) @ vt[:rank] @ np.linalg.inv(root)
        near = result.chain.dense().reshape(groups, 6, 24)[g]
        np.testing.assert_allclose(near, nearest, atol=1e-8)
        lost, total = lost + np.sum(s[rank:] ** 2), total + np.sum(s**2)
    assert result.output_error == pytest.approx(np.sqrt(lost / total), rel=1e-9)
    assert result.output_bound == pytest.approx(np.sqrt(lost / total), rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "split"), [("spatial_svd", (12, 2)), ("channel_svd_input", (4, 6))]
)
def test_a_product_covariance_is_solved_by_its_whitened_start(kind, split):
    """S = S_a x 1 splits: the whitened matrix (o, b) by a has its nearest by Eckart-Young."""
    rng = np.random.default_rng(2)
    A, B = split
    weight = rng.standard_normal((5, 4, 3, 2))
    marginal = covariance(rng, 1, A)[0]
    S = np.kron(marginal, np.eye(B))
    matrix = weight.reshape(5, A, B).swapaxes(1, 2).reshape(-1, A)
    sigma = np.linalg.svd(matrix @ np.linalg.cholesky(marginal), compute_uv=False)
    expected = np.linalg.norm(sigma[3:]) / np.linalg.norm(sigma)
    for sweeps in (0, 10):
        result = factorize_for_data(weight, S, rank=3, kind=kind, sweeps=sweeps, ridge=0)
        assert result.output_error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("outer", [None, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_no_sweep_raises_the_loss_and_the_end_is_stationary(outer, groups):
    rng = np.random.default_rng(3)
    W = rng.standard_normal((groups, 6, 5, 3))
    S = covariance(rng, groups, 15, decay=2.0)
    plain = np.linalg.svd(W.swapaxes(2, 3).reshape(groups, 18, 5), full_matrices=False)[2][:, :2]
    H, V, losses, bound = fit(W, S, plain, sweeps=500, outer=outer)
    assert bound is None
    assert len(losses) > 2
    assert all(later < earlier for earlier, later in pairwise(losses))
    E = W - (H @ V[:, None]).swapaxes(2, 3)
    flat = E.reshape(groups, 6, 15)
    assert losses[-1] == pytest.approx(np.vdot(flat @ S, flat))
    slope = np.einsum("gmbr,gmab->gra", H, (flat @ S).reshape(W.shape))
    scale = np.einsum("gmbr,gmab->gra", H, (W.reshape(groups, 6, 15) @ S).reshape(W.shape))
    assert np.linalg.norm(slope) < 0.02 * np.linalg.norm(scale)
    if outer is None:  # H is solved exactly: nothing of the rest correlates with the first stage
        rest = np.einsum("gra,gmab->gmbr", V, (flat @ S).reshape(W.shape))
        assert np.linalg.norm(rest) < 1e-10 * np.linalg.norm(scale)
    else:
        sigma = np.linalg.svd(H.reshape(groups, 6, -1), compute_uv=False)
        assert sigma[:, outer:].max() < 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_the_start_is_the_better_of_two(seed):
    """Each with its second factor regressed on the first stage's output, here by lstsq."""
    rng = np.random.default_rng(seed)
    W, S = rng.standard_normal((1, 3, 12, 3)), covariance(rng, 1, 36, decay=seed % 3)
    root = np.linalg.cholesky(S[0])
    marginal = np.einsum("abcb->ac", S[0].reshape(12, 3, 12, 3))
    matrix = W[0].swapaxes(1, 2).reshape(9, 12)
    whitened = np.linalg.svd(matrix @ np.linalg.cholesky(marginal))[0][:, :3].T @ matrix
    plain = np.linalg.svd(matrix)[2][:3]
    losses = []
    for V in (whitened, plain):
        stage = np.kron(V, np.eye(3)) @ root  # rows (r, b)
        right = W.reshape(3, 36) @ root
        H = np.linalg.lstsq(stage.T, right.T, rcond=None)[0]
        losses.append(np.linalg.norm(stage.T @ H - right.T) ** 2)
    found = fit(W, S, plain[None], sweeps=0)[2]
    assert found == pytest.approx([min(losses)])


def test_a_search_that_goes_astray_gives_way_to_the_fit_without_data(monkeypatch):
    rng = np.random.default_rng(15)
    weight, S = rng.standard_normal((6, 4, 3, 3)), covariance(rng, 1, 36)
    plain = factorize(weight, rank=3, kind="cp")
    worse = factorize(weight, rank=1, kind="cp")
    monkeypatch.setitem(FOR_DATA, "cp", (*FOR_DATA["cp"][:2], lambda *_, sweeps: (worse, None)))
    result = factorize_for_data(weight, S, rank=3, kind="cp")
    assert result.chain.rank == 3
    np.testing.assert_array_equal(result.chain.dense(), plain.dense())


@pytest.mark.parametrize("mode", range(4))
def test_a_cp_factor_goes_to_its_weighted_least_squares_solution(mode):
    rng = np.random.default_rng(mode)
    W = rng.standard_normal((1, 4, 3, 2, 3))
    S = covariance(rng, 1, 18)
    factors = [rng.standard_normal((1, 2, n)) for n in W.shape[1:]]
    moved = list(factors)
    WS = (W.reshape(1, 4, 18) @ S).reshape(W.shape)
    moved[mode] = cp.update(WS, S, moved, mode, steps=40)
    root = np.linalg.cholesky(S[0])
    columns = []
    for at in np.ndindex(factors[mode].shape):
        unit = list(factors)
        unit[mode] = np.zeros_like(factors[mode])
        unit[mode][at] = 1
        columns.append((cp.compose(unit).reshape(4, 18) @ root).ravel())
    right = (W.reshape(4, 18) @ root).ravel()
    expected = np.linalg.lstsq(np.array(columns).T, right, rcond=None)[0]
    np.testing.assert_allclose(moved[mode].ravel(), expected, atol=1e-7)


def test_no_cp_sweep_raises_the_loss():
    rng = np.random.default_rng(4)
    W = rng.standard_normal((2, 6, 5, 3, 3))
    S = covariance(rng, 2, 45, decay=2.0)
    start = cp.fit(W, cp.exact_terms(W)[0], 4)[0]
    _, losses = cp.fit_outputs(W, S, start, 30)
    assert len(losses) > 5
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert losses[-1] < 0.7 * losses[0]


def test_tucker2_with_all_inputs_is_the_closed_form_of_channel_svd():
    rng = np.random.default_rng(5)
    weight, S = rng.standard_normal((6, 4, 3, 3)), covariance(rng, 1, 36)
    tucker = factorize_for_data(weight, S, rank=(4, 2), kind="tucker2", ridge=0)
    channel = factorize_for_data(weight, S, rank=2, kind="channel_svd", ridge=0)
    assert tucker.output_error == pytest.approx(channel.output_error, rel=1e-9)


@pytest.mark.parametrize("kind", ["spatial_svd", "channel_svd", "channel_svd_input"])
def test_white_inputs_change_nothing(kind):
    weight = np.random.default_rng(6).standard_normal((6, 4, 3, 3))
    plain = factorize(weight, rank=2, kind=kind)
    result = factorize_for_data(weight, 7 * np.eye(36), rank=2, kind=kind)
    np.testing.assert_allclose(result.chain.dense(), plain.dense(), atol=1e-10)
    assert result.output_error == pytest.approx(plain.error)


@pytest.mark.parametrize("kind", FOR_DATA)
@pytest.mark.parametrize("ridge", [0, 1e-6])
def test_deficient_covariance(kind, ridge):
    """Five patches of 72 numbers each: what they see must be served."""
    rng = np.random.default_rng(7)
    weight = rng.standard_normal((8, 8, 3, 3))
    S = covariance(rng, 1, 72, samples=5, decay=0)
    result = factorize_for_data(weight, S, rank=6, kind=kind, ridge=ridge, sweeps=30)
    assert np.isfinite(result.chain.dense()).all()
    plain = factorize(weight, rank=6, kind=kind)
    assert result.output_error < 0.5 * output_error(weight, plain.dense(), S)
    if kind == "channel_svd":
        assert result.output_error < 1e-6
    if ridge and kind != "cp":  # what is unseen is held near the original
        assert result.chain.error < 1.2


def test_a_dead_group_and_a_dead_channel():
    rng = np.random.default_rng(8)
    weight = rng.standard_normal((6, 2, 3, 3))
    S = covariance(rng, 2, 18)
    S[1] = 0
    S[0, :9] = S[0, :, :9] = 0
    for kind in FOR_DATA:
        for ridge in (0, 1e-6):
            result = factorize_for_data(weight, S, rank=2, kind=kind, groups=2, ridge=ridge)
            dense = result.chain.dense()
            assert np.isfinite(dense).all()
            assert result.output_error == pytest.approx(output_error(weight, dense, S), abs=1e-8)


@pytest.mark.parametrize("kind", FOR_DATA)
def test_tol_is_of_the_output(kind):
    rng = np.random.default_rng(9)
    weight, S = rng.standard_normal((6, 4, 3, 3)), covariance(rng, 1, 36, decay=2.0)
    result = factorize_for_data(weight, S, tol=0.3, kind=kind)
    assert result.output_error <= 0.3
    assert result.chain.error > 0.3
    if isinstance(result.chain.rank, int):
        fewer = factorize_for_data(weight, S, rank=result.chain.rank - 1, kind=kind)
        assert fewer.output_error > 0.3
    exact = factorize_for_data(weight, S, kind=kind)
    assert exact.output_error < 1e-12


def test_more_sweeps_are_no_worse():
    rng = np.random.default_rng(10)
    weight, S = rng.standard_normal((8, 6, 3, 3)), covariance(rng, 1, 54, decay=2.0)
    for kind in FOR_DATA:
        errors = [
            factorize_for_data(weight, S, rank=3, kind=kind, sweeps=n).output_error
            for n in (0, 1, 4, 16)
        ]
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))


def test_error_falls_with_the_rank():
    rng = np.random.default_rng(11)
    weight, S = rng.standard_normal((8, 6, 3, 3)), covariance(rng, 1, 54)
    for kind in FOR_DATA:
        errors = [
            factorize_for_data(weight, S, rank=r, kind=kind).output_error for r in range(1, 7)
        ]
        assert all(later < earlier + 1e-12 for earlier, later in pairwise(errors))


def test_float32_scale_and_a_filter():
    rng = np.random.default_rng(12)
    weight = rng.standard_normal((6, 4, 3, 3))
    S = covariance(rng, 1, 36)
    wide = factorize_for_data(weight, S, rank=5)
    single = factorize_for_data(weight.astype(np.float32), S, rank=5)
    assert all(stage.weight.dtype == np.float32 for stage in single.chain.stages)
    assert single.output_error == pytest.approx(wide.output_error, rel=1e-4)
    scaled = factorize_for_data(1e-200 * weight, 1e200 * S, rank=5)
    assert scaled.output_error == pytest.approx(wide.output_error, rel=1e-9)
    plane = factorize_for_data(weight[0, 0], covariance(rng, 1, 9)[0], rank=2)
    assert plane.chain.shape == (3, 3)
    assert plane.chain.dense().shape == (3, 3)


def test_the_bias_shift_leaves_the_centred_error():
    rng = np.random.default_rng(13)
    weight = rng.standard_normal((6, 2, 3, 3))
    images = rng.standard_normal((3, 4, 8, 8)) + np.arange(4)[:, None, None]
    options = {"stride": 1, "padding": 1, "dilation": 1, "groups": 2}
    moments = patch_covariance([images], 3, **options)
    result = factorize_for_data(weight, moments.covariance(), rank=2, **options)
    shift = bias_shift(Stage(weight, groups=2), result.chain, moments.mean())
    wrong = layer_by_torch(weight, options, images) - by_torch(result.chain.stages, images)
    np.testing.assert_allclose(shift, wrong.mean(axis=(0, 2, 3)), atol=1e-12)
    left = wrong - shift[:, None, None]
    E = (weight - result.chain.dense()).reshape(2, 3, 18)
    expected = np.trace(E @ moments.covariance() @ E.swapaxes(1, 2), axis1=1, axis2=2).sum()
    assert (left**2).sum(axis=1).mean() == pytest.approx(expected)
    with pytest.raises(ValueError, match="pass the mean patch of shape \\(2, 18\\)"):
        bias_shift(Stage(weight, groups=2), result.chain, np.ones(36))


def test_changed_inputs_are_refitted_to_the_original_outputs():
    """The asymmetric fit: from changed patches to what the layer gave for the original ones."""
    rng = np.random.default_rng(14)
    weight = rng.standard_normal((6, 4, 1, 1))
    x = rng.standard_normal((4, 200))
    changed = x + 0.5 * rng.standard_normal((4, 200))
    S = changed @ changed.T / 200
    y = weight[..., 0, 0] @ x
    best = (y @ changed.T / 200) @ np.linalg.inv(S)
    refit = factorize_for_data(best[..., None, None], S, rank=2, kind="channel_svd", ridge=0)
    plain = factorize_for_data(weight, S, rank=2, kind="channel_svd", ridge=0)

    def rest(chain):
        return np.linalg.norm(chain.dense()[..., 0, 0] @ changed - y)

    assert rest(refit.chain) < rest(plain.chain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "slice_svd"}, "kind='slice_svd' is not one of 'spatial_svd'"),
        ({"kind": "dense"}, "kind='dense' is not one of"),
        ({"covariance": np.eye(35)}, "covariance of shape \\(1, 35, 35\\).*\\(1, 36, 36\\)"),
        (
            {"groups": 2},
            "covariance of shape \\(36, 36\\).*pass the real patch covariance",
        ),
        ({"covariance": np.zeros((36, 36))}, "must not be all zero"),
        ({"covariance": np.full((36, 36), np.nan)}, "NaN or infinity"),
        ({"covariance": np.eye(36) + np.eye(36, k=1)}, "not symmetric"),
        ({"covariance": np.ones((36, 36)) - 0.9 * np.eye(36)}, "not positive semidefinite"),
        ({"covariance": np.eye(36) * 1j}, "real patch covariance"),
        ({"weight": np.ones((4, 4, 3, 3), complex)}, "only real layers"),
        ({"ridge": -1.0}, "ridge=-1.0 is not a finite number >= 0"),
        ({"ridge": np.inf}, "ridge=inf"),
        ({"sweeps": -1}, "sweeps=-1 is not an integer >= 0"),
        ({"sweeps": 1.5}, "sweeps=1.5"),
        ({"rank": 13}, "rank=13 is not an integer from 1 to 12"),
        ({"rank": 2, "tol": 0.1}, "exclude each other"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(options, message):
    arguments = {"weight": np.ones((4, 4, 3, 3)), "covariance": np.eye(36)} | options
    with pytest.raises(ValueError, match=message):
        factorize_for_data(arguments.pop("weight"), arguments.pop("covariance"), **arguments)
