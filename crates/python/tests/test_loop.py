"""Training on the user's own ONNX Runtime, against that runtime alone, PyTorch and gnp-run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODELS, missing

from gnp import _gnp
from gnp.errors import GnpError
from gnp.loop import Loop
from programs import program, run

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

IS_OLD = tuple(int(part) for part in ort.__version__.split(".")[:2]) < (1, 19)
CPU = ["CPUExecutionProvider"]

State = dict[str, Any]


def plain_loop(step: Path, batches: list[Any], lr: float) -> tuple[list[State], State]:
    """The loop of the README: what each step returned, and the last state."""
    options = ort.SessionOptions()
    options.enable_mem_pattern = False
    session = ort.InferenceSession(str(step), options, providers=CPU)
    pairs = json.loads(session.get_modelmeta().custom_metadata_map["gnp.state"])
    outputs = [output.name for output in session.get_outputs()]
    state: State = {}
    returned: list[State] = []
    for x, y in batches:
        batch = {"input": x, "labels": y, "lr": np.array(lr, np.float32)}
        after = dict(zip(outputs, session.run(None, batch | state)))
        state = {name: after[following] for name, following in pairs}
        returned.append({name: value for name, value in after.items() if not name.endswith(".next")})
    return returned, state


def assert_same(found: State, expected: State) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture
def mlp(step_model: Callable[..., Path]) -> Loop:
    return Loop(step_model("mlp"), kernels="none")


@pytest.mark.parametrize(("name", "optimizer"), [("mlp", "adam"), ("mlp", "momentum"), ("cnn", "momentum")])
def test_steps_are_those_of_a_plain_loop_to_the_bit(
    name: str, optimizer: str, step_model: Callable[..., Path], batches: list[Any]
) -> None:
    step = step_model(name, optimizer=optimizer)
    if name == "cnn":
        images = np.random.default_rng(0).normal(size=(273, 1, 28, 28)).astype(np.float32)
        batches = [(images[:n], y) for n, (_, y) in zip((64, 64, 64, 64, 17), batches)]
    expected, state = plain_loop(step, batches, 0.05)
    loop = Loop(step, kernels="none")
    for batch, returned in zip(batches, expected):
        outputs = loop.step(batch, lr=0.05)
        assert next(iter(outputs)) == "loss" and isinstance(outputs["loss"], float)
        assert_same(outputs, returned)
    assert_same(loop.state_dict(), state)


def test_buffers_that_onnx_runtime_makes_give_the_same(
    step_model: Callable[..., Path], batches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_model("mlp", optimizer="adam")
    expected, state = plain_loop(step, batches, 0.05)
    # As on a card, but for where they are.
    monkeypatch.setattr("gnp._places.Device.is_cpu", False)
    loop = Loop(step, kernels="none")
    for batch, returned in zip(batches, expected):
        assert_same(loop.step(batch, lr=0.05), returned)
    assert_same(loop.state_dict(), state)
    loop.load_state_dict(state)
    state["fc1.bias"][0] = np.nan
    with pytest.raises(GnpError, match="`fc1.bias` holds nan"):
        loop.load_state_dict(state)


def test_steps_are_those_of_pytorch(mlp: Loop, batches: list[Any]) -> None:
    torch = pytest.importorskip("torch")
    lr, r, alpha, momentum = 0.05, 0.2, 0.7, 0.8
    state = {name: torch.tensor(value) for name, value in mlp.state_dict().items()}
    weights = [f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")]
    slots = {name: torch.zeros_like(state[name], dtype=torch.float64) for name in weights}
    theta = {name: state[name].double() for name in weights}

    def loss_and_gradient(at: State, x: Any, y: Any) -> tuple[Any, State]:
        at = {name: value.clone().requires_grad_() for name, value in at.items()}
        hidden = torch.tensor(x).double()
        for i in (1, 2, 3):
            hidden = hidden @ at[f"fc{i}.weight"].T + at[f"fc{i}.bias"]
            hidden = torch.relu(hidden) if i < 3 else hidden
        loss = torch.nn.functional.cross_entropy(hidden, torch.tensor(y))
        return loss.detach(), dict(zip(weights, torch.autograd.grad(loss, [at[name] for name in weights])))

    for x, y in batches:
        here, g1 = loss_and_gradient(theta, x, y)
        norm = sum((g**2).sum() for g in g1.values()).sqrt()
        there, g2 = loss_and_gradient({name: theta[name] + r / norm * g1[name] for name in weights}, x, y)
        outputs = mlp.step((x, y), lr=lr, r=r, alpha=alpha, **{"gnp.momentum": momentum})
        for name, expected in (("loss", here), ("gnp.grad_norm", norm), ("gnp.loss_perturbed", there)):
            assert outputs[name] == pytest.approx(float(expected), rel=2e-5)
        for name in weights:
            slots[name] = momentum * slots[name] + (1 - alpha) * g1[name] + alpha * g2[name]
            theta[name] = theta[name] - lr * slots[name]
    for name, value in mlp.state_dict().items():
        if name in theta:
            np.testing.assert_allclose(value, theta[name].numpy(), rtol=1e-4, atol=1e-6)


def test_hyperparameters_are_inputs(step_model: Callable[..., Path], batches: list[Any]) -> None:
    step, batch = step_model("mlp"), batches[0]
    loop = Loop(step, kernels="none")
    assert loop.defaults["gnp.r"] == pytest.approx(0.1) and "gnp.seed" not in loop.defaults
    default = loop.step(batch)
    given = Loop(step, kernels="none").step(batch, **loop.defaults)
    assert_same(given, default)
    plain = Loop(step, kernels="none").step(batch, r=0)
    assert plain["gnp.loss_perturbed"] == plain["loss"] == default["loss"] != default["gnp.loss_perturbed"]
    # What is given for one step does not last.
    first, second = Loop(step, kernels="none"), Loop(step, kernels="none")
    first.step(batch, lr=np.float64(0.5))
    second.step(batch, lr=0.5)
    assert_same(first.step(batch), second.step(batch, lr=loop.defaults["lr"]))


@pytest.mark.parametrize("value", ["0.1", float("nan"), 1e39, [0.1, 0.2], object(), 1j])
def test_a_hyperparameter_is_one_number(mlp: Loop, batches: list[Any], value: Any) -> None:
    with pytest.raises(GnpError, match="the hyperparameter `lr` is"):
        mlp.step(batches[0], lr=value)


def test_unknown_hyperparameters_are_named(mlp: Loop, batches: list[Any]) -> None:
    with pytest.raises(GnpError) as caught:
        mlp.step(batches[0], **{"gnp.beta1": 0.5})
    assert caught.value.message == "the step model has no hyperparameter `gnp.beta1`"
    assert caught.value.help == "it has lr, gnp.r, gnp.alpha, gnp.momentum"


def test_batches_that_do_not_fit_leave_all_as_it_is(mlp: Loop, batches: list[Any]) -> None:
    before = mlp.state_dict()
    x, y = batches[0]
    bad = [(x[:, :9], y), (x, y[:3]), (x, y + 9), (x.astype(str), y), {"input": x}, None, (x, y, y)]
    for batch in bad:
        with pytest.raises(GnpError) as caught:
            mlp.step(batch)
        assert caught.value.kind == "input"
    assert_same(mlp.state_dict(), before)


def test_a_step_that_diverges_is_not_taken(step_model: Callable[..., Path], batches: list[Any]) -> None:
    loop, calm = (Loop(step_model("mlp"), kernels="none") for _ in range(2))
    for batch in batches[:2]:
        assert_same(loop.step(batch, lr=0.05), calm.step(batch, lr=0.05))
    before = loop.state_dict()
    x, y = batches[2]
    holes = x.copy()
    holes[3, 5] = np.nan
    with pytest.raises(GnpError, match="`loss` is nan: the step was not taken") as caught:
        loop.step((holes, y), lr=0.05)
    assert caught.value.kind == "diverged"
    assert_same(loop.state_dict(), before)
    for batch in batches[2:]:
        assert_same(loop.step(batch, lr=0.05), calm.step(batch, lr=0.05))
    assert_same(loop.state_dict(), calm.state_dict())


def test_a_step_to_weights_that_are_no_numbers_is_not_taken(mlp: Loop, batches: list[Any]) -> None:
    state = mlp.state_dict()
    state["fc1.bias.momentum"][7] = 3e38
    mlp.load_state_dict(state)
    # Loss and norms are of the weights before the step.
    with pytest.raises(GnpError, match=r"`fc1.bias(.momentum)?` would become -?inf: the step was not taken") as caught:
        mlp.step(batches[0], lr=0.5, **{"gnp.momentum": 2})
    assert caught.value.kind == "diverged" and "it was 0.5 here" in str(caught.value)
    assert_same(mlp.state_dict(), state)


def test_large_weights_are_numbers(mlp: Loop, batches: list[Any]) -> None:
    state = mlp.state_dict()
    # Their squares overflow; nothing reads them.
    state["fc1.weight.momentum"][:] = 1e25
    mlp.load_state_dict(state)
    mlp.step(batches[0], lr=0.0)
    assert (mlp.state_dict()["fc1.weight.momentum"] > 8e24).all()


def test_a_state_that_was_saved_is_gone_on_with(
    step_model: Callable[..., Path], batches: list[Any], tmp_path: Path
) -> None:
    step, file = step_model("cnn"), tmp_path / "state.safetensors"
    images = np.random.default_rng(0).normal(size=(64, 1, 28, 28)).astype(np.float32)
    whole, first, second = (Loop(step, kernels="none", seed=7) for _ in range(3))
    for _, y in batches[:2]:
        assert_same(first.step((images, y)), whole.step((images, y)))
    first.save(file)
    kept = first.state_dict()
    second.load(file)
    assert_same(second.state_dict(), kept)
    for _, y in batches[2:4]:
        assert_same(second.step((images, y)), whole.step((images, y)))
    # What was handed out is a copy.
    assert kept["step"] == 2 and first.state_dict()["step"] == 2
    first.step((images, batches[0][1]))
    assert kept["step"] == 2 and os.listdir(tmp_path) == ["state.safetensors"]


def test_states_are_files_of_safetensors(mlp: Loop, batches: list[Any], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    mlp.step(batches[0])
    mlp.save(tmp_path / "ours")
    state = mlp.state_dict()
    assert_same(dict(sorted(safetensors.load_file(tmp_path / "ours").items())), dict(sorted(state.items())))
    safetensors.save_file({name: -value for name, value in state.items()}, tmp_path / "theirs", metadata={"a": "b"})
    mlp.load(tmp_path / "theirs")
    assert_same(mlp.state_dict(), {name: -value for name, value in state.items()})


def test_what_is_no_state_of_the_model_is_refused(step_model: Callable[..., Path], tmp_path: Path) -> None:
    mlp = Loop(step_model("mlp", optimizer="adam"), kernels="none")
    before = mlp.state_dict()
    cases: list[tuple[Any, str]] = [
        ({}, "the state lacks `fc1.weight`"),
        (before | {"fc9.weight": np.zeros(3)}, "the model has no state `fc9.weight`"),
        (before | {"fc1.bias": np.zeros(3)}, "the input `fc1.bias` is float32 [256], but the state has float64 [3]"),
        (before | {"step": 0.5}, "the input `step` takes int64, which cannot hold 0.5"),
        (before | {"fc1.bias": np.full(256, np.inf)}, "`fc1.bias` holds inf"),
        ([], "a state is a mapping"),
    ]
    for state, message in cases:
        with pytest.raises(GnpError, match=re.escape(message)):
            mlp.load_state_dict(state)
    assert_same(mlp.state_dict(), before)
    file = tmp_path / "state"
    mlp.save(file)
    whole = file.read_bytes()
    for data in (b"", whole[:4], whole[:100], whole[:-1], b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]"):
        file.write_bytes(data)
        with pytest.raises(GnpError, match="not a state in the format safetensors") as caught:
            mlp.load(file)
        assert caught.value.kind == "format" and caught.value.file == str(file)
    with pytest.raises(GnpError, match="cannot open the file") as caught:
        mlp.load(tmp_path / "nothing")
    assert caught.value.kind == "io"
    with pytest.raises(GnpError, match="cannot write") as caught:
        mlp.save(tmp_path / "no folder" / "state")
    assert caught.value.kind == "io"


def test_files_are_replaced_and_links_are_not(mlp: Loop, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(GnpError, match="is a symbolic link"):
        mlp.save(tmp_path / "link")
    assert (tmp_path / "real").read_bytes() == b"before"
    mlp.save(tmp_path / "real")
    mlp.load(tmp_path / "real")


@pytest.mark.skipif(IS_OLD, reason="gnp-run wants ONNX Runtime 1.18")
def test_the_numbers_are_those_of_gnp_run(step_model: Callable[..., Path], digits: State, tmp_path: Path) -> None:
    library = next(Path(ort.__file__).parent.glob("capi/libonnxruntime*"), None)
    if library is None:
        missing("a library of onnxruntime that gnp-run loads")
    step = step_model("mlp")
    # One sample, whose order is known.
    x, y = digits["x_train"][:1], digits["y_train"][:1]
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y)
    options = ["--engine", "onnxruntime", "--ort-lib", library, "--kernels", "none", "--layout", "plain"]
    data = ["--data", tmp_path / "one.npz", "--batch-size", 1, "--epochs", 3, "--lr", 0.05, "--out", tmp_path / "run"]
    run(program("gnp-run"), step, "--forward", MODELS / "mlp" / "model.onnx", *data, *options)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]

    loop = Loop(step, kernels="none")
    history = loop.fit([(x, y)], epochs=3, lr=0.05)
    loop.save(tmp_path / "ours")
    for records, kind in ((history.steps, "step"), (history.epochs, "epoch")):
        theirs = [line for line in lines if line["kind"] == kind]
        assert len(records) == len(theirs) == 3
        for record, line in zip(records, theirs):
            for name in set(line) & set(record) - {"seconds", "data_seconds", "examples_per_second"}:
                assert np.float32(record[name]) == np.float32(line[name]), name
            assert {"loss", "sharpness", "error", "learning_rate", "r", "alpha"} <= set(line) & set(record)
    state = loop.state_dict()
    loop.load(tmp_path / "run" / "checkpoints" / "epoch-00003" / "checkpoint")
    assert_same(loop.state_dict(), state)


class Bytes:
    """What has ``to_bytes()``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def to_bytes(self) -> bytes:
        return self.path.read_bytes()


