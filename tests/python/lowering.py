"""The oracle of tests/rewriting/lowering.rs: models with operators that train differently from how they infer, and whether their
lowered forms compute what these operators do in training.

    lowering.py make FOLDER     writes a folder for each case: before.onnx, choices, inputs.npz, expected.npz
    lowering.py check FOLDER    runs after.onnx and compares; draws are checked for what they must have in common
"""

import glob
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_node_model_tests
from onnx.reference import ReferenceEvaluator

LOSSES = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
RNG = np.random.default_rng(3)
SHAPES = ("known", "batch", "rank", "unknown")


# Making.


def declared(name, array, shapes):
    shape = {
        "known": list(array.shape),
        "batch": ["N", *array.shape[1:]] if array.ndim else [],
        "rank": [None] * array.ndim,
        "unknown": None,
    }[shapes]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)


def model_of(nodes, inputs, outputs, initializers=None, shapes="known"):
    types = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(t)), None) for n, t in outputs.items()
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "g", [declared(n, v, shapes) for n, v in inputs.items()], types, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    known = {i.name for i in session.get_inputs()}
    return dict(zip(names, session.run(names, {n: v for n, v in inputs.items() if n in known})))


def batch_normalization():
    """With ONNX Runtime's own BatchNormalization in training mode as what is expected."""
    for size in ((6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 2, 3)):
        for dtype in (np.float32, np.float64):
            x = (RNG.standard_normal(size) * 2 + 0.7).astype(dtype)
            weights = {n: RNG.standard_normal(3).astype(dtype) for n in ("scale", "bias", "mean")}
            weights["var"] = RNG.uniform(0.5, 2, 3).astype(dtype)
            attributes = {"epsilon": 1e-3, "momentum": 0.8}

            def norm(training, outputs):
                inputs = ["x", "scale", "bias", "mean", "var"]
                return helper.make_node("BatchNormalization", inputs, outputs, training_mode=training, **attributes)

            outputs = {"y": dtype, "m": dtype, "v": dtype}
            trained = run(model_of([norm(1, ["y", "m", "v"])], {"x": x}, outputs, weights), {"x": x})
            moved = {"y": trained["y"], "next:mean": trained["m"], "next:var": trained["v"]}
            frozen = run(model_of([norm(0, ["y"])], {"x": x}, {"y": dtype}, weights), {"x": x})
            for shapes in SHAPES:
                name = f"batch_norm_{len(size)}d_{dtype.__name__}_{shapes}"
                inference = model_of([norm(0, ["y"])], {"x": x}, {"y": dtype}, weights, shapes)
                training = model_of([norm(1, ["y", "m", "v"])], {"x": x}, outputs, weights, shapes)
                yield name, inference, "train", {"x": x}, moved
                yield f"{name}_exported_in_training", training, "train", {"x": x}, moved | trained
                yield f"{name}_frozen", inference, "frozen", {"x": x}, frozen
    # A module that is called twice: its statistics follow the first batch, then the second.
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    statistics = {"mean": np.zeros(3, np.float32), "var": np.ones(3, np.float32)}
    weights = {"scale": np.full(3, 2, np.float32), "bias": np.ones(3, np.float32), **statistics}
    twice = [
        helper.make_node("BatchNormalization", [a, "scale", "bias", "mean", "var"], [b], momentum=0.5)
        for a, b in (("x", "y"), ("y", "z"))
    ]
    first = {"mean": x.mean(0), "var": x.var(0)}
    y = (x - first["mean"]) / np.sqrt(first["var"] + 1e-5) * 2 + 1
    second = {"mean": y.mean(0), "var": y.var(0)}
    moved = {f"next:{n}": 0.5 * (0.5 * statistics[n] + 0.5 * first[n]) + 0.5 * second[n] for n in statistics}
    yield "batch_norm_twice", model_of(twice, {"x": x}, {"z": np.float32}, weights), "train", {"x": x}, moved


