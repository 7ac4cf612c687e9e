"""ONNX Runtime as the user has it: versions, options, providers, and gnp's kernels."""

from __future__ import annotations

import logging
import os
import re
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gnp._optional import require
from gnp._places import Device
from gnp._step_interface import ModelFile
from gnp.errors import GnpError

_LOGGER = logging.getLogger("gnp")

# From here on memory patterns are right for what is behind an `If`, and the kernels' interface is there.
_NEW = (1, 19)

# What a provider's memory is called; that of all others is the processor's.
_DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "ROCMExecutionProvider": "cuda",
    "MIGraphXExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
    "CANNExecutionProvider": "cann",
}

# Options that a library was registered with: twice is an error when a session is made.
_registered: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


class Runtime:
    """Makes sessions.

    Args:
        options: The user's ``onnxruntime.SessionOptions``, in which nothing is changed, but that kernels are registered
            with them; None makes some.
        providers: As ``onnxruntime.InferenceSession`` takes them; None: CUDA where ONNX Runtime is made for it, and the
            processor.
        kernels: ``"auto"``, ``"none"`` or the path of a library.

    Raises:
        GnpError: ONNX Runtime is not installed, refuses the kernels, or would compute wrong numbers with these options.
    """

    def __init__(self, options: Any, providers: Sequence[Any] | None, kernels: str | os.PathLike[str]) -> None:
        self.ort = require("onnxruntime", "to run a Loop")
        found = re.match(r"(\d+)\.(\d+)", self.ort.__version__)
        self.version = (int(found[1]), int(found[2])) if found else _NEW
        if options is not None and not isinstance(options, self.ort.SessionOptions):
            raise GnpError(f"session_options is a {type(options).__qualname__}; expected onnxruntime.SessionOptions")
        has_providers = options is not None and getattr(options, "has_providers", bool)()
        self._providers = providers if providers is not None or has_providers else self._default_providers()
        named = [provider[0] if isinstance(provider, tuple) else provider for provider in self._providers or ()]
        self._on_processor = named == ["CPUExecutionProvider"]
        self._is_own = options is None
        self._options = self._default_options() if options is None else options
        if self.version < _NEW and self._options.enable_mem_pattern:
            raise GnpError(
                f"with memory patterns ONNX Runtime {self.ort.__version__} computes wrong numbers after the first step",
                help="set session_options.enable_mem_pattern = False, or take ONNX Runtime 1.19 or newer",
            )
        self.kernels: str | None = None
        self.kernels = self._own_kernels() if kernels == "auto" else self._named_kernels(kernels)

    def open(self, model: ModelFile) -> Any:
        """A session for ``model``.

        Raises:
            GnpError: ONNX Runtime refuses it.
        """
        given = model.without_defaults()
        level = self._options.log_severity_level
        try:
            if self._is_own and isinstance(given, str):
                # The initializers of inputs are still there: without this ONNX Runtime warns of each.
                self._options.log_severity_level = 3
            # Without a fallback, which ONNX Runtime prints, and which computes elsewhere than was asked for.
            return self.ort.InferenceSession(given, self._options, providers=self._providers, enable_fallback=0)
        except Exception as error:
            raise self.error("ONNX Runtime refuses the model", error, model) from error
        finally:
            if self._is_own:
                self._options.log_severity_level = level

    def device(self, session: Any) -> Device:
        """Where ``session`` computes."""
        provider = session.get_providers()[0]
        kind = _DEVICES.get(provider, "cpu")
        options = session.get_provider_options().get(provider, {})
        return Device(kind, int(options.get("device_id", 0)) if kind != "cpu" else 0)

    def error(self, what: str, error: Exception, model: ModelFile | None = None) -> GnpError:
        """What ONNX Runtime said."""
        help = None if self._on_processor else 'providers=["CPUExecutionProvider"] computes on the processor'
        if self.kernels is not None:
            help = f'kernels="none" is without the library {self.kernels}'
        file = model.path if model else None
        message = f"{what}: {error}" if file is None else f"{file}: {what}: {error}"
        return GnpError(message, kind="engine", file=file, help=help)

    def _default_options(self) -> Any:
        options = self.ort.SessionOptions()
        # A pattern holds all of a pass's memory to the end of the step, that of the first pass through the second.
        options.enable_mem_pattern = self.version >= _NEW and not self._on_processor
        options.use_deterministic_compute = True
        return options

    def _default_providers(self) -> list[str]:
        cuda = ["CUDAExecutionProvider"] if "CUDAExecutionProvider" in self.ort.get_available_providers() else []
        return [*cuda, "CPUExecutionProvider"]

    def _named_kernels(self, kernels: str | os.PathLike[str]) -> str | None:
        """The library that was asked for, registered."""
        if kernels == "none":
            return None
        help = 'kernels is "auto", "none" or the path of a library'
        if not isinstance(kernels, (str, os.PathLike)):
            raise GnpError(f"kernels is {kernels!r}", help=help)
        path = os.path.abspath(kernels)
        if not os.path.isfile(path):
            raise GnpError(f"there is no library {path}", kind="io", file=path, help=help)
        try:
            return self._register(path)
        except Exception as error:
            raise self.error(f"ONNX Runtime refuses the kernels {path}", error) from error

    def _own_kernels(self) -> str | None:
        """The library that came with this package, registered, where it is of use."""
        # Where what the kernels for cards want is missing, those of the processor would take tensors there and back.
        if self.version < _NEW or not self._on_processor:
            return None
        beside = (path for path in Path(__file__).parent.glob("_gnp*") if path.suffix in (".so", ".pyd", ".dylib"))
        library = next(map(str, beside), None)
        try:
            return library and self._register(library)
        except Exception as error:
            warnings.warn(f"without gnp's kernels, as ONNX Runtime refuses {library}: {error}", stacklevel=4)
            return None

    def _register(self, library: str) -> str:
        registered = _registered.setdefault(self._options, set())
        if library not in registered:
            self._options.register_custom_ops_library(library)
            registered.add(library)
            _LOGGER.info("kernels: %s", library)
        return library
