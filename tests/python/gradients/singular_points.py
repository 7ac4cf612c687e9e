"""PyTorch's gradients where there is none, or more than one to choose from: at kinks, ties, zeros and infinities.

    pip install torch && python singular_points.py > ../../gradients/singular_points.json

`cases.py` reads the result; PyTorch is not needed to run the tests. Written with PyTorch 2.15.
"""

import json

import torch
import torch.nn.functional as F

INF = float("inf")
POINTS = []


def point(name, operator, function, inputs, differentiated=None, opset=18, **attributes):
    """The gradient of Σ w∘function(inputs), with w = 1, 2, 3, …."""
    tensors = [torch.tensor(value, dtype=torch.float64) if floating(value) else torch.tensor(value) for value in inputs]
    wrt = [i for i, value in enumerate(inputs) if floating(value)] if differentiated is None else differentiated
    for i in wrt:
        tensors[i].requires_grad_()
    y = function(*tensors)
    w = torch.arange(1, y.numel() + 1, dtype=torch.float64).reshape(y.shape)
    y.backward(w)
    POINTS.append(
        {
            "name": name,
            "operator": operator,
            "opset": opset,
            "attributes": attributes,
            "inputs": inputs,
            "cotangent": w.tolist(),
            "gradients": {str(i): tensors[i].grad.tolist() for i in wrt},
        }
    )


def floating(value):
    while isinstance(value, list):
        value = value[0]
    return isinstance(value, float)


