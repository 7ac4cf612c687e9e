"""A module is exported, rewritten and trained for a step, and PyTorch takes the same step."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from stepping import Step  # noqa: E402
from torch import nn  # noqa: E402

from gnp import _messages, pytorch  # noqa: E402
from gnp.errors import GnpError  # noqa: E402
from gnp.pytorch import from_torch, to_torch  # noqa: E402

EXPORTERS = ["dynamo", "torchscript"]
CLASSES = 5


class Convolutions(nn.Module):
    """BatchNorm behind a convolution without a bias, Dropout, and BatchNorms of equal size and values."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4, momentum=0.3),
        )
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.body(image).relu().mean((2, 3))))


class EqualBiases(nn.Module):
    """Zero biases, and scales of ones, all of one shape: what exporters merge."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(6))
        self.single = nn.Parameter(torch.tensor(1.0))
        self.head = nn.Linear(6, CLASSES)
        for layer in self.layers:
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms):
            x = x + norm(torch.tanh(layer(x)))
        return self.head(x * self.scale) * self.single


class Tied(nn.Module):
    """A head that is the embedding. Words come in, a word comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 6)
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.inner(self.embedding(words))).mean(1))


class TwoInputs(nn.Module):
    """Two inputs; one has the name of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 6), nn.Linear(4, 6)
        self.register_buffer("offset", torch.linspace(-1, 1, 6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.head(torch.sigmoid(self.left(left)) * self.right(right) + self.offset)


class Transformer(nn.Module):
    """Two layers of PyTorch's encoder, Dropout in the attention too, learned positions and a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 6, 8) * 0.02)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embedding(words)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.encoder(x)[:, 0])


class Recurrent(nn.Module):
    """Two layers in both directions, of which all states and the last are used."""

    def __init__(self, layers: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = layers(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.layers(x)
        # The last cell states of an LSTM.
        last = last[1] if isinstance(last, tuple) else last
        return self.head(torch.cat([states.mean(1), last[0], last[3]], 1))


def numbers(*shape: int) -> Callable[[int], torch.Tensor]:
    return lambda batch: torch.randn(batch, *shape)


def words(length: int, vocabulary: int) -> Callable[[int], torch.Tensor]:
    return lambda batch: torch.randint(0, vocabulary, (batch, length))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Callable[[int], torch.Tensor]]]] = {
    "convolutions": (Convolutions, {"image": numbers(1, 8, 8)}),
    "equal biases": (EqualBiases, {"x": numbers(6)}),
    "tied": (Tied, {"words": words(4, CLASSES)}),
    "two inputs": (TwoInputs, {"left": numbers(3), "right": numbers(4)}),
    "transformer": (Transformer, {"words": words(5, 11)}),
    "lstm": (lambda: Recurrent(nn.LSTM), {"x": numbers(6, 3)}),
    "gru": (lambda: Recurrent(nn.GRU), {"x": numbers(6, 3)}),
}

each_network = pytest.mark.parametrize("name", NETWORKS)
each_exporter = pytest.mark.parametrize("exporter", EXPORTERS)


def made(name: str, batch: int = 7) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    return make(), {name: draw(batch) for name, draw in inputs.items()}


def without_dropout(module: nn.Module) -> nn.Module:
    """A copy in train mode that drops nothing."""
    module = copy.deepcopy(module).train()
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    return module


def labels(batch: int) -> torch.Tensor:
    return torch.arange(batch) % CLASSES


def arrays(batch: dict[str, torch.Tensor], y: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in batch.items()} | {"labels": y.numpy()}


PLAIN = ("--loss", "cross-entropy", "--optimizer", "sgd", "--alpha", "0")


