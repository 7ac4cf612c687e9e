"""Makes artifacts whose checkpoint has a data file, as ONNX Runtime writes it, and trains with them.

    python large_checkpoint.py make PERCEPTRON OPTIMIZER ARTIFACTS [--width 21760]
    python large_checkpoint.py train ARTIFACTS CHECKPOINT CHECKPOINT_OUT

`make` widens the perceptron of `models/mlp`: with 21,760 hidden units, two layers of them, its parameters are 1,812 MiB,
and ONNX Runtime puts them beside the checkpoint from 1,799 MiB on. It prints the first and the last element of each, a
JSON object. `train` takes a step of gradient descent, and prints the loss before it and after it.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.training import onnxblock
from onnxruntime.training.api import CheckpointState, Module, Optimizer


def make(args):
    """Writes training and optimizer model and checkpoint."""
    shapes = {
        "fc1.weight": [args.width, 64],
        "fc1.bias": [args.width],
        "fc2.weight": [args.width, args.width],
        "fc2.bias": [args.width],
        "fc3.weight": [10, args.width],
        "fc3.bias": [10],
    }
    model = onnx.load(args.perceptron / "training_model.onnx")
    for value in model.graph.input:
        shape = shapes.get(value.name.removesuffix("_grad.accumulation.buffer"))
        if shape:
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape))
    # The sizes of what is between are stale.
    del model.graph.value_info[:]
    args.artifacts.mkdir()
    onnx.save(model, args.artifacts / "training_model.onnx")
    shutil.copy(args.optimizer, args.artifacts / "optimizer_model.onnx")
    rng = np.random.default_rng(0)
    parameters, ends = [], {}
    for name, shape in shapes.items():
        parameter = rng.random(shape, dtype=np.float32) / args.width
        parameters.append(onnx.numpy_helper.from_array(parameter, name))
        ends[name] = [float(parameter.flat[0]), float(parameter.flat[-1])]
    onnxblock.save_checkpoint((parameters, []), args.artifacts / "checkpoint")
    print(json.dumps(ends))


def train(args):
    """Takes a step, and saves."""
    state = CheckpointState.load_checkpoint(args.checkpoint)
    module = Module(args.artifacts / "training_model.onnx", state)
    optimizer = Optimizer(args.artifacts / "optimizer_model.onnx", module)
    optimizer.set_learning_rate(0.1)
    images = np.random.default_rng(0).random((4, 64), dtype=np.float32)
    labels = np.arange(4)
    losses = [float(module(images, labels)[0])]
    optimizer.step()
    module.lazy_reset_grad()
    losses.append(float(module(images, labels)[0]))
    CheckpointState.save_checkpoint(state, args.checkpoint_out)
    print(json.dumps(losses))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.add_argument("perceptron", type=Path)
    command.add_argument("optimizer", type=Path)
    command.add_argument("artifacts", type=Path)
    command.add_argument("--width", type=int, default=21760)
    command.set_defaults(run=make)
    command = commands.add_parser("train")
    command.add_argument("artifacts", type=Path)
    command.add_argument("checkpoint", type=Path)
    command.add_argument("checkpoint_out", type=Path)
    command.set_defaults(run=train)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
