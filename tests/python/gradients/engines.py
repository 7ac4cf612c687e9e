"""What runs a model: ONNX Runtime, or the standard's reference implementation where ONNX Runtime has no kernel."""

import math

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_causal_conv_with_state

import recurrent

TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}


class Engine:
    """A loaded model. Inputs are given as float64 (or whole numbers), and outputs returned as float64."""

    def __init__(self, model, outputs):
        self.model = onnx.ModelProto.FromString(model.SerializeToString())
        known = {o.name for o in self.model.graph.output}
        for name in outputs:
            if name not in known:
                self.model.graph.output.append(onnx.ValueInfoProto(name=name))
        self.outputs = outputs
        self.load()

    def feed(self, inputs):
        """The inputs that the model has, in its types."""
        given = {n: np.asarray(v) for n, v in inputs.items() if n in self.types}
        return {n: v.astype(self.types[n]) if self.types[n] else v for n, v in given.items()}


class OnnxRuntime(Engine):
    name = "ort"

    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        serialized = self.model.SerializeToString()
        self.session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        self.types = {i.name: TYPES.get(i.type) for i in self.session.get_inputs()}

    def run(self, inputs):
        return [np.asarray(v).astype(np.float64) for v in self.session.run(self.outputs, self.feed(inputs))]


def erf(x):
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


class Erf(OpRun):
    """In place of that of onnx 1.23, which rounds to float."""

    op_domain = ""

    def _run(self, x):
        return (erf(x),)


class Gelu(OpRun):
    """As Erf."""

    op_domain = ""

    def _run(self, x, approximate=None):
        if approximate == "tanh":
            return (0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),)
        return (0.5 * x * (1 + erf(x / math.sqrt(2))),)


class Scan(OpRun):
    """In place of that of onnx 1.23, which has no directions and no axes."""

    op_domain = ""

    def need_context(self):
        return True

    def _run(self, *args, context=None, body=None, num_scan_inputs=None, scan_input_axes=None, scan_input_directions=None,
             scan_output_axes=None, scan_output_directions=None, **_):  # fmt: skip
        count = len(args) - num_scan_inputs
        states, tensors = list(args[:count]), args[count:]
        axes, directions = scan_input_axes or [0] * len(tensors), scan_input_directions or [0] * len(tensors)
        tensors = [
            np.moveaxis(v, axis, 0)[:: -1 if direction else 1] for v, axis, direction in zip(tensors, axes, directions)
        ]
        returned = []
        for slices in zip(*tensors):
            outputs = self._run_body(dict(context) | dict(zip(self.body.input_names, [*states, *slices])))
            states = outputs[:count]
            returned.append(outputs[count:])
        stacked = [np.stack(parts) for parts in zip(*returned)]
        axes, directions = scan_output_axes or [0] * len(stacked), scan_output_directions or [0] * len(stacked)
        stacked = [
            np.moveaxis(v[:: -1 if direction else 1], 0, axis) for v, axis, direction in zip(stacked, axes, directions)
        ]
        return (*states, *stacked)


class CausalConvWithState(op_causal_conv_with_state.CausalConvWithState):
    """As Erf, its activation."""

    op_domain = ""

    def _run(self, *inputs, activation=None):
        y, state = super()._run(*inputs, activation="none")
        return (y if activation == "none" else y / (1 + np.exp(-y)), state)


class Reference(Engine):
    name = "reference"

    def load(self):
        operators = [CausalConvWithState, Erf, Gelu, Scan, *recurrent.OPERATORS]
        self.evaluator = ReferenceEvaluator(self.model, new_ops=operators)
        self.types = {}
        for i in self.model.graph.input:
            element = i.type.tensor_type.elem_type
            self.types[i.name] = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64}.get(element)

    def run(self, inputs):
        with np.errstate(all="ignore"):
            return [np.asarray(v).astype(np.float64) for v in self.evaluator.run(self.outputs, self.feed(inputs))]