@each_exporter
@each_network
def test_exactly_the_parameters_train(name: str, exporter: Any, tmp_path: Path) -> None:
    module, example = made(name)
    model = from_torch(module, example, exporter=exporter)
    onnx.checker.check_model(model, full_check=True)
    report = Step(model, tmp_path, *PLAIN).report
    assert report["parameters"] == [name for name, _ in module.named_parameters()]
    assert report["numbers"] == sum(parameter.numel() for parameter in module.parameters())
    # nn.TransformerEncoder makes its layers as copies of one.
    assert all("hold the same numbers and train apart" in warning for warning in report["warnings"])
    assert not report["warnings"] or name == "transformer"
    assert all(
        "as the exporter recorded" in c["reason"] or c["reason"] == "running statistic" for c in report["constants"]
    )
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for key, parameter in module.named_parameters():
        np.testing.assert_array_equal(held[key], parameter.detach().numpy())
    for key, layer in pytorch.tensors.statistics(module).items():
        np.testing.assert_array_equal(held[f"{key}.running_mean"], layer.running_mean.numpy())
        np.testing.assert_array_equal(held[f"{key}.running_var"], layer.running_var.numpy())


@each_exporter
@each_network
def test_a_step_is_that_of_pytorch(name: str, exporter: Any, tmp_path: Path) -> None:
    """Plain SGD from the same weights. Both compute in float32: the loss differs by at most 1e-6 of itself, gradients
    by 1e-5 of the largest of their tensor and 1e-7, running statistics by 1e-6.
    """
    module, example = made(name)
    step = Step(from_torch(module, example, exporter=exporter), tmp_path, *PLAIN, "--dropout", "off")
    reference = without_dropout(module)
    lr = 1.0
    for size in (7, 3):  # A batch of another size than that of the example, too.
        _, batch = made(name, size)
        before = copy.deepcopy(reference.state_dict())
        optimizer = torch.optim.SGD(reference.parameters(), lr)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(reference(**batch), labels(size))
        loss.backward()
        optimizer.step()

        state = {key: value.numpy() for key, value in before.items() if key in step.state()}
        after = step.step(arrays(batch, labels(size)), lr, **state)
        assert after["loss"] == pytest.approx(loss.item(), rel=1e-6)
        for key, parameter in reference.named_parameters():
            gradient = (state[key] - after["state"][key]) / lr
            expected = (before[key] - parameter.detach()).numpy() / lr
            assert np.abs(expected).max() > 0 or key.endswith("in_proj_bias")
            np.testing.assert_allclose(
                gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max() + 1e-7, err_msg=key
            )
        for key, layer in pytorch.tensors.statistics(reference).items():
            mean, variance = after["state"][f"{key}.running_mean"], after["state"][f"{key}.running_var"]
            np.testing.assert_allclose(mean, layer.running_mean.numpy(), rtol=1e-6, atol=1e-6)
            # PyTorch divides by n - 1 where the standard divides by n.
            values = size * 36 if key == "body.1" else size * 16
            kept = (1 - layer.momentum) * before[f"{key}.running_var"].numpy()
            variance = kept + (variance - kept) * values / (values - 1)
            np.testing.assert_allclose(variance, layer.running_var.numpy(), rtol=1e-6, atol=1e-6)


@each_exporter
@each_network
def test_the_model_infers(name: str, exporter: Any) -> None:
    """As it is, it is the module in eval mode; logits differ by at most 2e-6 of the largest."""
    module, _ = made(name)
    for layer in pytorch.tensors.statistics(module).values():
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(1, 2)
    _, batch = made(name, 3)
    model = from_torch(module, made(name)[1], exporter=exporter)
    read = {name for node in model.graph.node for name in node.input}
    assert all(node.output[0] in read for node in model.graph.node if node.op_type == "Constant")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
    with torch.no_grad():
        expected = module.eval()(**batch).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


