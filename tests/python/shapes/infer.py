"""Writes models without what they declare of values and outputs, and what onnx knows of these all the same.

    infer.py FOLDER [MODEL]... [--dim SYMBOL=SIZE]...

FOLDER gets the stripped copies of the light models of the onnx package and of the models that are named, of the one-node
models of its published cases with whole numbers for constants, and shapes.json: for each copy the element types and the sizes of its values, by name. For a
published case these are those of the arrays that it expects.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

arguments = argparse.ArgumentParser()
arguments.add_argument("folder", type=Path)
arguments.add_argument("models", type=Path, nargs="*")
arguments.add_argument("--dim", action="append", default=[])
arguments = arguments.parse_args()
sizes = {symbol: int(size) for symbol, size in (dim.split("=") for dim in arguments.dim)}


def bind(infos):
    for info in infos:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]


def facts(infos):
    tensors = [(i.name, i.type.tensor_type) for i in infos if i.type.HasField("tensor_type")]
    return {
        name: [t.elem_type, [d.dim_value if d.HasField("dim_value") else None for d in t.shape.dim]]
        for name, t in tensors
        if t.HasField("shape")
    }


def strip(model):
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.ClearField("type")


known = {}


def add(name, model, values):
    onnx.save(model, arguments.folder / name)
    known[name] = values


light = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
for path in light + arguments.models:
    model = onnx.load(path)
    strip(model)
    name = path.name if path in light else f"{path.parent.name}-{path.name}"
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    bind(bound.graph.input)
    inferred = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
    add(name, model, facts([*inferred.input, *inferred.value_info, *inferred.output]))

for case in collect_testcases(None):
    model = case.model
    if model is None or not case.data_sets:
        continue
    strip(model)
    # Shapes, axes and the like are constants, as they are in models.
    arrays = dict(zip((i.name for i in model.graph.input), case.data_sets[0][0]))
    for info in list(model.graph.input):
        array = arrays.get(info.name)
        if isinstance(array, np.ndarray) and (array.dtype in (np.int32, np.int64) or info.name in ("scales", "roi")):
            model.graph.input.remove(info)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    values = {}
    for info, array in zip(model.graph.output, case.data_sets[0][1]):
        if hasattr(array, "dtype") and array.dtype != object:
            try:
                element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            except (KeyError, ValueError):
                continue
            values[info.name] = [element, list(array.shape)]
    add(f"case-{case.name}.onnx", model, values)

(arguments.folder / "shapes.json").write_text(json.dumps(known))
