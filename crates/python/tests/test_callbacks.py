"""Progress bars, logs and checkpoints, with the packages that they are for."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnp.callbacks import Callback, Checkpoint, MLflow, Progress, TensorBoard, WandB
from gnp.errors import GnpError
from gnp.fitting import Fit
from gnp.history import History
from gnp.loop import Loop

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture
def fit(
    step_model: Callable[..., Path], evaluation_model: Callable[[str], Path], batches: list[Any]
) -> Callable[..., History]:
    """Two epochs of five steps on the digits."""

    def fit(*callbacks: Callback, loader: Any = batches) -> History:
        loop = Loop(step_model("mlp"), evaluation=evaluation_model("mlp"), kernels="none")
        return loop.fit(loader, epochs=2, validation=batches, callbacks=callbacks, lr=0.05)

    return fit


def assert_logged(found: dict[str, dict[int, float]], history: History) -> None:
    """``found`` has, by tags and steps, what is in ``history``."""
    for prefix, records in (("train/", history.steps), ("epoch/", history.epochs)):
        for name in ("loss", "error", "grad_norm", "learning_rate", "examples_per_second"):
            expected = {record["step"]: record[name] for record in records}
            assert found[prefix + name] == pytest.approx(expected, rel=1e-6), name
    assert set(found["epoch/validation_loss"]) == {5, 10} and "train/step" not in found


def test_progress_is_shown(fit: Callable[..., History], batches: list[Any]) -> None:
    pytest.importorskip("tqdm")
    file = io.StringIO()
    history = fit(Progress(file=file, mininterval=0))
    shown = file.getvalue().split("\r")
    assert "epoch 2/2: 100%" in shown[-1] and "10/10" in shown[-1]
    last = history.epochs[-1]
    assert f"loss={last['loss']:.4f}" in shown[-1] and f"val_error={last['validation_error']:.2%}" in shown[-1]
    # Without a length, and a second time.
    file = io.StringIO()
    progress = Progress(file=file, mininterval=0)
    for _ in range(2):
        fit(progress, loader=lambda: iter(batches))
    assert file.getvalue().split("\r")[-1].startswith("epoch 2/2: 10step")


def test_event_files_are_those_of_tensorboard(fit: Callable[..., History], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = fit(TensorBoard(tmp_path / "logs"))
    events = accumulator.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0}).Reload()
    make_array = pytest.importorskip("tensorboard.util.tensor_util").make_ndarray
    found = {
        tag: {event.step: float(make_array(event.tensor_proto)) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    assert_logged(found, history)


def test_some_steps_alone_may_be_written(fit: Callable[..., History], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(TensorBoard(tmp_path, every=4))
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Tensors("train/loss")] == [4, 8]


def test_runs_are_logged_to_mlflow(
    fit: Callable[..., History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    history = fit(MLflow(run_name="digits"))
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status) == ("digits", "FINISHED") and float(run.data.params["gnp.r"]) > 0
    found = {
        tag: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, tag)}
        for tag in run.data.metrics
    }
    assert_logged(found, history)
    # A run of the user's own is left open.
    with mlflow.start_run() as own:
        fit(MLflow())
        assert mlflow.active_run().info.run_id == own.info.run_id
    assert "train/loss" in client.get_run(own.info.run_id).data.metrics
    with pytest.raises(GnpError):
        fit(MLflow(), loader=[])
    assert mlflow.active_run() is None and client.search_runs(["0"])[0].info.status == "FAILED"


def test_runs_are_logged_to_weights_and_biases(
    fit: Callable[..., History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb: Any = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings: dict[str, Any] = {"mode": "offline", "dir": str(tmp_path), "project": "digits"}
    fit(WandB(**settings))
    assert wandb.run is None and list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    with wandb.init(**settings) as begun:
        own: Any = begun
        fit(WandB())
        assert wandb.run is begun and own.config["gnp.alpha"] == pytest.approx(0.8) and own.step == 10
        history = fit(WandB())
        assert own.step == 20
        # What belongs to a step is kept until there is another.
        own.log({"end": 1}, step=21)
        assert own.summary["train/loss"] == history.steps[-1]["loss"]
        assert own.summary["epoch/validation_loss"] == history.epochs[-1]["validation_loss"]


def test_checkpoints_are_of_epochs_and_of_the_best(
    step_model: Callable[..., Path], fit: Callable[..., History], tmp_path: Path
) -> None:
    states: list[dict[str, Any]] = []

    class Keep(Callback):
        def on_epoch(self, fit: Fit, record: dict[str, Any]) -> None:
            states.append(fit.trainable.state_dict())

    every = Checkpoint(tmp_path / "a" / "b", every=1, best="validation_loss")
    first = Checkpoint(tmp_path / "c", best="param_norm")
    history = fit(Keep(), every, first)
    names = ["best.safetensors", "epoch-00001.safetensors", "epoch-00002.safetensors"]
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == names
    loop = Loop(step_model("mlp"))
    best = int(np.argmin([epoch["validation_loss"] for epoch in history.epochs]))
    assert every.best_epoch == history.epochs[best]
    norms = [epoch["param_norm"] for epoch in history.epochs]
    for file, state in (
        ("a/b/epoch-00001.safetensors", states[0]),
        ("a/b/epoch-00002.safetensors", states[1]),
        ("a/b/best.safetensors", states[best]),
        ("c/best.safetensors", states[int(np.argmin(norms))]),
    ):
        loop.load(tmp_path / file)
        for name, value in loop.state_dict().items():
            np.testing.assert_array_equal(value, state[name])


def test_callbacks_check_what_they_are_given(fit: Callable[..., History], tmp_path: Path) -> None:
    with pytest.raises(GnpError, match="saves nothing"):
        Checkpoint(tmp_path)
    with pytest.raises(GnpError, match="every is a whole number from 1 on, not 0"):
        Checkpoint(tmp_path, every=0)
    with pytest.raises(GnpError, match="an epoch has no measure `accuracy`; it has epoch, step, loss") as caught:
        fit(Checkpoint(tmp_path, best="accuracy"))
    assert "validation" in str(caught.value.help)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GnpError, match="cannot make the folder"):
        fit(Checkpoint(tmp_path / "file" / "folder", every=1))


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [
        (Progress, "tqdm.auto", "tqdm"),
        (lambda: TensorBoard("logs"), "tensorboard.summary", "tensorboard"),
        (WandB, "wandb", "wandb"),
        (MLflow, "mlflow", "mlflow"),
    ],
)
def test_a_package_that_is_missing_is_named(
    make: Callable[[], Callback], module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(GnpError) as caught:
        make()
    assert caught.value.help == f"pip install {package}" and package in caught.value.message
