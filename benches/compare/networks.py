"""The networks of the comparison, for ten classes, and their export to ONNX: as timm and torchvision have them where they do.

    python benches/compare/networks.py [--exporter torchscript] FOLDER [NETWORK ...]

writes NETWORK.onnx for each, as docs/exporting.md says that PyTorch exports for training.
"""

import argparse
import contextlib
import io
import warnings
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import workload


class Block(nn.Module):
    """Two convolutions behind BatchNormalization and ReLU, and what goes past them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)))) + shortcut


def wide_resnet(classes):
    """WRN-16-2 (Zagoruyko and Komodakis, 2016), without Dropout."""
    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for stage, outputs in enumerate([32, 64, 128]):
        for block in range(2):
            layers.append(Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    tail = [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]
    return nn.Sequential(*layers, *tail)


def tiny_vision_transformer(classes):
    """ViT-Ti with patches of 4×4 (Dosovitskiy et al., 2021; Touvron et al., 2021)."""
    return timm.models.VisionTransformer(img_size=32, patch_size=4, embed_dim=192, depth=12, num_heads=3, num_classes=classes)


NETWORKS = {
    "wrn-16-2": wide_resnet,
    "resnet-18": lambda classes: torchvision.models.resnet18(num_classes=classes),
    "vit-ti-4": tiny_vision_transformer,
    "mobilenet-v3-small": lambda classes: torchvision.models.mobilenet_v3_small(num_classes=classes),
    "convnext-atto": lambda classes: timm.create_model("convnext_atto", num_classes=classes),
    "resnet-50": lambda classes: torchvision.models.resnet50(num_classes=classes),
    "vit-s-16": lambda classes: timm.create_model("vit_small_patch16_224", num_classes=classes),
}


def build(name):
    """A network in train mode, the same at every call."""
    torch.manual_seed(0)
    return NETWORKS[name](workload.CLASSES).train()


@contextlib.contextmanager
def silence():
    """Without what exporters say of their progress."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def export(name, folder, exporter="dynamo"):
    """Writes NETWORK.onnx into the folder, with an open batch axis, and returns its path."""
    path = Path(folder, f"{name}.onnx")
    arguments = (build(name), (torch.zeros(2, *workload.shape(name)),), path)
    options = {"input_names": ["input"], "output_names": ["logits"]}
    if exporter == "dynamo":
        batch = ({0: torch.export.Dim("batch")},)
        # Of later operator sets ONNX Runtime lacks some kernels on CUDA.
        options |= {"dynamo": True, "opset_version": 18, "optimize": False, "external_data": False, "dynamic_shapes": batch}
    else:
        # The newest opset of which ONNX Runtime's training build has all gradients: that of LayerNormalization wants its three outputs.
        options |= {"dynamo": False, "opset_version": 16, "do_constant_folding": False, "training": torch.onnx.TrainingMode.TRAINING}
        options |= {"dynamic_axes": {"input": {0: "batch"}, "logits": {0: "batch"}}}
    with silence():
        torch.onnx.export(*arguments, **options)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help="all of them")
    parser.add_argument("--exporter", choices=["dynamo", "torchscript"], default="dynamo")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        print(export(name, arguments.folder, arguments.exporter))


if __name__ == "__main__":
    main()
