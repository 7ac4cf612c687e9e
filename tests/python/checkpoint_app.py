"""An application on ONNX Runtime's training API that trains a little, saves, and trains on.

    python checkpoint_app.py ARTIFACTS CHECKPOINT CHECKPOINT_OUT DUMP [--shape 1 8 8] [--fill NOMINAL]

Loads CHECKPOINT, writes the elements of all its parameters into the folder DUMP, a file each, trains for three steps,
sets a property of each kind, saves CHECKPOINT_OUT with the optimizer's state, and trains for three steps more. With
--fill, the state is that of the nominal checkpoint NOMINAL, with the parameters of CHECKPOINT copied into it. Prints a
JSON object: `trainable`, the names of the parameters that train, and `frozen`; `properties` as they were loaded;
`losses`, of the steps before it saved; `more_losses`, of those after.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.training.api import CheckpointState, Module, Optimizer

STEPS = 3


def load(artifacts, checkpoint):
    """The training module and its state."""
    state = CheckpointState.load_checkpoint(checkpoint)
    return Module(artifacts / "training_model.onnx", state, artifacts / "eval_model.onnx"), state


def train(module, optimizer, images, labels):
    """Some steps on one batch, the same random draws each time. Returns their losses."""
    losses = []
    for step in range(STEPS):
        onnxruntime.set_seed(step)
        losses.append(float(module(images, labels)[0]))
        optimizer.step()
        module.lazy_reset_grad()
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("checkpoint_out", type=Path)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--shape", type=int, nargs="+", default=[64])
    parser.add_argument("--fill", type=Path)
    args = parser.parse_args()

    module, state = load(args.artifacts, args.checkpoint)
    if args.fill:
        parameters = module.get_contiguous_parameters(trainable_only=False)
        module, state = load(args.artifacts, args.fill)
        module.copy_buffer_to_parameters(parameters, trainable_only=False)
    args.dump.mkdir()
    report = {"trainable": [], "frozen": [], "properties": dict(state.properties)}
    for name, parameter in state.parameters:
        report["trainable" if parameter.requires_grad else "frozen"].append(name)
        parameter.data.tofile(args.dump / name)

    rng = np.random.default_rng(0)
    images = rng.random((16, *args.shape), dtype=np.float32)
    labels = rng.integers(0, 10, 16)
    optimizer = Optimizer(args.artifacts / "optimizer_model.onnx", module)
    report["losses"] = train(module, optimizer, images, labels)
    state.properties["epoch"] = -3
    state.properties["loss"] = 0.25
    state.properties["note"] = "grüße"
    CheckpointState.save_checkpoint(state, args.checkpoint_out, include_optimizer_state=True)
    report["more_losses"] = train(module, optimizer, images, labels)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
