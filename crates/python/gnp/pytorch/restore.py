"""``to_torch``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _gnp
from .._contract import STATE_KEY
from .._step_interface import ModelFile
from .._words import listed
from ..errors import GnpError
from .tensors import Tensors, import_torch, statistics, unwrapped

if TYPE_CHECKING:
    import torch

#: States of a step model that belong to no parameter.
COUNTERS = ("step",)
#: What hyperparameters and counters of gnp's own begin with.
RESERVED = "gnp."


def to_torch(state: Any, module: torch.nn.Module, *, strict: bool = True) -> torch.nn.Module:
    """Puts trained weights into the module that ``from_torch`` exported.

    Parameters and the running statistics of BatchNormalization are copied in place, into their dtype and on their
    device. Slots of the optimizer (``<parameter>.momentum``) and counters in ``state`` are left. All of it is checked
    first: where something is wrong, the module stays as it is.

    Args:
        state: Arrays by name, as ``state_dict()`` of a ``Trainer`` or ``Loop`` returns them; the path of a safetensors
            file with such; an ``onnx.ModelProto`` of the trained model, or the path of its file.
        module: The module. Its mode, gradients and ``requires_grad`` stay.
        strict: Whether every parameter that ``requires_grad`` and the running statistics beside them must be in
            ``state``, and nothing in ``state`` may belong to no parameter. Else what is there is taken.

    Returns:
        The module that was given.

    Raises:
        GnpError: A tensor is missing, unknown, or of another shape or kind of number; the message names it.
    """
    torch = import_torch()
    plain = unwrapped(module)
    tensors = Tensors.of(plain)
    arrays, is_model = _read(state)
    targets: dict[str, Any] = {name: parameter.tensor for name, parameter in tensors.by_name().items()}
    needed = {parameter.name: parameter.names for parameter in tensors.parameters if parameter.trains}
    for name, layer in statistics(plain).items():
        for statistic in ("running_mean", "running_var"):
            key = f"{name}.{statistic}" if name else statistic
            targets[key] = getattr(layer, statistic)
            weights = [weight for weight in (layer.weight, layer.bias) if weight is not None]
            if not weights or any(weight.requires_grad for weight in weights):
                needed[key] = [key]
    if not is_model:
        targets |= {name: tensor for name, tensor in plain.state_dict(keep_vars=True).items() if name not in targets}
    absent = [name for name, names in needed.items() if not any(name in arrays for name in names)]
    if absent and (strict or len(absent) == len(needed)):
        raise GnpError(
            f"the state has nothing for {listed(absent)}",
            help="where these were frozen or are not used, strict=False leaves them as they are",
        )
    if strict and not is_model:
        unknown = [name for name in arrays if name not in targets and not _is_left(name, targets)]
        if unknown:
            raise GnpError(
                f"the state has {listed(unknown)}, which the module has not",
                help="strict=False leaves out what is unknown",
            )
    found = {name: _fitting(name, arrays[name], target) for name, target in targets.items() if name in arrays}
    with torch.no_grad():
        for name, value in found.items():
            targets[name].copy_(value)
    return module


def _is_left(name: str, targets: Mapping[str, Any]) -> bool:
    """Whether `name` is a counter, or a slot: ``<parameter>.<slot>``."""
    return name in COUNTERS or name.startswith(RESERVED) or name.rpartition(".")[0] in targets


def _fitting(name: str, value: Any, target: torch.Tensor) -> Any:
    torch = import_torch()
    if not isinstance(value, torch.Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise GnpError(f"`{name}` holds {array.dtype}, and numbers are expected")
        with warnings.catch_warnings():
            # That the array is read-only; nothing is written to it.
            warnings.simplefilter("ignore")
            value = torch.from_numpy(array)
    if tuple(value.shape) != tuple(target.shape):
        raise GnpError(f"`{name}` has the shape {list(value.shape)}, and the module's {list(target.shape)}")
    if value.is_floating_point() != target.is_floating_point():
        raise GnpError(f"`{name}` holds {value.dtype}, and the module's {target.dtype}")
    return value


def _read(state: Any) -> tuple[Mapping[str, Any], bool]:
    """The arrays of `state` by name, and whether they come from a model, which holds others beside."""
    if isinstance(state, Mapping):
        return state, False
    if isinstance(state, (str, os.PathLike)):
        path = Path(state)
        if not path.is_file():
            raise GnpError(f"there is no file {path}", kind="io", file=str(path))
        if path.suffix == ".safetensors":
            return _gnp.read_state(str(path)), False
        return _constants(ModelFile(path)), True
    if hasattr(state, "metadata_props"):
        return _constants(ModelFile(state)), True
    raise GnpError(
        f"a state is arrays by name, a path, or an onnx.ModelProto, not {type(state).__name__}",
        help="state_dict() of the trainer",
    )


def _constants(model: ModelFile) -> dict[str, Any]:
    if model.metadata(STATE_KEY) is not None:
        raise GnpError(
            "this is a step model, which holds where training starts",
            help="give the state, or the trained model that is made of it",
        )
    if model.path is None and any(tensor.external_data for tensor in model.initializers.values()):
        raise GnpError("the model's weights are in files beside it", help="give the path of the model's file")
    return {name: _floats(model.array(name)) for name in model.initializers}


def _floats(array: Any) -> Any:
    """bfloat16 and its like, which PyTorch does not take from NumPy, as float32."""
    return array if array.dtype.kind in "fiubSUO" else array.astype(np.float32)