def test_a_step_model_may_come_in_any_form(step_model: Callable[..., Path], batches: list[Any]) -> None:
    path = step_model("mlp")
    proto = onnx.load(path)
    before = proto.SerializeToString()
    expected = Loop(str(path), kernels="none").step(batches[0])
    for step in (path, path.read_bytes(), bytearray(path.read_bytes()), proto, Bytes(path)):
        assert_same(Loop(step, kernels="none").step(batches[0]), expected)
    assert proto.SerializeToString() == before


def test_what_is_no_step_model_is_refused(step_model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage" * 100)
    model = onnx.load(step_model("mlp"))
    del model.graph.initializer[:]
    cases: list[tuple[Any, str, str]] = [
        (MODELS / "mlp" / "model.onnx", "format", "not a step model"),
        (tmp_path / "garbage", "format", "no ONNX model|not a step model"),
        (tmp_path / "nothing.onnx", "io", "cannot read the model"),
        (tmp_path, "io", "cannot read the model"),
        (model, "format", "has no initializer"),
        (3, "input", "a model is a path"),
        (None, "input", "a model is a path"),
    ]
    for step, kind, message in cases:
        with pytest.raises(GnpError, match=message) as caught:
            Loop(step)
        assert caught.value.kind == kind


def test_weights_may_be_in_a_file_of_their_own(
    step_model: Callable[..., Path], batches: list[Any], tmp_path: Path
) -> None:
    model = onnx.load(step_model("mlp", freeze="fc1.*"))
    expected = Loop(model, kernels="none").step(batches[0])
    # Weights that train and weights that do not.
    onnx.save(model, tmp_path / "step.onnx", save_as_external_data=True, location="weights", size_threshold=1024)
    with Printed() as printed:
        assert_same(Loop(tmp_path / "step.onnx", kernels="none").step(batches[0]), expected)
    assert printed.text == ""
    with pytest.raises(GnpError, match="constants in files of their own"):
        Loop(onnx.load(tmp_path / "step.onnx", load_external_data=False))
    (tmp_path / "weights").unlink()
    with pytest.raises(GnpError, match=re.escape(str(tmp_path / "step.onnx"))):
        Loop(tmp_path / "step.onnx")


class Printed:
    """As a context, it catches what is printed to standard error, by ONNX Runtime too."""

    text = ""

    def __enter__(self) -> Printed:
        self._file = open(os.devnull, "rb")
        self._read, write = os.pipe()
        self._before = os.dup(2)
        os.dup2(write, 2)
        os.close(write)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._before, 2)
        os.close(self._before)
        os.set_blocking(self._read, False)
        with contextlib.suppress(BlockingIOError):
            self.text = os.read(self._read, 1 << 16).decode()
        os.close(self._read)
        self._file.close()


