"""The analysis notebook runs on a log and shows that log's numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from synthetic_log import records, write_log

NOTEBOOK = Path(__file__).parents[1] / "docs" / "analysis.ipynb"


def texts(notebook: Any) -> str:
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                parts.append(output.text)
            else:
                parts.append(output.get("data", {}).get("text/markdown", ""))
    return "\n".join(parts)


def test_the_notebook_is_kept_without_outputs_or_paths() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)\b", cell.source)


# The kernel's client warns about its own event loop and sockets; nothing here can change that.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_on_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = records(epochs=4, naive_images=500)
    log = write_log(tmp_path / "log.jsonl", lines)
    monkeypatch.setenv("RANKCONV_LOG", str(log))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = texts(notebook)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 13
    own = [x for x in lines if x["type"] == "method" and x["method"] == "rank 4"]
    assert f"| NumPy, rank 4 | {np.mean([x['accuracy'] for x in own]):.5f} |" in shown
    assert f"| NumPy, rank 4 | 4 | {np.mean([x['seconds'] for x in own]):.4g} |" in shown
    assert "NumPy loop (scaled)" in shown
    assert re.search(r"conv1: correlation of the share .* [+-]\d\.\d\d", shown)
    assert "| NumPy, rank 5 | 40,000 | 1 | 0 |" in shown
    assert "7.95 s" in shown
