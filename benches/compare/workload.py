"""What a step trains on: a batch of noise, of the size that networks and devices are for."""

import numpy as np

CLASSES = 10
# Networks, and the sides of their images in pixels.
SIDES = {
    "wrn-16-2": 32, "resnet-18": 64, "vit-ti-4": 32, "mobilenet-v3-small": 96, "convnext-atto": 64,
    "resnet-50": 224, "vit-s-16": 224,
}
# What each device is measured with.
NETWORKS = {
    "cpu": ["wrn-16-2", "resnet-18", "vit-ti-4", "mobilenet-v3-small", "convnext-atto"],
    "cuda": ["wrn-16-2", "vit-ti-4", "resnet-50", "vit-s-16"],
}


def size(name, device):
    """Samples in a batch."""
    if device == "cpu":
        return 32
    return 128 if SIDES[name] < 224 else 64


def shape(name):
    """The shape of one image."""
    return [3, SIDES[name], SIDES[name]]


def batch(name, device):
    """Images (float32, [batch, 3, side, side]) and labels (int64, [batch])."""
    random = np.random.default_rng(0)
    images = random.normal(size=(size(name, device), *shape(name))).astype(np.float32)
    return images, random.integers(0, CLASSES, len(images))
