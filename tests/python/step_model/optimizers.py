"""The optimizers against PyTorch, and the warm-up of the penalty against its formula.

python optimizers.py GNP-REWRITE FOLDER FIXTURE
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from step import Step, rewrite

# Of the way that the parameters went, in double precision.
BOUND = 1e-6
R, ALPHA, WARMUP_STEPS = 0.5, 0.75, 4


def linear(path: Path, w: np.ndarray, b: np.ndarray):
    """Writes y = x·w + b."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", w.shape[0]])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", w.shape[1]])]
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in [("w", w), ("b", b)]]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def check_optimizers(program: str, folder: Path, fixture: dict, start: list, batches: list):
    """Fifty plain steps with the defaults of the file."""
    for name, case in fixture["cases"].items():
        step = rewrite(
            program, folder / "linear.onnx", folder / "step.onnx", "--loss", "mse", "--r", "0", *case["flags"]
        )
        numbers = hyperparameters(step)
        step = step.doubled()
        state = step.initial
        for x, labels in batches:
            state = step.next(step.run({**state, **numbers, "x": x, "labels": labels}))
        for parameter, before, after in zip("wb", start, case["after"]):
            way, expected = state[parameter] - before, np.array(after) - before
            error = np.abs(way - expected).max() / np.abs(expected).max()
            assert error <= BOUND, f"{name}, {parameter}: {error}"
        print(f"{name}: {error:.1e}")


def hyperparameters(step: Step) -> dict[str, np.float64]:
    """The numbers that may be fed, as they are written: 0.999 is another number in single precision."""
    held = {t.name: numpy_helper.to_array(t) for t in step.model.graph.initializer}
    names = [i.name for i in step.model.graph.input if i.name in held and i.name not in step.initial]
    return {name: np.float64(str(held[name])) for name in names if held[name].dtype == np.float32}


def gradient(w: np.ndarray, b: np.ndarray, x: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Of the mean squared error."""
    error = 2 * (x @ w + b - labels) / labels.size
    return [x.T @ error, error.sum(axis=0)]


def penalised(theta: list, batch: tuple, r: float, alpha: float) -> list[np.ndarray]:
    """The formula."""
    here = gradient(*theta, *batch)
    norm = np.sqrt(sum((g**2).sum() for g in here))
    there = gradient(*(w + r * g / norm for w, g in zip(theta, here)), *batch)
    return [(1 - alpha) * g1 + alpha * g2 for g1, g2 in zip(here, there)]


# r and α after a share of the warm-up.
WARMUPS = {
    "r": lambda share: (R * share, ALPHA),
    "lambda": lambda share: (R, ALPHA * share),
    "zero": lambda share: (R if share == 1 else 0.0, ALPHA),
}


def check_warmups(program: str, folder: Path, start: list, batches: list):
    """Steps before, at and after the end of the warm-up."""
    rate = 0.5
    for name, warmed in WARMUPS.items():
        flags = ["--loss", "mse", "--optimizer", "sgd", "--r", str(R), "--alpha", str(ALPHA)]
        flags += ["--gr-warmup", name, "--gr-warmup-steps", str(WARMUP_STEPS)]
        step = rewrite(program, folder / "linear.onnx", folder / "step.onnx", *flags).doubled()
        state, theta, plain = step.initial, start, start
        for number, batch in enumerate(batches):
            x, labels = batch
            state = step.next(step.run({**state, "x": x, "labels": labels, "lr": np.float64(rate)}))
            coefficients = warmed(min(1, number / WARMUP_STEPS))
            theta = [w - rate * g for w, g in zip(theta, penalised(theta, batch, *coefficients))]
            plain = [w - rate * g for w, g in zip(plain, penalised(plain, batch, R, ALPHA))]
            for parameter, expected in zip("wb", theta):
                error = np.abs(state[parameter] - expected).max()
                assert error <= BOUND, f"warm-up {name}, step {number}, {parameter}: {error}"
        assert max(np.abs(a - b).max() for a, b in zip(theta, plain)) > 100 * BOUND, "the warm-up makes no difference"
        assert state["step"] == len(batches)


if __name__ == "__main__":
    program, folder, fixture = sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
    start = [np.array(value) for value in fixture["start"]]
    batches = [tuple(map(np.array, batch)) for batch in fixture["batches"]]
    linear(folder / "linear.onnx", *start)
    check_optimizers(program, folder, fixture, start, batches)
    # Many more steps would forget where they came from.
    check_warmups(program, folder, start, batches[:10])
