"""The example that a module is exported with: what its inputs are called, and which of their sizes stay open."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._words import listed
from ..errors import GnpError
from .tensors import import_torch

if TYPE_CHECKING:
    import torch

#: What the open first axis is called.
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

    #: For each of them, its axes whose sizes stay open, and what those are called.
    axes: dict[str, dict[int, str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        module: torch.nn.Module,
        example: Any,
        input_names: Sequence[str] | None,
        dynamic_batch: bool,
        dynamic_axes: Mapping[str, Mapping[int, str]] | None,
    ) -> Example:
        """The example for `module`, on its device. The arguments are those of ``from_torch``.

        A batch of one becomes one of two: exporters take an axis of one for one that never changes.

        Raises:
            GnpError: It does not fit ``forward``, has no tensor, names that do not fit it, or its tensors differ in a
                size that is to be open.
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
        if dynamic_batch and {tensor.shape[0] for tensor in made.inputs.values() if tensor.ndim} == {1}:
            example = _mapped(example, lambda tensor: torch.cat([tensor, tensor]) if tensor.ndim else tensor)
            made = cls._bound(module, example)
        if input_names is not None:
            made.inputs = dict(zip(fitting(input_names, len(made.inputs), "input"), made.inputs.values()))
        made._open(dynamic_batch, dynamic_axes or {})
        return made

    def _open(self, batch: bool, given: Mapping[str, Mapping[int, str]]) -> None:
        for name in given:
            if name not in self.inputs:
                raise GnpError(f"dynamic_axes names `{name}`, and the inputs are {listed(list(self.inputs))}")
        sizes: dict[str, dict[str, int]] = {}
        for name, tensor in self.inputs.items():
            axes = {0: BATCH} if batch and tensor.ndim else {}
            for axis, size in dict(given.get(name, {})).items():
                if not isinstance(axis, int) or not -tensor.ndim <= axis < tensor.ndim:
                    raise GnpError(f"dynamic_axes: `{name}` has the shape {list(tensor.shape)}, and no axis {axis!r}")
                if not isinstance(size, str) or not size.isidentifier():
                    raise GnpError(f"dynamic_axes: an axis of `{name}` is to be called {size!r}, which is no name")
                axes[axis % tensor.ndim] = size
            self.axes[name] = axes
            for axis, size in axes.items():
                sizes.setdefault(size, {})[f"{name}[{axis}]"] = tensor.shape[axis]
        for size, places in sizes.items():
            if len(set(places.values())) > 1:
                raise GnpError(
                    f"`{size}` is one size, and the examples differ in it: "
                    + ", ".join(f"`{place}` has {number}" for place, number in places.items()),
                    help='dynamic_batch=False fixes the first axes; dynamic_axes={name: {0: "batch"}} opens some',
                )
            if set(places.values()) == {1}:
                raise GnpError(
                    f"{listed(list(places))} of the example is 1, which exporters take for a size that never changes",
                    help="give an example of two or more",
                )

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

    def dynamic_shapes(self) -> dict[str, Any] | None:
        """The open axes in the form of ``torch.export``; None where there is none."""
        torch = import_torch()
        if not any(self.axes.values()):
            return None
        sizes = {size: torch.export.Dim(size) for axes in self.axes.values() for size in axes.values()}
        of_tensors = iter(self.axes.values())

        def of(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return {axis: sizes[size] for axis, size in next(of_tensors).items()}
            if isinstance(value, Mapping):
                return {key: of(item) for key, item in value.items()}
            if isinstance(value, (tuple, list)):
                return type(value)(of(item) for item in value)
            return None

        return {name: of(value) for name, value in self.arguments.items()}


def fitting(names: Sequence[str], count: int, what: str) -> list[str]:
    """`names`, for `count` inputs or outputs.

    Raises:
        GnpError: There are more or fewer, or they are no names that differ.
    """
    names = [names] if isinstance(names, str) else list(names)
    if len(names) != count:
        raise GnpError(f"{what}_names has {len(names)} names, and the module has {count} {what}s")
    if len(set(names)) != count or not all(isinstance(name, str) and name for name in names):
        raise GnpError(f"{what}_names must be names that differ, not {names!r}")
    return names


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
