"""What is done to an exported graph, so that what trains is what the module trains, under its names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._words import listed
from ..errors import GnpError
from .example import Example
from .exporters import import_ir
from .tensors import Parameter, Tensors

if TYPE_CHECKING:
    import onnx_ir as ir

#: Where the exporter notes what a constant was in the module; gnp-rewrite decides by it what trains.
KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
#: Notes that hold names of before, files of this machine, or say nothing that the graph does not.
DROPPED = ("pkg.torch.export.ExportedProgram.", "pkg.torch.onnx.fx_node", "pkg.torch.onnx.stack_trace")
#: Operators that draw at random, but for Dropout.
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def tie(graph: Any, tensors: Tensors) -> None:
    """Gives each parameter its first name, and one initializer where it has several; in the order of the module."""
    replace = import_ir().convenience.replace_all_uses_with
    named = tensors.by_name()
    # The TorchScript exporter writes the second of two parameters of one memory as a copy of the first.
    for node in [node for node in graph if node.op_type == "Identity"]:
        parameter, source = named.get(node.outputs[0].name), named.get(node.inputs[0].name)
        if parameter is not None and parameter is source:
            replace(node.outputs[0], node.inputs[0])
            graph.remove(node, safe=True)
    for parameter in tensors.parameters:
        there = [graph.initializers[name] for name in parameter.names if name in graph.initializers]
        for other in there[1:]:
            replace(other, there[0])
            graph.initializers.pop(other.name)
        if there:
            there[0].name = parameter.name
    for name in (*(parameter.name for parameter in tensors.parameters), *tensors.buffers):
        if name in graph.initializers:
            graph.initializers[name] = graph.initializers.pop(name)


def missing(graph: ir.Graph, tensors: Tensors) -> list[Parameter]:
    """The parameters that the graph does not have as they are in the module."""

    def is_there(parameter: Parameter) -> bool:
        value = graph.initializers.get(parameter.name)
        return value is not None and _dims(value) == tuple(parameter.tensor.shape)

    return [parameter for parameter in tensors.parameters if not is_there(parameter)]


def name_ports(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str] | None, asked: bool) -> None:
    """Names inputs and outputs, and moves other values out of the way: PyTorch gives one name to an input and a buffer.

    Args:
        inputs: The names, in the order of the graph.
        outputs: The same; None keeps those of the exporter.
        asked: Whether the user chose the names of the inputs: then they stay.
    """
    taken = set(graph.initializers)
    names = []
    for name in inputs:
        if name in taken and asked:
            raise GnpError(
                f"the input `{name}` has the name of a parameter or buffer", help="choose another input_names"
            )
        if name in taken:
            free = _free(f"{name}_input", taken)
            warnings.warn(
                f"the input `{name}` has the name of a parameter or buffer: it is called `{free}`", stacklevel=3
            )
            name = free
        taken.add(name)
        names.append(name)
    _rename(graph.inputs, names)
    ends = [value for value in graph.outputs if not (value.is_graph_input() or value.is_initializer())]
    if outputs is not None and len(outputs) == len(graph.outputs) and len(set(ends)) == len(graph.outputs):
        for name in outputs:
            if name in taken:
                raise GnpError(f"the output `{name}` has the name of another tensor", help="choose other output_names")
            taken.add(name)
        _rename(ends, outputs)
    keep = {id(value) for value in (*graph.inputs, *graph.outputs)}
    taken |= {value.name for value in graph.outputs if value.name}
    for value in _values(graph):
        if id(value) in keep or value.is_initializer():
            continue
        if value.name in taken:
            value.name = _free(f"{value.name}_value", taken)
        if value.name:
            taken.add(value.name)


def _rename(values: Iterable[Any], names: Iterable[str]) -> None:
    for value, name in zip(values, names):
        value.name = name


def _free(name: str, taken: set[str]) -> str:
    candidates = (name if not count else f"{name}_{count}" for count in range(len(taken) + 1))
    return next(candidate for candidate in candidates if candidate not in taken)


def require_open(graph: ir.Graph, example: Example) -> None:
    """Fails where the exporter fixed a size that is to be open, as it does without a word where the module does."""
    for value, axes in zip(graph.inputs, example.axes.values()):
        for axis, size in axes.items():
            if value.shape is not None and isinstance(value.shape[axis], int):
                raise GnpError(
                    f"the module fixes `{size}`: axis {axis} of `{value.name}` is {value.shape[axis]}, always",
                    kind="unsupported",
                    help="look for a size of the example in its forward(); or let it be so, with dynamic_batch=False",
                )


def let_infer(graph: ir.Graph, tensors: Tensors) -> None:
    """Lets Dropout and BatchNormalization infer, so that the trained model is one to use: gnp-rewrite makes them train,
    whatever they say. Warns of other nodes that draw at random, which nothing keeps from it.
    """
    draws = []
    for node in import_ir().traversal.RecursiveGraphIterator(graph):
        if node.op_type == "Dropout":
            node.resize_inputs(min(len(node.inputs), 2))
        elif node.op_type == "BatchNormalization" and all(value.name in tensors.buffers for value in node.inputs[3:5]):
            node.attributes.pop("training_mode", None)
            if not any(map(_is_read, node.outputs[1:])):
                node.resize_outputs(1)
        elif node.op_type in RANDOM:
            draws.append(f"{node.name} ({node.op_type})")
    for node in [node for node in graph if node.op_type == "Constant" and not _is_read(node.outputs[0])]:
        graph.remove(node)
    if draws:
        warnings.warn(
            f"the model draws at random, as the module does in train mode, and once it is trained it still does: "
            f"{listed(draws)}. To use it, put the weights back with to_torch",
            stacklevel=3,
        )


def record(model: ir.Model, tensors: Tensors) -> None:
    """Notes what each constant is: a parameter that trains, or what does not. Other notes of the exporter, which speak
    of names and ties as they were, are dropped.
    """
    ir = import_ir()
    trained = {parameter.name for parameter in tensors.parameters if parameter.trains}
    frozen = {parameter.name for parameter in tensors.parameters if not parameter.trains} | set(tensors.buffers)
    for name, value in model.graph.initializers.items():
        value.metadata_props[KIND] = (
            "PARAMETER" if name in trained else "BUFFER" if name in frozen else "CONSTANT_TENSOR"
        )
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type == "Constant" and (value := ir.convenience.get_const_tensor(node.outputs[0])) is not None:
            output = node.outputs[0]
            output.metadata_props[KIND] = "CONSTANT_TENSOR"
            output.type, output.shape = ir.TensorType(value.dtype), ir.Shape(value.shape)
        _drop(node.metadata_props)
    _drop(model.graph.metadata_props)


def _is_read(value: Any) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _drop(notes: dict[str, str]) -> None:
    for key in [key for key in notes if key.startswith(DROPPED)]:
        del notes[key]


def _dims(value: Any) -> tuple[int, ...] | None:
    return None if value.const_value is None else tuple(value.const_value.shape)


def _values(graph: ir.Graph) -> Iterator[Any]:
    """What nodes make, and what bodies of nodes take."""
    ir = import_ir()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield from node.outputs
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from attribute.as_graph().inputs
