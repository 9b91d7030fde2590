"""Threads, inside of a filter and around it, change no bit of a result."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from native_cases import random_case
from rankconv.correlate.native import SmallNet, available, compile_filter

pytestmark = pytest.mark.skipif(not available, reason="the native module is not built")


def test_workers_give_the_same_bits():
    rng = np.random.default_rng(6)
    for _ in range(60):
        case = random_case(rng)
        alone = case.filter(1)(case.image)
        for workers in (2, 3, 7):
            np.testing.assert_array_equal(case.filter(workers)(case.image), alone, strict=True)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_large_images_give_the_same_bits_with_all_processors(rank):
    rng = np.random.default_rng(rank)
    image = rng.random((1300, 1400), dtype=np.float32)
    f, g = rng.random((rank, 7)), rng.random((rank, 7))
    options = {"factors": (f, g)} if rank else {"kernel": rng.random((7, 7))}
    alone = compile_filter(**options)(image)
    np.testing.assert_array_equal(compile_filter(**options, workers=None)(image), alone)


def _hammer(seconds: float) -> None:
    rng = np.random.default_rng(8)
    cases = [random_case(rng) for _ in range(40)]
    filters = [case.filter(int(rng.integers(1, 3))) for case in cases]
    expected = [one(case.image) for one, case in zip(filters, cases, strict=True)]
    kernel = rng.standard_normal((5, 5)).astype(np.float32)
    weights = rng.standard_normal((40, 25)), rng.standard_normal(40)
    net = SmallNet(
        kernel, 0.1, kernel, 0.2, *weights, rng.standard_normal((10, 40)), rng.standard_normal(10)
    )
    images = rng.random((70, 32, 32), dtype=np.float32)
    logits = net.batch(images)
    wrong: list[str] = []
    end = time.monotonic() + seconds

    def work(start: int) -> None:
        i = start
        while time.monotonic() < end and not wrong:
            i += 1
            n = i % len(cases)
            if not np.array_equal(filters[n](cases[n].image), expected[n], equal_nan=True):
                wrong.append(f"filter {n}")
            if not np.array_equal(net(images[i % 70]), logits[i % 70]):
                wrong.append("network")
            if not np.array_equal(net.batch(images), logits):
                wrong.append("batch")

    threads = [threading.Thread(target=work, args=(7 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_eight_python_threads_give_the_same_bits():
    _hammer(2.0)


@pytest.mark.long
def test_eight_python_threads_for_a_minute():
    _hammer(60.0)
