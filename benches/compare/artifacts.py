"""Writes the comparison's models as ONNX Runtime training artifacts: pip install -r models/requirements.txt, then

    python benches/compare/artifacts.py FOLDER
"""

import sys
from pathlib import Path

import models  # noqa: F401  (finds models/)

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/python"))
import torch_stand_in

torch_stand_in.install()

from onnxruntime.training import artifacts


def main():
    for name, network in models.MODELS.items():
        network, folder = network(), Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        artifacts.generate_artifacts(
            network.to_model(models.CLASSES),
            requires_grad=network.trainable,
            frozen_params=network.frozen,
            loss=artifacts.LossType.CrossEntropyLoss,
            optimizer=artifacts.OptimType.AdamW,
            additional_output_names=["logits"],
            artifact_directory=folder,
        )


if __name__ == "__main__":
    main()
