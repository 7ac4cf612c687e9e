"""From what a step returned to what is recorded of it, and the means of an epoch.

The names and the averages are those of gnp-run's ``metrics.jsonl``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnp import _contract as contract
from gnp.errors import GnpError

Record = dict[str, Any]

_OF_OUTPUTS = {
    "loss": contract.LOSS,
    "loss_perturbed": contract.LOSS_PERTURBED,
    "grad_norm": contract.GRAD_NORM,
    "mixed_grad_norm": contract.MIXED_GRAD_NORM,
    "param_norm": contract.PARAM_NORM,
    "loss_scale": contract.SCALED_BY,
    "skipped": contract.SKIPPED,
}
# What a step that was not taken has no numbers of.
_OF_GRADIENTS = ("loss_perturbed", "grad_norm", "mixed_grad_norm")
_LOSSES = {"loss", "loss_perturbed", "sharpness"}
# What is that of the last batch.
_LAST = {"loss_scale"}


@dataclass(frozen=True)
class Counts:
    """What is counted of a batch.

    Attributes:
        samples: The samples.
        weight: What the mean over the batch that its loss is weighs: the sum of the weights of the classes of the
            labels that count, or their number, or that of the samples.
        labels: The labels that count.
        wrong: How many of them are wrong, where that is known.
    """

    samples: int
    weight: float
    labels: float
    wrong: float | None

    @classmethod
    def of(cls, outputs: Mapping[str, Any], samples: int) -> Counts:
        """What a model that returned ``outputs`` counted of a batch of ``samples``.

        Raises:
            GnpError: A label is neither a class nor to be ignored.
        """
        labels = outputs.get(contract.COUNTED)
        if labels is None:
            return cls(samples, float(samples), float(samples), None)
        if math.isnan(labels):
            raise GnpError(
                "a label of the batch is neither a class of the model nor to be ignored",
                help="number the classes from 0, and train a model with as many; labels of -100 are ignored",
            )
        return cls(samples, outputs.get(contract.WEIGHT, labels), labels, outputs.get(contract.WRONG))

    @property
    def error(self) -> float | None:
        """The fraction of the labels that are wrong."""
        return None if self.wrong is None or self.labels == 0 else self.wrong / self.labels


def was_skipped(outputs: Mapping[str, Any]) -> bool:
    """Whether the step was not taken, as a gradient was not finite at the scale that its loss had."""
    return bool(outputs.get(contract.SKIPPED) == 1.0)


def measure(outputs: Mapping[str, Any], counts: Counts) -> Record:
    """What is recorded of a step that returned ``outputs``; what is not known is left out."""
    record = {name: outputs[output] for name, output in _OF_OUTPUTS.items() if output in outputs}
    if was_skipped(outputs):
        for name in _OF_GRADIENTS:
            record.pop(name, None)
    if "loss_perturbed" in record:
        record["sharpness"] = record["loss_perturbed"] - record["loss"]
    if counts.error is not None:
        record["error"] = counts.error
    return record


class Means:
    """The means over batches: of losses by what they weigh, of errors over labels, of norms over samples."""

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, record: Record, counts: Counts) -> None:
        """Adds what was measured of a batch."""
        self.samples += counts.samples
        for name, value in record.items():
            weight = counts.weight if name in _LOSSES else counts.labels if name == "error" else counts.samples
            total, weights = self._sums.get(name, (0.0, 0.0)) if name not in _LAST else (0.0, 0.0)
            self._sums[name] = (total + value * weight, weights + weight)

    def values(self) -> Record:
        """The means; that of a loss which weighs nothing is NaN."""
        return {name: total / weight if weight else math.nan for name, (total, weight) in self._sums.items()}
