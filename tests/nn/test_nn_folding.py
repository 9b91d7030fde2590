"""fold_batch_norm: the same numbers from fewer layers, and what must not be folded."""

import pytest
import torch
from torch import nn

from rankconv.nn import LowRankConv2d, TorchNetwork, fold_batch_norm

torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, bias=False, padding=1)
        self.a_norm = nn.BatchNorm2d(6)
        self.b = LowRankConv2d(6, 6, 3, rank=4, padding=1, padding_mode="circular")
        self.b_norm = nn.BatchNorm2d(6)
        self.used = nn.Conv2d(6, 6, 1)
        self.used_norm = nn.BatchNorm2d(6)
        self.twice = nn.Conv2d(6, 6, 1)
        self.twice_norm = nn.BatchNorm2d(6)
        self.hooked = nn.Conv2d(6, 6, 1)
        self.hooked.register_forward_hook(lambda *args: None)
        self.hooked_norm = nn.BatchNorm2d(6)
        self.bare = nn.Conv2d(6, 6, 1)
        self.bare_norm = nn.BatchNorm2d(6, track_running_stats=False)

    def forward(self, x):
        x = torch.relu(self.b_norm(self.b(self.a_norm(self.a(x)))))
        y = self.used(x)
        x = self.used_norm(y) + y
        x = self.twice_norm(self.twice(self.twice(x)))
        return self.bare_norm(self.bare(self.hooked_norm(self.hooked(x))))


def test_folded_it_computes_the_same():
    torch.manual_seed(0)
    net = Net().double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.bias.data):
                value.uniform_(0.5, 1.5)
    net.train()(torch.randn(16, 3, 8, 8, dtype=torch.float64))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = fold_batch_norm(net)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    left = {name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert left == {"used_norm", "twice_norm", "hooked_norm", "bare_norm"}
    assert folded.a.bias is not None
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(folded(x), net.eval()(x), rtol=1e-9, atol=1e-9)


def test_a_folded_network_can_be_compressed():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    network = TorchNetwork(fold_batch_norm(net), torch.zeros(1, 3, 8, 8))
    assert [(layer.name, layer.bias is None) for layer in network.layers] == [("0", False)]


def test_what_cannot_be_traced_is_refused():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch\.fx cannot trace"):
        fold_batch_norm(Branch())
