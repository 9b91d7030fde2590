"""A small log of the right form, made up: its numbers are drawn, not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
PAPER = {
    "rank -1": ("PyTorch", 1.9, True),
    "rank 0": ("NumPy loop", 61.0, True),
    "rank 1": ("NumPy, rank 1", 0.42, False),
    "rank 2": ("NumPy, rank 2", 0.50, False),
    "rank 3": ("NumPy, rank 3", 0.57, False),
    "rank 4": ("NumPy, rank 4", 0.66, False),
    "rank 5": ("NumPy, rank 5", 0.74, True),
}
EXTRA = {
    "stacked 1": ("NumPy stacked, rank 1", 0.31, False, False),
    "stacked 3": ("NumPy stacked, rank 3", 0.36, False, False),
    "stacked 5": ("NumPy stacked, rank 5", 0.41, True, False),
    "native exact": ("Native kernel", 0.05, True, False),
    "onnxruntime": ("ONNX Runtime", 0.33, True, False),
    "batch torch": ("PyTorch, one batch", 0.02, True, True),
}
MACHINE = {"processor": "Test processor", "cores": 2, "system": "Linux", "python": "3.11.7"}
VERSIONS = {"numpy": "2.4.6", "torch": "2.13.0"}


def records(
    *,
    epochs: int = 6,
    seed: int = 0,
    naive_every: int = 3,
    naive_images: int | None = None,
    test: int = 10_000,
    end: bool = True,
) -> list[dict[str, Any]]:
    """The records of one run, in the order in which the experiment writes them."""
    rng = np.random.default_rng(seed)
    methods = [
        {"key": key, "label": label, "group": "paper", "exact": exact, "batch": False}
        for key, (label, _, exact) in PAPER.items()
    ] + [
        {"key": key, "label": label, "group": "extra", "exact": exact, "batch": batch}
        for key, (label, _, exact, batch) in EXTRA.items()
    ]
    lines: list[dict[str, Any]] = [
        {
            "type": "run",
            "version": 1,
            "config": {
                "epochs": epochs,
                "batch_size": 64,
                "seed": seed,
                "hidden": 500,
                "optimizer": "SGD(lr=0.02, momentum=0.9, weight_decay=0.0005), cosine",
                "naive_every": naive_every,
                "naive_images": naive_images,
            },
            "data": {
                "name": "CIFAR-10-images",
                "source": "CIFAR-10-images.tar.xz",
                "digest": "0123456789abcdef",
                "train": 50_000,
                "test": test,
                "classes": CLASSES,
            },
            "machine": MACHINE,
            "versions": VERSIONS,
            "threads": 1,
            "methods": methods,
        }
    ]
    base = [rng.standard_normal((5, 5)) for _ in range(2)]
    for epoch in range(1, epochs + 1):
        part = epoch / epochs
        filters = {}
        for i, drawn in enumerate(base, start=1):
            u, s, vt = np.linalg.svd(drawn)
            s = s[0] * np.array([1, *(part**i * np.array([0.8, 0.5, 0.3, 0.15]))]) / i
            filters[f"conv{i}"] = ((u * s) @ vt).tolist()
        lines.append(
            {
                "type": "epoch",
                "epoch": epoch,
                "train_accuracy": round(0.2 + 0.23 * part**0.4, 5),
                "train_loss": round(2.2 - 0.6 * part**0.4, 5),
                "learning_rate": 0.02 * (1 - part),
                "train_seconds": 3.0,
                "filters": filters,
                "biases": {"conv1": 0.1, "conv2": -0.2},
            }
        )
        exact = 0.3 + 0.1 * part**0.3
        loss = {"1": 0.06 + 0.2 * part**2, "2": 0.03 + 0.02 * part, "3": 0.02, "4": 0.005}
        all_methods = {k: (v[1], v[2]) for k, v in PAPER.items()}
        all_methods |= {k: (v[1], v[2]) for k, v in EXTRA.items()}
        for key, (seconds, is_exact) in all_methods.items():
            naive = key == "rank 0"
            if naive and (epoch - 1) % naive_every:
                continue
            images = naive_images if naive and naive_images else test
            accuracy = exact if is_exact else exact - loss[key.split()[1]]
            correct = round(accuracy * images)
            measured = seconds * images / 10_000 * float(rng.lognormal(0, 0.04))
            tied = key == "rank 5" and epoch == 2
            scaled = images < test
            lines.append(
                {
                    "type": "method",
                    "epoch": epoch,
                    "method": key,
                    "images": images,
                    "correct": correct,
                    "accuracy": correct / images,
                    "seconds": measured,
                    "setup_seconds": 0.0 if naive or "torch" in key else 0.0002,
                    "scaled": scaled,
                    "scaled_seconds": measured * test / images if scaled else None,
                    "disagreements": 0,
                    "ties": [{"image": 123, "reference": 3, "prediction": 5, "margin": 1e-7}]
                    if tied
                    else [],
                }
            )
    images = [int(i) for i in rng.integers(0, min(test, 60), 12)]
    labels = [int(i) for i in rng.integers(0, 10, 12)]
    wrong = [int(i) for i in rng.integers(0, 10, 12)]
    lines.append(
        {
            "type": "samples",
            "epoch": epochs,
            "images": images,
            "labels": labels,
            "predictions": {
                key: wrong if key.endswith(" 1") else labels[:8] + wrong[8:]
                for key in (*PAPER, "onnxruntime")
            },
        }
    )
    if end:
        lines.append({"type": "end", "epochs": epochs})
    return lines


def write_log(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Write records as JSON Lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
