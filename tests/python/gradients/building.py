"""Building cases of one node.

A case is a line: the operator, the shapes (or values) of its inputs, its attributes.
"""

import numpy as np
import onnx
from onnx import helper

OPSET = 18


def floats(*shape, low=-1.0, high=1.0, seed=0):
    """Random numbers that differ from each other and from 0."""
    random = np.random.default_rng(seed + 31 * len(shape) + int(np.prod(shape)))
    return random.uniform(low, high, shape).astype(np.float32)


def positive(*shape, **options):
    return floats(*shape, low=0.3, high=2.0, **options)


def separated(*shape):
    """Numbers from -1 to 1 in random order, none close to another."""
    count = int(np.prod(shape))
    return np.random.default_rng(count).permutation(np.linspace(-1, 1, count)).reshape(shape).astype(np.float32)


def ints(*values, dtype=np.int64):
    return np.array(values, dtype)


def one_node(name, operator, inputs, outputs=1, opset=OPSET, domain="", moved=True, **attributes):
    """A case of one node. `None` among the inputs is one left out; an output whose name begins with `_` is made and not used."""
    from cases import Case

    names = ["" if value is None else f"x{i}" for i, value in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
    node = helper.make_node(operator, names, results, domain=domain, **attributes)
    values = {n: np.asarray(v) for n, v in zip(names, inputs) if v is not None}
    declared = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    made = [onnx.ValueInfoProto(name=name) for name in results if name and not name.startswith("_")]
    element = next(helper.np_dtype_to_tensor_dtype(v.dtype) for v in values.values() if v.dtype == np.float32)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(helper.make_graph([node], name, declared, made), opset_imports=opsets, ir_version=8)
    # Where inference does not know the operator, its output is of the type of its input.
    types = {o.name: o.type.tensor_type.elem_type for o in onnx.shape_inference.infer_shapes(model).graph.output}
    for output in model.graph.output:
        output.type.tensor_type.elem_type = types[output.name] or element
    full = operator if not domain else f"{domain}.{operator}"
    return Case(f"{operator.lower()}_{name}", model, values, full, moved=moved)