class StochasticDepth(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = x.new_empty((x.shape[0], 1)).bernoulli_(0.9) if self.training else 1.0
        return super().forward(x) * keep


@each_exporter
def test_other_draws_are_said(exporter: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the model draws at random, .*(Bernoulli|RandomUniform)"):
        model = from_torch(StochasticDepth(3, CLASSES), torch.ones(2, 3), exporter=exporter)
    assert Step(model, tmp_path, *PLAIN).report["parameters"] == ["weight", "bias"]


@each_exporter
@pytest.mark.parametrize("name", ["convolutions", "transformer"])
def test_dropout_drops(name: str, exporter: Any, tmp_path: Path) -> None:
    module, batch = made(name)
    model = from_torch(module, batch, exporter=exporter)
    dropouts = sum(node.op_type == "Dropout" for node in model.graph.node)
    assert dropouts == {"convolutions": 1, "transformer": 8}[name]
    step = Step(model, tmp_path, *PLAIN)
    feed = arrays(batch, labels(7))
    first, again, other = (
        float(step.step(feed, 0.1, **{"gnp.seed": np.array(seed, np.int64)})["loss"]) for seed in (1, 1, 2)
    )
    assert first == again != other


@each_exporter
@each_network
def test_trained_weights_come_back(name: str, exporter: Any, tmp_path: Path) -> None:
    """Three steps of Adam; then the module's logits are those of the step model, within 1e-6 of the largest."""
    module, batch = made(name)
    options = ("--loss", "cross-entropy", "--optimizer", "adam", "--dropout", "off")
    step = Step(from_torch(module, batch, exporter=exporter), tmp_path, *options)
    state: dict[str, np.ndarray] = {}
    for _ in range(3):
        state = step.step(arrays(batch, labels(7)), 0.01, **state)["state"]
    assert any(key.endswith(".adam_m") for key in state)

    torch.manual_seed(1)
    fresh = NETWORKS[name][0]()
    assert to_torch(state, fresh) is fresh
    for key, tensor in fresh.state_dict().items():
        if key in state:
            np.testing.assert_array_equal(tensor.numpy(), state[key])
    expected = step.step(arrays(batch, labels(7)), 0.01, **state)["output"]
    with torch.no_grad():
        logits = without_dropout(fresh)(**batch).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@each_exporter
@each_network
def test_an_exported_model_comes_back_bit_for_bit(name: str, exporter: Any) -> None:
    module, batch = made(name)
    for layer in pytorch.tensors.statistics(module).values():
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(1, 2)
    torch.manual_seed(1)
    fresh = NETWORKS[name][0]()
    to_torch(from_torch(module, batch, exporter=exporter), fresh)
    for key, tensor in module.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor), key


@each_exporter
def test_the_module_stays_as_it_was(exporter: Any) -> None:
    module, batch = made("convolutions")
    module.eval()
    module.body[1].train()
    module.head.bias.requires_grad_(False)
    module(**batch).sum().backward()
    calls: list[int] = []
    module.head.register_forward_hook(lambda *_: calls.append(1))
    hooks = {name: list(part._forward_hooks.items()) for name, part in module.named_modules()}
    modes = {name: part.training for name, part in module.named_modules()}
    tensors = {name: (id(tensor), tensor.clone()) for name, tensor in module.state_dict(keep_vars=True).items()}
    grads = {name: (id(p.grad), None if p.grad is None else p.grad.clone()) for name, p in module.named_parameters()}
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    from_torch(module, batch, exporter=exporter)

    assert modes == {name: part.training for name, part in module.named_modules()}
    assert hooks == {name: list(part._forward_hooks.items()) for name, part in module.named_modules()}
    for name, tensor in module.state_dict(keep_vars=True).items():
        assert id(tensor) == tensors[name][0] and torch.equal(tensor, tensors[name][1]), name
    for name, parameter in module.named_parameters():
        key, grad = grads[name]
        assert id(parameter.grad) == key and (grad is None or torch.equal(parameter.grad, grad)), name
        assert parameter.requires_grad == (name != "head.bias")
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all() and random.getstate() == generators[2]


@each_exporter
def test_nothing_is_said_and_nothing_warned_of(exporter: Any, capfd: pytest.CaptureFixture[str]) -> None:
    module, batch = made("transformer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_torch(module, batch, exporter=exporter)
    assert capfd.readouterr() == ("", "")


@each_exporter
def test_frozen_parameters_do_not_train(exporter: Any, tmp_path: Path) -> None:
    module, batch = made("convolutions")
    module.body.requires_grad_(False)
    report = Step(from_torch(module, batch, exporter=exporter), tmp_path, *PLAIN).report
    assert report["parameters"] == ["head.weight", "head.bias"]
    # They are in no state, and that is all right.
    trained = {"head.weight": np.ones((CLASSES, 4), np.float32), "head.bias": np.zeros(CLASSES, np.float32)}
    before = module.body[0].weight.clone()
    to_torch(trained, module)
    assert torch.equal(module.body[0].weight, before) and (module.head.weight == 1).all()


@each_exporter
def test_unused_parameters_are_named(exporter: Any, tmp_path: Path) -> None:
    module, batch = made("two inputs")
    module.spare = nn.Linear(2, 2)
    with pytest.warns(UserWarning, match="no output depends on `spare.weight`, `spare.bias`"):
        model = from_torch(module, batch, exporter=exporter)
    report = Step(model, tmp_path, *PLAIN).report
    assert report["parameters"] == [name for name, _ in module.named_parameters() if not name.startswith("spare")]


class Hidden(torch.autograd.Function):
    """A product that exporters cannot see into: its result is a constant to them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x + torch.from_numpy(weight.detach().numpy() * 2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return grad, grad.sum(0) * 2


class Lossy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Parameter(torch.ones(3)), nn.Linear(3, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(Hidden.apply(x, self.hidden))


def test_a_lost_parameter_is_an_error() -> None:
    with pytest.warns(torch.jit.TracerWarning), pytest.raises(GnpError, match="lost `hidden`") as caught:
        from_torch(Lossy(), torch.ones(2, 3), exporter="torchscript")
    assert "requires_grad_(False)" in str(caught.value)


@each_exporter
def test_parameters_of_one_memory_are_one(exporter: Any, tmp_path: Path) -> None:
    module, batch = made("tied")
    module.head.weight = nn.Parameter(module.embedding.weight.data)
    report = Step(from_torch(module, batch, exporter=exporter), tmp_path, *PLAIN).report
    assert report["parameters"] == ["embedding.weight", "inner.weight", "inner.bias"]


@each_exporter
def test_names_and_forms_of_the_example(exporter: Any) -> None:
    module, batch = made("two inputs", 1)
    forms: list[Any] = [batch, tuple(batch.values()), dict(reversed(batch.items()))]
    for example in forms:
        model = from_torch(module, example, exporter=exporter)
        sizes = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in model.graph.input
        }
        assert sizes == {"left": ["batch", 3], "right": ["batch", 4]}
        (output,) = model.graph.output
        assert output.name == "output" and output.type.tensor_type.shape.dim[0].dim_param
    model = from_torch(
        module, batch, exporter=exporter, input_names=["a", "b"], output_names=["y"], dynamic_batch=False
    )
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["a", "b", "y"]
    assert [value.type.tensor_type.shape.dim[0].dim_value for value in (*model.graph.input, *model.graph.output)] == [
        1
    ] * 3


@each_exporter
def test_open_lengths(exporter: Any, tmp_path: Path) -> None:
    module, batch = made("tied")
    model = from_torch(module, batch, exporter=exporter, dynamic_axes={"words": {1: "length"}})
    (dims,) = ([d.dim_param for d in value.type.tensor_type.shape.dim] for value in model.graph.input)
    assert dims == ["batch", "length"]
    step = Step(model, tmp_path, *PLAIN)
    for length in (2, 9):
        longer = torch.randint(0, CLASSES, (3, length))
        loss = nn.functional.cross_entropy(module(longer), labels(3)).item()
        assert step.step(arrays({"words": longer}, labels(3)), 0.0)["loss"] == pytest.approx(loss, rel=1e-6)


class ManyOutputs(nn.Module):
    """Returns a dictionary. A buffer and a parameter have the names of an input and of an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("x", torch.tensor([1.0, 2.0, 3.0]))
        self.linear = nn.Parameter(torch.randn(CLASSES, 3))
        self.add = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> dict[str, Any]:
        hidden = x + self.x * scale + self.add
        return {"logits": nn.functional.linear(hidden, self.linear), "nothing": None, "hidden": hidden}


def test_names_that_are_taken(tmp_path: Path) -> None:
    module = ManyOutputs()
    x = torch.randn(4, 3)
    with pytest.warns(UserWarning, match="the input `x` has the name of a parameter or buffer: it is called `x_input`"):
        model = from_torch(module, {"x": x, "scale": 3.0})
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["x_input", "logits", "hidden"]
    step = Step(model, tmp_path, *PLAIN, "--logits", "logits")
    assert step.report["parameters"] == ["linear", "add"]
    logits = step.step({"x_input": x.numpy(), "labels": labels(4).numpy()}, 0.0)["logits"]
    np.testing.assert_allclose(logits, module(x, 3.0)["logits"].detach().numpy(), rtol=1e-6, atol=1e-6)


@each_exporter
def test_files(exporter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = made("convolutions")
    target = tmp_path / "small.onnx"
    assert from_torch(module, batch, exporter=exporter, path=target) == target
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    # What is too large for one file goes into two.
    monkeypatch.setattr(_messages, "LARGEST", 100)
    with pytest.raises(GnpError, match="a model in memory holds at most 2"):
        from_torch(module, batch, exporter=exporter)
    large = from_torch(module, batch, exporter=exporter, path=str(tmp_path / "large.onnx"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data", "small.onnx"]
    assert any(tensor.external_data for tensor in onnx.load(large, load_external_data=False).graph.initializer)
    for path in (target, large):
        step = Step(path, tmp_path, *PLAIN)
        assert step.report["parameters"] == [name for name, _ in module.named_parameters()]
    fresh = Convolutions()
    to_torch(large, fresh)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), module.parameters()))


def test_a_failed_export_leaves_the_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("mine")
    module = Convolutions()
    module.body[1].momentum = None
    with pytest.raises(GnpError):
        from_torch(module, torch.ones(2, 1, 8, 8), path=target)
    with pytest.raises(GnpError, match="the exporter dynamo failed"):
        from_torch(Convolutions(), torch.ones(2, 2, 8, 8), path=target)
    assert target.read_text() == "mine" and list(tmp_path.iterdir()) == [target]


class FixedBatch(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.ones(4, 3))


def bad_exports() -> dict[str, tuple[Callable[[], Any], str]]:
    linear = nn.Linear(3, CLASSES)
    x = torch.ones(2, 3)
    averaging = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None))
    taken = ManyOutputs()
    return {
        "no module": (lambda: from_torch(len, x), r"a torch.nn.Module is expected, not builtin_function_or_method"),
        "a script": (lambda: from_torch(torch.jit.trace(linear, x), x), "a ScriptModule is compiled already"),
        "lazy": (lambda: from_torch(nn.LazyLinear(3), x), "`weight` has no shape yet"),
        "on meta": (lambda: from_torch(nn.Linear(3, 3, device="meta"), x), "on the device `meta`"),
        "frozen": (lambda: from_torch(nn.Linear(3, 3).requires_grad_(False), x), "no parameter that trains"),
        "averages": (lambda: from_torch(averaging, x), r"`1` \(BatchNorm1d\) averages the statistics of all batches"),
        "tracks": (
            lambda: from_torch(nn.Sequential(linear, nn.InstanceNorm1d(4, track_running_stats=True)), x),
            r"`1` \(InstanceNorm1d\) keeps running statistics",
        ),
        "too many": (lambda: from_torch(linear, (x, x)), r"does not fit `Linear.forward\(.*too many positional"),
        "no such keyword": (lambda: from_torch(linear, {"z": x}), "missing a required argument"),
        "no tensor": (lambda: from_torch(linear, 3), "the example has no tensor: int"),
        "sizes differ": (
            lambda: from_torch(TwoInputs(), (torch.ones(2, 3), torch.ones(3, 4))),
            r"`batch` is one size, and the examples differ in it: `left\[0\]` has 2, `right\[0\]` has 3",
        ),
        "axes of others": (
            lambda: from_torch(linear, x, dynamic_axes={"y": {1: "n"}}),
            "dynamic_axes names `y`, and the inputs are `input`",
        ),
        "no axis": (
            lambda: from_torch(linear, x, dynamic_axes={"input": {2: "n"}}),
            r"`input` has the shape \[2, 3\], and no axis 2",
        ),
        "no size": (lambda: from_torch(linear, x, dynamic_axes={"input": {1: "2n"}}), "called '2n', which is no name"),
        "an axis of one": (
            lambda: from_torch(nn.Linear(1, 3), torch.ones(2, 4, 1), dynamic_axes={"input": {-1: "n"}}),
            r"`input\[2\]` of the example is 1",
        ),
        "wrong shape": (lambda: from_torch(linear, torch.ones(2, 4)), "the exporter dynamo failed: .*(2, 4|4.*3)"),
        "wrong shape, traced": (
            lambda: from_torch(linear, torch.ones(2, 4), exporter="torchscript"),
            r"the exporter torchscript failed: .*mat1 and mat2 shapes cannot be multiplied \(2x4 and 3x5\)",
        ),
        "a fixed batch": (
            lambda: from_torch(FixedBatch(3, 5), torch.ones(4, 3)),
            "the module fixes `batch`: axis 0 of `x` is 4",
        ),
        "no exporter": (lambda: from_torch(linear, x, exporter="jit"), "there is no exporter 'jit'"),  # type: ignore
        "few names": (lambda: from_torch(linear, x, input_names=["a", "b"]), "2 names, and the module has 1 inputs"),
        "names twice": (lambda: from_torch(TwoInputs(), (x, torch.ones(2, 4)), input_names=["a", "a"]), "that differ"),
        "few outputs": (lambda: from_torch(linear, x, output_names=[]), "0 names, and the module has 1 outputs"),
        "a taken name": (lambda: from_torch(taken, x, input_names=["add"]), "`add` has the name of a parameter"),
        "a taken output": (lambda: from_torch(linear, x, output_names=["weight"]), "the output `weight` has the name"),
        "no constants": (
            lambda: from_torch(ManyOutputs(), (x, 2.0), exporter="torchscript"),
            "takes tensors, and `scale` is float",
        ),
        "no folder": (lambda: from_torch(linear, x, path="/no/such/folder/m.onnx"), "there is no folder"),
        "a folder": (lambda: from_torch(linear, x, path="/"), "is a folder"),
    }


