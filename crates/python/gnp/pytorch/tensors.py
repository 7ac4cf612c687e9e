"""The parameters and buffers of a module, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..errors import GnpError

if TYPE_CHECKING:
    import torch


def import_torch() -> Any:
    return require("torch", "to handle a PyTorch module")


def unwrapped(module: Any) -> Any:
    """The module itself, out of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``: what these wrap
    has other names in the wrapper, and the same tensors.

    Raises:
        GnpError: It is no module, or one that cannot be exported from (a ``ScriptModule``).
    """
    torch = import_torch()
    while True:
        if isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(module, torch.nn.Module) and "_orig_mod" in module._modules:
            module = module._orig_mod
        else:
            break
    if not isinstance(module, torch.nn.Module):
        raise GnpError(f"a torch.nn.Module is expected, not {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise GnpError("a ScriptModule is compiled already", help="give the module that it was made of")
    return module


@dataclass
class Parameter:
    """A parameter, under all of its names."""

    tensor: torch.nn.Parameter
    #: In the order of the module; the first is the one that ``named_parameters()`` has.
    names: list[str]
    #: ``requires_grad``, of any of the parameters that are one.
    trains: bool

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass
class Tensors:
    """All tensors of a module that its ``state_dict()`` has, and buffers that it leaves out.

    Parameters that are one tensor, or are two of one memory, are one here: a step of the optimizer moves both.
    """

    parameters: list[Parameter] = field(default_factory=list)
    buffers: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, module: torch.nn.Module) -> Tensors:
        torch = import_torch()
        found: dict[object, Parameter] = {}
        for name, tensor in module.named_parameters(remove_duplicate=False):
            if isinstance(tensor, torch.nn.parameter.UninitializedParameter):
                raise GnpError(
                    f"the parameter `{name}` has no shape yet",
                    help="call the module once, so that lazy layers are made",
                )
            if tensor.is_meta:
                raise GnpError(f"the parameter `{name}` is on the device `meta` and has no numbers")
            known = found.setdefault(_memory(tensor), Parameter(tensor, [], False))
            known.names.append(name)
            known.trains |= tensor.requires_grad
        return cls(list(found.values()), dict(module.named_buffers()))

    def by_name(self) -> dict[str, Parameter]:
        """Every name of every parameter."""
        return {name: parameter for parameter in self.parameters for name in parameter.names}


def _memory(tensor: torch.Tensor) -> object:
    if not tensor.numel():
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def statistics(module: torch.nn.Module) -> dict[str, Any]:
    """The layers that keep running statistics, by name: BatchNorm, and InstanceNorm where that was asked for."""
    torch = import_torch()
    kind = torch.nn.modules.batchnorm._NormBase
    layers = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in layers if isinstance(layer, kind) and layer.running_mean is not None}