def losses():
    """The standard's own cases and expected outputs."""
    for case in load_node_model_tests():
        nodes = case.model.graph.node
        if not any(node.op_type in LOSSES for node in nodes):
            continue
        inputs, outputs = case.data_sets[0]
        for shapes in ("known", "unknown"):
            model = onnx.ModelProto.FromString(case.model.SerializeToString())
            if shapes == "unknown":
                for value in [*model.graph.input, *model.graph.output]:
                    value.type.tensor_type.ClearField("shape")
            given = dict(zip((i.name for i in model.graph.input), inputs))
            expected = dict(zip((o.name for o in model.graph.output), outputs))
            yield f"{case.name}_{shapes}", model, "train", given, expected


def draws():
    x = RNG.uniform(1, 2, (64, 3, 512)).astype(np.float32)
    ratio = np.float32(0.3)
    f, b = np.float32, np.bool_
    for shapes in SHAPES:
        for choice in ("keep", "engine"):
            dropout = helper.make_node("Dropout", ["x", "ratio"], ["y", "mask"])
            known = model_of([dropout], {"x": x}, {"y": f, "mask": b}, {"ratio": ratio}, shapes)
            yield f"dropout_{choice}_{shapes}", known, choice, {"x": x}, {}
        given = model_of([dropout], {"x": x, "ratio": ratio}, {"y": f, "mask": b}, shapes=shapes)
        yield f"dropout_given_{shapes}", given, "keep", {"x": x, "ratio": ratio}, {}
        # No number of columns divides what is drawn.
        odd = model_of([dropout], {"x": x[:, :, :509]}, {"y": f, "mask": b}, {"ratio": ratio}, shapes)
        yield f"dropout_odd_{shapes}", odd, "keep", {"x": x[:, :, :509]}, {}
        nothing = model_of([dropout], {"x": x[:0]}, {"y": f, "mask": b}, {"ratio": ratio}, shapes)
        inputs = {"x": x[:0], "gnp.seed": np.int64(1), "step": np.int64(0)}
        yield f"dropout_nothing_{shapes}", nothing, "keep", inputs, {"y": x[:0], "mask": np.ones(x[:0].shape, bool)}
        off = {"y": x, "mask": np.ones(x.shape, bool)}
        yield f"dropout_off_{shapes}", known, "off", {"x": x}, off
    training = helper.make_node("Dropout", ["x", "ratio", "no"], ["y", "mask"])
    model = model_of([training], {"x": x}, {"y": f, "mask": b}, {"ratio": ratio, "no": np.array(False)})
    yield "dropout_that_says_it_infers", model, "keep", {"x": x}, {}
    two = [helper.make_node("Dropout", ["x", "ratio"], [f"y{i}", f"mask{i}"]) for i in range(2)]
    model = model_of(two, {"x": x}, {"y0": f, "mask0": b, "y1": f, "mask1": b}, {"ratio": ratio})
    yield "dropouts", model, "keep", {"x": x}, {}
    random = [
        helper.make_node("RandomNormalLike", ["x"], ["normal"], mean=2.0, scale=3.0),
        helper.make_node("RandomUniform", [], ["uniform"], low=-1.0, high=3.0, shape=[400, 500]),
        helper.make_node("Bernoulli", ["p"], ["coin"], dtype=onnx.TensorProto.INT32),
    ]
    p = np.full((300, 400), 0.2, np.float32)
    model = model_of(random, {"x": x, "p": p}, {"normal": f, "uniform": f, "coin": np.int32})
    yield "random", model, "keep", {"x": x, "p": p}, {}


def make(folder):
    count = 0
    for cases in (batch_normalization(), losses(), draws()):
        for name, model, choices, inputs, expected in cases:
            case = os.path.join(folder, name)
            os.mkdir(case)
            onnx.save(model, f"{case}/before.onnx")
            with open(f"{case}/choices", "w") as file:
                file.write(choices)
            np.savez(f"{case}/inputs.npz", **inputs)
            np.savez(f"{case}/expected.npz", **expected)
            count += 1
    print(f"{count} cases")


