"""The names that a step model has: inputs, outputs and metadata (docs/rewriting.md)."""

from __future__ import annotations

LABELS = "labels"
LEARNING_RATE = "lr"
R = "gnp.r"
ALPHA = "gnp.alpha"
SEED = "gnp.seed"

LOSS = "loss"
GRAD_NORM = "gnp.grad_norm"
LOSS_PERTURBED = "gnp.loss_perturbed"
MIXED_GRAD_NORM = "gnp.mixed_grad_norm"
PARAM_NORM = "gnp.param_norm"
SCALED_BY = "gnp.scaled_by"
SKIPPED = "gnp.skipped"
COUNTED = "gnp.counted"
WRONG = "gnp.wrong"
WEIGHT = "gnp.weight"

CONFIG_KEY = "gnp.config"
STATE_KEY = "gnp.state"
RANGES_KEY = "gnp.ranges"
