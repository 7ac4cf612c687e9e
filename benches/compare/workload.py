"""What a step trains on: a batch of noise, of the size that the networks are for."""

import numpy as np

BATCH, CLASSES = 32, 10
SIDES = {"wrn-16-2": 32, "resnet-18": 64, "vit-ti-4": 32, "mobilenet-v3-small": 96, "convnext-atto": 64}


def shape(name):
    """The shape of one image."""
    return [3, SIDES[name], SIDES[name]]


def batch(name):
    """Images (float32, [32, 3, side, side]) and labels (int64, [32])."""
    random = np.random.default_rng(0)
    images = random.normal(size=(BATCH, *shape(name))).astype(np.float32)
    return images, random.integers(0, CLASSES, BATCH)
