"""A step model as a function of its state: what the checks in this folder share."""

import copy
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

# w.next = w − lr·g. Beside a rate like this w is lost to rounding wherever g matters, and −w.next/lr is g to the bit.
READING_RATE = np.float32(2.0**60)

State = dict[str, np.ndarray]


class Erf(OpRun):
    """The evaluator's own rounds to single precision."""

    def _run(self, x):
        return (np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype),)


class Gelu(OpRun):
    """The evaluator's own is made of its Erf."""

    def _run(self, x, approximate="none"):
        assert approximate == "none"
        phi = np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2, otypes=[np.float64])(x)
        return ((x * phi).astype(x.dtype),)


def rewrite(program: str, model: Path, step: Path, *flags: str) -> "Step":
    """Makes a step model with gnp-rewrite."""
    subprocess.run([program, model, "-o", step, "--quiet", "--force", *flags], check=True)
    nodes = onnx.load(model, load_external_data=False).graph.node
    return Step(step, {name for node in nodes if node.op_type == "BatchNormalization" for name in node.input[3:5]})


class Step:
    """A step model. `initial` is the state in the file; `parameters` are the names of what is trained in it, `statistics` those of
    running statistics. There may be optimizer slots besides."""

    def __init__(self, path: Path, statistics: set[str]):
        self.path = path
        self.model = onnx.load(path)
        graph = self.model.graph
        metadata = {p.key: p.value for p in self.model.metadata_props}
        self.pairs: list[tuple[str, str]] = json.loads(metadata["gnp.state"])
        inputs = {i.name: i.type.tensor_type for i in graph.input}
        held = {t.name: t for t in graph.initializer}
        self.data = {name: of for name, of in inputs.items() if name not in held}
        self.initial = {name: numpy_helper.to_array(held[name]) for name, _ in self.pairs}
        self.outputs = [o.name for o in graph.output]
        self.statistics = [name for name in self.initial if name in statistics]
        others = {"step", *self.statistics}
        self.parameters = [n for n in self.initial if n not in others and n.rpartition(".")[0] not in self.initial]
        # Where nothing is fused, a node is the same kernel in both passes.
        self.fuses = True
        self._session = None

    def batch(self, samples: int, classes: int, seed: int) -> State:
        """Noise for each data input, and labels."""
        rng = np.random.default_rng(seed)
        batch = {}
        for name, of in self.data.items():
            shape = [d.dim_value or samples for d in of.shape.dim]
            whole = of.elem_type == onnx.TensorProto.INT64
            batch[name] = rng.integers(0, classes, shape) if whole else rng.normal(size=shape).astype(np.float32)
        return batch

    def run(self, given: State) -> State:
        """All outputs by their names, by ONNX Runtime; what is not given has the value in the file."""
        if self._session is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            if not self.fuses:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self._session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        return dict(zip(self.outputs, self._session.run(None, arrays(given))))

    def reference(self, given: State) -> State:
        """The same by the standard's own evaluator."""
        calls_gelu = any(node.op_type == "Gelu" for function in self.model.functions for node in function.node)
        # The evaluator does not look for `new_ops` in functions.
        model = onnx.inliner.inline_local_functions(self.model) if calls_gelu else self.model
        evaluator = ReferenceEvaluator(model, new_ops=[Erf, Gelu])
        return dict(zip(self.outputs, evaluator.run(None, arrays({**self.initial, **given}))))

    def next(self, outputs: State) -> State:
        """The state after the step that returned `outputs`."""
        return {name: outputs[after] for name, after in self.pairs}

    def doubled(self) -> "Step":
        """The step in double precision, for the standard's own evaluator."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        double(other.model.graph)
        other.initial = doubles(self.initial)
        other.run = lambda given: other.reference(doubles(given))
        return other

    def gradient(self, given: State) -> State:
        """The gradient that a step follows whose optimizer is plain gradient descent."""
        outputs = self.run({**given, "lr": READING_RATE})
        at = {**self.initial, **given}
        return {
            n: (at[n].astype(np.float64) - outputs[f"{n}.next"]) / np.float64(READING_RATE) for n in self.parameters
        }


def double(graph: onnx.GraphProto):
    """Makes all floats of a graph doubles."""
    floats, doubles = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

    def widen(tensor: onnx.TensorProto):
        if tensor.data_type == floats:
            value = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))

    for tensor in graph.initializer:
        widen(tensor)
    for port in [*graph.input, *graph.output]:
        if port.type.tensor_type.elem_type == floats:
            port.type.tensor_type.elem_type = doubles
    for attribute in (a for node in graph.node for a in node.attribute):
        if attribute.type == onnx.AttributeProto.GRAPH:
            double(attribute.g)
        elif attribute.type == onnx.AttributeProto.TENSOR:
            widen(attribute.t)
        elif attribute.name == "to" and attribute.i == floats:
            attribute.i = doubles


def doubles(of: State) -> State:
    """Numbers with a fraction in double precision."""
    return {n: np.asarray(v, np.float64) if np.asarray(v).dtype == np.float32 else v for n, v in of.items()}


def arrays(of: State) -> State:
    """Numbers as arrays, which engines ask for."""
    return {name: np.asarray(value) for name, value in of.items()}


def norm(of: State) -> float:
    """‖v‖₂ over all tensors together."""
    return float(np.sqrt(sum(np.sum(v.astype(np.float64) ** 2) for v in of.values())))


def relative_error(a: State, b: State) -> float:
    """‖a − b‖/‖b‖."""
    return norm({name: a[name].astype(np.float64) - b[name] for name in b}) / norm(b)


def same(a: State, b: State) -> bool:
    """Whether all bits are the same."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
