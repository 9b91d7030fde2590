"""Random convolution layers, and chains of stages run by PyTorch."""

import numpy as np
import torch
from hypothesis import strategies as st

sides = st.tuples(st.integers(1, 4), st.integers(1, 4))
ends = st.one_of(st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)))
LAYERS = st.fixed_dictionaries(
    {
        "groups": st.integers(1, 3),
        "per": st.tuples(st.integers(1, 4), st.integers(1, 4)),  # outputs, inputs of a group
        "kernel": sides,
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.tuples(ends, ends),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def build(case):
    """Weight, options for `factorize`, images and the generator of a drawn case."""
    rng = np.random.default_rng(case["seed"])
    groups, (outputs, inputs) = case["groups"], case["per"]
    weight = rng.standard_normal((groups * outputs, inputs, *case["kernel"]))
    images = rng.standard_normal((2, groups * inputs, 10, 9))
    options = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    return weight, options, images, rng


def padded_by_torch(images, padding):
    """Images with a layer's padding around them, and nothing left to pad."""
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    flat = [*np.broadcast_to(columns, 2).tolist(), *np.broadcast_to(rows, 2).tolist()]
    return torch.nn.functional.pad(torch.as_tensor(images), flat)


def by_torch(stages, images):
    """A chain as PyTorch runs it."""
    x = torch.from_numpy(images)
    for stage in stages:
        if stage.permute is not None:
            x = x[:, list(stage.permute)]
        x = torch.nn.functional.conv2d(
            padded_by_torch(x, stage.padding),
            torch.from_numpy(np.ascontiguousarray(stage.weight)),
            stride=stage.stride,
            dilation=stage.dilation,
            groups=stage.groups,
        )
    return x.numpy()


def layer_by_torch(weight, options, images):
    """The layer itself as PyTorch runs it."""
    rest = {name: value for name, value in options.items() if name != "padding"}
    x = padded_by_torch(images, options.get("padding", 0))
    return torch.nn.functional.conv2d(x, torch.from_numpy(weight), **rest).numpy()


def relative(a, b):
    """|a - b| / |b|, or |a| where b is zero."""
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))
