"""Factorizations: exact at full rank, nearest below it, and honest about the error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankconv import Stage, factorize
from rankconv.factorizations import KINDS
from rankconv.stages import apply

SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
x = np.arange(-7, 8)
GAUSSIAN = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 2.5**2))
# A value's exponent and a low rank are drawn: tiny, huge and deficient filters come up too.
scales = st.sampled_from([1.0, 1e-150, 1e150, 1e-300])


def low_rank(rng, kH, kW, rank, scale):
    return scale * rng.standard_normal((kH, rank)) @ rng.standard_normal((rank, kW))


@pytest.mark.parametrize(
    ("kernel", "rank"),
    [
        (GAUSSIAN, 1),
        (GAUSSIAN.astype(np.float32), 1),
        (SOBEL, 1),
        (LAPLACIAN, 2),
        (np.zeros((3, 4)), 1),
        (np.eye(5), 5),
        (np.ones((1, 7)), 1),
        (np.hypot(*np.ogrid[-3:4, -3:4]) < 2.5, 2),
    ],
    ids=["gaussian", "gaussian32", "sobel", "laplacian", "zero", "identity", "row", "disk"],
)
def test_numerical_rank(kernel, rank):
    chain = factorize(kernel)
    assert chain.rank == rank
    dtype = np.asarray(kernel).dtype
    eps = np.finfo(dtype if dtype.kind == "f" else float).eps
    np.testing.assert_allclose(chain.dense(), kernel, rtol=0, atol=20 * eps)


@settings(max_examples=500)
@given(
    kH=st.integers(1, 9), kW=st.integers(1, 9), hidden=st.integers(1, 9), m=st.integers(1, 9),
    scale=scales, seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float64, np.complex128]),
)  # fmt: skip
def test_cut_filter_is_the_nearest_of_its_rank(kH, kW, hidden, m, scale, seed, dtype):
    rng = np.random.default_rng(seed)
    F = low_rank(rng, kH, kW, hidden, 1.0).astype(dtype)
    if dtype is np.complex128:
        F = F + 1j * low_rank(rng, kH, kW, hidden, 1.0)
    m = min(m, kH, kW)
    chain = factorize(scale * F, rank=m)
    u, sigma, vt = np.linalg.svd(F)
    nearest = (u[:, :m] * sigma[:m]) @ vt[:m]
    # Two equal singular values leave the nearest matrix open, their error not.
    error = np.sqrt(np.sum(sigma[m:] ** 2)) / np.linalg.norm(F)
    assert chain.rank == m
    assert chain.dense().dtype == dtype
    assert chain.error == pytest.approx(error, abs=1e-13)
    assert chain.error <= chain.bound
    assert chain.bound == pytest.approx(error, abs=1e-13)
    if m == sigma.size or sigma[m - 1] - sigma[m] > 1e-3 * sigma[0]:
        np.testing.assert_allclose(chain.dense() / scale, nearest, rtol=0, atol=1e-10 * sigma[0])


@settings(max_examples=300)
@given(
    kH=st.integers(1, 8), kW=st.integers(1, 8), tol=st.floats(0, 1.2),
    seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_tol_takes_the_smallest_rank_within_it(kH, kW, tol, seed, dtype):
    F = np.random.default_rng(seed).standard_normal((kH, kW)).astype(dtype)
    chain = factorize(F, tol=tol)
    rounding = 10 * max(kH, kW) * np.finfo(dtype).eps
    assert chain.error <= tol + rounding
    if chain.rank > 1:
        assert factorize(F, rank=chain.rank - 1).error > tol - rounding


def test_tol_of_a_deficient_filter_stops_at_its_numerical_rank():
    F = low_rank(np.random.default_rng(1), 9, 9, 2, 1.0)
    assert factorize(F, tol=0).rank == 2


def test_sigma_is_folded_into_the_column_filters():
    F = low_rank(np.random.default_rng(2), 6, 5, 5, 1.0)
    first, second = factorize(F).stages
    sigma = np.linalg.svd(F, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(first.weight[:, 0, :, 0], axis=1), sigma)
    np.testing.assert_allclose(np.linalg.norm(second.weight[0, :, 0], axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120)
@given(
    groups=st.integers(1, 3), per=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_chain_at_full_rank_is_the_layer(
    kind, groups, per, kernel, stride, padding, dilation, seed
):
    rng = np.random.default_rng(seed)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    weight = rng.standard_normal((groups * per[1], per[0], *kernel))
    images = rng.standard_normal((2, groups * per[0], 10, 9))
    chain = factorize(weight, kind=kind, **options)
    expected = apply([Stage(weight, **options)], images)
    np.testing.assert_allclose(apply(chain.stages, images), expected, atol=1e-11)
    np.testing.assert_allclose(chain.dense(), weight, atol=1e-12)
    assert chain.shape == weight.shape


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dense"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_chain_below_full_rank_says_its_error(kind, rank):
    weight = np.random.default_rng(3).standard_normal((4, 3, 3, 5))
    chain = factorize(weight, rank=rank, kind=kind)
    error = np.linalg.norm(chain.dense() - weight) / np.linalg.norm(weight)
    assert chain.error == pytest.approx(error, abs=1e-14)
    assert chain.bound is None or chain.error <= chain.bound


def test_the_permutation_between_the_stages_is_needed():
    weight = np.random.default_rng(4).standard_normal((3, 2, 3, 3))
    first, second = factorize(weight).stages
    assert second.permute is not None
    straight = Stage(second.weight, groups=second.groups)
    images = np.ones((1, 2, 3, 3))
    assert not np.allclose(apply([first, straight], images), apply([Stage(weight)], images))


def test_one_rank_for_all_slices_of_a_weight():
    weight = np.stack([np.eye(3), np.ones((3, 3))])[None]
    assert factorize(weight).rank == 3
    assert factorize(weight, rank=1).stages[0].weight.shape == (2, 1, 3, 1)


@pytest.mark.parametrize(
    ("weight", "options", "message"),
    [
        (np.ones((0, 3)), {}, "empty: pass at least one tap"),
        (np.ones(3), {}, "pass 2-D or 4-D"),
        (np.ones((2, 3, 3)), {}, "has 3 dimensions"),
        ([[np.nan]], {}, "numpy.nan_to_num"),
        ([[np.inf]], {}, "NaN or infinity"),
        (np.array([[None]]), {}, "dtype object does not hold numbers"),
        ([["a"]], {}, "does not hold numbers"),
        ([[1, 2], [3]], {}, "not a rectangular array"),
        (np.ones((3, 3), np.float16), {}, "use float32"),
        (np.ma.ones((3, 3)), {}, "weight.filled"),
        (np.ones((3, 5)), {"rank": 4}, "rank=4 is not an integer from 1 to 3"),
        (np.ones((3, 5)), {"rank": 0}, "rank=0"),
        (np.ones((3, 5)), {"rank": 1.0}, "rank=1.0"),
        (np.ones((3, 5)), {"rank": True}, "rank=True"),
        (np.ones((3, 5)), {"tol": -0.1}, "tol=-0.1 is not a finite number >= 0"),
        (np.ones((3, 5)), {"tol": np.nan}, "tol=nan"),
        (np.ones((3, 5)), {"tol": "1"}, "tol='1'"),
        (np.ones((3, 5)), {"rank": 1, "tol": 0.1}, "exclude each other"),
        (np.ones((3, 5)), {"kind": "svd"}, "kind='svd' is not one of 'slice_svd'"),
        (np.ones((4, 1, 3, 3)), {"groups": 3}, "groups=3 is not a divisor of the 4"),
        (np.ones((4, 1, 3, 3)), {"groups": 0}, "groups=0"),
        (np.ones((4, 1, 3, 3)), {"stride": 0}, "stride=0 must be"),
        (np.ones((4, 1, 3, 3)), {"padding": -1}, "padding=-1 must be"),
        (np.ones((4, 1, 3, 3)), {"dilation": (1, 1, 1)}, "dilation=\\(1, 1, 1\\) must be"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(weight, options, message):
    with pytest.raises(ValueError, match=message):
        factorize(weight, **options)
