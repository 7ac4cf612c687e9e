"""The oracle of tests/rewriting/normalise.rs: models in old forms, and whether their normalised forms compute the same.

normalise.py make FOLDER    writes a folder for each case: before.onnx, inputs.npz, and what ONNX Runtime makes of them
normalise.py check FOLDER   checks each after.onnx, and compares what ONNX Runtime makes of it
normalise.py operators      prints what each standard operator takes, by version: crates/model/src/schema/operators.txt
normalise.py history        prints what the standard operators changed in versions 8 to 18: name and version
"""

import collections
import glob
import os
import sys

import numpy as np
import onnx
import onnx.backend.test
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OLDEST, NEWEST = 7, 18
DATA = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

# The package's converter leaves their slopes as they broadcast before version 7.
UNCONVERTED = {f"test_PReLU_{n}d_multiparam" for n in (1, 2, 3)}


# Cases of the onnx package.


def version(model):
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def noise(value):
    shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    return np.random.default_rng(7).uniform(0, 1, shape).astype(np.float32)


def packaged():
    """Every model of the package that is not a node test, with the inputs stored beside it, or noise."""
    for path in sorted(glob.glob(f"{DATA}/*/**/*.onnx", recursive=True)):
        kind = os.path.relpath(path, DATA).split(os.sep)[0]
        if kind == "node":
            continue
        model = onnx.load(path)
        domains = {node.domain for node in model.graph.node}
        if any(domain not in ("", "ai.onnx") for domain in domains):
            continue  # ai.onnx.preview.training: not an operator that an engine runs
        if version(model) < OLDEST:
            # The next version broadcasts in another way; that is the package's own converter's to know.
            model = onnx.version_converter.convert_version(model, OLDEST)
        given = {t.name for t in model.graph.initializer}
        inputs = [i for i in model.graph.input if i.name not in given]
        if not all(i.type.HasField("tensor_type") for i in inputs):
            continue  # sequences
        if kind == "light":
            name, feeds = os.path.basename(path)[: -len(".onnx")], {i.name: noise(i) for i in inputs}
        else:
            name, feeds = os.path.basename(os.path.dirname(path)), {}
            for at, value in enumerate(inputs):
                with open(os.path.join(os.path.dirname(path), f"test_data_set_0/input_{at}.pb"), "rb") as file:
                    feeds[value.name] = numpy_helper.to_array(onnx.load_tensor_from_string(file.read()))
        if all(array.dtype.kind != "O" for array in feeds.values()) and name not in UNCONVERTED:
            yield f"{kind}.{name}", model, feeds


# Cases of our own: operators that changed.


def uniform(*shape, seed=1, low=-2.0, high=2.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def initializer(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(opset, nodes, feeds, outputs, initializers=(), functions=(), imports=(), ir=None):
    info = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    results = [helper.make_tensor_value_info(name, element, None) for name, element in outputs.items()]
    graph = helper.make_graph(nodes, "g", info, results, list(initializers))
    sets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, v) for d, v in imports]
    made = helper.make_model(graph, opset_imports=sets, functions=list(functions))
    # Engines know the versions of the format up to some.
    made.ir_version = ir or (10 if opset > 18 or functions else 8)
    return made


def passed_on(name, element, through):
    """A node that makes `hidden <name>` of `name`: an If, whose results no table tells the types of, or another."""
    if through != "If":
        return helper.make_node(through, [name], [f"hidden {name}"])
    bodies = {}
    for branch in ("then_branch", "else_branch"):
        result = helper.make_tensor_value_info(f"{name} {branch}", element, None)
        copy = helper.make_node("Identity", [name], [result.name])
        bodies[branch] = helper.make_graph([copy], branch, [], [result])
    return helper.make_node("If", ["yes"], [f"hidden {name}"], **bodies)


def one(name, opset, operator, feeds, outputs=("y",), element=FLOAT, domain=None, consts=None, **attributes):
    """A case of one node, and those in which other nodes make what it reads, whose type the file does not declare."""
    consts = consts or {}
    for suffix, through in {"": None, ".undeclared": "Identity", ".unknown": "If"}.items():
        kinds = {
            n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in feeds.items() if through and a.dtype.kind == "f"
        }
        nodes = [passed_on(n, kind, through) for n, kind in sorted(kinds.items())]
        inputs = [f"hidden {n}" if n in kinds else n for n in [*feeds, *consts]]
        node = helper.make_node(operator, inputs, list(outputs), name="it", domain=domain, **attributes)
        types = element if isinstance(element, dict) else {o: element for o in outputs if o}
        given = [initializer(n, a) for n, a in consts.items()]
        imports = [(domain, 1)] if domain else []
        fed = {**feeds, "yes": np.array(True)} if through == "If" else feeds
        yield f"own.{name}{suffix}", model(opset, [*nodes, node], fed, types, given, imports=imports), fed


