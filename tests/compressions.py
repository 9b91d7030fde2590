"""Reports of compressions as a run would give them, made up from a seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from rankconv.compress.records import LayerRecord, Point, Report

WIDTHS = (3, 64, 64, 128, 128, 256, 256)


def layers(seed: int = 0) -> tuple[LayerRecord, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for i, (before, after) in enumerate(pairwise(WIDTHS)):
        size = 32 >> (i // 2)
        shape = (after, before, 3, 3)
        adds = after * before * 9 * size * size
        seconds = adds * 4e-11 * float(rng.uniform(0.8, 1.2))
        full = min(before * 3, after * 3)
        kept = i == 0
        rank = None if kept else 8 * max(1, full // 40)
        share = 1.0 if kept else rank * 3 * (before + after) / (after * before * 9)
        spectrum = np.exp(-np.arange(min(full, 256)) / (full * float(rng.uniform(0.1, 0.4))))
        found.append(
            LayerRecord(
                name=f"/features/features.{3 * i}/Conv",
                weight_shape=shape,
                input_shape=(before, size, size),
                kind="dense" if kept else "spatial_svd" if i % 3 else "channel_svd",
                rank=rank,
                full_rank=full,
                seconds_before=seconds,
                seconds_after=seconds if kept else seconds * (0.15 + 0.85 * share),
                output_error=0.0 if kept else float(rng.uniform(0.02, 0.15)),
                multiply_adds_before=adds,
                multiply_adds_after=int(adds * share),
                reason="no candidate is faster here" if kept else "fastest within the budget",
                spectrum=tuple(map(float, spectrum)),
            )
        )
    return tuple(found)


def points(records: tuple[LayerRecord, ...]) -> tuple[Point, ...]:
    adds = sum(layer.multiply_adds_before for layer in records)
    choices = {layer.name: (layer.kind, layer.rank) for layer in records}
    base = 4.3e-3

    def point(source: str, label: str, seconds: float, score: float, share: float) -> Point:
        return Point(
            source=source,
            label=label,
            seconds=seconds,
            quartiles=(seconds * 0.98, seconds * 1.04),
            speedup=base / seconds,
            score=score,
            drop=91.34 - score,
            multiply_adds=int(adds * share),
            parameters=int(1.15e6 * share),
            choices={} if source in ("original", "int8") else choices,
        )

    return (
        point("original", "original", base, 91.34, 1.0),
        point("rankconv", "candidate 1", 3.3e-3, 91.28, 0.8),
        point("rankconv", "candidate 2", 2.6e-3, 91.05, 0.55),
        point("rankconv", "candidate 3", 1.9e-3, 90.61, 0.37),
        point("rankconv", "candidate 4", 1.5e-3, 89.03, 0.25),
        point("int8", "original in int8", 2.7e-3, 91.41, 1.0),
        point("rankconv+int8", "candidate 3 in int8", 1.5e-3, 90.49, 0.37),
    )


def report(seed: int = 0) -> Report:
    records = layers(seed)
    return Report(
        command="rankconv compress vgg.onnx --data calib.npz --max-drop 1% -o fast.onnx",
        machine={"processor": "Example CPU @ 2.0 GHz", "cores": "2", "system": "Linux x86_64"},
        versions={"rankconv": "0.1.0", "numpy": "2.1.0", "onnxruntime": "1.20.0"},
        engine="ONNX Runtime 1.20.0",
        threads=1,
        batch=1,
        budget={"max_drop": 1.0},
        metric="top-1 (%)",
        split={"fit": 256, "choose": 512, "report": 1024},
        points=points(records),
        chosen=3,
        verdict="2.26 times as fast, with 0.7 points less top-1 accuracy.",
        layers=records,
        left_alone={"/classifier/Gemm": "10 outputs: no rank is cheaper"},
        seconds_taken=97.3,
    )


def unchanged(seed: int = 0) -> Report:
    """What comes of a network that nothing makes faster."""
    whole = report(seed)
    kept = tuple(
        replace(
            layer,
            kind="dense",
            rank=None,
            seconds_after=layer.seconds_before,
            multiply_adds_after=layer.multiply_adds_before,
            output_error=0.0,
            reason="no candidate is faster here",
        )
        for layer in whole.layers
    )
    return replace(
        whole,
        points=whole.points[:1],
        chosen=0,
        layers=kept,
        verdict="The original is the answer: no candidate was faster within the budget.",
    )
