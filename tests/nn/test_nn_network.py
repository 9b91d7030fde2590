"""TorchNetwork: what it finds, leaves alone and swaps, against the model run by PyTorch itself."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import rankconv.nn as rn
from rankconv.compress.network import Replacement, batches, predictions
from rankconv.factorizations import KINDS, factorize
from rankconv.nn import LowRankConv2d, TorchNetwork
from rankconv.nn.other_layers import LowRankConv1d, LowRankLinear
from rankconv.stages import apply

torch.set_num_threads(1)


class Net(nn.Module):
    """Unequal strides, groups, another padding, batch norm, a skip and a linear end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=(2, 1), padding=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.mirror = nn.Conv2d(8, 8, (3, 5), padding=(1, 2), padding_mode="reflect", groups=2)
        self.wide = nn.Conv2d(8, 8, 4, padding="same", dilation=(1, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.mirror(x)
        x = self.wide(x)
        return self.head(x.mean(dim=(2, 3)))


def images(n=2, shape=(3, 12, 9), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape), np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TorchNetwork(Net(), torch.zeros(2, 3, 12, 9))


def exact(layer, kind="spatial_svd"):
    stage = layer.stage
    chain = factorize(
        stage.weight,
        kind=kind,
        stride=stage.stride,
        padding=stage.padding,
        dilation=stage.dilation,
        groups=stage.groups,
    )
    return Replacement(chain, layer.bias)


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
def test_layers_compute_what_the_model_does(network):
    assert [layer.name for layer in network.layers] == ["stem", "mirror", "wide", "head"]
    assert network.left_alone == {}
    activations = network.activations((images(),), ["wide", "stem", "head", "mirror"])
    for layer in network.layers:
        seen = activations[layer.name]
        assert seen.input.shape == (2, *layer.input_shape)
        expected = apply([layer.stage], seen.input)
        if layer.bias is not None:
            expected = expected + layer.bias[:, None, None]
        np.testing.assert_allclose(seen.output, expected, atol=1e-4)
    np.testing.assert_allclose(
        activations["head"].output[:, :, 0, 0], network.predict((images(),)), atol=1e-6
    )
    assert network.layers[1].input_shape == (8, 6 + 2, 11 + 4)  # after padding by reflection
    assert network.layers[0].multiply_adds == 6 * 11 * 8 * 3 * 9


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "slice_svd"])
def test_exact_replacements_leave_the_output(network, kind):
    swapped = network.swap({layer.name: exact(layer, kind) for layer in network.layers})
    x = images(5, seed=1)
    np.testing.assert_allclose(
        predictions(swapped, (x,), batch=2), network.predict((x,)), atol=2e-4
    )
    assert type(swapped.model.stem) is LowRankConv2d
    assert type(swapped.model.head) is LowRankLinear
    assert type(network.model.stem) is nn.Conv2d
    assert type(swapped.swap({}).model.stem) is nn.Conv2d  # of the original, as agreed
    dense = swapped.model.head.to_dense()
    torch.testing.assert_close(dense.weight, network.model.head.weight, rtol=1e-4, atol=1e-4)


def test_slices_of_a_grouped_layer_and_other_bias(network):
    layer = network.layers[1]
    bias = np.arange(8, dtype=np.float32)
    swapped = network.swap({"mirror": Replacement(exact(layer, "slice_svd").chain, bias)})
    plain = network.activations((images(),), ["mirror"])["mirror"]
    seen = swapped.activations((images(),), ["mirror"])["mirror"]
    np.testing.assert_allclose(seen.input, plain.input)
    shift = (bias - layer.bias)[:, None, None]
    np.testing.assert_allclose(seen.output, plain.output + shift, atol=1e-4)


def test_the_original_is_not_touched():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    network = TorchNetwork(model, torch.zeros(2, 3, 8, 8))
    swapped = network.swap({"0": exact(network.layers[0])})
    swapped.predict((images(2, (3, 8, 8)),))
    swapped.activations((images(2, (3, 8, 8)),), ["0"])
    network.layer_caller("0", exact(network.layers[0]), batch=2, threads=1)()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[0].weight.stride() == (27, 9, 3, 1)
    assert not model[0]._forward_hooks
    assert not swapped.model[0]._forward_hooks
    assert not any(module.training for module in swapped.model.modules())
    assert not any(p.requires_grad for p in swapped.model[0].parameters())
    swapped.model[0].chain[0].weight.data.zero_()
    assert np.abs(network.layers[0].stage.weight).max() > 0


def test_nothing_runs_behind_the_last_layer_asked_for():
    class Trap(nn.Module):
        armed = False

        def forward(self, x):
            if Trap.armed:
                raise AssertionError("was run")
            return x

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), Trap())
    network = TorchNetwork(model, torch.zeros(1, 1, 8, 8))
    Trap.armed = True
    found = network.activations((images(3, (1, 8, 8)),), ["1", "0"])
    assert list(found) == ["1", "0"]
    np.testing.assert_array_equal(found["1"].input, found["0"].output)
    with pytest.raises(AssertionError, match="was run"):
        network.predict((images(1, (1, 8, 8)),))