def test_onnx_runtime_is_quiet_and_options_stay_as_they_are(
    step_model: Callable[..., Path], batches: list[Any]
) -> None:
    step = step_model("mlp")
    with Printed() as printed:
        ort.InferenceSession(str(step), providers=CPU)
    assert "appears in graph inputs" in printed.text
    options = ort.SessionOptions()
    options.enable_mem_pattern = not IS_OLD
    options.intra_op_num_threads = 1
    before = {name: getattr(options, name) for name in dir(options) if isinstance(getattr(options, name), (int, str))}
    with Printed() as printed:
        Loop(step, kernels="none").step(batches[0])
        loop = Loop(step, session_options=options, providers=CPU, kernels="none")
        loop.step(batches[0])
    assert printed.text == ""
    assert {name: getattr(options, name) for name in before} == before
    assert loop.session.get_providers() == CPU


@pytest.mark.skipif(not IS_OLD, reason="patterns are right from 1.19 on")
def test_options_that_give_wrong_numbers_are_refused(step_model: Callable[..., Path]) -> None:
    with pytest.raises(GnpError, match="with memory patterns"):
        Loop(step_model("mlp"), session_options=ort.SessionOptions())


def test_options_and_providers_are_checked(step_model: Callable[..., Path]) -> None:
    with pytest.raises(GnpError, match="session_options is a dict"):
        Loop(step_model("mlp"), session_options={})
    if not IS_OLD:  # Those take other providers in its place, whatever they are told.
        with pytest.raises(GnpError, match="ONNX Runtime refuses the model"):
            Loop(step_model("mlp"), providers=[3])
    with pytest.raises(GnpError, match="kernels is None"):
        Loop(step_model("mlp"), kernels=None)  # type: ignore[arg-type]
    with pytest.raises(GnpError, match="there is no library"):
        Loop(step_model("mlp"), kernels="nowhere.so")
    with pytest.raises(GnpError, match="ONNX Runtime refuses the kernels"):
        Loop(step_model("mlp"), kernels=__file__)
    with pytest.raises(GnpError, match=r"the hyperparameter `gnp\.seed` is"):
        Loop(step_model("cnn"), seed=1.5)  # type: ignore[arg-type]


