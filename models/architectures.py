"""The forward models: each function returns a `Network` whose last layer gives the logits."""

import numpy as np

from network import Network

CLASSES = 10
OPSET = 17


def mlp() -> Network:
    """64-256-256-10 with ReLU, for 8×8 digits as flat vectors."""
    net = Network("mlp", [64], OPSET, seed=1)
    x = net.relu(net.fully_connected("input", "fc1", 64, 256), "relu1")
    x = net.relu(net.fully_connected(x, "fc2", 256, 256), "relu2")
    net.fully_connected(x, "fc3", 256, CLASSES)
    return net


def cnn() -> Network:
    """Two convolutions with BatchNormalization, then Dropout, for 28×28 images."""
    net = Network("cnn", [1, 28, 28], OPSET, seed=2)
    x = "input"
    for i, (inputs, outputs) in enumerate([(1, 8), (8, 16)], start=1):
        x = net.conv(x, f"conv{i}", inputs, outputs, kernel=3, padding=1)
        x = net.relu(net.batch_norm(x, f"bn{i}", outputs), f"relu{i}")
        x = net.max_pool(x, f"pool{i}")
    x = net.dropout(net.op("Flatten", [x], "flatten"), "dropout", ratio=0.25)
    net.fully_connected(x, "fc", 16 * 7 * 7, CLASSES)
    return net


def cnn_head() -> Network:
    """A frozen convolutional backbone under a trainable head of two layers, for 28×28 images."""
    net = Network("cnn_head", [1, 28, 28], OPSET, seed=3)
    net.freeze = True
    x = "input"
    pooled_after = {2, 4}
    for i, (inputs, outputs) in enumerate([(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)], start=1):
        x = net.conv(x, f"backbone.conv{i}", inputs, outputs, kernel=3, padding=1)
        x = net.relu(x, f"backbone.relu{i}")
        if i in pooled_after:
            x = net.max_pool(x, f"backbone.pool{i}")
    x = net.op("Flatten", [net.op("GlobalAveragePool", [x], "backbone.gap")], "backbone.flatten")
    net.freeze = False
    x = net.relu(net.fully_connected(x, "head.fc1", 64, 32), "head.relu")
    net.fully_connected(x, "head.fc2", 32, CLASSES)
    return net


def vit() -> Network:
    """A vision transformer of two pre-norm blocks and a class token, for 8×8 images in 2×2 patches."""
    width, heads, patches = 32, 2, 16
    net = Network("vit", [1, 8, 8], OPSET, seed=4)
    x = embed(net, channels=1, patch=2, width=width, patches=patches)
    for i in range(2):
        x = attention(net, x, f"block{i}.attention", width, heads)
        x = feed_forward(net, x, f"block{i}.mlp", width)
    classify(net, x, width)
    return net


def embed(net: Network, channels: int, patch: int, width: int, patches: int) -> str:
    """The image's patches as tokens behind a class token, with positions."""
    x = net.conv("input", "patch", channels, width, kernel=patch, stride=patch)
    x = net.reshape(x, "patch.flatten", [0, width, patches])
    x = net.op("Transpose", [x], "patch.tokens", perm=[0, 2, 1])

    batch = net.op("Shape", ["input"], "batch", start=0, end=1)
    token = net.parameter("cls_token", net.normal((1, 1, width), 0.02))
    shape = net.op("Concat", [batch, net.constant("cls.shape", np.array([1, width], np.int64))], "cls.concat", axis=0)
    x = net.op("Concat", [net.op("Expand", [token, shape], "cls"), x], "tokens", axis=1)
    position = net.parameter("position", net.normal((1, patches + 1, width), 0.02))
    return net.op("Add", [x, position], "embedding")


def classify(net: Network, x: str, width: int):
    """The logits of the class token."""
    x = net.layer_norm(x, "norm", width)
    x = net.op("Gather", [x, net.constant("cls.index", np.int64(0))], "cls.final", axis=1)
    net.fully_connected(x, "head", width, CLASSES)


def attention(net: Network, x: str, name: str, width: int, heads: int) -> str:
    """x + multi-head self-attention of LayerNormalization(x)."""
    qkv = net.linear(net.layer_norm(x, f"{name}.norm", width), f"{name}.qkv", width, 3 * width)
    parts = net.op("Split", [qkv, net.constant(f"{name}.split.sizes", np.array([width] * 3))], f"{name}.split", 3, axis=2)
    q, k, v = (
        net.reshape(part, f"{name}.{letter}.heads", [0, -1, heads, width // heads]) for part, letter in zip(parts, "qkv")
    )
    q = net.op("Transpose", [q], f"{name}.q", perm=[0, 2, 1, 3])
    k = net.op("Transpose", [k], f"{name}.k", perm=[0, 2, 3, 1])
    v = net.op("Transpose", [v], f"{name}.v", perm=[0, 2, 1, 3])
    scale = net.constant(f"{name}.scale", np.float32((width // heads) ** -0.5))
    scores = net.op("Mul", [net.op("MatMul", [q, k], f"{name}.scores"), scale], f"{name}.scaled")
    mixed = net.op("MatMul", [net.op("Softmax", [scores], f"{name}.weights", axis=-1), v], f"{name}.mixed")
    mixed = net.op("Transpose", [mixed], f"{name}.merge", perm=[0, 2, 1, 3])
    mixed = net.reshape(mixed, f"{name}.merged", [0, -1, width])
    return net.op("Add", [x, net.linear(mixed, f"{name}.out", width, width)], f"{name}.residual")


def feed_forward(net: Network, x: str, name: str, width: int, ratio: int = 2) -> str:
    """x + a two-layer perceptron of LayerNormalization(x), `ratio` times as wide inside."""
    hidden = net.linear(net.layer_norm(x, f"{name}.norm", width), f"{name}.fc1", width, ratio * width)
    out = net.linear(net.gelu(hidden, f"{name}.gelu"), f"{name}.fc2", ratio * width, width)
    return net.op("Add", [x, out], f"{name}.residual")
