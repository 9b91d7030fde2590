"""A small network in NumPy for the tests of compressing, on a clock that counts its work."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from rankconv.compress import timing
from rankconv.compress.network import Activation, Layer, Replacement
from rankconv.stages import Stage, apply


class Clock:
    """Seconds that pass only where a network runs: so many a multiply-add, and some a stage."""

    def __init__(self, *, a_stage=200, per_adds=1e-7):
        self.now, self.a_stage, self.per_adds = 0.0, a_stage, per_adds

    def __call__(self):
        return self.now

    def run(self, multiply_adds, stages):
        self.now += (multiply_adds + self.a_stage * stages) * self.per_adds


class SmallNetwork:
    """Convolutions with ReLU behind each, then the mean over the image and a matrix."""

    left_alone = MappingProxyType({"pool": "a mean over the image"})
    engine = "numpy-with-a-clock 1"

    def __init__(self, layers, clock, replacements=None, *, slower=1.0):
        self.layers = tuple(layers)
        self.clock, self.replacements, self.slower = clock, dict(replacements or {}), slower

    def swap(self, replacements):
        unknown = set(replacements) - {layer.name for layer in self.layers}
        assert not unknown
        return SmallNetwork(self.layers, self.clock, replacements, slower=self.slower)

    def predict(self, inputs):
        return self._run(inputs[0])[:, :, 0, 0]

    def activations(self, inputs, names):
        found = {}
        self._run(inputs[0], found)
        return {name: found[name] for name in names}

    def caller(self, inputs, *, threads):
        assert threads >= 1
        count = inputs[0].shape[0]
        work = [self._work(layer, self.replacements.get(layer.name)) for layer in self.layers]
        adds, stages = np.sum(work, axis=0)
        slower = self.slower if self.replacements else 1.0
        return lambda: self.clock.run(adds * count * slower, stages)

    def layer_caller(self, name, replacement, *, batch, threads):
        layer = next(layer for layer in self.layers if layer.name == name)
        adds, stages = self._work(layer, replacement)
        return lambda: self.clock.run(adds * batch, stages)

    def _work(self, layer, replacement):
        if replacement is None:
            return layer.multiply_adds, 1
        chain = replacement.chain
        return chain.multiply_adds(layer.input_shape[1:]), len(chain.stages)

    def _run(self, x, found=None):
        for layer in self.layers[:-1]:
            x = np.maximum(self._layer(layer, x, found), 0)
        return self._layer(self.layers[-1], x.mean(axis=(2, 3), keepdims=True), found)

    def _layer(self, layer, x, found):
        replacement = self.replacements.get(layer.name) or Replacement(None, layer.bias)
        stages = [layer.stage] if replacement.chain is None else replacement.chain.stages
        y = apply(stages, x)
        if replacement.bias is not None:
            y = y + replacement.bias[:, None, None]
        if found is not None:
            found[layer.name] = Activation(x, y)
        return y


def low_rank(rng, outputs, inputs, k, rank, *, noise):
    """A weight near one of `rank` in its spatial split, and far from one below."""
    first = rng.standard_normal((rank, inputs * k))
    second = rng.standard_normal((outputs * k, rank))
    weight = (second @ first).reshape(outputs, k, inputs, k).transpose(0, 2, 3, 1)
    weight /= weight.std()
    weight += noise * rng.standard_normal(weight.shape)
    return (weight * np.sqrt(2 / (inputs * k * k))).astype(np.float32)


def small_network(seed=0, *, width=16, size=8, rank=4, noise=0.05, classes=4, clock=None):
    """Two layers of planted rank between one that cannot be cut and a matrix of classes."""
    rng = np.random.default_rng(seed)
    weights = [
        rng.standard_normal((width, 2, 3, 3)).astype(np.float32) / 3,
        low_rank(rng, width, width, 3, rank, noise=noise),
        low_rank(rng, width, width, 3, rank, noise=noise),
    ]
    layers = [
        Layer(
            f"conv{i}",
            Stage(weight, padding=(1, 1)),
            (0.1 * rng.standard_normal(width)).astype(np.float32),
            (weight.shape[1], size, size),
        )
        for i, weight in enumerate(weights)
    ]
    matrix = rng.standard_normal((classes, width, 1, 1)).astype(np.float32)
    layers.append(Layer("classes", Stage(matrix), np.zeros(classes, np.float32), (width, 1, 1)))
    network = SmallNetwork(layers, clock or Clock())
    logits = network.predict((_images(layers[0].input_shape, 200, seed),))
    matrix /= logits.std() / 2
    layers[-1].bias[:] = -logits.mean(axis=0) / (logits.std() / 2)  # every class is met
    return network


def images_for(network, count, seed=0):
    """Smooth random images of the network's input, with the network's own answers as labels."""
    images = _images(network.layers[0].input_shape, count, seed)
    return images, network.predict((images,)).argmax(axis=1)


def _images(shape, count, seed):
    rng = np.random.default_rng(seed)
    channels, rows, columns = shape
    coarse = rng.standard_normal((count, channels, rows // 2 + 1, columns // 2 + 1))
    images = coarse.repeat(2, axis=2).repeat(2, axis=3)[:, :, :rows, :columns]
    return (images + 0.3 * rng.standard_normal(images.shape)).astype(np.float32)


def use_clock(monkeypatch, network):
    """Let all timing go by the network's clock."""
    monkeypatch.setattr(timing, "clock", network.clock)
