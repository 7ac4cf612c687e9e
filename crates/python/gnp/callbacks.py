"""What is told how a training goes: progress bars, logs, checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnp._measures import Record
from gnp._optional import require
from gnp.errors import GnpError
from gnp.fitting import Fit


class Callback:
    """What :meth:`gnp.Trainable.fit` tells of what happens. A class of your own overrides what it wants to know.

    All are called in the thread that trains, between the steps: the state is whole. An exception ends the training.
    """

    def on_fit_begin(self, fit: Fit) -> None:
        """Before the first step."""

    def on_step(self, fit: Fit, record: Record) -> None:
        """After each step, with its record (:attr:`gnp.History.steps`)."""

    def on_epoch(self, fit: Fit, record: Record) -> None:
        """After each epoch, with its record (:attr:`gnp.History.epochs`)."""

    def on_interrupt(self, fit: Fit, checkpoint: str | None) -> None:
        """After Ctrl-C, when the state was written to ``checkpoint``; None where it could not be."""

    def on_fit_end(self, fit: Fit) -> None:
        """When all is over, however it ended."""


class Progress(Callback):
    """A progress bar of tqdm: loss and error of the step, and of the validation data.

    Args:
        **settings: Those of ``tqdm.tqdm``: ``leave=False``, ``file=…``.
    """

    def __init__(self, **settings: Any) -> None:
        self._tqdm = require("tqdm.auto", "to show progress").tqdm
        self._settings = settings
        self._bar: Any = None
        self._validated: dict[str, str] = {}

    def on_fit_begin(self, fit: Fit) -> None:
        total = None if fit.steps_per_epoch is None else fit.epochs * fit.steps_per_epoch
        self._bar = self._tqdm(total=total, unit="step", desc=f"epoch 1/{fit.epochs}", **self._settings)
        self._validated = {}

    def on_step(self, fit: Fit, record: Record) -> None:
        self._bar.set_description_str(f"epoch {record['epoch']}/{fit.epochs}", refresh=False)
        self._bar.set_postfix(_shown(record, ("loss", "error")) | self._validated, refresh=False)
        self._bar.update()

    def on_epoch(self, fit: Fit, record: Record) -> None:
        self._validated = _shown(record, ("validation_loss", "validation_error"))
        self._bar.set_postfix(_shown(record, ("loss", "error")) | self._validated)

    def on_fit_end(self, fit: Fit) -> None:
        self._bar.close()


class _Logger(Callback):
    """Logs numbers: those of steps as ``train/loss``, …, those of epochs as ``epoch/loss``, ….

    Args:
        every: Log every so many steps.
    """

    def __init__(self, every: int) -> None:
        self._every = _positive("every", every)

    def _log(self, numbers: dict[str, float], step: int) -> None:
        """Logs ``numbers``, by their names, of the step that the training has come to."""
        raise NotImplementedError

    def on_step(self, fit: Fit, record: Record) -> None:
        if record["step"] % self._every == 0:
            self._log(_numbers("train/", record), record["step"])

    def on_epoch(self, fit: Fit, record: Record) -> None:
        self._log(_numbers("epoch/", record), record["step"])


class TensorBoard(_Logger):
    """Event files for ``tensorboard --logdir``: steps as ``train/loss``, …, epochs as ``epoch/loss``, ….

    Written by the package tensorboard, which needs neither PyTorch nor TensorFlow.

    Args:
        folder: Where the files are written.
        every: Write every so many steps.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int = 1) -> None:
        super().__init__(every)
        self._writer_class = require("tensorboard.summary", "to write its event files").Writer
        self._folder = os.fspath(folder)
        self._writer: Any = None

    def on_fit_begin(self, fit: Fit) -> None:
        self._writer = self._writer_class(self._folder)

    def on_epoch(self, fit: Fit, record: Record) -> None:
        super().on_epoch(fit, record)
        self._writer.flush()

    def on_fit_end(self, fit: Fit) -> None:
        self._writer.close()

    def _log(self, numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step=step)


