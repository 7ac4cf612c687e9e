"""PyTorch's two exporters, told to leave everything in the graph that the module has."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import require
from ..errors import GnpError
from .example import Example
from .tensors import import_torch

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

#: Loggers of PyTorch that comment on every export.
LOGGERS = ("torch.onnx", "torch.export", "torch._export", "torch.fx", "torch._dynamo")


def import_ir() -> Any:
    return require("onnx_ir", "to export a PyTorch module", package="onnxscript")


def export(exporter: str, module: torch.nn.Module, example: Example, opset: int, scratch: Path) -> ir.Model:
    """The graph of `module`, which is in train mode; its buffers are changed by some exporters.

    Args:
        scratch: A folder that is there as long as the result is used: large tensors stay in files in it.
    """
    try:
        run = EXPORTERS[exporter]
    except KeyError:
        known = ", ".join(f'"{name}"' for name in EXPORTERS)
        raise GnpError(f"there is no exporter {exporter!r}", help=f"one of {known}") from None
    import_ir()
    if exporter == "dynamo":
        require("onnxscript", "to export a PyTorch module")
    try:
        with _quiet(), _random_state_kept(module):
            model: ir.Model = run(module, example, opset, scratch)
            return model
    except (GnpError, Warning):
        raise
    except Exception as error:
        raise _failure(exporter, error) from error


def _dynamo(module: torch.nn.Module, example: Example, opset: int, scratch: Path) -> ir.Model:
    torch = import_torch()
    program = torch.onnx.export(
        module,
        # A last dictionary is taken for keywords, so there is one.
        (*example.args, example.kwargs),
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=list(example.inputs),
        dynamic_shapes=example.dynamic_shapes(),
        opset_version=opset,
    )
    model: ir.Model = program.model
    return model


def _torchscript(module: torch.nn.Module, example: Example, opset: int, scratch: Path) -> Any:
    torch, ir = import_torch(), import_ir()
    example.require_tensors()
    # Tracing runs the module, and what it does to buffers is seen in the file.
    before = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    file = scratch / "traced.onnx"
    torch.onnx.export(
        module,
        (*example.args, example.kwargs),
        os.fspath(file),
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        input_names=list(example.inputs),
        dynamic_axes={name: axes for name, axes in example.axes.items() if axes},
        opset_version=opset,
    )
    model = ir.load(file)
    for name, value in model.graph.initializers.items():
        if name in before and before[name].is_floating_point():
            value.const_value = ir.tensor_adapters.TorchTensor(before[name].cpu(), name=name)
    return model


EXPORTERS: dict[str, Callable[[Any, Example, int, Path], Any]] = {"dynamo": _dynamo, "torchscript": _torchscript}


def _failure(exporter: str, error: Exception) -> GnpError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(cause)).strip() or type(cause).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    other = next(name for name in EXPORTERS if name != exporter)
    advice = f'exporter="{other}" may take the module; dynamic_batch=False asks less of it'
    if "DynamicCache" in lines[0]:
        advice = "module.config.use_cache = False leaves out of the outputs what only generation needs"
    return GnpError(f"the exporter {exporter} failed: {lines[0]}", kind="unsupported", help=advice)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what exporters say to themselves, but for warnings that a traced graph may compute something else: those
    about code that is not PyTorch's own.
    """
    torch = import_torch()
    own = os.path.dirname(torch.__file__)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    # The TorchScript exporter prints the whole graph where it fails.
    log = getattr(torch._C, "_jit_set_onnx_log_enabled", lambda enabled: None)
    logged = getattr(torch._C, "_jit_is_onnx_log_enabled", lambda: False)()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        log(False)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            log(logged)
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
    for warning in caught:
        if issubclass(warning.category, torch.jit.TracerWarning) and not warning.filename.startswith(own):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def _random_state_kept(module: torch.nn.Module) -> Iterator[None]:
    """Generators of PyTorch (of the CPU and the module's devices), Python and NumPy, as they were."""
    torch = import_torch()
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers()) if tensor.device.type != "cpu"}
    kinds = {device.type for device in devices} or {"cuda"}
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with contextlib.ExitStack() as stack:
            for kind in kinds:
                indices = [device.index or 0 for device in devices if device.type == kind]
                stack.enter_context(torch.random.fork_rng(devices=indices, device_type=kind))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