@pytest.fixture
def library() -> Path:
    """The library of kernels: the package's own."""
    return Path(_gnp.__file__)


@pytest.mark.skipif(IS_OLD, reason="the kernels want ONNX Runtime 1.19")
def test_kernels_compute_the_same_up_to_rounding(
    step_model: Callable[..., Path], batches: list[Any], library: Path
) -> None:
    options = ort.SessionOptions()
    # One may be given the options of another.
    first, second = (Loop(step_model("mlp"), kernels=library, session_options=options, providers=CPU) for _ in range(2))
    bodies = Loop(step_model("mlp"), kernels="none")
    for batch in batches:
        found = first.step(batch, lr=0.05)
        assert_same(second.step(batch, lr=0.05), found)
        for name, expected in bodies.step(batch, lr=0.05).items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4)
    # Rounding differs somewhere, or there is no kernel in the library.
    assert any((first.state_dict()[name] != value).any() for name, value in bodies.state_dict().items())


@pytest.mark.skipif(IS_OLD, reason="the kernels want ONNX Runtime 1.19")
def test_kernels_that_came_with_the_package_are_used(
    step_model: Callable[..., Path],
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng, step = np.random.default_rng(0), step_model("cnn")
    batch = rng.normal(size=(8, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 8)
    monkeypatch.setattr("gnp._runtime.__file__", str(tmp_path / "_runtime.py"))
    without = Loop(step).step(batch)
    assert_same(Loop(step, kernels="none").step(batch), without)
    own = tmp_path / f"_gnp.abi3{library.suffix}"
    own.symlink_to(library)
    expected = Loop(step, kernels=library).step(batch)
    assert_same(Loop(step).step(batch), expected)
    assert any(np.any(expected[name] != value) for name, value in without.items())
    # Elsewhere: the loader knows what it has loaded by its path.
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / own.name).write_bytes(b"no library")
    monkeypatch.setattr("gnp._runtime.__file__", str(broken / "_runtime.py"))
    with pytest.warns(UserWarning, match="without gnp's kernels"):
        assert_same(Loop(step).step(batch), without)


def test_an_evaluation_is_that_of_the_model(
    step_model: Callable[..., Path], evaluation_model: Callable[[str], Path], batches: list[Any]
) -> None:
    loop = Loop(step_model("cnn"), evaluation=evaluation_model("cnn"), kernels="none")
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(len(y), 1, 28, 28)).astype(np.float32), y) for _, y in batches]
    for batch in batches[:3]:
        loop.step(batch, lr=0.1)
    state = loop.state_dict()
    model = onnx.load(MODELS / "cnn" / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name in state:
            tensor.CopyFrom(onnx.numpy_helper.from_array(state[tensor.name], tensor.name))
    session = ort.InferenceSession(model.SerializeToString(), providers=CPU)
    for x, y in batches:
        outputs: Any = loop.evaluate((x, y))
        (logits,) = session.run(None, {"input": x})
        np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-4, atol=1e-5)
        shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
        loss = (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]).mean()
        assert next(iter(outputs)) == "loss" and outputs["loss"] == pytest.approx(loss, rel=1e-5)
        assert (outputs["gnp.counted"], outputs["gnp.wrong"]) == (len(y), (logits.argmax(1) != y).sum())
    assert_same(loop.state_dict(), state)