class WandB(_Logger):
    """Logs to Weights & Biases: steps as ``train/loss``, …, epochs as ``epoch/loss``, ….

    A run that has begun is gone on with, and left open; else one is begun, and ended with the training.

    Args:
        every: Log every so many steps.
        **settings: Those of ``wandb.init``: ``project="…"``, ``mode="offline"``.
    """

    def __init__(self, *, every: int = 1, **settings: Any) -> None:
        super().__init__(every)
        self._wandb = require("wandb", "to log to Weights & Biases")
        self._settings = settings
        self._run: Any = None
        self._is_own = False
        # Its own count of steps goes up from one run of `fit` to the next.
        self._before = 0

    def on_fit_begin(self, fit: Fit) -> None:
        self._is_own = self._wandb.run is None
        self._run = self._wandb.init(**self._settings) if self._is_own else self._wandb.run
        self._run.config.update(dict(fit.trainable.defaults), allow_val_change=True)
        self._before = self._run.step

    def on_fit_end(self, fit: Fit) -> None:
        if self._is_own:
            self._run.finish()

    def _log(self, numbers: dict[str, float], step: int) -> None:
        self._run.log(numbers, step=self._before + step)


class MLflow(_Logger):
    """Logs to MLflow: steps as ``train/loss``, …, epochs as ``epoch/loss``, …; hyperparameters as parameters.

    A run that has begun is gone on with, and left open; else one is begun, and ended with the training.

    Args:
        every: Log every so many steps.
        **settings: Those of ``mlflow.start_run``: ``run_name="…"``.
    """

    def __init__(self, *, every: int = 1, **settings: Any) -> None:
        super().__init__(every)
        self._mlflow = require("mlflow", "to log to MLflow")
        self._settings = settings
        self._is_own = False
        self._status = "FINISHED"

    def on_fit_begin(self, fit: Fit) -> None:
        self._is_own = self._mlflow.active_run() is None
        if self._is_own:
            self._mlflow.start_run(**self._settings)
            self._mlflow.log_params(dict(fit.trainable.defaults))
        self._status = "FAILED"

    def on_epoch(self, fit: Fit, record: Record) -> None:
        super().on_epoch(fit, record)
        if fit.is_over or record["epoch"] == fit.epochs:
            self._status = "FINISHED"

    def on_interrupt(self, fit: Fit, checkpoint: str | None) -> None:
        self._status = "KILLED"

    def on_fit_end(self, fit: Fit) -> None:
        if self._is_own:
            self._mlflow.end_run(self._status)

    def _log(self, numbers: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics(numbers, step=step)


class Checkpoint(Callback):
    """Saves the state after epochs: ``epoch-00001.safetensors``, …, and ``best.safetensors``.

    Args:
        folder: Where; it is made where it is not there.
        every: Save after every so many epochs; None saves no epoch for itself.
        best: Save after each epoch in which this measure is smaller than ever in this training: ``"validation_loss"``,
            ``"validation_error"`` or another of :attr:`gnp.History.epochs`.

    Attributes:
        best_epoch: The record of the best epoch so far.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int | None = None, best: str | None = None) -> None:
        if every is None and best is None:
            raise GnpError("a Checkpoint without `every` and `best` saves nothing", help="every=1 saves each epoch")
        self._folder = Path(folder)
        self._every = None if every is None else _positive("every", every)
        self._best = best
        self.best_epoch: Record | None = None

    def on_fit_begin(self, fit: Fit) -> None:
        self.best_epoch = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            file = str(self._folder)
            raise GnpError(f"cannot make the folder {file}: {error.strerror}", kind="io", file=file) from error

    def on_epoch(self, fit: Fit, record: Record) -> None:
        if self._every is not None and record["epoch"] % self._every == 0:
            fit.trainable.save(self._folder / f"epoch-{record['epoch']:05}.safetensors")
        if self._best is not None and self._is_best(self._best, record):
            fit.trainable.save(self._folder / "best.safetensors")
            self.best_epoch = record

    def _is_best(self, measure: str, record: Record) -> bool:
        if measure not in record:
            raise GnpError(
                f"an epoch has no measure `{measure}`; it has {', '.join(record)}",
                help="validation_loss and validation_error want validation data: fit(…, validation=…)",
            )
        return self.best_epoch is None or record[measure] < self.best_epoch[measure]


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise GnpError(f"{name} is a whole number from 1 on, not {value!r}")
    return value


def _numbers(prefix: str, record: Record) -> dict[str, float]:
    """What is logged of a record: not what it is called by, and nothing that is no number."""
    numbers = ((name, value) for name, value in record.items() if name not in ("epoch", "step"))
    return {prefix + name: float(value) for name, value in numbers if math.isfinite(value)}


def _shown(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    short = {"validation_loss": "val_loss", "validation_error": "val_error"}
    written = {name: "{:.2%}" if name.endswith("error") else "{:.4f}" for name in names}
    return {short.get(name, name): written[name].format(record[name]) for name in names if name in record}
