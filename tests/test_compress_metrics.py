"""Data and their split; scores and the smooth stand-in against SciPy, scikit-image and counting."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax
from skimage.metrics import peak_signal_noise_ratio

from rankconv.compress.data import Data, check_labels, split
from rankconv.compress.metrics import (
    METRICS,
    Part,
    agreement,
    as_metric,
    custom,
    output_error,
    psnr,
    surrogate,
    top1,
)


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 4, 4)).astype("float32")


@pytest.mark.parametrize("count", [8, 9, 100, 20_000])
def test_split_deals_out_every_image_once(count):
    data = Data(np.arange(count, dtype=float)[:, None], np.arange(count))
    parts = split(data, seed=1)
    seen = np.concatenate([part.inputs[0][:, 0] for part in parts])
    assert sorted(seen) == list(range(count))
    assert all((part.inputs[0][:, 0] == part.labels).all() and len(part) >= 2 for part in parts)
    assert sum(parts.sizes.values()) == count
    again = split(data, seed=1)
    assert all((a.labels == b.labels).all() for a, b in zip(parts, again, strict=True))


def test_split_mixes_ordered_classes_and_follows_the_seed():
    data = Data(images(300), np.repeat(np.arange(3), 100))
    parts = split(data, seed=0)
    assert all(np.bincount(part.labels).min() > len(part) / 6 for part in parts)
    # The first images of a part stand for all of it: they are in no order either.
    assert all(set(part.labels[:15]) == {0, 1, 2} for part in parts)
    assert not np.array_equal(parts.fit.labels, split(data, seed=2).fit.labels) or not (
        np.array_equal(parts.fit.inputs[0], split(data, seed=2).fit.inputs[0])
    )
    big = split(Data(np.zeros((20_000, 1))), seed=0).sizes
    assert big == {"fit": 4096, "choose": 2048, "report": 13856}


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (images(7)[:0], None, r"shape \(0, 3, 4, 4\)"),
        (np.full((3, 2), np.nan), None, "hold NaN or infinity, first among images 0 to 2"),
        (np.zeros((3, 2), complex), None, "real numbers"),
        ((images(3), images(4)), None, r"inputs\[1\] holds 4 images and inputs\[0\] 3"),
        (images(3), [1, 2], r"do not fit 3 images"),
        (images(3), [0.5, 1, 2], "classes as integers, counted from 0"),
        (images(3), [-1, 1, 2], "labels from -1"),
        (images(3), ["a", "b", "c"], "does not hold numbers"),
        ((), None, "inputs is empty"),
    ],
)
def test_bad_data(inputs, labels, message):
    with pytest.raises(ValueError, match=message):
        Data(inputs, labels)


def test_too_few_and_labels_out_of_range():
    with pytest.raises(ValueError, match="7 images are too few"):
        split(Data(images(7)), seed=0)
    data = Data(images(3), [0, 1, 10])
    with pytest.raises(ValueError, match="expected 0 to 9"):
        check_labels(data, np.zeros((3, 10)))
    with pytest.raises(ValueError, match="not one score a class"):
        check_labels(data, np.zeros((3, 10, 4, 4)))
    with pytest.raises(ValueError, match="labels of shape"):
        check_labels(Data(images(3), np.zeros((3, 1, 2, 2))), np.zeros((3, 1, 4, 4)))
    check_labels(data, np.zeros((3, 11)))
    check_labels(Data(images(3), np.zeros((3, 1, 4, 4))), np.zeros((2, 1, 4, 4)))
    with pytest.raises(ValueError, match=r"pass the classes themselves, labels\.argmax"):
        check_labels(Data(images(3), np.eye(10)[[1, 5, 9]]), np.zeros((3, 10)))
    assert Data(images(3), [[1.0], [2.0], [0.0]]).classes.tolist() == [1, 2, 0]


def part_of(original, labels=None):
    return Part(Data(np.zeros((len(original), 1)), labels), original)


def test_top1_and_agreement_count():
    rng = np.random.default_rng(0)
    original, new = rng.standard_normal((2, 50, 10))
    labels = rng.integers(0, 10, 50)
    part = part_of(original, labels)
    right = sum(int(np.argmax(row)) == label for row, label in zip(new, labels, strict=True))
    same = sum(int(np.argmax(a)) == int(np.argmax(b)) for a, b in zip(new, original, strict=True))
    assert top1.measure(None, part, outputs=new) == pytest.approx(100 * right / 50)
    assert agreement.measure(None, part, outputs=new) == pytest.approx(100 * same / 50)
    assert agreement.measure(None, part, outputs=new[:, :, None, None]) == pytest.approx(2 * same)
    assert top1.drop(80.0, 79.0) == 1.0
    assert output_error.drop(0.0, 3.0) == 3.0


def test_surrogate_is_scipys_divergence_and_quadratic():
    rng = np.random.default_rng(1)
    old, change = rng.standard_normal((2, 40, 7))
    p, q = softmax(old, axis=1), softmax(old + change, axis=1)
    expected = rel_entr(p, q).sum(axis=1).mean()
    assert surrogate(old + change, old) == pytest.approx(expected, rel=1e-10)
    assert surrogate(q, p) == pytest.approx(expected, rel=1e-10)
    assert surrogate(log_softmax(old + change, 1), old) == pytest.approx(expected, rel=1e-10)
    small = [surrogate(old + h * change, old) for h in (1e-3, 2e-3)]
    assert small[1] / small[0] == pytest.approx(4, rel=0.01)
    pictures, noise = rng.standard_normal((2, 3, 2, 5, 5))
    relative = np.linalg.norm(noise) ** 2 / np.linalg.norm(pictures) ** 2
    assert surrogate(pictures + noise, pictures) == pytest.approx(relative)
    assert surrogate(old, old) == 0
    assert surrogate(old * np.nan, old) == np.inf


def test_psnr_is_that_of_skimage():
    rng = np.random.default_rng(2)
    target, original, new = rng.random((3, 4, 3, 6, 6))
    part = part_of(original, target)
    expected = np.mean(
        [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(target, new, strict=True)]
    )
    assert psnr().measure(None, part, outputs=new) == pytest.approx(expected)
    drops = [
        m.drop(*(m.measure(None, part, outputs=o) for o in (original, new)))
        for m in (psnr(), psnr(peak=255))
    ]
    assert drops[0] == pytest.approx(drops[1])
    assert psnr().measure(None, part_of(original), outputs=original) == 100
    with pytest.raises(ValueError, match="peak=0"):
        psnr(peak=0)


def test_the_metric_that_fits():
    scores, pictures = np.zeros((4, 10)), np.zeros((4, 3, 8, 8))
    assert as_metric(None, part_of(scores, [0, 1, 2, 3])) is top1
    assert as_metric(None, part_of(scores)) is agreement
    assert as_metric(None, part_of(pictures)) is output_error
    assert as_metric(None, part_of(pictures, pictures)) is METRICS["psnr"]
    assert as_metric("output_error", part_of(scores)) is output_error
    own = custom(lambda network: 0.25, name="mIoU", unit="", higher_is_better=True)
    assert as_metric(own, part_of(scores)).measure("any", part_of(scores)) == 0.25
    assert str(own) == "mIoU"
    assert str(top1) == "top-1 (%)"
    with pytest.raises(ValueError, match="metric='top5' is not one of"):
        as_metric("top5", part_of(scores))
    with pytest.raises(ValueError, match="needs labels"):
        as_metric("top1", part_of(scores))
    with pytest.raises(ValueError, match="one score a class"):
        as_metric("agreement", part_of(pictures))
    with pytest.raises(ValueError, match="compares images"):
        as_metric("psnr", part_of(scores, [0, 1, 2, 3]))
    with pytest.raises(ValueError, match="cannot be called"):
        custom(3)
    with pytest.raises(ValueError, match="is nan"):
        custom(lambda network: float("nan"), name="loss").measure(None, part_of(scores))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda network: None, "your function mine gave NoneType: it must return one number"),
        (lambda network: {}["absent"], "your function mine failed with KeyError: 'absent'"),
        (lambda network: math.nan, "mine is nan"),
    ],
)
def test_a_function_that_gives_no_number_is_named(function, message):
    with pytest.raises(ValueError, match=message):
        custom(function, name="mine").measure(None, part_of(np.eye(3)))
