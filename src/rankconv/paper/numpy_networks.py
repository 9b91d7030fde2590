"""The paper's network in NumPy: the loop, the terms of section VIII, and the stacked form.

Each function takes the weights, does all that depends on them alone, and returns a function from
an image (32, 32), or for the batch form images (N, 32, 32), to classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankconv.correlate.loop import correlate_loop
from rankconv.correlate.toeplitz import stacked_matrices, term_matrices
from rankconv.factorizations.slice_svd import svd
from rankconv.paper.model import FloatArray, Weights

Classes = NDArray[np.int64]
Predict = Callable[[FloatArray], Any]  # one (32, 32) image to its class, or (N, 32, 32) to (N,)

FULL_RANK = 5
SIZES = 32, 14  # what the two convolutions are given


def loop_network(weights: Weights) -> Predict:
    """The naive Python loop (section IV)."""

    def predict(image: FloatArray) -> int:
        layer = _relu_pool(correlate_loop(image, weights.kernel1), weights.bias1)
        layer = _relu_pool(correlate_loop(layer, weights.kernel2), weights.bias2)
        return _classify(weights, layer)

    return predict


def term_network(weights: Weights, *, rank: int) -> Predict:
    """The paper's form (section VIII): one term f* A g*^T for every rank, added up."""
    terms1 = _terms(weights.kernel1, rank, SIZES[0])
    terms2 = _terms(weights.kernel2, rank, SIZES[1])

    def predict(image: FloatArray) -> int:
        layer = _relu_pool(_sum_of_terms(image, terms1), weights.bias1)
        layer = _relu_pool(_sum_of_terms(layer, terms2), weights.bias2)
        return _classify(weights, layer)

    return predict


def _terms(kernel: FloatArray, rank: int, size: int) -> list[tuple[FloatArray, FloatArray]]:
    """The pairs (f_i*, g_i*^T), (m, size) and (size, m)."""
    F, G = term_matrices(*_factors(kernel, rank), (size, size))
    return list(zip(F, G, strict=True))


