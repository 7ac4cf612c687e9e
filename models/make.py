"""Makes everything in this folder that is not a script: see README.md.

    pip install -r models/requirements.txt && python models/make.py

The same bytes come out every time. The generator logs its graph passes while it works, which is harmless.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from sklearn.datasets import load_digits

import architectures
from network import Network

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "python"))

import torch_stand_in  # noqa: E402

torch_stand_in.install()

from onnxruntime.training import artifacts, onnxblock  # noqa: E402


def write_artifacts(network: Network, root: Path):
    """Writes the forward model, and of it training, evaluation and optimizer model and the checkpoint, into the folder
    under `root` named after the network."""
    folder = root / network.name
    folder.mkdir(exist_ok=True)
    model = network.to_model(architectures.CLASSES)
    onnx.save(model, folder / "model.onnx")
    artifacts.generate_artifacts(
        model,
        requires_grad=network.trainable,
        frozen_params=network.frozen,
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.AdamW,
        additional_output_names=["logits"],
        artifact_directory=folder,
    )


def write_sgd_optimizer(path: Path):
    """Writes an optimizer model for θ ← θ − lr·g. Parameters and gradients are sequences, so it fits every artifact."""
    any_parameter = onnx.TensorProto(data_type=onnx.TensorProto.FLOAT)
    with onnxblock.empty_base(opset_version=architectures.OPSET):
        block = onnxblock.optim.SGD()
        block(([any_parameter], []))
        onnx.save(block.to_model_proto(), path)


def write_digits(path: Path):
    """scikit-learn's digits in its own order: the first 1,000 for training, the other 797 for testing."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    np.savez_compressed(
        path, x_train=images[:1000], y_train=labels[:1000], x_test=images[1000:], y_test=labels[1000:]
    )


def main():
    """Makes all files."""
    for build in architectures.mlp, architectures.cnn, architectures.cnn_head, architectures.vit:
        write_artifacts(build(), HERE)
    write_sgd_optimizer(HERE / "sgd_optimizer.onnx")
    write_digits(HERE / "digits.npz")


if __name__ == "__main__":
    main()
