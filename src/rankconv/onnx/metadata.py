"""What a model says of the layers that were replaced in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from rankconv.compress.network import Replacement

METADATA = "rankconv.layers"


def note_replacements(model: onnx.ModelProto, replacements: Mapping[str, Replacement]) -> None:
    """Say in the model's metadata which layers were replaced: a JSON object by layer."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    noted = _noted(properties.get(METADATA, "{}"))
    for name, replacement in replacements.items():
        noted[name] = {"kind": replacement.chain.kind, "rank": replacement.chain.rank}
    if noted:
        helper.set_model_props(model, {**properties, METADATA: json.dumps(noted, default=int)})


def _noted(text: str) -> dict[str, Any]:
    try:
        noted = json.loads(text)
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}
