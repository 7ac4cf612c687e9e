"""The cases in which gradients are checked: a model, inputs, and what is differentiated.

Most are the standard's own: every node test, of the operators asked for, that has a floating input. `more_cases.py` adds what
those lack, `singular_points.json` the points at which PyTorch's gradient is what is expected.

    python cases.py OPERATORS FOLDER

writes, for every case of an operator in the file OPERATORS, models whose output `check/loss` is Σ w∘y over the floating outputs y,
with given w, and `cases.json`, which says what is there. Each case comes in several kinds:

    double, float   in this precision, shapes known, inputs that are not differentiated as initializers
    dynamic         shapes unknown but for their ranks and the weights of convolutions, and every input an input
"""

import json
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines import OnnxRuntime, Reference

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

# Types that NumPy lacks.
FEW_BITS = {getattr(TensorProto, name) for name in TensorProto.DataType.keys() if name.startswith(("FLOAT4", "FLOAT8"))}
FEW_BITS |= {TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2}

# The output that is differentiated.
LOSS = "check/loss"

# The rules are written for this opset and newer ones; the newest that the engine loads.
OLDEST, NEWEST = 18, 27

# Operators that may stand in a function's body beside the ones asked for: none of them is on a gradient's way.
HELPERS = {
    "And",
    "CastLike",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
}
HELPERS |= {"Mod", "Not", "Or", "Range", "Shape", "Size"}

# Floating inputs that are settings or state, and have no gradient by definition: as in PyTorch, where they are numbers, buffers
# or (a loss's class weights) declared as not differentiable.
SETTINGS = {
    "Range": {1},
    "Resize": {1, 2},
    "Upsample": {1},
    "Dropout": {1},
    "OneHot": {0, 1},
    "SoftmaxCrossEntropyLoss": {2},
    "NegativeLogLikelihoodLoss": {2},
}

# Operators that are defined from -1 to 1.
UNIT_DOMAIN = {"Acos", "Asin", "Atanh"}

# Floating outputs that are state, and have no gradient by definition.
STATE = {"BatchNormalization": {1, 2}, "LayerNormalization": {1, 2}}


@dataclass
class Case:
    """A model and its inputs by name."""

    name: str
    model: onnx.ModelProto
    inputs: dict
    # The operator it is a case of, with its domain where that is not the standard one; none of a function's body.
    operator: str | None
    # Whether inputs are moved a little, off the kinks that round numbers sit on.
    moved: bool = True
    # Why it cannot be run, if so.
    unusable: str | None = None
    # The cotangent of the output and the gradients by input, where they are given.
    expected: tuple | None = None
    wrt: list = field(default_factory=list)


def as_array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def operator_name(node):
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def node_tests(operators):
    """The standard's node tests of these operators, and the bodies of functions that consist of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_node_model_tests

        tests = load_node_model_tests()
    for test in tests:
        # The cases of Cast once more.
        if test.name.startswith("test_castlike"):
            continue
        graph = test.model.graph
        names = {operator_name(node) for node in graph.node}
        if len(graph.node) == 1 and names <= operators:
            operator = names.pop()
        elif "_expanded" in test.name and names & operators and names <= operators | HELPERS:
            operator = None
        else:
            continue
        tensors = [i for i in graph.input if i.type.HasField("tensor_type")]
        types = {i.type.tensor_type.elem_type for i in tensors}
        if not types & FLOATS or types & FEW_BITS:
            continue
        case = Case(test.name, test.model, {}, operator)
        if len(tensors) < len(graph.input) or not all(o.type.HasField("tensor_type") for o in graph.output):
            case.unusable = "an input or output is no tensor"
        else:
            given = zip(graph.input, test.data_sets[0][0])
            case.inputs = {i.name: as_array(value) for i, value in given if value is not None}
        yield case


def all_cases(operators):
    from more_cases import more_cases, singular_points

    yield from node_tests(operators)
    yield from (case for case in [*more_cases(), *singular_points()] if case.operator in operators)


# ---- one precision throughout


def in_precision(model, to):
    """A copy of the model in which everything floating is of the type `to`."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    convert_body(model.graph, to)
    return model


def convert_body(graph, to):
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        tensor = value.type.tensor_type
        if tensor.elem_type in FLOATS:
            tensor.elem_type = to
    for tensor in graph.initializer:
        tensor.CopyFrom(convert_tensor(tensor, to))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                convert_body(attribute.g, to)
            elif attribute.HasField("t"):
                attribute.t.CopyFrom(convert_tensor(attribute.t, to))
            elif attribute.name in ("to", "dtype", "softmax_precision") and attribute.i in FLOATS:
                attribute.i = to
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                attribute.CopyFrom(helper.make_attribute("value", array_tensor("", np.array(values), to)))
        given = {attribute.name for attribute in node.attribute}
        if node.op_type == "ConstantOfShape" and not given:
            node.attribute.append(helper.make_attribute("value", array_tensor("", np.zeros(1), to)))
        if node.op_type == "GroupNormalization" and "stash_type" not in given:
            node.attribute.append(helper.make_attribute("stash_type", to))


