"""A small builder of ONNX forward models: nodes by `onnx.helper`, weights by a seeded generator."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Network:
    """A forward model under construction. Layer methods append nodes and return the name of their output.

    `trainable` and `frozen` collect the names of the parameters, in the order they were made. Parameters made while
    `freeze` is true are frozen.
    """

    def __init__(
        self, name: str, input_shape: list[int], opset: int, seed: int, element: int = onnx.TensorProto.FLOAT
    ):
        self.name = name
        self.opset = opset
        self.input_shape = input_shape
        self.element = element
        self.freeze = False
        self.trainable: list[str] = []
        self.frozen: list[str] = []
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def op(self, op_type: str, inputs: list[str], name: str, outputs: int = 1, **attributes):
        """Appends the node `name`. Returns the name of its output, or the list of names where `outputs` > 1."""
        names = [f"{name}.output"] if outputs == 1 else [f"{name}.output.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initializer that is no parameter: it stays inside the graph."""
        self._initializers.append(numpy_helper.from_array(value, name))
        return name

    def parameter(self, name: str, value: np.ndarray, trainable: bool = True) -> str:
        """A float32 parameter."""
        (self.trainable if trainable and not self.freeze else self.frozen).append(name)
        return self.constant(name, value.astype(np.float32))

    def normal(self, shape: tuple[int, ...], deviation: float) -> np.ndarray:
        """Normal draws of mean zero."""
        return self._rng.normal(0.0, deviation, shape)

    def fully_connected(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """x·Wᵀ + b with W of shape [outputs, inputs], He initialisation. `x` has two axes."""
        weight = self.parameter(f"{name}.weight", self.normal((outputs, inputs), (2 / inputs) ** 0.5))
        bias = self.parameter(f"{name}.bias", np.zeros(outputs))
        return self.op("Gemm", [x, weight, bias], name, transB=1)

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """x·W + b with W of shape [inputs, outputs], along the last axis of an `x` with any number of axes."""
        weight = self.parameter(f"{name}.weight", self.normal((inputs, outputs), inputs**-0.5))
        bias = self.parameter(f"{name}.bias", np.zeros(outputs))
        return self.op("Add", [self.op("MatMul", [x, weight], f"{name}.matmul"), bias], name)

    def conv(self, x: str, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> str:
        """A square convolution, He initialisation."""
        deviation = (2 / (inputs * kernel**2)) ** 0.5
        weight = self.parameter(f"{name}.weight", self.normal((outputs, inputs, kernel, kernel), deviation))
        bias = self.parameter(f"{name}.bias", np.zeros(outputs))
        return self.op(
            "Conv", [x, weight, bias], name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4
        )

    def batch_norm(self, x: str, name: str, channels: int) -> str:
        """BatchNormalization with its running statistics as frozen parameters.

        It is written in inference mode: the artifact generator switches it to training mode in the training model, and
        the evaluation model stays valid. (Written in training mode, it would have three outputs, which inference mode
        forbids.)
        """
        scale = self.parameter(f"{name}.weight", np.ones(channels))
        bias = self.parameter(f"{name}.bias", np.zeros(channels))
        mean = self.parameter(f"{name}.running_mean", np.zeros(channels), trainable=False)
        variance = self.parameter(f"{name}.running_var", np.ones(channels), trainable=False)
        return self.op("BatchNormalization", [x, scale, bias, mean, variance], name, epsilon=1e-5, momentum=0.9)

    def layer_norm(self, x: str, name: str, width: int) -> str:
        """LayerNormalization along the last axis. The gradient builder asks for all three outputs."""
        scale = self.parameter(f"{name}.weight", np.ones(width))
        bias = self.parameter(f"{name}.bias", np.zeros(width))
        return self.op("LayerNormalization", [x, scale, bias], name, 3, axis=-1, epsilon=1e-5)[0]

    def relu(self, x: str, name: str) -> str:
        """max(x, 0)."""
        return self.op("Relu", [x], name)

    def gelu(self, x: str, name: str) -> str:
        """x·(1 + erf(x/√2))/2, spelled out: the operator Gelu came only with opset 20."""
        root = self.constant(f"{name}.sqrt2", np.float32(2**0.5))
        one = self.constant(f"{name}.one", np.float32(1))
        half = self.constant(f"{name}.half", np.float32(0.5))
        erf = self.op("Erf", [self.op("Div", [x, root], f"{name}.div")], f"{name}.erf")
        product = self.op("Mul", [x, self.op("Add", [erf, one], f"{name}.add")], f"{name}.mul")
        return self.op("Mul", [product, half], name)

    def max_pool(self, x: str, name: str) -> str:
        """Maximum over 2×2 windows."""
        return self.op("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])

    def dropout(self, x: str, name: str, ratio: float) -> str:
        """Dropout in training mode; the evaluation model drops nothing. The gradient builder asks for the mask."""
        ratio_name = self.constant(f"{name}.ratio", np.float32(ratio))
        training = self.constant(f"{name}.training_mode", np.array(True))
        return self.op("Dropout", [x, ratio_name, training], name, 2)[0]

    def reshape(self, x: str, name: str, shape: list[int]) -> str:
        """Reshape; 0 keeps an axis, -1 is inferred."""
        return self.op("Reshape", [x, self.constant(f"{name}.shape", np.array(shape, np.int64))], name)

    def to_model(self, classes: int) -> onnx.ModelProto:
        """The finished model, from `input` to `logits`, the output of the last layer, with a dynamic batch axis."""
        self._nodes[-1].output[0] = "logits"
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info("input", self.element, ["batch", *self.input_shape])],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", classes])],
            self._initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model
