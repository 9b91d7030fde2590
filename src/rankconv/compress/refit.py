"""Chosen layers refitted in running order: the original outputs from already approximated inputs.

A layer fitted alone gives nearly its old output from its old input; in the compressed network its
input has changed, and the errors of all layers add up. Zhang et al. (2015, arXiv 1505.06798,
section 3.3) fit each layer instead to give the original output y from the changed input x~. The
best weight for that, before any rank is cut, is the regression of y on x~,

    W' = W + E[(y - W x~) x~^T] (Sigma~ + lambda)^-1,

with moments about the means, since the bias takes those up. lambda keeps it at W where the data
say little, and is chosen by generalised cross-validation (Golub, Heath and Wahba, 1979,
Technometrics 21, 215-223). W' is then decomposed in the norm of Sigma~, and the bias set so that
the mean output is the original's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.compress.fits import STILL, Fit, LayerFits
from rankconv.compress.moments import (
    SAMPLES,
    LayerMoments,
    Moments,
    chosen_layers,
    draw,
    output_shape,
    outputs_at,
)
from rankconv.compress.network import Inputs, Network, Replacement, batches
from rankconv.geometry import Pair
from rankconv.stages import Stage

Array = NDArray[Any]
Progress = Callable[[int, int, str], object]
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # lambda over the covariance's mean diagonal


def refit(
    network: Network,
    inputs: Inputs,
    choices: Mapping[str, tuple[str, int | Pair | None]],
    *,
    samples: int = SAMPLES,
    batch: int = 64,
    seed: int = 0,
    sweeps: int = 4,
    progress: Progress | None = None,
) -> dict[str, Replacement]:
    """Replacements for the chosen layers, each fitted behind those before it.

    `choices` layer -> (kind, rank) as in `rankconv.factorize`, rank None for the full one; a layer
    of kind 'dense' keeps its shape and takes the best weight for its changed input. About `samples`
    patches a layer are drawn from all `inputs` with `seed`; up to `sweeps` rounds of alternating
    least squares follow each start. No layer is worse on these patches than its chain without
    regard to the change. `progress(done, layers, name)` is called after each layer.

    The original's outputs at the patches are kept: 4 `samples` bytes for each output channel of
    the chosen layers.

    Raises ValueError for a name that is no layer, and as `LayerFits` and `LayerMoments` do.
    Equivalent: none in PyTorch.
    Source: Zhang et al. (2015, arXiv 1505.06798, section 3.3).
    """
    layers = chosen_layers(network, list(choices))
    images = inputs[0].shape[0]
    at = {
        one.name: draw(output_shape(one), images, samples=samples, seed=[seed, i])
        for i, one in enumerate(network.layers)
        if one.name in choices
    }
    wanted = _outputs(network, inputs, at, batch)
    found: dict[str, Replacement] = {}
    for done, layer in enumerate(layers, 1):
        sums = LayerMoments(layer.stage)
        changed, start = network.swap(found), 0
        for piece in batches(inputs, batch):
            stop = start + piece[0].shape[0]
            given = changed.activations(piece, [layer.name])[layer.name].input
            sums.update(given, wanted[layer.name][start:stop], at[layer.name][start:stop])
            start = stop
        del wanted[layer.name]
        kind, rank = choices[layer.name]
        found[layer.name] = refitted(
            layer.stage, sums.result(), kind, rank, sweeps=sweeps
        ).replacement
        if progress is not None:
            progress(done, len(layers), layer.name)
    return found


def refitted(
    layer: Stage, moments: Moments, kind: str, rank: int | Pair | None, *, sweeps: int
) -> Fit:
    """The better, on the moments' data, of the chains for the regression W' and for W itself."""
    plain = LayerFits(layer, moments).fit(kind, rank, sweeps=sweeps)
    target = regression(layer, moments)
    if target is None:
        return plain
    other = LayerFits(layer, moments, target=target).fit(kind, rank, sweeps=sweeps)
    return min(other, plain, key=lambda fit: fit.output_error)


def regression(layer: Stage, moments: Moments) -> Array | None:
    """W' in the shape of the layer's weight; None where the outputs are W x already."""
    W = layer.weight.astype(np.float64).reshape(moments.cross.shape)
    rest = moments.cross - W @ moments.covariance  # E[(y - W x) x^T], (G, M, D)
    lost = moments.residual(W)
    if lost <= max(1e-10, STILL) * float(moments.output_variance.sum()):
        return None
    value, vector = np.linalg.eigh(moments.covariance)
    value = value.clip(min=0)
    mean = float(value.mean())
    along = rest @ vector  # (G, M, D)
    energy = (along * along).sum(axis=1)  # (G, D)
    scores = []
    for ridge in RIDGES:
        lifted = value + ridge * mean
        left = lost - float((energy * (lifted + ridge * mean) / lifted**2).sum())
        spent = float((value / lifted).sum()) / len(value)  # unknowns an output, on average
        room = 1 - spent / moments.samples
        scores.append((left / room**2 if room > 0 else np.inf, ridge))
    best, ridge = min(scores)
    if not best < lost:
        return None
    change = (along / (value + ridge * mean)[:, None]) @ vector.swapaxes(1, 2)
    target: Array = (W + change).reshape(layer.weight.shape)
    return target


def _outputs(
    network: Network, inputs: Inputs, at: Mapping[str, Array], batch: int
) -> dict[str, Array]:
    """What the original puts out at the positions: name -> (images, p, C_out)."""
    parts: dict[str, list[Array]] = {name: [] for name in at}
    start = 0
    for piece in batches(inputs, batch):
        stop = start + piece[0].shape[0]
        for name, (_, made) in network.activations(piece, list(at)).items():
            parts[name].append(outputs_at(made, at[name][start:stop]))
        start = stop
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}
