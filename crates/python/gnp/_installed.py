"""The ONNX Runtime that this Python has installed."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from . import _gnp


@functools.cache
def prefer_installed() -> None:
    """Has gnp use the library of the installed package ``onnxruntime``, where none was asked for."""
    library = installed()
    if library is not None:
        _gnp.prefer_runtime(str(library))


def installed() -> Path | None:
    """The library of the installed package ``onnxruntime``; none where there is no such package."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "capi"
    names = ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll")
    return next((file.resolve() for name in names for file in sorted(folder.glob(name))), None)
