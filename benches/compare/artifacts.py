"""Makes ONNX Runtime training artifacts of the networks, for those that its generator has all gradients for.

    python benches/compare/networks.py --exporter torchscript EXPORTS      (with PyTorch)
    pip install -r models/requirements.txt                                 (in an environment of its own)
    python benches/compare/artifacts.py EXPORTS FOLDER
"""

import re
import sys
from pathlib import Path

import onnx

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/python"))
import torch_stand_in

torch_stand_in.install()

from onnxruntime.training import artifacts


def write(path, folder):
    """Writes the artifacts of an export in which parameters have the names that they have in PyTorch."""
    model = onnx.load(path)
    for node in model.graph.node:
        # The generator switches them to training itself, and the evaluation model must not be in it.
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            next(attribute for attribute in node.attribute if attribute.name == "training_mode").i = 0
    named = [tensor.name for tensor in model.graph.initializer if re.fullmatch(r"[\w.]+", tensor.name)]
    frozen = [name for name in named if "running_" in name]
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.generate_artifacts(
        model, requires_grad=[name for name in named if name not in frozen], frozen_params=frozen,
        loss=artifacts.LossType.CrossEntropyLoss, optimizer=artifacts.OptimType.AdamW, additional_output_names=["logits"],
        artifact_directory=folder,
    )


if __name__ == "__main__":
    for export in sorted(Path(sys.argv[1]).glob("*.onnx")):
        try:
            write(export, Path(sys.argv[2], export.stem))
        except RuntimeError as error:
            # Behind what failed in which function stands why.
            print(f"{export.stem}: no artifacts: {str(error).rpartition('was false. ')[2].strip()}", file=sys.stderr)
