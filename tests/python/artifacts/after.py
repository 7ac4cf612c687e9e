"""What an application leaves: its checkpoint, and the model that it exported for inference.

python after.py exported EXPORTED OURS DIGITS SHAPE ...
python after.py checkpoint ARTIFACTS ONE OTHER DIGITS SHAPE ...
python after.py enlarge DIGITS OUT

`exported`: both models have the same outputs, and nothing but parameters of the model among their initializers;
`checkpoint`: from both checkpoints the runtime goes on in the same way; `enlarge`: digits with an edge, of 28 by 28.
"""

import sys
from pathlib import Path

import numpy as np
import onnx

from runtime import Training, onnxruntime


def digits(path: str, shape: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A batch of test images and their labels."""
    with np.load(path) as data:
        images = data["x_test"][:64].reshape(-1, *map(int, shape)).astype(np.float32) / 16
        return images, data["y_test"][:64].astype(np.int64)


def exported(one: str, other: str, path: str, *shape: str):
    """Compares two inference models."""
    images, _ = digits(path, list(shape))
    loaded = [onnx.load(model) for model in (one, other)]
    for node in loaded[1].graph.node:
        # The forward model of the cnn says that it trains.
        del node.input[1 if node.op_type == "Dropout" else len(node.input) :]
    files = [model.SerializeToString() for model in loaded]
    sessions = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]
    assert [[o.name for o in session.get_outputs()] for session in sessions] == [["logits"]] * 2
    found, expected = (session.run(None, {session.get_inputs()[0].name: images})[0] for session in sessions)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"logits differ by {difference:.1e}")
    assert difference <= 1e-6, difference
    # What the optimizer keeps has the name of its parameter before a point.
    held, known = ({tensor.name for tensor in model.graph.initializer} for model in loaded)
    kept = [name for name in held if name == "step" or name.rpartition(".")[0] in known]
    assert not kept, kept


def checkpoint(artifacts: str, one: str, other: str, path: str, *shape: str):
    """Takes steps from two checkpoints."""
    batch = digits(path, list(shape))
    ends = []
    for file in (one, other):
        training = Training(Path(artifacts), Path(file))
        onnxruntime.set_seed(1)
        losses = [training.step(*batch) for _ in range(3)]
        ends.append((losses, training.parameters()))
    (losses, parameters), (again, others) = ends
    assert losses == again and parameters.keys() == others.keys(), (losses, again)
    assert all(np.array_equal(value, others[name]) for name, value in parameters.items())


def enlarge(path: str, out: str):
    """Writes the digits for a model of larger images."""
    with np.load(path) as data:
        edge = ((0, 0), (10, 10), (10, 10))
        np.savez(out, **{name: np.pad(data[name], edge) if name[0] == "x" else data[name] for name in data.files})


if __name__ == "__main__":
    {"exported": exported, "checkpoint": checkpoint, "enlarge": enlarge}[sys.argv[1]](*sys.argv[2:])