# Checking.


def close(name, found, expected):
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    tolerance = 1e-12 if expected.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def near(name, mean, expected, deviation, count):
    """A mean of `count` independent numbers, within five standard deviations."""
    assert abs(mean - expected) < 5 * deviation / np.sqrt(count), (name, mean, expected)


def check_masks(name, y, mask, x):
    np.testing.assert_allclose(y, x * mask / np.float32(0.7), rtol=1e-6, err_msg=name)
    near(name, mask.mean(), 0.7, np.sqrt(0.21), mask.size)


def independent(name, a, b):
    a, b = a - a.mean(), b - b.mean()
    near(name, (a * b).mean() / a.std() / b.std(), 0, 1, a.size)


def check_draws(name, model, inputs):
    at = lambda seed, step: inputs | {"gnp.seed": np.array(seed), "step": np.array(step)}
    far = at(-(2**40) - 7, 2**33 + 5)
    found = run(model, far)
    names = list(found)
    for again in (run(model, far), dict(zip(names, ReferenceEvaluator(model).run(names, far)))):
        for output in names:
            if again[output].dtype == np.float32 and output == "normal":
                np.testing.assert_allclose(again[output], found[output], rtol=1e-5, atol=1e-5, err_msg=name)
            else:
                np.testing.assert_array_equal(again[output], found[output], err_msg=f"{name} {output}")
    others = [run(model, at(*other)) for other in ((1, 0), (0, 1), (0, 0), (2**32, 0), (0, 2**32), (-1, 0))]
    # What Dropout makes of its data has the data in common.
    for output in (n for n in names if not n.startswith("y")):
        masks = [other[output].astype(np.float64) for other in others]
        for i, a in enumerate(masks):
            for b in masks[:i]:
                independent(f"{name} {output}", a, b)
    return found


def check(folder):
    for case in sorted(glob.glob(f"{folder}/*")):
        name = os.path.basename(case)
        model = onnx.load(f"{case}/after.onnx")
        assert not any(node.domain for node in model.graph.node), name
        trained = {"BatchNormalization", *LOSSES} & {node.op_type for node in model.graph.node}
        assert not trained, (name, trained)
        inputs, expected = dict(np.load(f"{case}/inputs.npz")), np.load(f"{case}/expected.npz")
        if expected.files:
            found = run(model, inputs)
            for output in expected.files:
                close(f"{name} {output}", found[output], expected[output])
        elif "engine" in name:
            found = run(model, inputs)
            check_masks(name, found["y"], found["mask"], inputs["x"])
        else:
            found = check_draws(name, model, inputs)
            if name == "random":
                n, u, c = found["normal"].astype(np.float64), found["uniform"].astype(np.float64), found["coin"]
                near(name, n.mean(), 2, 3, n.size)
                near(name, ((n - 2) / 3).var(), 1, np.sqrt(2), n.size)
                near(name, (((n - 2) / 3) ** 4).mean(), 3, np.sqrt(96), n.size)
                assert u.min() >= -1 and u.max() < 3
                near(name, u.mean(), 1, 4 / np.sqrt(12), u.size)
                near(name, c.mean(), 0.2, 0.4, c.size)
                assert set(np.unique(c)) == {0, 1}
            elif name == "dropouts":
                for i in range(2):
                    check_masks(name, found[f"y{i}"], found[f"mask{i}"], inputs["x"])
                independent(name, found["mask0"].astype(float), found["mask1"].astype(float))
            else:
                check_masks(name, found["y"], found["mask"], inputs["x"])
                mask = found["mask"].astype(float).ravel()
                for lag in (1, 2, 3, 4, 8, 16, 64, 256, 512, 1024, 1536):
                    independent(f"{name} {lag}", mask[lag:], mask[:-lag])


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
