"""Artifacts for ONNX Runtime's training API: those of its own package, those of gnp-rewrite, and a step of either."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.append(str(Path(__file__).resolve().parents[1]))

import torch_stand_in  # noqa: E402

torch_stand_in.install()

import onnxruntime  # noqa: E402
from onnxruntime.training import artifacts  # noqa: E402
from onnxruntime.training.api import CheckpointState, Module, Optimizer  # noqa: E402

onnxruntime.set_default_logger_severity(3)
State = dict[str, np.ndarray]
# Newer ones the runtime does not read.
IR = 8


def gnp_rewrite(program: str, *arguments):
    """Runs gnp-rewrite."""
    subprocess.run([program, *map(str, arguments), "--quiet"], check=True)


def generate(model: onnx.ModelProto, trains: list[str], folder: Path, loss=artifacts.LossType.CrossEntropyLoss):
    """What the package makes of a forward model; what does not train is frozen."""
    folder.mkdir()
    weights = [tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    artifacts.generate_artifacts(
        model,
        requires_grad=trains,
        frozen_params=[name for name in weights if name not in trains],
        loss=loss,
        optimizer=artifacts.OptimType.AdamW,
        artifact_directory=folder,
    )
    # The package writes it in the file format of the newest `onnx`.
    optimizer = onnx.load(folder / "optimizer_model.onnx")
    optimizer.ir_version = IR
    onnx.save(optimizer, folder / "optimizer_model.onnx")


class Training:
    """A folder of artifacts in the runtime."""

    def __init__(self, folder: Path, checkpoint: Path | None = None):
        self.state = CheckpointState.load_checkpoint(checkpoint or folder / "checkpoint")
        self.module = Module(folder / "training_model.onnx", self.state, folder / "eval_model.onnx")
        self.optimizer = Optimizer(folder / "optimizer_model.onnx", self.module)

    def loss(self, *batch: np.ndarray) -> float:
        """The loss of a batch; its gradients are then in the accumulators."""
        self.module.train()
        returned = self.module(*batch)
        return float(returned[0] if isinstance(returned, tuple) else returned)

    def step(self, *batch: np.ndarray) -> float:
        """A step of the optimizer, as applications take it. Returns the loss before it."""
        loss = self.loss(*batch)
        self.optimizer.step()
        self.module.lazy_reset_grad()
        return loss

    def gradients(self, *batch: np.ndarray) -> tuple[float, State]:
        """The loss, and the gradient of each parameter that trains; the draws are always the same."""
        onnxruntime.set_seed(1)
        self.module.lazy_reset_grad()
        loss = self.loss(*batch)
        return loss, {name: np.array(p.grad) for name, p in self.state.parameters if p.requires_grad}

    def parameters(self) -> State:
        """All parameters, frozen ones among them."""
        return {name: np.array(parameter.data) for name, parameter in self.state.parameters}


def norm(values: State) -> float:
    """Of all values together."""
    return float(np.sqrt(sum(np.sum(value.astype(np.float64) ** 2) for value in values.values())))


def relative_error(found: State, expected: State) -> float:
    """‖found − expected‖/‖expected‖, of all values together."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    return norm({n: found[n].astype(np.float64) - expected[n] for n in found}) / norm(expected)
