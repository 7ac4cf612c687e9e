"""Training by a loop of one's own.

python training.py GNP-REWRITE FOLDER loop
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

import models
from step import rewrite

SCRIPT = Path(__file__).resolve().parent.parent / "train_loop.py"
DIGITS = Path(models.architectures.__file__).parent / "digits.npz"


def loop(program: str, folder: Path):
    """train_loop.py brings the loss of the digits down."""
    onnx.save(models.small()["mlp"], folder / "mlp.onnx")
    rewrite(program, folder / "mlp.onnx", folder / "step.onnx", "--loss", "cross-entropy", "--optimizer", "momentum")
    digits = np.load(DIGITS)
    images, labels = digits["x_train"].reshape(-1, 64).astype(np.float32) / 16, digits["y_train"].astype(np.int64)
    np.savez(folder / "digits.npz", x_train=images, y_train=labels)
    command = [sys.executable, SCRIPT, folder / "step.onnx", folder / "digits.npz"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    losses = [float(line.split()[1]) for line in printed.splitlines()]
    assert len(losses) == 3 and losses[-1] < 0.3, losses
    print(f"losses: {losses}")


if __name__ == "__main__":
    {"loop": loop}[sys.argv[3]](sys.argv[1], Path(sys.argv[2]))
