"""Training over a loader: what is recorded, what is refused, and what an interruption leaves."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnp.callbacks import Callback
from gnp.errors import GnpError
from gnp.fitting import Fit
from gnp.history import History
from gnp.loop import Loop

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

Batches = list[tuple[Any, Any]]


@pytest.fixture
def make(step_model: Callable[..., Path], evaluation_model: Callable[[str], Path]) -> Callable[[], Loop]:
    """Loops that begin alike."""
    step = step_model("mlp", optimizer="adam")
    evaluation = evaluation_model("mlp")
    return lambda: Loop(step, evaluation=evaluation, kernels="none")


@pytest.fixture
def loop(make: Callable[[], Loop]) -> Loop:
    return make()


def test_digits_are_learnt(
    step_model: Callable[..., Path], evaluation_model: Callable[[str], Path], digits: Any
) -> None:
    loop: Any = Loop(step_model("mlp"), evaluation=evaluation_model("mlp"))
    x, y = digits["x_train"], digits["y_train"]

    def shuffled() -> Iterator[dict[str, Any]]:
        order = np.random.default_rng(0).permutation(len(x))
        for i in range(0, len(x), 64):
            yield {"input": x[order[i : i + 64]], "labels": y[order[i : i + 64]]}

    test = [(digits["x_test"][i : i + 100], digits["y_test"][i : i + 100]) for i in range(0, 797, 100)]
    history = loop.fit(shuffled, epochs=10, lr=0.1, r=0.1, alpha=0.8, validation=test)
    errors = [epoch["validation_error"] for epoch in history.epochs]
    assert errors[-1] < 0.1 < errors[0]
    wrong = sum(loop.evaluate(batch)["gnp.wrong"] for batch in test)
    assert errors[-1] == pytest.approx(wrong / 797)
    assert len(history.steps) == 10 * 16 and history.epochs[-1]["step"] == 160


def test_what_is_recorded_is_what_the_steps_returned(make: Callable[[], Loop], batches: Batches) -> None:
    loop, other = make(), make()
    x, y = batches[1]
    batches = [batches[0], (x, np.where(np.arange(64) < 50, -100, y)), *batches[2:]]
    others: dict[str, Any] = {"gnp.beta1": lambda step: 0.5}
    history = loop.fit(batches, epochs=2, lr=0.01, r=lambda step: 0.1 * step, **others)
    expected: list[dict[str, Any]] = []
    for i, batch in enumerate(batches * 2):
        outputs = other.step(batch, lr=0.01, r=0.1 * i, **{"gnp.beta1": 0.5})
        record = history.steps[i]
        expected.append(outputs)
        assert (record["epoch"], record["step"]) == (1 + i // 5, i + 1)
        assert (record["learning_rate"], record["r"], record["gnp.beta1"]) == (0.01, 0.1 * i, 0.5)
        assert record["alpha"] == loop.defaults["gnp.alpha"]
        for name in ("loss", "grad_norm", "loss_perturbed", "mixed_grad_norm", "param_norm"):
            assert record[name] == outputs["loss" if name == "loss" else f"gnp.{name}"]
        assert record["sharpness"] == outputs["gnp.loss_perturbed"] - outputs["loss"]
        assert record["error"] == outputs["gnp.wrong"] / outputs["gnp.counted"]
        assert 0 <= record["data_seconds"] < record["seconds"]
    # Of the 273 samples, 50 have labels that do not count.
    labels, samples = [64, 14, 64, 64, 17], [64, 64, 64, 64, 17]
    for epoch, part in zip(history.epochs, (expected[:5], expected[5:])):
        assert [outputs["gnp.counted"] for outputs in part] == labels
        for name, output, weights in (
            ("loss", "loss", labels),
            ("loss_perturbed", "gnp.loss_perturbed", labels),
            ("grad_norm", "gnp.grad_norm", samples),
            ("param_norm", "gnp.param_norm", samples),
        ):
            mean = np.average([outputs[output] for outputs in part], weights=weights)
            assert epoch[name] == pytest.approx(mean, rel=1e-12)
        assert epoch["error"] == pytest.approx(sum(outputs["gnp.wrong"] for outputs in part) / sum(labels))
        assert epoch["r"] == history.steps[epoch["step"] - 1]["r"]
        assert epoch["examples_per_second"] == pytest.approx(273 / epoch["seconds"])


def test_validation_is_a_mean_over_labels_and_trains_nothing(make: Callable[[], Loop], batches: Batches) -> None:
    loop, other = make(), make()
    history = loop.fit(batches, validation=lambda: iter(batches), epochs=2)
    other.fit(batches, epochs=2)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(loop.state_dict()[name], value)
    losses: list[Any] = [loop.evaluate(batch)["loss"] for batch in batches]
    expected = np.average(losses, weights=[len(y) for _, y in batches])
    assert history.epochs[-1]["validation_loss"] == pytest.approx(expected, rel=1e-12)


def test_any_iterable_is_a_loader(make: Callable[[], Loop], batches: Batches) -> None:
    class Sequence:
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> Any:
            return batches[index]

    def generator() -> Iterator[Any]:
        yield from batches

    loaders: list[Any] = [batches, tuple(batches), Sequence(), generator, lambda: iter(batches), lambda: batches]
    for loader in loaders:
        assert len(make().fit(loader, epochs=2).steps) == 10
    assert len(make().fit(generator()).steps) == 5
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(np.concatenate(part)) for part in zip(*batches))
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, batch_size=64)
    expected = make().fit(batches, epochs=2).steps
    found = make().fit(loader, epochs=2).steps
    assert [step["loss"] for step in found] == [step["loss"] for step in expected]


def test_what_cannot_be_gone_through_is_refused(loop: Loop, batches: Batches, tmp_path: Path) -> None:
    class Exhausted:
        def __init__(self) -> None:
            self.batches = iter(batches)

        def __iter__(self) -> Iterator[Any]:
            return self.batches

    cases: list[tuple[dict[str, Any], str]] = [
        ({"loader": iter(batches), "epochs": 2}, "can be gone through once, but there are 2 epochs"),
        ({"loader": batches, "epochs": 2, "validation": (b for b in batches)}, "`validation` is a generator"),
        ({"loader": Exhausted(), "epochs": 2}, "`loader` gave no batch in epoch 2"),
        ({"loader": []}, "`loader` gave no batch in epoch 1"),
        ({"loader": batches, "validation": []}, "`validation` gave no batch"),
        ({"loader": 3}, "`loader` is int, which is no iterable of batches"),
        ({"loader": lambda: None}, "returned NoneType, no iterable"),
        ({"loader": {"input": 1}}, "`loader` is dict; expected an iterable"),
        ({"loader": batches[0]}, "mapping from input names to arrays"),
        ({"loader": batches, "epochs": 0}, "epochs is a whole number from 1 on, not 0"),
        ({"loader": batches, "epochs": 1.5}, "epochs is a whole number"),
        ({"loader": batches, "lr": "high"}, "`lr` is 'high' at step 0"),
        ({"loader": batches, "lr": lambda step: None}, "`lr` is None at step 0"),
        ({"loader": batches, "gnp.beta9": 1}, "no hyperparameter `gnp.beta9`"),
        ({"loader": batches, "callbacks": [print]}, "builtin_function_or_method is no callback"),
        ({"loader": batches, "callbacks": [Callback]}, "Callback is no callback"),
        ({"loader": batches, "callbacks": Callback()}, "callbacks is one callback"),
        ({"loader": batches, "checkpoint": tmp_path / "nothing" / "x"}, "there is no folder"),
    ]  # fmt: skip
    for arguments, message in cases:
        with pytest.raises(GnpError, match=re.escape(message)):
            loop.fit(**arguments)


def test_what_a_loader_raises_is_its_own(loop: Loop, batches: Batches) -> None:
    def broken() -> Iterator[Any]:
        yield batches[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        loop.fit(broken)
    assert loop.state_dict()["step"] == 1


def test_divergence_says_where_and_keeps_the_state(loop: Loop, batches: Batches) -> None:
    holes = batches[2][0].copy()
    holes[3, 5] = np.inf
    with pytest.raises(GnpError) as caught:
        loop.fit([*batches[:2], (holes, batches[2][1])])
    assert caught.value.kind == "diverged"
    assert "at step 3 (epoch 1); its batch has inf at [3, 5] of `input`" in caught.value.message
    assert caught.value.help == "mend that sample, or leave it out"
    state = loop.state_dict()
    assert state["step"] == 2 and all(np.isfinite(value).all() for value in state.values())


class Told(Callback):
    """Notes what it was told, and does something after a step."""

    def __init__(self, at: int = 0, do: Callable[[], None] = lambda: None) -> None:
        self.at, self.do = at, do
        self.told: list[Any] = []

    def on_fit_begin(self, fit: Fit) -> None:
        self.told.append(("begin", fit.epochs, fit.steps_per_epoch))

    def on_step(self, fit: Fit, record: dict[str, Any]) -> None:
        self.told.append(record["step"])
        if record["step"] == self.at:
            self.do()

    def on_epoch(self, fit: Fit, record: dict[str, Any]) -> None:
        self.told.append(("epoch", record["epoch"]))

    def on_interrupt(self, fit: Fit, checkpoint: str | None) -> None:
        self.told.append(("interrupt", checkpoint))

    def on_fit_end(self, fit: Fit) -> None:
        self.told.append(("end", len(fit.history.steps)))


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_callbacks_are_told(loop: Loop, batches: Batches) -> None:
    told = Told()
    loop.fit(batches[:2], epochs=2, callbacks=[told])
    assert told.told == [("begin", 2, 2), 1, 2, ("epoch", 1), 3, 4, ("epoch", 2), ("end", 4)]


def test_callbacks_may_end_it(loop: Loop, batches: Batches) -> None:
    class Enough(Callback):
        def on_step(self, fit: Fit, record: dict[str, Any]) -> None:
            fit.is_over = record["step"] == 3

    history = loop.fit(lambda: iter(batches), epochs=9, callbacks=[Enough()])
    assert len(history.steps) == 3 and len(history.epochs) == 1 and loop.state_dict()["step"] == 3


def test_callbacks_hear_the_end_of_what_fails(loop: Loop, batches: Batches) -> None:
    def fail() -> None:
        raise RuntimeError("no more")

    first, second = Told(), Told(2, fail)
    with pytest.raises(RuntimeError, match="no more"):
        loop.fit(batches, callbacks=[first, second])
    assert first.told[-1] == second.told[-1] == ("end", 2)


def assert_kept(loop: Loop, file: Path, make: Callable[[], Loop], batches: Batches, steps: int) -> None:
    """``file`` has the state after ``steps`` of a training that was not interrupted."""
    calm = make()
    for i in range(steps):
        calm.step(batches[i % len(batches)])
    expected = calm.state_dict()
    interrupted = loop.state_dict()
    loop.load(file)
    for name, value in loop.state_dict().items():
        np.testing.assert_array_equal(value, expected[name])
        np.testing.assert_array_equal(value, interrupted[name])


def test_ctrl_c_leaves_a_checkpoint(
    make: Callable[[], Loop], batches: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop, file, told = make(), tmp_path / "kept.safetensors", Told(7, interrupt)
    before = signal.getsignal(signal.SIGINT)
    with caplog.at_level(logging.WARNING, "gnp"), pytest.raises(KeyboardInterrupt):
        loop.fit(batches, epochs=3, callbacks=[told], checkpoint=file)
    assert told.told[-3:] == [7, ("interrupt", str(file)), ("end", 7)]
    assert str(file) in caplog.text and os.listdir(tmp_path) == [file.name]
    assert signal.getsignal(signal.SIGINT) is before
    assert_kept(loop, file, make, batches, 7)


def test_ctrl_c_lets_the_step_under_way_end(
    make: Callable[[], Loop], batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Loop):
        def step(self, batch: object, **hyperparameters: Any) -> Any:
            if self.state_dict()["step"] == 3:
                interrupt()
                interrupt()
            return super().step(batch, **hyperparameters)

    loop, told = make(), Told()
    loop.__class__ = Interrupted
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(batches, callbacks=[told])
    assert told.told[-2:] == [("interrupt", "gnp-interrupted.safetensors"), ("end", 4)]
    assert_kept(loop, tmp_path / "gnp-interrupted.safetensors", make, batches, 4)


def test_ctrl_c_while_waiting_for_a_batch(make: Callable[[], Loop], batches: Batches, tmp_path: Path) -> None:
    def slow() -> Iterator[Any]:
        yield from batches[:2]
        interrupt()
        pytest.fail("the interruption was not heard")

    loop, told = make(), Told()
    with pytest.raises(KeyboardInterrupt):
        loop.fit(slow, callbacks=[told], checkpoint=tmp_path / "kept")
    assert_kept(loop, tmp_path / "kept", make, batches, 2)


def test_ctrl_c_is_heard_even_if_nothing_can_be_saved(
    loop: Loop, batches: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def vanish() -> None:
        folder.rmdir()
        interrupt()

    told = Told(1, vanish)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(batches, callbacks=[told], checkpoint=folder / "kept")
    assert told.told[-2:] == [("interrupt", None), ("end", 1)] and "could not be saved" in caplog.text


def test_threads_that_hear_no_signals_train_too(loop: Loop, batches: Batches) -> None:
    found: list[History] = []
    thread = threading.Thread(target=lambda: found.append(loop.fit(batches)))
    thread.start()
    thread.join()
    assert len(found[0].steps) == 5


def test_handlers_of_others_are_asked(loop: Loop, batches: Batches) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        history = loop.fit(batches, callbacks=[Told(2, interrupt)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT] and len(history.steps) == 5


def test_a_history_is_shown(loop: Loop, batches: Batches) -> None:
    history = loop.fit(batches, epochs=3, validation=batches)
    page = history._repr_html_()
    assert page.count("<tr>") == 4 and "<svg" in page and "validation loss" in page
    lines = re.findall(r'points="([^"]+)"', page)
    assert [len(line.split()) for line in lines] == [15, 3, 3]
    # Heights are in the order of the losses, from the top.
    heights = [float(point.split(",")[1]) for point in lines[0].split()]
    losses = [step["loss"] for step in history.steps]
    assert np.argsort(heights).tolist() == np.argsort(losses)[::-1].tolist()
    assert "3 epochs, 15 steps; loss" in repr(history)
    # Of many epochs the first and the last.
    history.epochs *= 10
    page = history._repr_html_()
    assert page.count("<tr>") == 1 + 4 + 1 + 8 and page.count("…") == 1
    assert History()._repr_html_() == "<div></div>" and "nothing yet" in repr(History())


def test_records_are_ready_for_pandas(loop: Loop, batches: Batches) -> None:
    pandas = pytest.importorskip("pandas")
    history = loop.fit(batches, epochs=2, validation=batches)
    assert pandas.DataFrame(history.steps).shape[0] == 10
    frame = pandas.DataFrame(history.epochs)
    assert frame["validation_loss"].tolist() == [epoch["validation_loss"] for epoch in history.epochs]
    assert frame.notna().all().all() and all(frame.dtypes.map(lambda dtype: dtype.kind in "if"))
