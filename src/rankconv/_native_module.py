"""The optional C++ part: `native` is the extension module, or None where it was not built."""

from __future__ import annotations

import warnings
from types import ModuleType

native: ModuleType | None
try:
    from rankconv import _native as native
except ImportError as error:
    native = None
    warnings.warn(
        f"rankconv runs without its C++ part, through NumPy alone, and is slower ({error}). "
        "To build it: install a C++17 compiler, then "
        "`pip install --force-reinstall --no-deps --no-binary rankconv rankconv`.",
        RuntimeWarning,
        stacklevel=2,
    )