KINK = [-1.0, 0.0, 1.0]
point("at_0", "Relu", torch.relu, [KINK])
point("at_0", "LeakyRelu", lambda x: F.leaky_relu(x, 0.25), [KINK], alpha=0.25)
point("at_0", "PRelu", F.prelu, [KINK, [0.25]])
point("at_0", "Elu", lambda x: F.elu(x, 2.0), [KINK], alpha=2.0)
point("at_0", "Selu", F.selu, [KINK])
point("at_0", "Abs", torch.abs, [KINK])
point("at_its_edges", "HardSigmoid", F.hardsigmoid, [[-3.0, -1.0, 3.0]], alpha=1 / 6, beta=0.5)
point("at_its_edges", "HardSwish", F.hardswish, [[-3.0, -1.0, 3.0]])
point("at_its_bounds", "Clip", lambda x, a, b: torch.clamp(x, -1.0, 1.0), [[-1.0, 0.0, 1.0, 2.0], -1.0, 1.0], [0])
point("bounds_crossed", "Clip", lambda x, a, b: torch.clamp(x, 1.0, -1.0), [[-1.0, 0.0, 1.0, 2.0], 1.0, -1.0], [0])
point("at_0", "Sqrt", torch.sqrt, [[0.0, 4.0]])
point("at_0", "Log", torch.log, [[0.0, 4.0]])
point("at_0", "Reciprocal", torch.reciprocal, [[0.0, 4.0]])
point("at_0", "Sign", torch.sign, [KINK])
point("at_whole_numbers", "Floor", torch.floor, [KINK])
point("at_halves", "Round", torch.round, [[-0.5, 0.5, 1.5]])
point("base_0", "Pow", torch.pow, [[0.0, 0.0, 0.0, 0.0, 2.0], [0.0, 0.5, 1.0, 2.0, 3.0]])
point("base_0_squared", "Pow", lambda x, p: x**2, [[-1.0, 0.0, 1.0], 2.0], [0])
point("negative_base", "Pow", torch.pow, [[-2.0, -2.0], [3.0, 2.0]], [0])
for operator, function in (("Max", torch.maximum), ("Min", torch.minimum)):
    point("tie", operator, function, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
for operator, function in (("ReduceMax", torch.amax), ("ReduceMin", torch.amin)):
    point("tie", operator, lambda x, a, f=function: f(x, 1, keepdim=True), [[[1.0, 1.0, 1.0], [1.0, 2.0, 2.0]], [1]])
    point("tie_of_all", operator, lambda x, f=function: f(x), [[[1.0, 1.0], [0.0, 0.0]]], keepdims=0)
SQUARE = [[[[1.0, 1.0, 0.0], [1.0, 1.0, 2.0], [0.0, 2.0, 2.0]]]]
point("tie", "MaxPool", lambda x: F.max_pool2d(x, 2, 1), [SQUARE], kernel_shape=[2, 2])
point("tie", "GlobalMaxPool", lambda x: F.adaptive_max_pool2d(x, 1), [SQUARE])
point(
    "at_0", "ReduceL2", lambda x, a: torch.linalg.vector_norm(x, dim=1, keepdim=True), [[[0.0, 0.0], [3.0, 4.0]], [1]]
)
point("one_zero", "ReduceProd", lambda x, a: torch.prod(x, 1, keepdim=True), [[[0.0, 2.0, 3.0], [1.0, 2.0, 3.0]], [1]])
point("two_zeros", "ReduceProd", lambda x, a: torch.prod(x, 1, keepdim=True), [[[0.0, 0.0, 3.0], [1.0, 2.0, 3.0]], [1]])
point("minus_infinity", "ReduceLogSumExp", lambda x, a: torch.logsumexp(x, 1, keepdim=True), [[[-INF, 0.0, 1.0]], [1]])
point("minus_infinity", "Softmax", lambda x: torch.softmax(x, -1), [[[-INF, 0.0, 1.0], [0.0, -INF, -INF]]])
point("saturated", "Sigmoid", torch.sigmoid, [[-1000.0, 0.0, 1000.0]])
point("saturated", "Tanh", torch.tanh, [[-1000.0, 0.0, 1000.0]])
point("saturated", "Softplus", F.softplus, [[-1000.0, 0.0, 1000.0]])
point("saturated", "Gelu", F.gelu, [[-1000.0, 0.0, 1000.0]], opset=20)
point("unused_infinity", "Where", lambda c, a, b: torch.where(c, a, b), [[True, False], [INF, 1.0], [2.0, INF]])
CONSTANT = [[[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]]
point(
    "variance_0",
    "LayerNormalization",
    lambda x, s, b: F.layer_norm(x, [3], s, b),
    [CONSTANT, [1.0, 2.0, 3.0], [0.0, 0.5, 1.0]],
)
point(
    "variance_0",
    "InstanceNormalization",
    lambda x, s, b: F.instance_norm(x, weight=s, bias=b),
    [CONSTANT, [1.0, 2.0], [0.0, 0.5]],
)
TOP = [[1.0, 2.0, 3.0]]
for reduction, own in (("max", "amax"), ("min", "amin"), ("mul", "prod")):
    scatter = lambda x, i, u, r=own: x.scatter_reduce(1, i, u, r)
    point(
        f"{reduction}_tie",
        "ScatterElements",
        scatter,
        [TOP, [[0, 0, 2]], [[1.0, 1.0, 3.0]]],
        axis=1,
        reduction=reduction,
    )
point(
    "mul_zero",
    "ScatterElements",
    lambda x, i, u: x.scatter_reduce(1, i, u, "prod"),
    [TOP, [[0, 0, 2]], [[0.0, 2.0, 0.0]]],
    axis=1,
    reduction="mul",
)
LABELS = [2, 2]
point(
    "all_ignored_mean",
    "SoftmaxCrossEntropyLoss",
    lambda x, t: F.cross_entropy(x, t, ignore_index=2),
    [[[0.0, 1.0, 2.0], [1.0, 0.0, 0.5]], LABELS],
    ignore_index=2,
)
point(
    "all_ignored_sum",
    "SoftmaxCrossEntropyLoss",
    lambda x, t: F.cross_entropy(x, t, ignore_index=2, reduction="sum"),
    [[[0.0, 1.0, 2.0], [1.0, 0.0, 0.5]], LABELS],
    ignore_index=2,
    reduction="sum",
)
print("[" + ",\n".join(json.dumps(p) for p in POINTS) + "]")