def _sum_of_terms(A: FloatArray, terms: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    # `rankconv.correlate.toeplitz.apply_terms` for one small image: `dot` starts faster than `@`.
    F, G = terms[0]
    B: FloatArray = F.dot(A).dot(G)
    for F, G in terms[1:]:
        B += F.dot(A).dot(G)
    return B


def stacked_network(weights: Weights, *, rank: int) -> Predict:
    """Two matrix products a convolution at any rank, into arrays that are allocated once."""
    layer1 = _StackedLayer(weights.kernel1, weights.bias1, rank, SIZES[0])
    layer2 = _StackedLayer(weights.kernel2, weights.bias2, rank, SIZES[1])
    features = layer2.pooled.reshape(-1)
    linear1, bias1 = np.ascontiguousarray(weights.linear1.T), weights.linear1_bias
    linear2, bias2 = weights.linear2, weights.linear2_bias
    hidden, logits, zero = np.empty_like(bias1), np.empty_like(bias2), np.zeros_like(bias1)

    def predict(image: FloatArray) -> int:
        layer2(layer1(image))
        features.dot(linear1, hidden)
        np.add(hidden, bias1, out=hidden)
        np.maximum(hidden, zero, out=hidden)
        linear2.dot(hidden, logits)
        np.add(logits, bias2, out=logits)
        return int(logits.argmax())

    return predict


def stacked_batch_network(weights: Weights, *, rank: int = FULL_RANK, block: int = 256) -> Predict:
    """The stacked form on many images at once, in blocks that stay in the processor's cache."""
    layers = [
        (*_stacked(weights.kernel1, rank, SIZES[0]), np.float32(weights.bias1)),
        (*_stacked(weights.kernel2, rank, SIZES[1]), np.float32(weights.bias2)),
    ]
    linear1, linear2 = np.ascontiguousarray(weights.linear1.T), weights.linear2.T

    def predict(images: FloatArray) -> Classes:
        classes = np.empty(len(images), np.int64)
        for start in range(0, len(images), block):
            layer = images[start : start + block]
            for F, G, bias in layers:
                n, size = layer.shape[:2]
                half = len(F) // 2
                lines = layer.reshape(-1, size).dot(G).reshape(n, size * rank, -1)
                result = np.matmul(F, lines)
                rows = np.maximum(result[:, :half], result[:, half:])
                layer = np.maximum(rows[..., :half], rows[..., half:])
                layer += bias
                np.maximum(layer, 0, out=layer)
            hidden = layer.reshape(len(layer), -1).dot(linear1)
            hidden += weights.linear1_bias
            np.maximum(hidden, 0, out=hidden)
            logits = hidden.dot(linear2)
            logits += weights.linear2_bias
            classes[start : start + block] = logits.argmax(axis=1)
        return classes

    return predict


class _StackedLayer:
    """One convolution in the stacked form with its ReLU and pooling, all arrays allocated once."""

    def __init__(self, kernel: FloatArray, bias: float, rank: int, size: int) -> None:
        self.F, self.G = _stacked(kernel, rank, size)
        m = len(self.F)
        half = m // 2
        self.bias = np.full((half, half), bias, np.float32)
        self.zero = np.zeros((half, half), np.float32)
        self.lines = np.empty((size, rank * m), np.float32)
        self.terms = self.lines.reshape(size * rank, m)  # the same memory
        self.result = np.empty((m, m), np.float32)
        self.upper, self.lower = self.result[:half], self.result[half:]
        self.rows = np.empty((half, m), np.float32)
        self.before, self.after = self.rows[:, :half], self.rows[:, half:]
        self.pooled = np.empty((half, half), np.float32)

    def __call__(self, image: FloatArray) -> FloatArray:
        image.dot(self.G, self.lines)
        self.F.dot(self.terms, self.result)
        np.maximum(self.upper, self.lower, out=self.rows)
        np.maximum(self.before, self.after, out=self.pooled)
        np.add(self.pooled, self.bias, out=self.pooled)
        return np.maximum(self.pooled, self.zero, out=self.pooled)


def _stacked(kernel: FloatArray, rank: int, size: int) -> tuple[FloatArray, FloatArray]:
    """`stacked_matrices`, ordered so that the result has its even rows and columns first.

    The 2 x 2 max-pool that follows then compares contiguous halves.
    """
    F, G = stacked_matrices(*_factors(kernel, rank), (size, size))
    blocks = G.reshape(size, rank, -1)
    G = np.concatenate([blocks[..., 0::2], blocks[..., 1::2]], axis=-1).reshape(size, -1)
    return np.concatenate([F[0::2], F[1::2]]), np.ascontiguousarray(G)


def _factors(kernel: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """f and g (rank, 5) of the nearest rank-n kernel, sigma folded into f (section IX)."""
    f, _, g = svd(kernel)
    return (
        np.ascontiguousarray(f[:rank], np.float32),
        np.ascontiguousarray(g[:rank], np.float32),
    )


def _relu_pool(layer: FloatArray, bias: float) -> FloatArray:
    # The bias and the ReLU are monotonic, so they commute with the maximum: pool first, then
    # there is a quarter of the work left, with the same bits.
    rows = np.maximum(layer[0::2], layer[1::2])
    pooled = np.maximum(rows[:, 0::2], rows[:, 1::2])
    pooled += np.float32(bias)
    return np.maximum(pooled, 0, out=pooled)


def _classify(weights: Weights, layer: FloatArray) -> int:
    hidden = weights.linear1.dot(layer.ravel())
    hidden += weights.linear1_bias
    np.maximum(hidden, 0, out=hidden)
    logits = weights.linear2.dot(hidden)
    logits += weights.linear2_bias
    return int(logits.argmax())