@pytest.mark.parametrize("name", bad_exports())
@pytest.mark.filterwarnings("ignore")
def test_bad_exports(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    call, message = bad_exports()[name]
    with pytest.raises(GnpError, match=message):
        call()
    assert capfd.readouterr() == ("", "")


def test_wrappers_are_looked_through(tmp_path: Path) -> None:
    module, batch = made("equal biases")
    for wrapped in (nn.DataParallel(module), torch.compile(module)):
        model = from_torch(wrapped, batch)
        assert [t.name for t in model.graph.initializer if t.name in dict(module.named_parameters())] == [
            name for name, _ in module.named_parameters()
        ]
        state = {name: np.full(tuple(p.shape), 0.5, np.float32) for name, p in module.named_parameters()}
        assert to_torch(state, wrapped) is wrapped
        assert all((p == 0.5).all() for p in module.parameters())


def test_old_weight_norm_is_copied(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, CLASSES))
    module(torch.ones(2, 3))  # Its weight is now the result of a computation.
    report = Step(from_torch(module, torch.ones(2, 3)), tmp_path, *PLAIN).report
    assert sorted(report["parameters"]) == sorted(name for name, _ in module.named_parameters())


def test_half_precision_stays(tmp_path: Path) -> None:
    module, batch = made("equal biases")
    state = {name: np.full(tuple(p.shape), 1 / 3, np.float32) for name, p in module.named_parameters()}
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        to_torch(state, module.to(kind))
        third = torch.tensor(1 / 3).to(kind)
        assert all(p.dtype == kind and (p == third).all() for p in module.parameters())


