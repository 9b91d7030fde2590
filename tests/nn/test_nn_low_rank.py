"""LowRankConv2d: every kind and option against PyTorch's own layer, and what tools do with it."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rankconv.compress.network import Replacement
from rankconv.factorizations import KINDS, factorize, full_rank
from rankconv.nn import LowRankConv2d, spectral_init
from rankconv.nn.spectral import balanced

CUTTING = [kind for kind in KINDS if kind != "dense"]
torch.set_num_threads(1)
# PyTorch says so once of its own layer with an even kernel.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")

CONVS = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 3),
        "per": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "kernel_size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]),
        "padding": st.sampled_from([0, 1, (2, 1), "valid", "same"]),
        "dilation": st.sampled_from([1, (1, 2), (2, 1)]),
        "bias": st.booleans(),
        "padding_mode": st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
        "seed": st.integers(0, 2**31),
    }
)


def conv_of(case):
    """The drawn layer in double precision and images for it."""
    options = {name: case[name] for name in case if name not in ("per", "seed")}
    if options["padding"] == "same":
        options["stride"] = 1  # as nn.Conv2d asks
    outputs, inputs = (n * case["groups"] for n in case["per"])
    torch.manual_seed(case["seed"])
    conv = nn.Conv2d(inputs, outputs, **options, dtype=torch.float64)
    return conv, torch.randn(2, inputs, 10, 9, dtype=torch.float64)


def full(conv, kind):
    return full_rank(tuple(conv.weight.shape), kind=kind, groups=conv.groups)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(case=CONVS)
def test_at_full_rank_it_is_the_layer(kind, case):
    conv, x = conv_of(case)
    low = LowRankConv2d.from_conv(conv, rank=full(conv, kind), kind=kind)
    torch.testing.assert_close(low(x), conv(x), rtol=1e-10, atol=1e-10)
    dense = low.to_dense()
    assert type(dense) is nn.Conv2d
    torch.testing.assert_close(dense.weight, conv.weight, rtol=1e-10, atol=1e-10)
    assert repr(dense) == repr(conv)
    assert (low.bias is None) == (conv.bias is None)


@pytest.mark.parametrize("kind", CUTTING)
@settings(max_examples=25)
@given(case=CONVS)
def test_below_full_rank_it_is_the_layer_of_its_dense_weight(kind, case):
    conv, x = conv_of(case)
    low = LowRankConv2d.from_conv(conv, rank=1, kind=kind)
    torch.testing.assert_close(low(x), low.to_dense()(x), rtol=1e-10, atol=1e-10)
    options = {"stride": conv.stride, "dilation": conv.dilation, "groups": conv.groups}
    expected = factorize(conv.weight.detach().numpy(), rank=1, kind=kind, **options).dense()
    np.testing.assert_allclose(low.dense_weight().detach().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("kind", CUTTING)
def test_from_scratch_it_has_the_variance_of_a_dense_layer(kind):
    torch.manual_seed(0)
    rank = 1 if kind == "slice_svd" else 3
    low = LowRankConv2d(8, 12, 3, rank=rank, kind=kind, padding=1)
    wanted = 1 / (3 * 8 * 9)  # of nn.Conv2d: uniform within 1 / sqrt(C_in kH kW)
    tolerance = 0.25 if kind == "cp" else 0.15
    assert float(low.dense_weight().detach().square().mean()) == pytest.approx(
        wanted, rel=tolerance
    )
    before = low.dense_weight().detach()
    low.reset_parameters()
    assert not torch.allclose(before, low.dense_weight())
    assert float(low.dense_weight().detach().square().mean()) == pytest.approx(
        wanted, rel=tolerance
    )
    inner = [layer for layer in low.chain if isinstance(layer, nn.Conv2d)]
    assert [layer.bias is None for layer in inner] == [True] * (len(inner) - 1) + [False]


@pytest.mark.parametrize("kind", CUTTING)
def test_spectral_start_keeps_the_norm_and_says_its_error(kind):
    weight = np.random.default_rng(1).standard_normal((6, 5, 3, 4))
    chain = spectral_init(weight, rank=2, kind=kind)
    assert np.linalg.norm(chain.dense()) == pytest.approx(np.linalg.norm(weight), rel=1e-3)
    error = np.linalg.norm(weight - chain.dense()) / np.linalg.norm(weight)
    assert chain.error == pytest.approx(error, rel=1e-3)
    assert chain.bound is None


@pytest.mark.parametrize("kind", ["slice_svd", "spatial_svd", "channel_svd", "cp"])
def test_balanced_stages_compute_the_same_from_equal_norms(kind):
    weight = np.random.default_rng(2).standard_normal((4, 3, 3, 3))
    chain = factorize(weight, rank=2, kind=kind)
    even = balanced(chain.stages)
    size = [np.linalg.norm(stage.weight) for stage in even]
    if len(even) == 2:
        assert size[0] == pytest.approx(size[1], rel=1e-12)
    before = np.linalg.norm(chain.dense())
    product = type(chain)(kind, 2, even, 0.0, None, chain.shape).dense()
    assert np.linalg.norm(product - chain.dense()) < 1e-12 * before


@pytest.mark.parametrize("kind", CUTTING)
def test_a_step_of_training_changes_every_factor(kind):
    torch.manual_seed(0)
    low = LowRankConv2d(6, 8, 3, rank=2, kind=kind, padding=1, padding_mode="circular")
    before = [p.detach().clone() for p in low.parameters()]
    low(torch.randn(2, 6, 7, 7)).square().mean().backward()
    torch.optim.SGD(low.parameters(), lr=0.1).step()
    assert len(before) == sum(isinstance(m, nn.Conv2d) for m in low.chain) + 1
    for old, new in zip(before, low.parameters(), strict=True):
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", CUTTING)
def test_gradient_reaches_the_dense_weight(kind):
    low = LowRankConv2d(2, 3, 3, rank=1, kind=kind, dtype=torch.float64)
    weights = [m.weight for m in low.chain if isinstance(m, nn.Conv2d)]

    def product(*_):
        return low.dense_weight()

    assert torch.autograd.gradcheck(product, weights)


def test_state_dict_goes_to_a_fresh_layer():
    first = LowRankConv2d(4, 6, 3, rank=2, kind="slice_svd", groups=2)
    second = LowRankConv2d(4, 6, 3, rank=2, kind="slice_svd", groups=2)
    x = torch.randn(1, 4, 8, 8)
    assert not torch.allclose(first(x), second(x))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("kind", ["slice_svd", "tucker2"])
def test_it_is_copied_pickled_and_exported(kind):
    low = LowRankConv2d(4, 6, (3, 2), rank=2, kind=kind, padding="same", padding_mode="reflect")
    x = torch.randn(2, 4, 8, 8)
    expected = low(x)
    assert torch.equal(copy.deepcopy(low)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(low))(x), expected)
    exported = torch.export.export(low.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), expected)


def test_flags_dtype_and_device_are_those_of_the_layer():
    conv = nn.Conv2d(4, 4, 3, dtype=torch.bfloat16).eval().requires_grad_(False)
    low = LowRankConv2d.from_conv(conv, rank=4)
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in low.parameters())
    assert not low.training
    assert not low.chain[0].training
    assert not low.to_dense().training
    assert (
        LowRankConv2d.from_conv(nn.Conv2d(4, 4, 3, device="meta"), rank=2).chain[0].weight.is_meta
    )
    assert LowRankConv2d(4, 4, 3, rank=2, device="meta").chain[0].weight.is_meta


def test_cutting_leaves_the_layer_and_the_random_numbers_alone():
    conv = nn.Conv2d(4, 4, 3)
    weight, state = conv.weight.detach().clone(), torch.get_rng_state()
    low = LowRankConv2d.from_conv(conv, rank=2)
    with torch.no_grad():
        low.chain[-1].bias.zero_()
        low.to_dense()
    assert torch.equal(conv.weight, weight)
    assert conv.bias.abs().sum() > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_chain_with_different_ends_pads_itself():
    weight = np.random.default_rng(0).standard_normal((3, 2, 3, 4))
    pads = ((0, 2), (1, 0))
    chain = factorize(weight, kind="spatial_svd", padding=pads)
    low = LowRankConv2d.from_chain(Replacement(chain, np.ones(3)))
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    padded = nn.functional.pad(x, (1, 0, 0, 2))
    expected = nn.functional.conv2d(padded, torch.from_numpy(weight), torch.ones(3).double())
    torch.testing.assert_close(low(x), expected)
    assert low.padding == pads
    with pytest.raises(ValueError, match="differs at the two ends"):
        low.to_dense()


def test_for_layer_keeps_the_padding_by_another_mode():
    conv = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect", bias=False)
    chain = factorize(conv.weight.detach().numpy(), kind="channel_svd")
    low = LowRankConv2d.for_layer(conv, Replacement(chain, np.full(4, 2.0, np.float32)))
    x = torch.randn(1, 3, 7, 7)
    torch.testing.assert_close(low(x), conv(x) + 2, rtol=1e-4, atol=1e-5)
    alike = LowRankConv2d.from_chain(
        Replacement(chain, None), padding=(1, 2), padding_mode="reflect"
    )
    torch.testing.assert_close(alike(x), conv(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LowRankConv2d(4, 4, 3, rank=0), "rank=0"),
        (lambda: LowRankConv2d(4, 4, 3, rank=13), "from 1 to 12"),
        (lambda: LowRankConv2d(4, 4, 3, rank=2, kind="svd"), "kind='svd' is not one of"),
        (lambda: LowRankConv2d.from_conv(nn.ConvTranspose2d(4, 4, 3), rank=2), "ConvTranspose2d"),
        (
            lambda: LowRankConv2d.from_conv(
                nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), rank=2
            ),
            "ParametrizedConv2d",
        ),
        (lambda: LowRankConv2d.from_conv(nn.Conv2d(4, 4, 3, dtype=torch.complex64)), "real"),
        (lambda: LowRankConv2d.from_conv(nn.Conv2d(4, 4, 3), rank=2, tol=0.1), "exclude"),
        (
            lambda: LowRankConv2d.from_chain(Replacement(factorize(np.eye(3)), None), padding=1),
            "leave it out",
        ),
        (
            lambda: LowRankConv2d.from_chain(
                Replacement(factorize(np.eye(3)), None), padding_mode="wrap"
            ),
            "'wrap' is not one of",
        ),
        (
            lambda: LowRankConv2d.for_layer(
                nn.Conv2d(4, 4, 3), Replacement(factorize(np.ones((4, 4, 3, 1))), None)
            ),
            "does not fit a layer",
        ),
    ],
)
def test_bad_input_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
