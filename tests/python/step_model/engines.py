"""One state and ten steps on every engine.

python engines.py GNP-REWRITE FOLDER make   writes <model>/step.onnx and the batches, <model>/<number>.safetensors
python engines.py GNP-REWRITE FOLDER check  compares the state <model>/tract.safetensors with those of the other engines
"""

import sys
from pathlib import Path

import numpy as np
import onnx

import models
import tensors
from step import Step, rewrite

# A bias before a BatchNormalization has no gradient but rounding, which Adam would make steps of.
OPTIMIZERS = {"mlp": "adam", "cnn": "momentum", "text": "nesterov"}
STEPS, SAMPLES, LEARNING_RATE = 10, 4, np.float32(0.01)
BOUND = 1e-4


def make(program: str, folder: Path):
    """Step models and batches."""
    forward = models.small()
    for name, optimizer in OPTIMIZERS.items():
        place = folder / name
        place.mkdir()
        onnx.save(forward[name], place / "model.onnx")
        flags = ["--loss", "cross-entropy", "--optimizer", optimizer]
        step = rewrite(program, place / "model.onnx", place / "step.onnx", *flags)
        onnx.checker.check_model(step.path, full_check=True)
        for number in range(STEPS):
            batch = step.batch(SAMPLES, models.CLASSES, seed=number)
            tensors.write(place / f"{number}.safetensors", batch)


def check(_: str, folder: Path):
    """Every state against ONNX Runtime's."""
    for name in OPTIMIZERS:
        step = Step(folder / name / "step.onnx", set())
        batches = [tensors.read(folder / name / f"{number}.safetensors") for number in range(STEPS)]
        expected = after(step, step.run, batches)
        moved = {n: np.abs(expected[n] - value).max() for n, value in step.initial.items()}
        assert all(move > 100 * BOUND for n, move in moved.items() if n.endswith((".weight", ".table"))), moved
        others = {
            "tract": tensors.read(folder / name / "tract.safetensors"),
            "reference": after(step, step.reference, batches),
        }
        for engine, found in others.items():
            assert found.keys() == expected.keys()
            worst = max((np.abs(found[n] - expected[n]).max(), n) for n in expected)
            assert worst[0] <= BOUND, f"{name} on {engine}: {worst}"
            print(f"{name} on {engine}: {worst[0]:.1e} in {worst[1]}")


def after(step: Step, evaluate, batches: list) -> dict[str, np.ndarray]:
    """The state after a step with each batch."""
    state = step.initial
    for batch in batches:
        state = step.next(evaluate({**batch, **state, "lr": LEARNING_RATE}))
    return state


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[3]](sys.argv[1], Path(sys.argv[2]))
