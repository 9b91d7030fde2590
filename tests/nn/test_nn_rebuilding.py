"""A compressed model is saved as plain data and built again."""

import numpy as np
import pytest
import torch
from torch import nn

from rankconv.compress.network import Replacement
from rankconv.factorizations import FULL_RANKS, factorize
from rankconv.nn import TorchNetwork, rebuild, structure

KINDS = [kind for kind in FULL_RANKS if kind != "dense"]


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(6, 8, (5, 4), padding="same", padding_mode="reflect", groups=2),
        nn.Conv2d(8, 8, 3, groups=8, stride=(2, 1), dilation=(1, 2), padding=(2, 1)),
        nn.Flatten(2),
        nn.Conv1d(8, 6, 5, padding=2, padding_mode="circular", groups=2),
        nn.Linear(48, 12, bias=False),
    )


X = torch.randn(3, 4, 9, 10, generator=torch.Generator().manual_seed(0))
KINDS_OF = {"5": "channel_svd", "4": "channel_svd"}  # of lines and matrices


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_weights_go_into_a_model_built_anew(kind, with_bias, tmp_path):
    model = network(0)
    face = TorchNetwork(model, X)
    replacements = {}
    for layer in face.layers:
        chain = factorize(
            layer.stage.weight,
            rank=1,
            kind=KINDS_OF.get(layer.name, kind),
            stride=layer.stage.stride,
            padding=layer.stage.padding,
            dilation=layer.stage.dilation,
            groups=layer.stage.groups,
        )
        bias = np.arange(layer.stage.out_channels, dtype=np.float32) if with_bias else None
        replacements[layer.name] = Replacement(chain, bias)
    assert len(replacements) == 5
    smaller = face.swap(replacements).model
    torch.save({"s": structure(smaller), "w": smaller.state_dict()}, tmp_path / "smaller.pt")
    saved = torch.load(tmp_path / "smaller.pt", weights_only=True)
    fresh = network(1)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    again = rebuild(fresh, saved["s"])
    again.load_state_dict(saved["w"])
    torch.testing.assert_close(again.eval()(X), smaller(X), rtol=1e-5, atol=1e-5)
    assert structure(again) == structure(smaller) == saved["s"]
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())
    assert len(structure(fresh)) == 0


def test_one_layer_alone_and_names_that_do_not_fit():
    conv = nn.Conv2d(3, 8, 3)
    assert structure(rebuild(conv, {"": ("tucker2", (2, 3), False)})) == {
        "": ("tucker2", (2, 3), False)
    }
    with pytest.raises(ValueError, match="for 'x', and the model has nothing there"):
        rebuild(conv, {"x": ("spatial_svd", 1, True)})
    with pytest.raises(ValueError, match="the model has ReLU there"):
        rebuild(nn.Sequential(nn.ReLU()), {"0": ("spatial_svd", 1, True)})
    with pytest.raises(ValueError, match="rank=99"):
        rebuild(conv, {"": ("spatial_svd", 99, True)})
