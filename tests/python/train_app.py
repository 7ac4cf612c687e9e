"""An ordinary training application on ONNX Runtime's training API, which knows nothing of this project.

    python train_app.py ARTIFACTS DIGITS.npz CHECKPOINT_OUT [--shape 1 8 8] [--epochs 5] [--export MODEL]

Trains the artifacts in the folder ARTIFACTS on handwritten digits, saves a checkpoint, loads it into a fresh module,
evaluates that on the test images, and exports it for inference. The last line printed is a JSON object: `train_loss`, the mean of the last
epoch; `test_loss` and `test_accuracy` before the checkpoint was saved; `reloaded_test_loss` after.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.training.api import CheckpointState, Module, Optimizer

BATCH = 64
SEED = 0


def load_digits(path, shape):
    """Training and test images in [0, 1], shaped [n, *shape], with int64 labels."""
    with np.load(path) as data:
        for part in "train", "test":
            images = data[f"x_{part}"].reshape(-1, *shape).astype(np.float32) / 16
            yield images, data[f"y_{part}"].astype(np.int64)


def load_module(artifacts, checkpoint):
    """The training module and its state."""
    state = CheckpointState.load_checkpoint(checkpoint)
    return Module(artifacts / "training_model.onnx", state, artifacts / "eval_model.onnx"), state


def train_epoch(module, optimizer, images, labels, rng):
    """One pass over the data in random order. Returns the mean loss of its batches."""
    module.train()
    losses = []
    order = rng.permutation(len(labels))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        loss, _logits = module(images[batch], labels[batch])
        optimizer.step()
        module.lazy_reset_grad()
        losses.append(float(loss))
    return float(np.mean(losses))


def evaluate(module, images, labels):
    """Loss and accuracy."""
    module.eval()
    loss, logits = module(images, labels)
    return float(loss), float(np.mean(np.argmax(logits, axis=1) == labels))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("digits", type=Path)
    parser.add_argument("checkpoint_out", type=Path)
    parser.add_argument("--shape", type=int, nargs="+", default=[64])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()

    onnxruntime.set_seed(SEED)
    rng = np.random.default_rng(SEED)
    train, test = load_digits(args.digits, args.shape)

    module, state = load_module(args.artifacts, args.artifacts / "checkpoint")
    optimizer = Optimizer(args.artifacts / "optimizer_model.onnx", module)
    optimizer.set_learning_rate(3e-3)
    for epoch in range(args.epochs):
        train_loss = train_epoch(module, optimizer, *train, rng)
        print(f"epoch {epoch + 1}: loss {train_loss:.4f}")
    test_loss, test_accuracy = evaluate(module, *test)

    CheckpointState.save_checkpoint(state, args.checkpoint_out, include_optimizer_state=True)
    reloaded, _ = load_module(args.artifacts, args.checkpoint_out)
    reloaded_test_loss, _ = evaluate(reloaded, *test)
    if args.export:
        reloaded.export_model_for_inferencing(args.export, ["logits"])

    print(
        json.dumps(
            {
                "train_loss": train_loss,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "reloaded_test_loss": reloaded_test_loss,
            }
        )
    )


if __name__ == "__main__":
    main()