def changed():
    x = {"x": uniform(2, 3, 4, 5)}
    for opset in (7, 11, 12):
        axes = [0, 2] if opset < 11 else [0, -2]
        for reduce in "L1 L2 LogSumExp Max Mean Min Prod Sum SumSquare".split():
            yield from one(f"Reduce{reduce}.{opset}", opset, f"Reduce{reduce}", x, axes=axes, keepdims=0)
        yield from one(f"ReduceMean.all.{opset}", opset, "ReduceMean", x)
        yield from one(f"ReduceLogSum.{opset}", opset, "ReduceLogSum", {"x": uniform(2, 3, low=1, high=2)}, axes=[1])
        yield from one(f"Unsqueeze.{opset}", opset, "Unsqueeze", x, axes=[0, 3])
        yield from one(f"Squeeze.{opset}", opset, "Squeeze", {"x": uniform(1, 3, 1, 2)}, axes=[0, 2])
        yield from one(f"Squeeze.all.{opset}", opset, "Squeeze", {"x": uniform(1, 3, 1, 2)})
        yield from one(f"Split.{opset}", opset, "Split", x, ("a", "b"), axis=3, split=[2, 3])
        yield from one(f"Split.even.{opset}", opset, "Split", x, ("a", "b"), axis=2)
        for soft in ("Softmax", "LogSoftmax", "Hardmax"):
            for axis in (0, 1, 2, 3) if opset < 11 else (-1, -2, 1):
                yield from one(f"{soft}.{axis}.{opset}", opset, soft, x, axis=axis)
            yield from one(f"{soft}.default.{opset}", opset, soft, x)
    yield from one("ReduceMean.13", 13, "ReduceMean", x, axes=[1])
    yield from one("ReduceSum.13", 13, "ReduceSum", x, consts={"axes": np.array([1])})
    yield from one("Split.even.13", 13, "Split", x, ("a", "b"), axis=2)
    yield from one("Split.13", 13, "Split", x, ("a", "b"), axis=3, consts={"split": np.array([2, 3])})
    yield from one("Slice.9", 9, "Slice", x, starts=[1, -3], ends=[3, 1000], axes=[1, 3])
    yield from one("Slice.all.9", 9, "Slice", x, starts=[0, 1], ends=[1, 3])
    for element in (np.float32, np.float64):
        data = {"x": uniform(3, 4).astype(element)}
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(element))
        yield from one(f"Pad.{element.__name__}", 10, "Pad", data, element=kind, pads=[0, 1, 2, 0], value=1.5)
        if element == np.float32:
            yield from one("Clip.both", 10, "Clip", data, element=kind, min=-1.0, max=0.5)
            yield from one("Clip.min", 10, "Clip", data, element=kind, min=0.25)
            yield from one("Clip.max", 8, "Clip", data, element=kind, max=0.25)
    yield from one("Pad.reflect", 10, "Pad", {"x": uniform(3, 4)}, pads=[1, 1, 1, 2], mode="reflect")
    yield from one("TopK.9", 9, "TopK", x, ("v", "i"), {"v": FLOAT, "i": INT64}, axis=3, k=2)
    yield from one("TopK.10", 10, "TopK", x, ("v", "i"), {"v": FLOAT, "i": INT64}, axis=1, consts={"k": np.array([2])})
    for opset in (7, 10, 11):
        yield from one(f"Dropout.{opset}", opset, "Dropout", x, ratio=0.3)
    for mode in ("nearest", "linear"):
        small = {"x": uniform(1, 2, 3, 4)}
        scales = np.array([1, 1, 2, 3], np.float32)
        yield from one(f"Upsample.{mode}.7", 7, "Upsample", small, mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
        yield from one(f"Upsample.{mode}.9", 9, "Upsample", small, mode=mode, consts={"s": scales})
        yield from one(f"Resize.{mode}.10", 10, "Resize", small, mode=mode, consts={"s": scales})
        less = np.array([1, 1, 0.6, 0.5], np.float32)
        yield from one(f"Resize.smaller.{mode}.10", 10, "Resize", small, mode=mode, consts={"s": less})
        given = {"roi": np.array([], np.float32), "s": scales}
        yield from one(f"Resize.{mode}.11", 11, "Resize", small, mode=mode, consts=given)
        sized = {"roi": np.array([], np.float32), "s": np.array([], np.float32), "to": np.array([1, 2, 5, 6])}
        yield from one(f"Resize.sizes.{mode}.11", 11, "Resize", small, mode=mode, consts=sized)
    c = {n: uniform(3, seed=i, low=0.5, high=1.5) for i, n in enumerate(("s", "b", "m", "v"))}
    for opset in (7, 9, 14):
        yield from one(f"BatchNormalization.{opset}", opset, "BatchNormalization", x, consts=c, epsilon=1e-3)
    c = {n: uniform(3, 4, 5, seed=i, low=0.5, high=1.5) for i, n in enumerate(("s", "b", "m", "v"))}
    yield from one("BatchNormalization.activation", 7, "BatchNormalization", x, consts=c, epsilon=1e-3, spatial=0)
    at = {"i": np.array([[1, 0, 2]]), "u": uniform(1, 3)}
    yield from one("Scatter.9", 9, "Scatter", {"x": uniform(3, 3)}, consts=at, axis=0)
    boxes = {"r": np.array([[0, 0, 3, 3], [1, 0, 4, 3]], np.float32), "at": np.array([0, 1])}
    align = dict(output_height=2, output_width=2, sampling_ratio=2, spatial_scale=1.0)
    yield from one("RoiAlign.10", 10, "RoiAlign", {"x": uniform(2, 3, 5, 5)}, consts=boxes, **align)
    group = {"s": uniform(2, seed=2), "b": uniform(2, seed=3)}
    yield from one(
        "GroupNormalization.18", 18, "GroupNormalization", {"x": uniform(2, 4, 5)}, consts=group, num_groups=2
    )
    yield from one(
        "GroupNormalization.20", 20, "GroupNormalization", {"x": uniform(2, 4, 5)}, consts=group, num_groups=2
    )
    layer = {"s": uniform(5, seed=2), "b": uniform(5, seed=3)}
    yield from one("LayerNormalization.standard", 15, "LayerNormalization", x, consts=layer, axis=-1)
    yield from one("DepthToSpace.7", 7, "DepthToSpace", {"x": uniform(1, 8, 2, 3)}, blocksize=2)
    yield from one("Flatten.7", 7, "Flatten", x, axis=2)
    yield from one("CumSum.11", 11, "CumSum", x, consts={"axis": np.array(1)})
    yield from one("Pow.7", 7, "Pow", {"x": uniform(3, low=0.5)}, consts={"e": np.array(2.5, np.float32)})
    yield from one("AveragePool.7", 7, "AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    yield from one("MaxPool.7", 7, "MaxPool", x, kernel_shape=[2, 2], strides=[2, 1])


def microsoft():
    domain = "com.microsoft"
    for element in (np.float32, np.float64, np.float16):
        x = {"x": uniform(2, 3, 8).astype(element)}
        kind = dict(domain=domain, element=helper.np_dtype_to_tensor_dtype(np.dtype(element)))
        name = element.__name__
        if element == np.float32:
            yield from one(f"Gelu.{name}", 17, "Gelu", x, **kind)
            yield from one(f"BiasGelu.{name}", 17, "BiasGelu", x, consts={"b": uniform(8).astype(element)}, **kind)
        if element != np.float64:
            yield from one(f"FastGelu.{name}", 17, "FastGelu", x, **kind)
            yield from one(f"FastGelu.bias.{name}", 17, "FastGelu", x, consts={"b": uniform(8).astype(element)}, **kind)
            yield from one(f"QuickGelu.{name}", 17, "QuickGelu", x, alpha=1.5, **kind)
    kind = dict(domain=domain)
    x = {"x": uniform(2, 3, 8)}
    yield from one("QuickGelu.default", 17, "QuickGelu", x, **kind)
    shapes = {
        "": ((2, 3, 4), (2, 4, 5)),
        "A": ((2, 4, 3), (2, 4, 5)),
        "B": ((2, 3, 4), (2, 5, 4)),
        "AB": ((4, 3), (5, 4)),
    }
    for which, (a, b) in shapes.items():
        flags = {f"trans{side}": 1 for side in which}
        factors = {"x": uniform(*a), "w": uniform(*b, seed=2)}
        yield from one(f"FusedMatMul.{which}", 17, "FusedMatMul", factors, alpha=0.25, **flags, **kind)
    factors = {"x": uniform(3, 2, 2, 4), "w": uniform(2, 2, 4, 5, seed=2)}
    # Which needs the ranks.
    yield next(one("FusedMatMul.batch", 17, "FusedMatMul", factors, transBatchA=1, **kind))
    factors = {"x": uniform(4, 2, 2, 3), "w": uniform(5, 2, 2, 4, seed=2)}
    flags = dict(transA=1, transB=1, transBatchA=1, transBatchB=1)
    yield next(one("FusedMatMul.batches", 17, "FusedMatMul", factors, **flags, **kind))
    image = {"x": uniform(1, 2, 5, 5)}
    weights = {"w": uniform(3, 2, 3, 3, seed=2), "b": uniform(3, seed=3)}
    for name, parameters in {
        "Relu": [],
        "Tanh": [],
        "LeakyRelu": [0.2],
        "Clip": [-0.5, 0.75],
        "HardSigmoid": [0.3, 0.4],
    }.items():
        extra = {"activation_params": parameters} if parameters else {}
        yield from one(
            f"FusedConv.{name}", 17, "FusedConv", image, consts=weights, activation=name, pads=[1] * 4, **extra, **kind
        )
    summed = {**weights, "z": uniform(1, 3, 3, 3, seed=4)}
    yield from one("FusedConv.sum", 17, "FusedConv", image, consts=summed, activation="Relu", **kind)
    gemm = {"w": uniform(8, 4, seed=2), "c": uniform(4, seed=3)}
    leaky = dict(activation="LeakyRelu", activation_alpha=0.2, alpha=0.5)
    yield from one("FusedGemm", 17, "FusedGemm", {"x": uniform(3, 8)}, consts=gemm, **leaky, **kind)
    skip = {"k": uniform(2, 3, 8, seed=2), "s": uniform(8, seed=3), "b": uniform(8, seed=4), "a": uniform(8, seed=5)}
    outputs = ("y", "", "", "t")
    yield from one(
        "SkipLayerNormalization", 17, "SkipLayerNormalization", x, outputs, consts=skip, epsilon=1e-5, **kind
    )
    short = {n: skip[n] for n in "ks"}
    yield from one("SkipLayerNormalization.short", 17, "SkipLayerNormalization", x, consts=short, **kind)
    three = {n: skip[n] for n in "ksa"}
    rms = "SkipSimplifiedLayerNormalization"
    yield from one(rms, 17, rms, x, outputs, consts=three, epsilon=1e-5, **kind)
    scale = {"s": uniform(8, seed=3)}
    yield from one("SimplifiedLayerNormalization", 17, "SimplifiedLayerNormalization", x, consts=scale, axis=-1)


def structure():
    """Constants, functions, bodies, inputs that are initializers."""
    x = {"x": uniform(2, 3)}
    tensor = initializer("t", uniform(3))
    kinds = dict(value=tensor, value_float=1.5, value_floats=[1.0, 2.0, 3.0])
    for kind, value in kinds.items():
        nodes = [helper.make_node("Constant", [], ["c"], **{kind: value}), helper.make_node("Add", ["x", "c"], ["y"])]
        yield f"own.Constant.{kind}", model(12, nodes, x, {"y": FLOAT}), x
    for kind, value in dict(value_int=2, value_ints=[1, 2, 3]).items():
        nodes = [
            helper.make_node("Constant", [], ["c"], **{kind: value}),
            helper.make_node("Cast", ["c"], ["f"], to=FLOAT),
            helper.make_node("Add", ["x", "f"], ["y"]),
        ]
        yield f"own.Constant.{kind}", model(12, nodes, x, {"y": FLOAT}), x
    nodes = [
        helper.make_node("Constant", [], ["y"], value=tensor),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    yield "own.Constant.output", model(12, nodes, x, {"y": FLOAT, "z": FLOAT}), x
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[2, 3]),
        helper.make_node("ConstantOfShape", ["shape"], ["w"], value=helper.make_tensor("v", FLOAT, [1], [0.5])),
        helper.make_node("ConstantOfShape", ["shape"], ["o"]),
        helper.make_node("ConstantOfShape", ["s"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["zero"], keepdims=0),
        helper.make_node("Sum", ["x", "w", "o", "zero"], ["y"]),
    ]
    made = model(12, nodes, x, {"y": FLOAT}, [initializer("s", np.array([5000, 5000]))])
    yield "own.ConstantOfShape", made, x

    weighted = model(
        8, [helper.make_node("Add", ["x", "w"], ["y"])], x, {"y": FLOAT}, [initializer("w", uniform(3))], ir=3
    )
    weighted.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [3]))
    yield "own.old format", weighted, x

    def branch(axis, name):
        # Both bodies use the name t.
        nodes = [
            helper.make_node("Constant", [], ["c"], value=initializer("c", np.float32(axis + 1))),
            helper.make_node("ReduceSum", ["x"], ["t"], axes=[axis], keepdims=0),
            helper.make_node("ReduceMean", ["t"], ["u"], axes=[0]),
            helper.make_node("Mul", ["u", "c"], [name]),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, FLOAT, None)])

    for condition in (True, False):
        feeds = {**x, "b": np.array(condition)}
        node = helper.make_node("If", ["b"], ["y"], then_branch=branch(0, "p"), else_branch=branch(1, "q"))
        yield f"own.If.{condition}", model(11, [node], feeds, {"y": FLOAT}), feeds
        constant = [initializer("b", np.array(condition))]
        yield f"own.If.always.{condition}", model(11, [node], x, {"y": FLOAT}, constant), x

    body = helper.make_graph(
        [
            helper.make_node("Softmax", ["state"], ["s"], axis=0),
            helper.make_node("Add", ["s", "state"], ["next"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("going", BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    yield "own.Loop", model(11, [node], x, {"y": FLOAT}, [initializer("n", np.array(3))]), x
    yield from functions(x)


def functions(x):
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def reference(node, name, kind):
        attribute = onnx.AttributeProto(name=name, ref_attr_name=name, type=kind)
        node.attribute.append(attribute)
        return node

    # An attribute with a default, an optional input, an output that is not asked for, an inner constant, an old form.
    scaled = helper.make_function(
        "own",
        "Scaled",
        ["a"],
        ["b", "sum"],
        [
            reference(helper.make_node("LeakyRelu", ["a"], ["t"]), "alpha", onnx.AttributeProto.FLOAT),
            helper.make_node("Constant", [], ["c"], value_float=0.5),
            helper.make_node("Mul", ["t", "c"], ["b"]),
            helper.make_node("ReduceSum", ["t"], ["sum"], keepdims=0),
        ],
        sets,
        attribute_protos=[helper.make_attribute("alpha", 0.25)],
    )
    negative = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["t"])], "n", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    call = helper.make_node("Scaled", ["a"], ["u", ""], domain="own")
    then = helper.make_graph([call], "p", [], [helper.make_tensor_value_info("u", FLOAT, None)])
    nested = helper.make_function(
        "own",
        "Nested",
        ["a", "bias"],
        ["d"],
        [
            reference(helper.make_node("Scaled", ["a"], ["b", ""], domain="own"), "alpha", onnx.AttributeProto.FLOAT),
            helper.make_node("ReduceMean", ["b"], ["m"], axes=[1]),
            helper.make_node("ReduceSum", ["m"], ["s"], keepdims=0),
            helper.make_node("Constant", [], ["zero"], value_float=0.0),
            helper.make_node("Greater", ["s", "zero"], ["positive"]),
            helper.make_node("If", ["positive"], ["c"], then_branch=then, else_branch=negative),
            helper.make_node("Clip", ["c", "bias"], ["d"]),
        ],
        sets,
        ["alpha"],
    )
    t = helper.make_node("Abs", ["x"], ["t"])
    for name, nodes, outputs in [
        ("default", [helper.make_node("Scaled", ["x"], ["y", ""], domain="own")], ["y"]),
        (
            "twice",
            [
                t,
                helper.make_node("Scaled", ["t"], ["y", "z"], domain="own", alpha=0.5),
                helper.make_node("Scaled", ["y"], ["w", ""], domain="own"),
            ],
            ["w", "z"],
        ),
        ("nested", [t, helper.make_node("Nested", ["t"], ["y"], domain="own", alpha=0.75)], ["y"]),
        (
            "nested twice",
            [
                t,
                helper.make_node("Nested", ["x"], ["y"], domain="own", alpha=2.0),
                helper.make_node("Nested", ["y", "c"], ["z"], domain="own", alpha=0.75),
            ],
            ["z"],
        ),
    ]:
        made = model(
            17,
            nodes,
            x,
            {o: FLOAT for o in outputs},
            [initializer("c", np.float32(-0.1))],
            [scaled, nested],
            [("own", 1)],
        )
        yield f"own.function.{name}", made, x


def run(path, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def make(folder):
    count = collections.Counter()
    for source in (packaged, changed, microsoft, structure):
        for name, made, feeds in source():
            where = os.path.join(folder, name)
            os.makedirs(where)
            path = os.path.join(where, "before.onnx")
            onnx.save(made, path)
            results = run(path, feeds)
            if source is not packaged:
                # The checker wants to know the ranks of outputs.
                for output, array in zip(made.graph.output, results, strict=True):
                    output.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in array.shape)
                    output.type.tensor_type.shape.SetInParent()
                onnx.save(made, path)
            np.savez(os.path.join(where, "inputs.npz"), **feeds)
            np.savez(os.path.join(where, "outputs.npz"), *results)
            count[source.__name__] += 1
    print(", ".join(f"{source}: {number}" for source, number in count.items()))


# What comes back.


def compare(where):
    path = os.path.join(where, "after.onnx")
    made = onnx.load(path)
    if version(made) < NEWEST or made.functions or made.ir_version < 8:
        raise AssertionError(f"version {version(made)}, {len(made.functions)} functions, format {made.ir_version}")
    extras = {node.domain for node in made.graph.node} - {"", "ai.onnx"}
    if extras:
        raise AssertionError(f"nodes of {extras} are left")
    onnx.checker.check_model(made, full_check=True)
    expected = np.load(os.path.join(where, "outputs.npz"))
    found = run(path, dict(np.load(os.path.join(where, "inputs.npz"))))
    for a, b in zip(expected.values(), found, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            raise AssertionError(f"{a.dtype}{a.shape} became {b.dtype}{b.shape}")
        tolerance = {np.dtype(np.float16): 5e-3, np.dtype(np.float64): 1e-9}.get(a.dtype, 1e-5)
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * max(1e-3, np.abs(a).max(initial=0)))


def check(folder):
    names, failures = sorted(os.listdir(folder)), 0
    for name in names:
        try:
            compare(os.path.join(folder, name))
        except Exception as error:  # every case is reported
            failures += 1
            print(f"{name}: {type(error).__name__}: {str(error)[:400]}")
    print(f"{len(names) - failures} of {len(names)} cases agree")
    sys.exit(failures > 0)


def history():
    versions = collections.defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions[schema.name].add(schema.since_version)
    for name, since in versions.items():
        for changed in sorted(since):
            if OLDEST < changed <= NEWEST and changed > min(since):
                print(name, changed)


KINDS = {
    "INT": "i",
    "FLOAT": "f",
    "STRING": "s",
    "TENSOR": "t",
    "GRAPH": "g",
    "SPARSE_TENSOR": "p",
    "TYPE_PROTO": "y",
    "INTS": "is",
    "FLOATS": "fs",
    "STRINGS": "ss",
    "TENSORS": "ts",
    "GRAPHS": "gs",
}


def operators():
    """A line for every version of an operator from the oldest that is read: the name, the version, the least and the
    most inputs, the same of outputs (* where there is no bound), and the attributes with their types (! where they
    must be given)."""
    versions = collections.defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions[schema.name].append(schema)
    for name in sorted(versions):
        schemas = sorted(versions[name], key=lambda schema: schema.since_version)
        before = [schema for schema in schemas if schema.since_version <= OLDEST]
        last = None
        for schema in before[-1:] + [schema for schema in schemas if schema.since_version > OLDEST]:
            most = ["*" if count >= 2**31 - 1 else str(count) for count in (schema.max_input, schema.max_output)]
            attributes = [
                f"{key}:{KINDS[attribute.type.name]}{'!' if attribute.required else ''}"
                for key, attribute in sorted(schema.attributes.items())
            ]
            line = " ".join([str(schema.min_input), most[0], str(schema.min_output), most[1], *attributes])
            if line != last:
                print(name, schema.since_version, line)
            last = line


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"make": make, "check": check, "history": history, "operators": operators}[command](*arguments)