class Odd(nn.Module):
    """One layer of each sort that must be left alone."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(4, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.shared
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Conv2d(4, 4, 3, padding=1)
        self.hooked = nn.Conv2d(4, 4, 3, padding=1)
        self.hooked.register_forward_hook(lambda module, args, output: output * 2)
        self.pruned = prune.l1_unstructured(nn.Conv2d(4, 4, 3, padding=1), "weight", 0.5)
        self.normed = parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1))
        self.child = type("MyConv", (nn.Conv2d,), {})(4, 4, 3, padding=1)
        self.back = nn.ConvTranspose2d(4, 4, 3, padding=1)
        self.read = nn.Conv2d(4, 4, 3, padding=1)
        self.asked = nn.Conv2d(4, 4, 3, padding=1)
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        self.tie = nn.Conv2d(4, 4, 3, padding=1)
        self.tie.weight = self.tied.weight
        self.named = nn.Conv2d(4, 4, 3, padding=1)
        self.single = nn.Conv2d(4, 4, 3, padding=1)
        self.patched = nn.Conv2d(4, 4, 3, padding=1)
        self.patched.forward = lambda x: x
        self.each = nn.Conv2d(4, 4, 3, padding=1)
        self.quantised = torch.ao.nn.qat.Conv2d(
            4, 4, 3, padding=1, qconfig=torch.ao.quantization.get_default_qat_qconfig()
        )

    def forward(self, x):
        x = self.shared(self.twice(self.twice(self.fine(x))))
        x = self.back(self.child(self.normed(self.pruned(self.hooked(x)))))
        x = self.read(x) * self.read.weight.mean() + self.asked(x) * self.asked.out_channels
        x = self.named(input=self.tie(self.tied(x)))
        x = torch.stack([self.single(image) for image in x[:1]]).expand_as(x) + self.patched(x)
        return self.each(torch.cat([x, x]))[: len(x)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_replaced_is_left_alone_with_its_reason():
    torch.manual_seed(0)
    network = TorchNetwork(Odd(), torch.randn(2, 4, 6, 6))
    assert [layer.name for layer in network.layers] == ["fine", "asked"]
    reasons = {
        "shared": "same module is 'again'",
        "again": "same module is 'shared'",
        "twice": "called 2 times",
        "unused": "not called",
        "hooked": "has hooks",
        "pruned": "has hooks",
        "normed": "parametrised",
        "child": "MyConv",
        "back": "transposed",
        "read": "its weight",
        "tied": "shared with another",
        "tie": "shared with another",
        "named": "by keyword",
        "single": "without a batch",
        "patched": "forward was replaced",
        "each": "called on 4 images where the network is given 2",
        "quantised": "quantised",
    }
    assert network.left_alone.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in network.left_alone[name], name
    swapped = network.swap({"asked": exact(network.layers[1])})
    x = images(2, (4, 6, 6))
    np.testing.assert_allclose(swapped.predict((x,)), network.predict((x,)), atol=1e-3)


def test_scripted_and_lazy_layers_and_a_compressed_net():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), LowRankConv2d(4, 4, 3, rank=2))
    model(torch.zeros(1, 2, 9, 9))
    network = TorchNetwork(model, torch.zeros(1, 2, 9, 9))
    assert [layer.name for layer in network.layers] == ["0"]
    assert network.left_alone == dict.fromkeys(
        ["2.chain.0", "2.chain.1"], "part of a low-rank layer already"
    )


def test_a_transformer_layer_that_reads_weights_itself():
    torch.manual_seed(0)

    class Vision(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut = nn.Conv2d(3, 16, 4, stride=4)
            self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.encoder(self.cut(x).flatten(2).transpose(1, 2)).mean(1))

    network = TorchNetwork(Vision(), torch.randn(2, 3, 16, 16))
    assert [layer.name for layer in network.layers] == ["cut", "head"]
    assert "reads more" in network.left_alone["encoder.linear1"]
    assert "NonDynamically" in network.left_alone["encoder.self_attn.out_proj"]
    swapped = network.swap({layer.name: exact(layer) for layer in network.layers})
    x = images(2, (3, 16, 16))
    np.testing.assert_allclose(swapped.predict((x,)), network.predict((x,)), atol=1e-5)


def test_a_network_that_views_its_images_runs_channels_first():
    class View(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4 * 36, 5)

        def forward(self, x):
            x = self.conv(x)
            return self.head(x.view(x.size(0), -1))

    model = View()
    network = TorchNetwork(model, torch.zeros(2, 3, 8, 8))
    assert "channels-first" in network.engine
    x = images(3, (3, 8, 8))
    swapped = network.swap({layer.name: exact(layer) for layer in network.layers})
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(swapped.predict((x,)), expected, atol=1e-4)
    swapped.caller((x,), threads=1)()
    made, report = rn.compress(model, images(16, (3, 8, 8)))
    assert made(torch.from_numpy(x)).shape == (3, 5)
    assert "channels-first" in report.engine
    rn.fine_tune(made, model, x, steps=1)


def test_one_dimension_and_linear_layers_over_positions():
    torch.manual_seed(0)

    class Sound(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv1d(2, 6, 5, stride=2, padding=2, padding_mode="circular")
            self.second = nn.Conv1d(6, 6, 4, padding="same", groups=3)
            self.mix = nn.Linear(6, 6)

        def forward(self, x):
            return {"logits": self.mix(self.second(self.first(x)).transpose(1, 2)), "more": 0}

    network = TorchNetwork(Sound(), torch.zeros(2, 2, 20))
    assert [layer.input_shape for layer in network.layers] == [(2, 1, 24), (6, 1, 10), (6, 1, 10)]
    x = images(3, (2, 20))
    seen = network.activations((x,), ["first", "second", "mix"])
    for layer in network.layers:
        expected = apply([layer.stage], seen[layer.name].input) + layer.bias[:, None, None]
        np.testing.assert_allclose(seen[layer.name].output, expected, atol=1e-5)
    for kind in KINDS:
        swapped = network.swap(
            {
                layer.name: exact(layer, kind)
                for layer in network.layers
                if kind != "slice_svd" or layer.name != "mix"
            }
        )
        np.testing.assert_allclose(swapped.predict((x,)), network.predict((x,)), atol=1e-4)
        assert type(swapped.model.first) is LowRankConv1d
        for name in ("first", "second"):
            dense = swapped.model.get_submodule(name).to_dense()
            conv, low = network.model.get_submodule(name), swapped.model.get_submodule(name)
            assert repr(dense) == repr(conv)
            for attribute in ("kernel_size", "stride", "padding", "dilation", "groups"):
                assert getattr(low, attribute) == getattr(conv, attribute)
            weight = network.model.get_submodule(name).weight
            torch.testing.assert_close(dense.weight, weight, rtol=1e-4, atol=1e-5)
    for layer in network.layers:
        assert network.layer_caller(layer.name, None, batch=3, threads=1)().shape[0] == 3


def test_callers_use_the_threads_and_give_them_back(network):
    seen = []

    class Asks(nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x

    asks = TorchNetwork(nn.Sequential(nn.Conv2d(1, 1, 3), Asks()), torch.zeros(1, 1, 8, 8))
    seen.clear()
    call = asks.caller((images(1, (1, 8, 8)),), threads=2)
    assert call().shape == (1, 1, 6, 6)
    assert seen == [2]
    assert torch.get_num_threads() == 1
    output = network.layer_caller("mirror", None, batch=3, threads=1)()
    assert output.shape == (3, 8, 6, 11)
    assert output.is_contiguous(memory_format=torch.channels_last)
    chain = exact(network.layers[1])
    assert network.layer_caller("mirror", chain, batch=3, threads=1)().shape == output.shape
    assert network.engine.startswith("PyTorch 2")
    assert network.engine.endswith("channels-last)")


def test_half_precision_and_two_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x, label):
            return [self.conv(x) + label[:, None, None, None]]

    network = TorchNetwork(
        Two().bfloat16(), (torch.zeros(2, 3, 8, 8).bfloat16(), torch.zeros(2, dtype=torch.long))
    )
    swapped = network.swap({"conv": exact(network.layers[0])})
    assert next(swapped.model.parameters()).dtype == torch.bfloat16
    inputs = images(3, (3, 8, 8)), np.arange(3)
    assert network.predict(inputs).dtype == np.float32
    np.testing.assert_allclose(swapped.predict(inputs), network.predict(inputs), atol=0.1)
    assert len(batches(inputs, 2)) == 2


def conv_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3))


def broken():
    model = conv_net()
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    return model


def uncopyable():
    model = conv_net()
    model.extra = threading.Lock()
    return model


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TorchNetwork(conv_net(), ()), "example_inputs is not a tensor"),
        (lambda: TorchNetwork(conv_net(), torch.zeros(1, 2, 8, 8)), "does not take inputs of"),
        (lambda: TorchNetwork(broken(), torch.zeros(1, 3, 8, 8)), "NaN or infinity"),
        (lambda: TorchNetwork(uncopyable(), torch.zeros(1, 3, 8, 8)), "cannot be copied"),
    ],
)
def test_bad_models_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda n: n.swap({"norm": None}), "'norm' cannot be replaced"),
        (lambda n: n.swap({"stem": exact(n.layers[1])}), "does not fit a layer"),
        (lambda n: n.activations((images(),), ["nothing"]), "choose from"),
        (lambda n: n.predict((images(), images())), "2 inputs for a model of 1"),
        (lambda n: n.predict((images()[0],)), r"shape \(3, 12, 9\)"),
        (lambda n: n.predict((images().astype(complex),)), "dtype complex128"),
    ],
)
def test_bad_arguments_are_refused(network, call, says):
    with pytest.raises(ValueError, match=says):
        call(network)
