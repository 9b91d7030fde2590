"""The public surface, and what importing it costs."""

import subprocess
import sys

import rankconv

WITHOUT_NATIVE = """
import sys, warnings
sys.modules["rankconv._native"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import rankconv
    import rankconv.filtering
assert [w.category for w in caught] == [RuntimeWarning], caught
assert "C++" in str(caught[0].message) and "pip install" in str(caught[0].message)
from rankconv._native_module import native
assert native is None
assert rankconv.correlate2d([[1.0, 2.0]], [[1.0]], "valid").tolist() == [[1.0, 2.0]]
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_public_names_are_exactly_these():
    assert sorted(rankconv.__all__) == [
        "Factorization",
        "Plan",
        "SeparableFilter",
        "Stage",
        "calibrate",
        "convolve2d",
        "correlate2d",
        "extended_slide",
        "factorize",
        "plan",
    ]
    assert all(hasattr(rankconv, name) for name in rankconv.__all__)


def test_submodules_do_not_hide_the_functions():
    import rankconv.factorizations.slice_svd
    import rankconv.planning

    assert callable(rankconv.factorize)
    assert callable(rankconv.plan)


def test_import_needs_numpy_alone():
    heavy = {"torch", "onnx", "onnxruntime", "scipy", "matplotlib", "PIL", "typer"}
    done = run(f"import sys, rankconv; print({heavy!r} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


def test_without_the_native_module_it_works_and_warns_once():
    done = run(WITHOUT_NATIVE)
    assert done.returncode == 0, done.stderr
