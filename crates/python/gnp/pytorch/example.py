"""The example that a module is exported with: what its inputs are called, and which of their axes is the batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import GnpError
from .tensors import import_torch

if TYPE_CHECKING:
    import torch

#: What the open dimension is called.
BATCH = "batch"


@dataclass
class Example:
    """Arguments of ``forward``, as the exporters take them."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    #: By parameter of ``forward``, in its order.
    arguments: dict[str, Any]
    #: The tensors among them in the same order, by the names that the graph gives them.
    inputs: dict[str, torch.Tensor]

    @classmethod
    def of(cls, module: torch.nn.Module, example: Any, dynamic_batch: bool) -> Example:
        """The example for `module`, on its device. With `dynamic_batch`, a batch of one becomes one of two: exporters
        take an axis of one for one that never changes.

        Raises:
            GnpError: It does not fit ``forward``, has no tensor, or its tensors differ in the size of the first axis.
        """
        torch = import_torch()
        devices = {parameter.device for parameter in module.parameters()}
        if len(devices) == 1:
            example = _mapped(example, lambda tensor: tensor.to(next(iter(devices))))
        made = cls._bound(module, example)
        if not made.inputs:
            raise GnpError(
                f"the example has no tensor: {type(example).__name__}", help="give a tensor, a tuple or a dict"
            )
        if not dynamic_batch:
            return made
        sizes = {name: tensor.shape[0] for name, tensor in made.inputs.items() if tensor.ndim}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"`{name}` has {size}" for name, size in sizes.items())
            raise GnpError(
                f"the first axis is to be the batch, and the examples differ in it: {listed}",
                help="dynamic_batch=False exports sizes as they are; `--dim 'x[0]=batch'` of gnp-rewrite opens an axis",
            )
        if set(sizes.values()) == {1}:
            example = _mapped(example, lambda tensor: torch.cat([tensor, tensor]) if tensor.ndim else tensor)
            made = cls._bound(module, example)
        return made

    @classmethod
    def _bound(cls, module: torch.nn.Module, example: Any) -> Example:
        torch = import_torch()
        if isinstance(example, Mapping):
            args, kwargs = (), dict(example)
        else:
            args, kwargs = tuple(example) if isinstance(example, (tuple, list)) else (example,), {}
        signature = inspect.signature(module.forward)
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise GnpError(
                f"the example does not fit `{type(module).__name__}.forward{signature}`: {error}",
                help="a tuple holds arguments in their order, a dict holds them by name",
            ) from None
        # Keywords in the order of the signature, which is that of the graph's inputs.
        if kwargs:
            kwargs = {name: kwargs[name] for name in dict.fromkeys([*arguments, *kwargs]) if name in kwargs}
        inputs = {}
        for name, value in arguments.items():
            rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            for path, leaf in _leaves(value, "" if rest else name):
                if isinstance(leaf, torch.Tensor):
                    inputs[path] = leaf
        return cls(args, kwargs, dict(arguments), inputs)

    def require_tensors(self) -> None:
        """Fails where an argument is neither a tensor nor None: the TorchScript exporter takes no others."""
        torch = import_torch()
        for name, value in self.arguments.items():
            for path, leaf in _leaves(value, name):
                if leaf is not None and not isinstance(leaf, torch.Tensor):
                    raise GnpError(
                        f"the TorchScript exporter takes tensors, and `{path}` is {type(leaf).__name__}",
                        help='exporter="dynamo" takes such an argument as a constant',
                    )

    def dynamic_shapes(self) -> dict[str, Any]:
        """The first axis of each tensor as one dimension, in the form of ``torch.export``."""
        torch = import_torch()
        batch = torch.export.Dim(BATCH)

        def of(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return {0: batch} if value.ndim else {}
            if isinstance(value, Mapping):
                return {key: of(item) for key, item in value.items()}
            if isinstance(value, (tuple, list)):
                return type(value)(of(item) for item in value)
            return None

        return {name: of(value) for name, value in self.arguments.items()}

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The same in the form of the TorchScript exporter."""
        return {name: {0: BATCH} for name, tensor in self.inputs.items() if tensor.ndim}


def output_names(outputs: Any) -> list[str]:
    """What the tensors that a module returned are called: ``output``, ``output_0``, or the keys of a dict."""
    torch = import_torch()
    prefix = "" if isinstance(outputs, Mapping) else "output"
    return [path for path, leaf in _leaves(outputs, prefix) if isinstance(leaf, torch.Tensor)]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What is in nested containers, by its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}_{key}" if name else str(key))
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}_{index}")
    else:
        yield name, value


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    torch = import_torch()
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(item, change) for item in value)
    return value
