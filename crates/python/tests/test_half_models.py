"""Models of PyTorch in half precision: they train in float32, and stay what they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gnp

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from gnp.pytorch import from_torch, to_torch  # noqa: E402

CLASSES = 3


def network() -> Any:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Linear(16, CLASSES)]
    return torch.nn.Sequential(*layers)


def batch(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return x, x[:, :CLASSES].argmax(axis=1).astype(np.int64)


def trained(kind: Any) -> tuple[Any, Any, list[float]]:
    """A module of type `kind`, what trained it, and the losses of the steps."""
    module = network().to(kind)
    model = from_torch(module, torch.ones(2, 6, dtype=kind))
    trainer = gnp.Trainer(gnp.rewrite(model, loss="cross-entropy", optimizer="momentum", r=0.05), engine="tract")
    return module, trainer, [trainer.step(batch(32, seed), lr=0.1)["loss"] for seed in range(30)]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_module_trains_as_in_float32_and_keeps_its_type(kind: Any, tmp_path: Path) -> None:
    _, _, expected = trained(torch.float32)
    module, trainer, losses = trained(kind)
    # The weights of bfloat16 begin half a unit in the last of eight binary places apart.
    assert losses == pytest.approx(expected, abs=0.02) and losses[-1] < 0.7 * losses[0]
    trainer.save_trained(tmp_path / "trained.onnx")
    written = onnx.load(tmp_path / "trained.onnx")
    names = {name for name, _ in module.named_parameters()}
    code = {torch.float16: 10, torch.float64: 11, torch.bfloat16: 16}[kind]
    found = {tensor.name: tensor.data_type for tensor in written.graph.initializer if tensor.name in names}
    assert set(found.values()) == {code} and found.keys() == names

    to_torch(trainer.state_dict(), module)
    x, labels = batch(64, 99)
    with torch.no_grad():
        scores = module(torch.from_numpy(x).to(kind)).double().numpy()
    evaluated = trainer.evaluate((x, labels))["loss"]
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float64: 1e-5}[kind]
    assert evaluated == pytest.approx(cross_entropy(scores, labels), abs=tolerance)
    if kind == torch.float16:
        session = onnxruntime.InferenceSession(tmp_path / "trained.onnx", providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        (run,) = session.run(None, {given.name: x.astype(np.float16)})
        assert np.abs(run.astype(np.float64) - scores).max() < 2e-2


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]))
