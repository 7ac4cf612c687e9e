"""The forward models of the checks in this folder."""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.append(str(Path(__file__).resolve().parents[3] / "models"))

import architectures  # noqa: E402
from architectures import CLASSES  # noqa: E402
from network import Network  # noqa: E402

VOCABULARY = 17
LENGTH = 6
# The operator Gelu came with this set.
TEXT_OPSET = 20


class TextNetwork(Network):
    """A network whose Gelu is the operator."""

    def gelu(self, x: str, name: str) -> str:
        """The operator Gelu."""
        return self.op("Gelu", [x], name)


def text() -> TextNetwork:
    """A transformer of one block for sequences of token numbers: an embedding by Gather, the mean over the tokens, a head."""
    width, heads = 12, 3
    net = TextNetwork("text", [LENGTH], TEXT_OPSET, seed=5, element=onnx.TensorProto.INT64)
    table = net.parameter("embedding.table", net.normal((VOCABULARY, width), 1.0))
    x = net.op("Gather", [table, "input"], "embedding.tokens", axis=0)
    x = net.op("Add", [x, net.parameter("embedding.position", net.normal((1, LENGTH, width), 0.5))], "embedding")
    x = architectures.attention(net, x, "attention", width, heads)
    x = architectures.feed_forward(net, x, "mlp", width)
    x = net.layer_norm(x, "norm", width)
    x = net.op("ReduceMean", [x, net.constant("mean.axes", np.array([1]))], "mean", keepdims=0)
    net.fully_connected(x, "head", width, CLASSES)
    return net


def small() -> dict[str, onnx.ModelProto]:
    """The models of models/, and the text transformer."""
    builders = [architectures.mlp, architectures.cnn, architectures.cnn_head, architectures.vit, text]
    return {build.__name__: build().to_model(CLASSES) for build in builders}


def frozen(name: str) -> list[str]:
    """The flags for the parameters that the architecture freezes."""
    return ["--freeze", "backbone.*"] if name == "cnn_head" else []


def light(name: str) -> onnx.ModelProto:
    """An architecture of the package onnx, `light_<name>`: its weights are constants that ConstantOfShape fills with one
    number each, and here are drawn, and initializers."""
    file = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    model = onnx.load(file)
    graph = model.graph
    sizes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    filled = {n.output[0]: sizes[n.input[0]] for n in graph.node if n.op_type == "ConstantOfShape"}
    shapes = filled | {t.name: t.dims for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    rng = np.random.default_rng(7)
    drawn = {weight: draw(rng, graph, weight, tuple(int(d) for d in shape)) for weight, shape in shapes.items()}

    constants = [t for t in graph.initializer if t.name not in drawn]
    del graph.initializer[:]
    graph.initializer.extend(constants + [numpy_helper.from_array(value, weight) for weight, value in drawn.items()])
    nodes = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(nodes)
    # A file this old lists its initializers among its inputs.
    listed = {i.name for i in graph.input}
    new = [weight for weight in drawn if weight not in listed]
    graph.input.extend(onnx.helper.make_tensor_value_info(w, onnx.TensorProto.FLOAT, drawn[w].shape) for w in new)
    return model


def draw(rng: np.random.Generator, graph: onnx.GraphProto, weight: str, shape: tuple[int, ...]) -> np.ndarray:
    """He's initialisation of weights, factors and variances around 1, the rest around 0."""
    if len(shape) > 1:
        fan_in = np.prod(shape[1:])
        return rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
    reader = next((n for n in graph.node if weight in n.input), None)
    if reader is not None and reader.op_type == "Unsqueeze":
        weight = reader.output[0]
        reader = next(n for n in graph.node if weight in n.input)
    role = (reader.op_type, list(reader.input).index(weight)) if reader is not None else None
    if role in [("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)]:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return rng.normal(0, 0.1, shape).astype(np.float32)
