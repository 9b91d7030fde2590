"""A plain sequential network in NumPy, as the face of a network that compressing needs."""

from dataclasses import dataclass, field, replace

import numpy as np

from rankconv.compress.network import Activation, Layer
from rankconv.stages import Stage, apply


@dataclass(frozen=True, eq=False)
class Sequential:
    """Convolutions with a ReLU after each but the last; the output is the last one's."""

    layers: tuple[Layer, ...]
    replacements: dict = field(default_factory=dict)
    left_alone: dict = field(default_factory=dict)
    engine: str = "numpy"

    def swap(self, replacements):
        return replace(self, replacements=dict(replacements))

    def predict(self, inputs):
        return self.activations(inputs, [self.layers[-1].name])[self.layers[-1].name].output

    def activations(self, inputs, names):
        (x,), found, waiting = inputs, {}, set(names)
        for layer in self.layers:
            other = self.replacements.get(layer.name)
            stages = (layer.stage,) if other is None else other.chain.stages
            bias = layer.bias if other is None else other.bias
            y = apply(stages, x)
            if bias is not None:
                y = y + bias[:, None, None]
            if layer.name in waiting:
                found[layer.name] = Activation(x, y)
                waiting.remove(layer.name)
            if not waiting:
                return found
            x = np.maximum(y, 0)
        raise KeyError(sorted(waiting))

    def caller(self, inputs, *, threads):
        return lambda: self.predict(inputs)

    def layer_caller(self, name, replacement, *, batch, threads):
        layer = next(layer for layer in self.layers if layer.name == name)
        stages = (layer.stage,) if replacement is None else replacement.chain.stages
        images = np.zeros((batch, *layer.input_shape), layer.stage.weight.dtype)
        return lambda: apply(stages, images)


def sequential(weights, image, *, seed=0, **options):
    """A network of the given stages, with random biases, for images of shape (C, H, W)."""
    rng, layers, shape = np.random.default_rng(seed), [], image
    for i, stage in enumerate(weights):
        bias = 0.1 * rng.standard_normal(stage.out_channels).astype(stage.weight.dtype)
        layers.append(Layer(f"conv{i}", stage, bias, shape))
        shape = (stage.out_channels, *stage.output_shape(shape[1:]))
    return Sequential(tuple(layers), **options)


def smooth_weight(rng, outputs, inputs, kernel, *, dtype=np.float32):
    """A weight (outputs, inputs, kH, kW) whose spectrum falls as trained ones do."""
    weight = rng.standard_normal((outputs, inputs * kernel[0] * kernel[1]))
    u, s, vt = np.linalg.svd(weight, full_matrices=False)
    s = np.exp(-3 * np.arange(s.size) / s.size)
    weight = (u * s) @ vt * np.sqrt(2 * outputs / (s**2).sum())
    return weight.reshape(outputs, inputs, *kernel).astype(dtype)


def small_network(seed=0, *, image=(3, 12, 12)):
    """Four layers: 3 x 3, strided with uneven padding, grouped, and 1 x 1 at the end."""
    rng = np.random.default_rng(seed)
    stages = [
        Stage(smooth_weight(rng, 16, image[0], (3, 3)), padding=(1, 1)),
        Stage(smooth_weight(rng, 24, 16, (3, 3)), stride=(2, 2), padding=((0, 1), (0, 1))),
        Stage(smooth_weight(rng, 24, 12, (3, 3)), padding=(1, 1), groups=2),
        Stage(smooth_weight(rng, 10, 24, (1, 1))),
    ]
    return sequential(stages, image, seed=seed)


def smooth_images(seed, count, shape=(3, 12, 12)):
    """Images whose neighbours are alike, as those of cameras are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, shape[0], shape[1] + 4, shape[2] + 4))
    x = sum(x[:, :, i : i + shape[1]] for i in range(5))
    x = sum(x[..., i : i + shape[2]] for i in range(5)) / 5
    mix = rng.standard_normal((shape[0], shape[0])) * 0.3 + 1
    return np.einsum("ij,njhw->nihw", mix, x).astype(np.float32)
