"""Every kind on every layer, against PyTorch: exact at full rank, honest below, refused by name."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_cases import LAYERS, build, by_torch, layer_by_torch, relative
from rankconv.factorizations import FULL_RANKS, KINDS, factorize, full_rank
from rankconv.stages import Stage

CUTTING = [kind for kind in KINDS if kind != "dense"]
BY_SVD = ["slice_svd", "spatial_svd", "channel_svd", "channel_svd_input"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(case=LAYERS)
def test_full_rank_is_the_layer(kind, case):
    weight, options, images, _ = build(case)
    full = full_rank(weight.shape, kind=kind, groups=options["groups"])
    chain = factorize(weight, rank=full, kind=kind, **options)
    expected = layer_by_torch(weight, options, images)
    assert by_torch(chain.stages, images).shape == expected.shape
    assert relative(by_torch(chain.stages, images), expected) < 1e-12
    assert chain.error < 1e-13
    assert chain.kind == kind
    assert chain.rank == full


@pytest.mark.parametrize("kind", CUTTING)
@settings(max_examples=60)
@given(case=LAYERS, part=st.floats(0, 1))
def test_below_full_rank_the_chain_says_its_error(kind, case, part):
    weight, options, images, _ = build(case)
    full = full_rank(weight.shape, kind=kind, groups=options["groups"])
    rank = (
        1 + int(part * (full - 1))
        if isinstance(full, int)
        else tuple(1 + int(part * (f - 1)) for f in full)
    )
    chain = factorize(weight, rank=rank, kind=kind, **options)
    dense = chain.dense()
    assert chain.error == pytest.approx(relative(dense, weight), abs=1e-13)
    assert chain.rank == rank
    assert chain.bound is None or chain.error <= chain.bound
    assert (chain.bound is None) == (kind == "cp")
    # The chain computes what its weight says, with the layer's own options.
    assert relative(by_torch(chain.stages, images), layer_by_torch(dense, options, images)) < 1e-10


@pytest.mark.parametrize("kind", BY_SVD)
@settings(max_examples=40)
@given(case=LAYERS)
def test_error_of_the_svd_kinds_falls_with_the_rank_and_is_its_bound(kind, case):
    weight, options, _, _ = build(case)
    full = full_rank(weight.shape, kind=kind, groups=options["groups"])
    chains = [factorize(weight, rank=r, kind=kind, **options) for r in range(1, full + 1)]
    errors = [chain.error for chain in chains]
    assert all(later <= earlier + 1e-13 for earlier, later in pairwise(errors))
    for chain in chains:
        assert chain.error == pytest.approx(chain.bound, abs=1e-11)


@pytest.mark.parametrize("kind", ["tucker2", "cp"])
def test_error_of_the_iterated_kinds_falls_with_the_rank(kind):
    weight = np.random.default_rng(0).standard_normal((8, 6, 3, 3))
    errors = [factorize(weight, rank=r, kind=kind).error for r in range(1, 7)]
    assert all(later < earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("kind", CUTTING)
@settings(max_examples=20)
@given(case=LAYERS, tol=st.floats(0.01, 0.9))
def test_tol_is_kept_with_a_small_rank(kind, case, tol):
    weight, options, _, _ = build(case)
    chain = factorize(weight, tol=tol, kind=kind, **options)
    assert chain.error <= tol + 1e-13
    if isinstance(chain.rank, int) and chain.rank > 1:
        fewer = factorize(weight, rank=chain.rank - 1, kind=kind, **options)
        assert fewer.error > tol - 1e-13
    if kind == "tucker2" and max(chain.rank) > 1:
        half = tuple(max(1, r - 1) for r in chain.rank)
        assert factorize(weight, rank=half, kind=kind, **options).error > tol - 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_neither_rank_nor_tol_finds_a_hidden_low_rank(kind):
    rng = np.random.default_rng(1)
    a, b, c, d = (rng.standard_normal((2, n)) for n in (9, 8, 3, 5))
    weight = np.einsum("ro,ri,rp,rq->oipq", a, b, c, d)
    chain = factorize(weight, kind=kind)
    assert chain.error < 1e-13
    expected = {"slice_svd": 2, "tucker2": (2, 2), "dense": 9}
    if kind != "cp":  # whose least rank no one computes
        assert chain.rank == expected.get(kind, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-150, 1e150, 1e300])
def test_tiny_huge_and_zero_weights(kind, scale):
    weight = scale * np.random.default_rng(2).uniform(-1, 1, (3, 2, 3, 2))
    chain = factorize(weight, kind=kind)
    assert chain.error < 1e-13
    bound = 1e-12 * scale or 1e-300
    np.testing.assert_allclose(chain.dense(), weight, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", CUTTING)
def test_float32_stays_float32_and_keeps_its_bound(kind):
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((12, 4, 3, 3)).astype(np.float32)
    images = rng.standard_normal((2, 12, 9, 9)).astype(np.float32)
    options = {"stride": 1, "padding": 1, "dilation": 1, "groups": 3}
    full = full_rank(weight.shape, kind=kind, groups=3)
    chain = factorize(weight, rank=full, kind=kind, **options)
    assert all(stage.weight.dtype == np.float32 for stage in chain.stages)
    assert chain.error < 1e-6
    assert chain.bound is None or chain.error <= chain.bound
    assert relative(by_torch(chain.stages, images), layer_by_torch(weight, options, images)) < 1e-5


@pytest.mark.parametrize("kind", CUTTING)
def test_groups_are_split_one_by_one(kind):
    rng = np.random.default_rng(4)
    parts = [rng.standard_normal((4, 3, 3, 3)) for _ in range(2)]
    whole = factorize(np.concatenate(parts), rank=2, kind=kind, groups=2).dense()
    alone = np.concatenate([factorize(part, rank=2, kind=kind).dense() for part in parts])
    # Iterations end for all groups at once, so not where they would end for one.
    assert relative(whole, alone) < (0.02 if kind in ("cp", "tucker2") else 1e-12)


def test_the_layer_is_not_changed():
    weight = np.random.default_rng(5).standard_normal((4, 3, 3, 3))
    before = weight.copy()
    for kind in KINDS:
        factorize(weight, kind=kind)
    np.testing.assert_array_equal(weight, before)


def test_dense_is_the_layer_itself():
    weight = np.random.default_rng(6).standard_normal((4, 3, 3, 3))
    chain = factorize(weight, kind="dense", stride=2, padding=1, tol=0.1)
    (stage,) = chain.stages
    assert isinstance(stage, Stage)
    assert (stage.stride, stage.padding) == ((2, 2), (1, 1))
    np.testing.assert_array_equal(stage.weight, weight)
    assert (chain.error, chain.bound) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "svd"}, "kind='svd' is not one of 'slice_svd', 'spatial_svd'"),
        ({"kind": "spatial_svd", "rank": 10}, "rank=10 is not an integer from 1 to 9"),
        ({"kind": "spatial_svd", "rank": (2, 2)}, "rank=\\(2, 2\\) is not an integer"),
        ({"kind": "channel_svd", "rank": 5}, "from 1 to 4"),
        ({"kind": "channel_svd_input", "rank": 4}, "from 1 to 3"),
        ({"kind": "cp", "rank": 28}, "from 1 to 27"),
        ({"kind": "tucker2", "rank": (4, 4)}, "pair \\(R_in, R_out\\) of integers from 1 to"),
        ({"kind": "tucker2", "rank": (1, 2, 3)}, "pair"),
        ({"kind": "tucker2", "rank": (1.0, 2)}, "pair"),
        ({"kind": "tucker2", "rank": (True, 2)}, "pair"),
        ({"kind": "tucker2", "rank": 5}, "from 1 to 4"),
        ({"kind": "tucker2", "rank": "12"}, "pair"),
        ({"kind": "tucker2", "rank": (1, 2), "tol": 0.1}, "exclude each other"),
        ({"kind": "tucker2", "tol": -1}, "tol=-1"),
        ({"kind": "dense", "rank": 2}, "kind='dense', which leaves the layer at its full rank 4"),
        ({"kind": "cp", "groups": 3}, "groups=3 is not a divisor"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(options, message):
    with pytest.raises(ValueError, match=message):
        factorize(np.ones((4, 3, 3, 3)), **options)


def test_complex_weights_are_refused_by_name():
    with pytest.raises(ValueError, match="kind='slice_svd' alone"):
        factorize(np.ones((4, 3, 3, 3), complex), kind="cp")


def test_every_kind_has_a_full_rank():
    assert set(FULL_RANKS) == set(KINDS)
    with pytest.raises(ValueError, match="kind='svd' is not one of"):
        full_rank((4, 3, 3, 3), kind="svd")
