"""``from_torch``."""

from __future__ import annotations

import copy
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from .. import _messages
from .._words import listed
from ..errors import GnpError
from . import exporters, graph
from .example import Example, fitting
from .example import output_names as names_of_outputs
from .tensors import Parameter, Tensors, import_torch, statistics, unwrapped

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    import torch

logger = logging.getLogger("gnp")

Exporter = Literal["dynamo", "torchscript"]


@overload
def from_torch(
    module: torch.nn.Module,
    example: Any,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    opset: int = 18,
    exporter: Exporter = "dynamo",
    path: None = None,
) -> onnx.ModelProto: ...


@overload
def from_torch(
    module: torch.nn.Module,
    example: Any,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    opset: int = 18,
    exporter: Exporter = "dynamo",
    path: str | os.PathLike[str],
) -> Path: ...


def from_torch(
    module: torch.nn.Module,
    example: Any,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    opset: int = 18,
    exporter: Exporter = "dynamo",
    path: str | os.PathLike[str] | None = None,
) -> onnx.ModelProto | Path:
    """Exports a module so that all of it trains: ``gnp.rewrite(gnp.from_torch(module, x), loss="cross-entropy")``.

    The model is that of train mode: Dropout and BatchNormalization are in it, nothing is folded or merged, and each
    parameter is there under the name that ``module.named_parameters()`` gives it. As a model it infers: Dropout drops
    and BatchNormalization takes the statistics of the batch in the training step that is made of it. Parameters that
    are one (tied weights) stay one. What trains is what ``requires_grad``; frozen parameters and buffers are recorded
    as such in the file, and ``gnp-rewrite`` leaves them. The module stays as it is: its mode, its buffers, gradients,
    hooks, and the state of random generators.

    BatchNormalization is that of the standard: it moves its running variance by the variance of the batch,
    Σ(x − μ)²/n, PyTorch by Σ(x − μ)²/(n − 1).

    Args:
        module: A module; out of ``torch.compile`` and ``DistributedDataParallel`` it is taken itself.
        example: What ``forward`` takes: a tensor, a tuple of arguments, or a dict of arguments by name. Its numbers do
            not matter, shapes and dtypes do. Arguments that are no tensors become constants.
        input_names: Names of the tensors in ``example``; those of ``forward``'s arguments where none are given.
        output_names: Names of the outputs; the keys where ``forward`` returns a dict, else ``output``, or ``output_0``
            and so on.
        dynamic_batch: Whether the first axis of every input is the batch, whose size stays open as ``batch``.
        dynamic_axes: Other axes whose sizes stay open, by input: ``{"input_ids": {1: "length"}}``. All other sizes are
            those of ``example``. Axes of one name have one size.
        opset: The version of the operator set.
        exporter: ``"dynamo"`` (``torch.export``), or ``"torchscript"``, which traces one call.
        path: A file to write, in place of an ``onnx.ModelProto``. Weights of more than 2 GB are written into
            ``<path>.data`` beside it. Existing files are replaced once the export has succeeded.

    Returns:
        The model; with ``path``, the path.

    Raises:
        GnpError: The example does not fit, the exporter fails, or a parameter that the module uses is not in the graph;
            the message names it.

    Warns:
        UserWarning: Parameters that the outputs do not depend on are not in the model; the message names them. Or the
            module draws random numbers in train mode otherwise than by Dropout (stochastic depth): the model always
            does.
    """
    module = unwrapped(module)
    tensors = Tensors.of(module)
    _check(module, tensors, path)
    bound = Example.of(module, example, input_names, dynamic_batch, dynamic_axes)
    training = _training_copy(module)
    returned: list[list[str]] = []
    hook = training.register_forward_hook(lambda _module, _args, outputs: returned.append(names_of_outputs(outputs)))
    target = None if path is None else _target(path)
    # In the folder of the target, so that its files are moved and not copied.
    with tempfile.TemporaryDirectory(prefix=".gnp-", dir=target and target.parent) as folder:
        model = exporters.export(exporter, training, bound, opset, Path(folder))
        hook.remove()
        graph.require_open(model.graph, bound)
        graph.tie(model.graph, tensors)
        _all_there(model, tensors, training, bound, exporter)
        outputs = returned[-1] if output_names is None else fitting(output_names, len(model.graph.outputs), "output")
        graph.name_ports(model.graph, list(bound.inputs), outputs, input_names is not None)
        graph.let_infer(model.graph, tensors)
        graph.record(model, tensors)
        if model.opset_imports[""] != opset:
            warnings.warn(
                f"the model has operator set {model.opset_imports['']}: there is no way to {opset}", stacklevel=2
            )
        if target is None:
            proto: onnx.ModelProto = exporters.import_ir().to_proto(model)
            return proto
        return _write(model, target, Path(folder), _size(tensors) > _messages.LARGEST)


