"""Fits of one layer at many ranks: against whitened SVDs by NumPy and real outputs by PyTorch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_cases import LAYERS, build, by_torch, layer_by_torch, relative
from rankconv.compress.fits import LayerFits, kinds_for
from rankconv.compress.moments import LayerMoments, draw, outputs_at
from rankconv.factorizations import KINDS, factorize, full_rank
from rankconv.factorizations.for_data import FOR_DATA, factorize_for_data
from rankconv.factorizations.nested import nested
from rankconv.stages import Stage
from test_data_aware import covariance

CUTTING = [kind for kind in KINDS if kind != "dense"]


def moments_of(layer, images, outputs, changed=None):
    """All patches of the images, none left out."""
    at = draw(outputs.shape[2:], len(images), samples=10**9, seed=[0])
    sums = LayerMoments(layer)
    sums.update(images if changed is None else changed, outputs_at(outputs, at), at)
    return sums.result()


def rank_at(part, full):
    if isinstance(full, int):
        return 1 + int(part * (full - 1))
    return tuple(1 + int(part * (f - 1)) for f in full)


def rest_of(replacement, images, outputs):
    """The relative error of the outputs, by PyTorch."""
    made = by_torch(replacement.chain.stages, images) + replacement.bias[:, None, None]
    mean = outputs.mean(axis=(0, 2, 3), keepdims=True)
    return np.linalg.norm(made - outputs) / (np.linalg.norm(outputs - mean) or 1.0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(case=LAYERS, part=st.floats(0, 1), sweeps=st.integers(0, 2))
def test_the_error_is_that_of_real_outputs(kind, case, part, sweeps):
    weight, options, images, rng = build(case)
    images += 2 * rng.standard_normal((1, images.shape[1], 1, 1))
    bias = rng.standard_normal((len(weight), 1, 1))
    layer = Stage(weight, **options)
    outputs = layer_by_torch(weight, options, images) + bias
    full = full_rank(weight.shape, kind=kind, groups=layer.groups)
    rank = full if kind == "dense" else rank_at(part, full)
    fits = LayerFits(layer, moments_of(layer, images, outputs))
    fit = fits.fit(kind, rank, sweeps=sweeps)
    assert fit.replacement.chain.rank == rank
    assert fit.replacement.chain.kind == kind
    chain = fit.replacement.chain
    assert chain.error == pytest.approx(relative(chain.dense(), weight), abs=1e-12)
    real = rest_of(fit.replacement, images, outputs)
    assert fit.output_error == pytest.approx(real, abs=1e-6)
    if kind != "cp":
        assert fit.output_error <= fits.output_error(kind, rank) + 1e-5
    made = by_torch(chain.stages, images) + fit.replacement.bias[:, None, None]
    np.testing.assert_allclose(made.mean(axis=(0, 2, 3)), outputs.mean(axis=(0, 2, 3)), atol=1e-9)


@pytest.mark.parametrize("kind", CUTTING)
def test_no_rank_is_worse_than_without_data_and_more_is_better(kind):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 6, 3, 3))
    layer = Stage(weight, padding=(1, 1))
    images = np.cumsum(rng.standard_normal((8, 6, 9, 9)), axis=3)
    outputs = layer_by_torch(weight, {"padding": 1}, images)
    fits = LayerFits(layer, moments_of(layer, images, outputs))
    ranks = range(1, full_rank((8, 6, 3, 3), kind="slice_svd" if kind == "slice_svd" else "cp") + 1)
    found = []
    for rank in ranks if kind == "slice_svd" else range(1, 7):
        fit = fits.fit(kind, rank, sweeps=3)
        found.append(fit.output_error)
        plain = by_torch(factorize(weight, rank=rank, kind=kind, padding=1).stages, images)
        plain -= (plain - outputs).mean(axis=(0, 2, 3), keepdims=True)
        mean = outputs.mean(axis=(0, 2, 3), keepdims=True)
        assert fit.output_error <= relative(plain - mean, outputs - mean) * 1.02 + 1e-6
    assert all(later < earlier + 1e-6 for earlier, later in pairwise(found))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("columns", [1, 2, 6])
def test_nested_errors_and_factors_are_those_of_each_rank_alone(groups, columns):
    """With V given, the best H by lstsq in a whitened space; V itself by a whitened SVD."""
    rng = np.random.default_rng(columns)
    A, M = 24 // columns, 7
    W, S = rng.standard_normal((groups, M, A, columns)), covariance(rng, groups, 24)
    most = min(A, M * columns)
    found = nested(W, S, most)
    assert found.most == most
    losses = np.zeros(most + 1)
    for g in range(groups):
        root = np.linalg.cholesky(S[g])
        marginal = np.einsum("abcb->ac", S[g].reshape(A, columns, A, columns))
        half = W[g].swapaxes(1, 2).reshape(-1, A) @ np.linalg.cholesky(marginal)
        right = np.linalg.svd(half)[2] @ np.linalg.inv(np.linalg.cholesky(marginal))
        for rank in range(1, most + 1):
            V = np.linalg.qr(right[:rank].T)[0].T
            design = np.kron(V, np.eye(columns)) @ root
            flat = W[g].reshape(M, -1) @ root
            H = np.linalg.lstsq(design.T, flat.T, rcond=None)[0].T  # (M, rank columns)
            losses[rank] += np.linalg.norm(H @ design - flat) ** 2
            H_found, V_found = (factor[g] for factor in found.factors(rank))
            product = np.einsum("mbr,ra->mab", H_found, V_found)
            expected = np.einsum("mrb,ra->mab", H.reshape(M, rank, columns), V)
            np.testing.assert_allclose(product, expected, atol=1e-6)
        losses[0] += np.linalg.norm(W[g].reshape(M, -1) @ root) ** 2
    np.testing.assert_allclose([found.loss(r) for r in range(most + 1)], losses, atol=1e-8)


@pytest.mark.parametrize("kind", FOR_DATA)
def test_a_few_sweeps_come_near_the_thorough_fit(kind):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((16, 12, 3, 3))
    layer = Stage(weight)
    images = np.cumsum(np.cumsum(rng.standard_normal((20, 12, 8, 8)), axis=2), axis=3)
    outputs = layer_by_torch(weight, {}, images)
    moments = moments_of(layer, images, outputs)
    rank = (6, 8) if kind == "tucker2" else 8
    thorough = factorize_for_data(weight, moments.covariance, rank=rank, kind=kind, sweeps=10)
    quick = LayerFits(layer, moments).fit(kind, rank, sweeps=3)
    assert quick.output_error <= (1.5 if kind == "cp" else 1.15) * thorough.output_error
    if kind == "channel_svd":
        assert quick.output_error == pytest.approx(thorough.output_error, rel=1e-5)


def test_slices_of_a_depthwise_layer_are_whitened_channel_by_channel():
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((12, 1, 5, 5))
    layer = Stage(weight, groups=12, padding=(2, 2))
    images = np.cumsum(rng.standard_normal((6, 12, 10, 10)), axis=3)
    outputs = layer_by_torch(weight, {"groups": 12, "padding": 2}, images)
    fits = LayerFits(layer, moments_of(layer, images, outputs))
    options = {"groups": 12, "padding": 2, "sweeps": 30}
    S = moments_of(layer, images, outputs).covariance
    for rank in (1, 2, 5):
        slices, pair = fits.fit("slice_svd", rank, sweeps=30), fits.fit("spatial_svd", rank)
        alone = factorize_for_data(weight, S, rank=rank, kind="spatial_svd", **options)
        assert slices.output_error == pytest.approx(alone.output_error, rel=0.02, abs=1e-6)
        assert slices.output_error <= pair.output_error + 1e-9
        shapes = [stage.weight.shape for stage in slices.replacement.chain.stages]
        assert shapes == [(12 * rank, 1, 5, 1), (12, rank, 1, 5)]


def test_slices_that_share_an_output_are_regressed_together():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 4, 3, 3))
    layer = Stage(weight, groups=2)
    images = rng.standard_normal((10, 1, 9, 9)) + 0.3 * rng.standard_normal((10, 8, 9, 9))
    outputs = layer_by_torch(weight, {"groups": 2}, images)
    moments = moments_of(layer, images, outputs)
    fit = LayerFits(layer, moments).fit("slice_svd", 1)
    # Nothing of the rest correlates with what the column filters give.
    first = fit.replacement.chain.stages[0]
    rest = by_torch(fit.replacement.chain.stages, images) - outputs
    rest -= rest.mean(axis=(0, 2, 3), keepdims=True)
    seen = by_torch([Stage(first.weight, groups=first.groups)], images)  # (N, 8 x 3, 7, 9)
    seen = seen.reshape(10, 2, 4, 3, 7, 9)  # group, input, output of the group
    for g in range(2):
        for o in range(3):
            for q in range(3):
                columns = seen[:, g, :, o, :, q : q + 7]
                cross = np.einsum("niyx,nyx->i", columns, rest[:, 3 * g + o])
                assert np.abs(cross).max() < 1e-3 * np.abs(columns).max() * np.abs(outputs).sum()
    plain = by_torch(factorize(weight, rank=1, groups=2).stages, images)
    assert fit.output_error < 0.9 * relative(plain, outputs)


def test_another_target_and_a_dense_layer_take_it():
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((6, 4, 3, 3)).astype(np.float32)
    layer = Stage(weight)
    images = rng.standard_normal((4, 4, 7, 7)).astype(np.float32)
    changed = images + np.float32(0.5) * rng.standard_normal(images.shape).astype(np.float32)
    outputs = layer_by_torch(weight, {}, images)
    moments = moments_of(layer, images, outputs, changed)
    best = moments.cross @ np.linalg.inv(moments.covariance)
    fits = LayerFits(layer, moments, target=best.reshape(weight.shape))
    dense = fits.fit("dense")
    np.testing.assert_allclose(
        dense.replacement.chain.stages[0].weight, best.reshape(weight.shape), rtol=1e-5
    )
    kept = LayerFits(layer, moments).fit("dense")
    np.testing.assert_array_equal(kept.replacement.chain.stages[0].weight, weight)
    assert dense.output_error < kept.output_error
    assert rest_of(dense.replacement, changed, outputs) == pytest.approx(
        dense.output_error, rel=1e-4
    )


def test_inputs_that_never_change_and_dead_channels():
    weight = np.random.default_rng(5).standard_normal((4, 3, 3, 3))
    layer = Stage(weight)
    still = np.ones((2, 3, 6, 6))
    outputs = layer_by_torch(weight, {}, still)
    for kind in KINDS:
        fit = LayerFits(layer, moments_of(layer, still, outputs)).fit(kind)
        assert fit.output_error == 0 or fit.output_error < 1e-6
        assert rest_of(fit.replacement, still, outputs) < 1e-9
    for mean in (1e5, 1e7):  # the variance is 1e-10 and 1e-14 of the squared mean
        far = mean + np.random.default_rng(6).standard_normal((2, 3, 6, 6))
        outputs = layer_by_torch(weight, {}, far)
        for kind in KINDS:
            fit = LayerFits(layer, moments_of(layer, far, outputs)).fit(kind)
            assert relative(fit.replacement.chain.dense(), weight) < 1e-6
    half = np.random.default_rng(6).standard_normal((2, 3, 6, 6))
    half[:, 1] = 0
    outputs = layer_by_torch(weight, {}, half)
    for kind in KINDS:
        fit = LayerFits(layer, moments_of(layer, half, outputs)).fit(kind)
        assert fit.output_error < 1e-5


@pytest.mark.parametrize(
    ("shape", "groups", "expected"),
    [
        ((8, 4, 3, 3), 1, ("spatial_svd", "channel_svd", "channel_svd_input", "tucker2", "cp")),
        ((8, 4, 1, 3), 1, ("channel_svd", "channel_svd_input", "tucker2", "cp")),
        ((8, 4, 1, 1), 1, ("channel_svd",)),
        ((8, 1, 3, 3), 8, ("slice_svd",)),
        ((8, 1, 1, 3), 8, ()),
    ],
)
def test_kinds_that_make_sense(shape, groups, expected):
    assert kinds_for(Stage(np.ones(shape), groups=groups)) == expected
    assert "slice_svd" in kinds_for(Stage(np.ones((8, 4, 3, 3)), groups=2))


def test_bad_input_is_refused_with_the_way_out():
    layer = Stage(np.ones((4, 3, 3, 3)))
    images = np.random.default_rng(7).standard_normal((2, 3, 6, 6))
    moments = moments_of(layer, images, layer_by_torch(layer.weight, {}, images))
    fits = LayerFits(layer, moments)
    with pytest.raises(ValueError, match="kind='svd' is not one of"):
        fits.fit("svd", 1)
    with pytest.raises(ValueError, match="rank=5 is not an integer from 1 to 4"):
        fits.output_error("channel_svd", 5)
    with pytest.raises(ValueError, match=r"pair \(R_in, R_out\)"):
        fits.fit("tucker2", (4, 1))
    with pytest.raises(ValueError, match="pass those of this layer"):
        LayerFits(Stage(np.ones((4, 3, 3, 2))), moments)
