"""Step models and evaluation models as files: what they take, what they return, and where they begin."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnp import _contract as contract
from gnp._optional import require
from gnp.batches import Array, Input, Range
from gnp.errors import GnpError

_HELP = "gnp.rewrite and gnp-rewrite make a step model of an ordinary one"


class ModelFile:
    """An ONNX model that was read, and the folder that its external data are in.

    Args:
        source: The path of a file, its bytes, an ``onnx.ModelProto``, or what has ``to_bytes()``.

    Raises:
        GnpError: It is none of these, or cannot be read.
    """

    def __init__(self, source: object) -> None:
        self._onnx = require("onnx", "to read a model")
        self.path: str | None = None
        if isinstance(source, (str, os.PathLike)):
            self.path = os.fspath(source)
            self.proto = self._load(self.path)
        elif isinstance(source, self._onnx.ModelProto):
            self.proto = source
        elif isinstance(source, (bytes, bytearray, memoryview)):
            self.proto = self._parse(bytes(source))
        elif hasattr(source, "to_bytes") and not isinstance(source, int):
            self.proto = self._parse(source.to_bytes())
        else:
            raise GnpError(
                f"a model is a path, bytes, an onnx.ModelProto or a gnp.StepModel, not {type(source).__qualname__}"
            )
        self.initializers = {tensor.name: tensor for tensor in self.proto.graph.initializer}

    def metadata(self, key: str) -> Any:
        """What stands under ``key`` in the metadata, as JSON; None where nothing does."""
        for entry in self.proto.metadata_props:
            if entry.key == key:
                try:
                    return json.loads(entry.value)
                except ValueError as error:
                    raise self.error(f"the metadata `{key}` are no JSON: {error}") from error
        return None

    def input(self, info: Any, ranges: tuple[Range, ...] = ()) -> Input:
        """The input that ``info`` declares."""
        tensor = info.type.tensor_type
        try:
            dtype = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except KeyError:
            dtype = np.dtype(object)
        if dtype.kind not in "biuf" or not tensor.HasField("shape"):
            raise self.error(f"the input `{info.name}` is no tensor of numbers with known axes", kind="unsupported")
        sizes = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
        return Input(info.name, dtype, tuple(sizes), ranges)

    def array(self, name: str) -> Array:
        """The value of an initializer."""
        folder = os.path.dirname(os.path.abspath(self.path)) if self.path else ""
        tensor = self.initializers[name]
        if tensor.data_location == tensor.EXTERNAL:
            # What is read from another file would be kept in the message.
            tensor = self._onnx.TensorProto.FromString(tensor.SerializeToString())
        try:
            array: Array = self._onnx.numpy_helper.to_array(tensor, folder)
        except Exception as error:
            raise self.error(f"cannot read the initializer `{name}`: {error}") from error
        return array

    def initial(self, slot: Input) -> Array:
        """The value of the initializer of the input ``slot``."""
        array = self.array(slot.name)
        if array.dtype != slot.dtype:
            raise self.error(f"`{slot.name}` is declared as {slot.dtype}, but its initializer is {array.dtype}")
        return array

    def without_defaults(self) -> str | bytes:
        """What ONNX Runtime is given: the model without initializers for its inputs, which are fed.

        ONNX Runtime warns of each such initializer, and keeps a copy of it. Where other constants are in files of
        their own the model's path is returned, and nothing left out.

        Raises:
            GnpError: There are such files, and it is not known where.
        """
        graph = self.proto.graph
        inputs = {info.name for info in graph.input}
        kept = [tensor for tensor in graph.initializer if tensor.name not in inputs]
        if any(tensor.data_location == tensor.EXTERNAL for tensor in kept):
            if self.path is None:
                raise self.error("the model has constants in files of their own", help="give its path")
            return self.path
        bare = self._onnx.ModelProto()
        _copy_fields(self.proto, bare, but="graph")
        _copy_fields(graph, bare.graph, but="initializer")
        bare.graph.initializer.extend(kept)
        try:
            return bytes(bare.SerializeToString())
        except Exception as error:
            raise self.error(f"the model cannot be written as one message: {error}", help="give its path") from error

    def error(self, message: str, *, kind: str = "format", help: str | None = None) -> GnpError:
        """What is wrong with it."""
        message = f"{self.path}: {message}" if self.path else message
        return GnpError(message, kind=kind, file=self.path, help=help)

    def _load(self, path: str) -> Any:
        try:
            return self._onnx.load(path, load_external_data=False)
        except OSError as error:
            said = error.strerror or error
            raise GnpError(f"cannot read the model {path}: {said}", kind="io", file=path) from error
        except Exception as error:
            raise GnpError(f"{path} is no ONNX model: {error}", kind="format", file=path) from error

    def _parse(self, data: bytes) -> Any:
        try:
            return self._onnx.load_from_string(data)
        except Exception as error:
            raise GnpError(f"the bytes are no ONNX model: {error}", kind="format") from error


@dataclass(frozen=True)
class StepInterface:
    """What a step model takes and returns.

    Attributes:
        batch: The data inputs, then the labels.
        hyperparameters: Their defaults, scalars, by the names of their inputs.
        state: The inputs whose values one step hands to the next, with their whole shapes.
        nexts: The outputs that are their next values, by their names.
        outputs: The loss, then the other outputs that are no next values, and whether each is one float32.
    """

    batch: tuple[Input, ...]
    hyperparameters: Mapping[str, Array]
    state: tuple[Input, ...]
    nexts: Mapping[str, str]
    outputs: Mapping[str, bool]

    @classmethod
    def of(cls, model: ModelFile) -> StepInterface:
        """That of ``model``.

        Raises:
            GnpError: It is no step model.
        """
        nexts = _pairs(model)
        ranges = _ranges(model)
        batch, hyperparameters, state = [], {}, []
        for info in model.proto.graph.input:
            tensor = model.initializers.get(info.name)
            if info.name in nexts:
                if tensor is None:
                    raise model.error(f"the state `{info.name}` has no initializer, so there is nothing to begin with")
                port = model.input(info)
                state.append(Input(port.name, port.dtype, tuple(tensor.dims)))
            elif tensor is not None:
                default = model.initial(model.input(info))
                if default.size != 1:
                    raise model.error(f"the hyperparameter `{info.name}` is no single number")
                hyperparameters[info.name] = default.reshape(())
            else:
                batch.append(model.input(info, ranges.get(info.name, ())))
        returned = {info.name: _is_scalar(info) for info in model.proto.graph.output}
        missing = set(nexts) - {port.name for port in state} | set(nexts.values()) - set(returned)
        if missing:
            raise model.error(f"the metadata `{contract.STATE_KEY}` names `{min(missing)}`, which is not there")
        outputs = {name: scalar for name, scalar in returned.items() if name not in set(nexts.values())}
        if not batch or not outputs or not next(iter(outputs.values())):
            raise model.error("the step model takes no batch, or returns no loss first", help=_HELP)
        return cls(tuple(batch), hyperparameters, tuple(state), nexts, outputs)


@dataclass(frozen=True)
class EvaluationInterface:
    """What an evaluation model takes of a step model, under the same names, and what it returns.

    Attributes:
        batch: The inputs that are of the batch.
        state: Those that are of the state.
        outputs: The loss, then what else it returns.
    """

    batch: tuple[str, ...]
    state: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: ModelFile, step: StepInterface) -> EvaluationInterface:
        """That of ``model``, for ``step``.

        Raises:
            GnpError: It takes what ``step`` does not have, or returns nothing.
        """
        graph = model.proto.graph
        read = set(_read_names(graph)) | {info.name for info in graph.output}
        # ONNX Runtime takes no value for what is declared and not read.
        names = [info.name for info in graph.input if info.name in read]
        batch = tuple(name for name in names if name in {port.name for port in step.batch})
        state = tuple(name for name in names if name in {port.name for port in step.state})
        unknown = [name for name in names if name not in {*batch, *state, *model.initializers}]
        if unknown:
            raise model.error(
                f"the evaluation model takes `{unknown[0]}`, which the step model does not have",
                kind="input",
                help="make both from the same model",
            )
        if not state:
            # With weights of its own it would say nothing of the training.
            raise model.error(
                "the evaluation model reads nothing of the step model's state",
                kind="input",
                help="make both from the same model",
            )
        outputs = tuple(info.name for info in graph.output)
        if not outputs:
            raise model.error("the evaluation model returns no loss")
        return cls(batch, state, outputs)


def _pairs(model: ModelFile) -> dict[str, str]:
    pairs = model.metadata(contract.STATE_KEY)
    if pairs is None:
        raise model.error(f"not a step model: its metadata has no `{contract.STATE_KEY}`", help=_HELP)
    try:
        return {str(name): str(following) for name, following in pairs}
    except (TypeError, ValueError) as error:
        raise model.error(f"the metadata `{contract.STATE_KEY}` are no pairs of names") from error


def _ranges(model: ModelFile) -> dict[str, tuple[Range, ...]]:
    found = model.metadata(contract.RANGES_KEY) or {}
    try:
        return {name: tuple(_range(entry) for entry in entries) for name, entries in found.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise model.error(f"the metadata `{contract.RANGES_KEY}` are no ranges of inputs") from error


def _range(entry: Mapping[str, Any]) -> Range:
    part = entry.get("part")
    return Range(entry["last"], entry.get("ignored"), part and (part["axis"], part["start"], part["end"]))


def _is_scalar(info: Any) -> bool:
    tensor = info.type.tensor_type
    return bool(tensor.elem_type == 1 and tensor.HasField("shape") and not tensor.shape.dim)


def _read_names(graph: Any) -> Iterator[str]:
    """What the nodes of a graph, and of those within them, read or return."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            bodies: Sequence[Any] = [attribute.g, *attribute.graphs]
            for body in bodies:
                yield from _read_names(body)
                yield from (info.name for info in body.output)


def _copy_fields(source: Any, target: Any, *, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        held = getattr(target, field.name)
        if hasattr(held, "extend"):
            held.extend(value)
        elif hasattr(held, "CopyFrom"):
            held.CopyFrom(value)
        else:
            setattr(target, field.name, value)
