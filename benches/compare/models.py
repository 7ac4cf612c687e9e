"""The forward models of the comparison, for images of 3×32×32 and ten classes."""

import sys
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models"))
from architectures import CLASSES, OPSET, attention, classify, embed, feed_forward
from network import Network


def wrn_16_2() -> Network:
    """Wide ResNet 16-2 (Zagoruyko and Komodakis, 2016): pre-activation blocks, BatchNormalization, no Dropout."""
    net = Network("wrn-16-2", [3, 32, 32], OPSET, seed=5)
    x = net.conv("input", "stem", 3, 16, kernel=3, padding=1)
    inputs = 16
    for stage, outputs in enumerate([32, 64, 128]):
        for block in range(2):
            name, stride = f"stage{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            y = net.relu(net.batch_norm(x, f"{name}.bn1", inputs), f"{name}.relu1")
            shortcut = x
            if inputs != outputs:
                shortcut = net.conv(y, f"{name}.shortcut", inputs, outputs, kernel=1, stride=stride)
            y = net.conv(y, f"{name}.conv1", inputs, outputs, kernel=3, stride=stride, padding=1)
            y = net.relu(net.batch_norm(y, f"{name}.bn2", outputs), f"{name}.relu2")
            y = net.conv(y, f"{name}.conv2", outputs, outputs, kernel=3, padding=1)
            x, inputs = net.op("Add", [y, shortcut], f"{name}.sum"), outputs
    x = net.relu(net.batch_norm(x, "bn", inputs), "relu")
    x = net.op("Flatten", [net.op("GlobalAveragePool", [x], "pool")], "flatten")
    net.fully_connected(x, "head", inputs, CLASSES)
    return net


def vit_ti_4() -> Network:
    """ViT-Ti with patches of 4×4 (Dosovitskiy et al., 2021; Touvron et al., 2021): width 192, 12 blocks, 3 heads."""
    width, heads, patches = 192, 3, 64
    net = Network("vit-ti-4", [3, 32, 32], OPSET, seed=6)
    x = embed(net, channels=3, patch=4, width=width, patches=patches)
    for i in range(12):
        x = attention(net, x, f"block{i}.attention", width, heads)
        x = feed_forward(net, x, f"block{i}.mlp", width, ratio=4)
    classify(net, x, width)
    return net


MODELS = {"wrn-16-2": wrn_16_2, "vit-ti-4": vit_ti_4}


def write(name: str, folder: Path) -> Path:
    """Writes a forward model into a folder."""
    path = folder / f"{name}.onnx"
    onnx.save(MODELS[name]().to_model(CLASSES), path)
    return path