def numpy_type(to):
    return helper.tensor_dtype_to_np_dtype(to)


def array_tensor(name, array, to):
    return numpy_helper.from_array(np.asarray(array).astype(numpy_type(to)), name)


def convert_tensor(tensor, to):
    if tensor.data_type not in FLOATS:
        return onnx.TensorProto.FromString(tensor.SerializeToString())
    return array_tensor(tensor.name, numpy_helper.to_array(tensor).astype(np.float64), to)


# ---- the model of a case


def is_floating(array):
    return np.issubdtype(array.dtype, np.floating) or array.dtype.name in ("bfloat16",)


def with_modern_opset(model):
    """Declares the opset that rules are written for, where that means the same: a node test declares the one that its operator
    changed in last."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            given = opset.version
            since = lambda version: [
                onnx.defs.get_schema(n.op_type, version, "").since_version for n in model.graph.node if not n.domain
            ]
            if given < OLDEST and since(OLDEST) == since(given):
                opset.version = OLDEST
            elif given > NEWEST:
                opset.version = NEWEST
                try:
                    onnx.checker.check_model(model)
                except onnx.checker.ValidationError:
                    opset.version = given
    model.ir_version = max(8, min(model.ir_version, 10))
    return model


def moved(case, random):
    """The inputs of a case as float64, moved off round numbers by up to a few hundredths; each is a float32 number."""
    inputs = {}
    for name, value in case.inputs.items():
        value = np.asarray(value)
        if is_floating(value):
            value = value.astype(np.float64)
            if case.moved and name in case.wrt:
                sign = np.where(value < 0, -1.0, 1.0)
                value = value + sign * random.uniform(0.002, 0.04, value.shape)
                if case.operator in UNIT_DOMAIN:
                    value = value * 0.9
            value = value.astype(np.float32).astype(np.float64)
        inputs[name] = value
    return inputs


def differentiated(case):
    """The names of the inputs that a gradient is asked for."""
    skipped = set()
    for node in case.model.graph.node:
        settings = SETTINGS.get(node.op_type, set()) if node.domain == "" else set()
        skipped |= {name for i, name in enumerate(node.input) if i in settings}
    return [name for name, value in case.inputs.items() if is_floating(np.asarray(value)) and name not in skipped]


def differentiated_outputs(model, to):
    """The outputs that the loss is made of. Where none of them is floating, all of them, as numbers: the gradient is zero then."""
    graph = model.graph
    state = set()
    for node in graph.node:
        state |= {name for i, name in enumerate(node.output) if i in STATE.get(node.op_type, set())}
    types = {v.name: v.type.tensor_type.elem_type for v in inferred(model).graph.output}
    names = [o.name for o in graph.output if o.name not in state]
    floating = [n for n in names if types[n] == to]
    if floating:
        return floating
    for name in names:
        graph.node.append(helper.make_node("Cast", [name], [f"{name}/number"], to=to))
    return [f"{name}/number" for name in names]


def inferred(model):
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    # Of what Attention makes of heads of unknown size, onnx 1.23 infers a size of 0.
    wrong = [
        v
        for v in model.graph.value_info
        if any(d.HasField("dim_value") and d.dim_value == 0 for d in v.type.tensor_type.shape.dim)
    ]
    for value in wrong:
        model.graph.value_info.remove(value)
    return model


def forward(case, to, dynamic):
    """The model in one precision, with inputs declared as the kind of case has them."""
    model = in_precision(case.model, to)
    graph = model.graph
    # An initializer that is listed as an input as well is a default.
    defaults = {t.name for t in graph.initializer}
    declared = {i.name: i for i in graph.input}
    del graph.input[:]
    for name, value in case.inputs.items():
        keep_single = is_single(case.model, name)
        element = declared[name].type.tensor_type.elem_type
        if keep_single and element in FLOATS:
            element = TensorProto.FLOAT
        if name in case.wrt or dynamic:
            unknown = dynamic and not has_known_shape(case.model, name)
            shape = [f"{name}_{axis}" for axis in range(value.ndim)] if unknown else value.shape
            graph.input.append(helper.make_tensor_value_info(name, element, shape))
        elif name not in defaults:
            array = value.astype(numpy_type(element)) if is_floating(value) else value
            graph.initializer.append(numpy_helper.from_array(array, name))
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def has_known_shape(model, name):
    """Whether an input has a known shape in whatever trains: the weights of convolutions, and scales and sizes, as many as there are
    axes."""
    known = {"AffineGrid": [1], "Col2Im": [1, 2], "Resize": [2, 3]}
    known |= {operator: [1] for operator in ("CausalConvWithState", "Conv", "ConvTranspose", "DeformConv", "FusedConv")}
    return any(
        name == other for n in model.graph.node for i, other in enumerate(n.input) if i in known.get(n.op_type, [])
    )


def is_single(model, name):
    """Whether an input is float32 whatever the precision of the rest: the scales of Resize."""
    return any(node.op_type in ("Resize", "Upsample") and name in list(node.input)[2:3] for node in model.graph.node)


def with_loss(model, outputs, cotangents, to):
    """Appends loss = Σ w∘y."""
    graph = model.graph
    for name, w in zip(outputs, cotangents):
        graph.initializer.append(array_tensor(f"{name}/w", w, to))
        graph.node.append(helper.make_node("Mul", [name, f"{name}/w"], [f"{name}/weighted"]))
        graph.node.append(helper.make_node("ReduceSum", [f"{name}/weighted"], [f"{name}/term"], keepdims=0))
    total = f"{outputs[0]}/term"
    for name in outputs[1:]:
        graph.node.append(helper.make_node("Add", [total, f"{name}/term"], [f"{name}/total"]))
        total = f"{name}/total"
    graph.node.append(helper.make_node("Identity", [total], [LOSS]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(LOSS, to, []))
    return inferred(model)


def output_values(models, inputs, names):
    """The outputs, from the first model that an engine runs."""
    for engine, model in [(OnnxRuntime, model) for model in models] + [(Reference, model) for model in models]:
        try:
            return engine(model, names).run(inputs)
        except Exception as problem:  # noqa: BLE001: whatever an engine says
            error = problem
    raise error


def prepare(case, folder):
    """Writes the models of a case, and returns what is to be known of it."""
    entry = {"case": case.name, "operator": case.operator}
    if case.unusable:
        return {**entry, "unusable": case.unusable}
    random = np.random.default_rng(abs(hash_of(case.name)))
    case.model = with_modern_opset(case.model)
    case.wrt = differentiated(case) if case.expected is None else list(case.expected[1])
    case.inputs = moved(case, random)
    try:
        models = [forward(case, to, dynamic=False) for to in (TensorProto.DOUBLE, TensorProto.FLOAT)]
        outputs = [differentiated_outputs(m, to) for m, to in zip(models, (TensorProto.DOUBLE, TensorProto.FLOAT))][0]
        values = output_values(models, {n: case.inputs[n] for n in case.wrt}, outputs)
    except Exception as error:  # noqa: BLE001: whatever an engine says
        return {**entry, "unusable": f"it does not run: {first_line(error)}"}
    cotangents = [random.uniform(0.5, 1.5, np.shape(v)) * random.choice([-1.0, 1.0], np.shape(v)) for v in values]
    cotangents = [w.astype(np.float32).astype(np.float64) for w in cotangents]
    # What is not finite has no difference.
    cotangents = [np.where(np.isfinite(v), w, 0.0) for v, w in zip(values, cotangents)]
    arrays = {f"x:{n}": v for n, v in case.inputs.items()}
    if case.expected is not None:
        cotangents = [case.expected[0]]
        arrays |= {f"expected:{n}": v for n, v in case.expected[1].items()}
    arrays |= {f"w:{n}": w for n, w in zip(outputs, cotangents)}
    np.savez(folder / f"{case.name}.npz", **arrays)
    for kind, to, dynamic in (
        ("double", TensorProto.DOUBLE, False),
        ("float", TensorProto.FLOAT, False),
        ("dynamic", TensorProto.FLOAT, True),
    ):
        model = forward(case, to, dynamic)
        differentiated_outputs(model, to)
        model = with_loss(model, outputs, cotangents, to)
        onnx.save(model, folder / f"{case.name}.{kind}.onnx")
    known = {"training": is_training(case), "random": has_draws(case.model), "singular": case.expected is not None}
    return {**entry, "wrt": case.wrt, "outputs": outputs, **known}


def has_draws(model):
    return any(n.op_type == "Dropout" or n.op_type.startswith("Random") for n in model.graph.node)


def is_training(case):
    """Whether BatchNormalization or Dropout does what it does in training."""
    for node in case.model.graph.node:
        attributes = {a.name: a.i for a in node.attribute}
        if node.op_type == "BatchNormalization" and attributes.get("training_mode"):
            return True
        if node.op_type == "Dropout" and len(node.input) > 2 and bool(case.inputs.get(node.input[2])):
            return True
    return False


def first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def hash_of(name):
    """A number that a name has in every process."""
    return int.from_bytes(name.encode()[-8:], "little") * 31 + len(name)


def main(operators, folder):
    lines = (line.split("#")[0] for line in Path(operators).read_text().splitlines())
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entries = [prepare(case, folder) for case in all_cases({name for line in lines for name in line.split()})]
    (folder / "cases.json").write_text(json.dumps(entries))


if __name__ == "__main__":
    main(*sys.argv[1:])