def test_files_of_states(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    module, batch = made("convolutions")
    state = {name: t.numpy() + 1 for name, t in module.state_dict().items() if t.is_floating_point()}
    slots = {
        "head.weight.momentum": state["head.weight"],
        "step": np.array(3, np.int64),
        "gnp.warmup": np.array(1.0, np.float32),
    }
    safetensors.save_file(state | slots, tmp_path / "state.safetensors")
    model = from_torch(module, batch)
    to_torch(tmp_path / "state.safetensors", module)
    assert all((module.state_dict()[name].numpy() == value).all() for name, value in state.items())
    onnx.save(model, tmp_path / "model.onnx")
    to_torch(str(tmp_path / "model.onnx"), module)
    assert all((module.state_dict()[name].numpy() + 1 == value).all() for name, value in state.items())


def bad_states(tmp_path: Path) -> dict[str, tuple[Any, str]]:
    module, batch = made("convolutions")
    good = {name: t.numpy() * 0 for name, t in module.state_dict().items() if t.is_floating_point()}
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    step = Step(from_torch(module, batch), tmp_path, *PLAIN)
    large = tmp_path / "large.onnx"
    onnx.save_model(from_torch(module, batch), large, save_as_external_data=True, size_threshold=0)
    return {
        "missing": ({k: v for k, v in good.items() if k != "head.bias"}, "nothing for `head.bias`"),
        "no statistics": ({k: v for k, v in good.items() if "running_var" not in k}, "`body.1.running_var`, `body.4"),
        "unknown": (good | {"other.weight": np.zeros(3)}, "the state has `other.weight`, which the module has not"),
        "a shape": (
            good | {"head.bias": np.zeros(4, np.float32)},
            r"`head.bias` has the shape \[4\], and the module's \[5\]",
        ),
        "whole numbers": (good | {"head.bias": np.zeros(5, int)}, "`head.bias` holds torch.int64"),
        "text": (good | {"head.bias": np.array(["a"] * 5)}, "`head.bias` holds <U1, and numbers"),
        "no state": (3, "not int"),
        "no file": (tmp_path / "none.onnx", "there is no file"),
        "no safetensors": (tmp_path / "bad.safetensors", "not a state in the format safetensors"),
        "no model": (tmp_path / "bad.onnx", "is no ONNX model"),
        "no data": (onnx.load(large, load_external_data=False), "the model's weights are in files beside it"),
        "a step model": (step.path, "a step model, which holds where training starts"),
    }


def test_bad_states_change_nothing(tmp_path: Path) -> None:
    module, _ = made("convolutions")
    before = copy.deepcopy(module.state_dict())
    for name, (state, message) in bad_states(tmp_path).items():
        with pytest.raises(GnpError, match=message):
            to_torch(state, module)
        assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items()), name
    # What is not there may be left, unless nothing is there.
    to_torch({"head.bias": np.ones(CLASSES, np.float32), "other": np.ones(1)}, module, strict=False)
    assert (module.head.bias == 1).all()
    with pytest.raises(GnpError, match="nothing for"):
        to_torch({"other": np.ones(1)}, module, strict=False)