class WithEvaluation(Bytes):
    """A step model that has its evaluation model."""

    def __init__(self, path: Path, evaluated: Path) -> None:
        super().__init__(path)
        self.evaluated = evaluated

    def evaluation(self) -> Any:
        return onnx.load(self.evaluated)


def test_an_evaluation_model_may_have_defaults(
    step_model: Callable[..., Path], evaluation_model: Callable[[str], Path], batches: list[Any]
) -> None:
    model = onnx.load(evaluation_model("mlp"))
    loop = Loop(step_model("mlp"), evaluation=model)
    double = onnx.load(evaluation_model("mlp"))
    double.graph.input.append(onnx.helper.make_tensor_value_info("factor", onnx.TensorProto.FLOAT, []))
    double.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2, np.float32), "factor"))
    double.graph.node.append(onnx.helper.make_node("Mul", ["loss", "factor"], ["double"]))
    double.graph.output[0].name = "double"
    found = Loop(step_model("mlp"), evaluation=double).evaluate(batches[0])
    assert found["double"] == 2 * loop.evaluate(batches[0])["loss"]


def test_an_evaluation_model_is_found_or_asked_for(
    step_model: Callable[..., Path], evaluation_model: Callable[[str], Path], batches: list[Any]
) -> None:
    evaluated = evaluation_model("mlp")
    named = Loop(step_model("mlp"), evaluation=evaluated).evaluate(batches[0])
    assert_same(Loop(WithEvaluation(step_model("mlp"), evaluated)).evaluate(batches[0]), named)
    with pytest.raises(GnpError, match="there is no evaluation model"):
        Loop(step_model("mlp")).evaluate(batches[0])
    with pytest.raises(GnpError, match="reads nothing of the step model's state"):
        Loop(step_model("mlp"), evaluation=evaluation_model("cnn")).evaluate(batches[0])


def test_draws_follow_from_the_seed(step_model: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(8, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 8)
    losses = [[Loop(step_model("cnn"), seed=seed).step(batch)["loss"] for _ in range(2)] for seed in (0, 1, 2**40)]
    assert all(first == second for first, second in losses) and len({first for first, _ in losses}) == 3


def test_threads_take_turns(step_model: Callable[..., Path], batches: list[Any]) -> None:
    mlp = Loop(step_model("mlp", optimizer="adam"), kernels="none")
    failures: list[Exception] = []

    def work() -> None:
        try:
            for batch in batches * 4:
                mlp.step(batch, lr=0.01)
                mlp.state_dict()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and mlp.state_dict()["step"] == 4 * 4 * len(batches)


def test_a_package_that_is_missing_is_named(step_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(GnpError) as caught:
                Loop(step_model("mlp"))
        assert caught.value.help == f"pip install {package}"


def test_only_numpy_is_imported_with_the_package(tmp_path: Path) -> None:
    code = (
        "import sys, gnp.loop, gnp.callbacks; print(sorted({'onnx', 'onnxruntime', 'torch', 'tqdm'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