def _check(module: torch.nn.Module, tensors: Tensors, path: object) -> None:
    if not any(parameter.trains for parameter in tensors.parameters):
        raise GnpError("the module has no parameter that trains", help="module.requires_grad_(True)")
    batch_norm = import_torch().nn.modules.batchnorm._BatchNorm
    for name, layer in statistics(module).items():
        if not isinstance(layer, batch_norm):
            raise GnpError(
                f"`{name}` ({type(layer).__name__}) keeps running statistics, which no operator of its kind does",
                kind="unsupported",
                help="make it with track_running_stats=False",
            )
        if layer.momentum is None:
            raise GnpError(
                f"`{name}` ({type(layer).__name__}) averages the statistics of all batches (momentum=None), which no "
                "operator does",
                kind="unsupported",
                help=f"module.{name}.momentum = 0.1" if name else "module.momentum = 0.1",
            )
    if path is None and _size(tensors) > _messages.LARGEST:
        size = _size(tensors) / 1e9
        raise GnpError(
            f"the module has {size:.1f} GB, and a model in memory holds at most 2", help='path="model.onnx" writes it'
        )


def _size(tensors: Tensors) -> int:
    return sum(
        t.numel() * t.element_size() for t in (*(p.tensor for p in tensors.parameters), *tensors.buffers.values())
    )


def _training_copy(module: torch.nn.Module) -> torch.nn.Module:
    """The module in train mode, with buffers of its own; it shares the parameters."""
    torch = import_torch()
    memo: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    # Old forms of weight norm keep what they computed last as an attribute, which PyTorch does not copy.
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:
        raise GnpError(
            f"the module cannot be copied: {error}",
            help="copy.deepcopy(module) must work; leave out what it cannot copy",
        ) from error
    copied.train()
    return copied


def _all_there(model: ir.Model, tensors: Tensors, training: torch.nn.Module, example: Example, exporter: str) -> None:
    """Warns of parameters that nothing depends on, and fails where another one is not in the graph."""
    absent = [parameter for parameter in graph.missing(model.graph, tensors) if parameter.trains]
    if not absent:
        return
    unused = _unused(training, absent, example)
    lost = [parameter.name for parameter in absent if parameter.name not in unused]
    if lost:
        other = next(name for name in exporters.EXPORTERS if name != exporter)
        raise GnpError(
            f"the exporter {exporter} lost {listed(lost)}: no tensor of the graph is that parameter",
            kind="unsupported",
            help=f'try exporter="{other}"; or let it not train: requires_grad_(False)',
        )
    warnings.warn(f"no output depends on {listed(unused)}: not in the model, and not trained", stacklevel=3)


def _unused(training: torch.nn.Module, parameters: list[Parameter], example: Example) -> list[str]:
    """Which of the parameters get no gradient from any output."""
    torch = import_torch()
    own = {parameter.name: parameter.tensor.detach().requires_grad_() for parameter in parameters}
    # The graph still holds the buffers of this copy.
    buffers = {name: buffer.clone() for name, buffer in training.named_buffers()}
    found: list[Any] = []
    hook = training.register_forward_hook(lambda _module, _args, outputs: found.extend(_tensors(outputs)))
    with exporters._random_state_kept(training), torch.enable_grad():
        torch.func.functional_call(training, own | buffers, example.args, example.kwargs)
    hook.remove()
    ends = [output.sum() for output in found if output.requires_grad]
    gradients = torch.autograd.grad(sum(ends), list(own.values()), allow_unused=True) if ends else [None] * len(own)
    return [name for name, gradient in zip(own, gradients) if gradient is None]


def _tensors(outputs: Any) -> list[torch.Tensor]:
    torch = import_torch()
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [leaf for item in outputs for leaf in _tensors(item)] if isinstance(outputs, (tuple, list)) else []


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if not target.parent.is_dir():
        raise GnpError(f"there is no folder {target.parent}", kind="io", file=str(target))
    if target.is_dir():
        raise GnpError(f"{target} is a folder", kind="io", file=str(target), help="give the path of a file")
    return target


def _write(model: ir.Model, target: Path, folder: Path, large: bool) -> Path:
    data = f"{target.name}.data"
    written = folder / "new"
    written.mkdir()
    try:
        exporters.import_ir().save(model, written / target.name, external_data=data if large else None)
        if large:
            os.replace(written / data, target.with_name(data))
        os.replace(written / target.name, target)
    except OSError as error:
        raise GnpError(f"{target} cannot be written: {error}", kind="io", file=str(target)) from error
    logger.info("wrote %s", target)
    return target
