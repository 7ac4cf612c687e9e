"""Training over the batches of a loader, whatever takes the steps."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gnp import _contract as contract
from gnp._interrupts import Interrupts
from gnp._measures import Counts, Means, Record, measure
from gnp.batches import Array, Batch, Input, as_batch
from gnp.errors import GnpError
from gnp.history import History

if TYPE_CHECKING:
    from gnp.callbacks import Callback

__all__ = ["Fit", "History", "Loader", "Schedule", "Trainable"]

_LOGGER = logging.getLogger("gnp")

# What `fit` writes where it is interrupted, unless it is told another name.
INTERRUPTED = "gnp-interrupted.safetensors"

#: Batches, again and again: a PyTorch DataLoader, a tf.data.Dataset, a list; or a function that returns an iterable.
Loader = Iterable[Any] | Callable[[], Iterable[Any]]

#: A number; or what it is at each step, counted from 0; or the model's own.
Schedule = float | Callable[[int], float] | None


class Trainable(ABC):
    """What takes training steps on batches, and can be told to go through a loader of them."""

    @property
    @abstractmethod
    def batch_inputs(self) -> Sequence[Input]:
        """What is fed in each step: data, then the labels."""

    @property
    def defaults(self) -> Mapping[str, float]:
        """What the hyperparameters are where nothing else is given, by the names of their inputs."""
        return {}

    @abstractmethod
    def step(
        self,
        batch: object,
        *,
        lr: float | None = None,
        r: float | None = None,
        alpha: float | None = None,
        **others: float,
    ) -> dict[str, float | Array]:
        """Takes one training step.

        Args:
            batch: A mapping from input names to arrays, or a tuple in the order of :attr:`batch_inputs`
                (:func:`gnp.batches.as_batch`).
            lr: The learning rate; the model's own where none is given, as for all that follow.
            r: The radius of the perturbation.
            alpha: The weight of the perturbed gradient.
            **others: Other hyperparameters, by the names of their inputs: ``**{"gnp.momentum": 0.8}``.

        Returns:
            What the model returns, by its names, ``loss`` first: scalars as floats, others as arrays. All are of the
            parameters before the step.

        Raises:
            GnpError: The batch does not fit, or a hyperparameter is unknown. With the kind ``"diverged"``: a number
                that the step came to is NaN or infinite. The state is then as it was before.
        """

    @abstractmethod
    def evaluate(self, batch: object) -> dict[str, float | Array]:
        """Computes loss and predictions of a batch, by the evaluation model. The state stays as it is.

        Args:
            batch: As for :meth:`step`.

        Returns:
            What the evaluation model returns, ``loss`` first.

        Raises:
            GnpError: The batch does not fit, or there is no evaluation model.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Array]:
        """A copy of the state: parameters, statistics, optimizer slots and the count of steps, by name."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes on from ``state``, which has what :meth:`state_dict` has.

        Raises:
            GnpError: Something is missing, too much, of another shape, or no number; nothing is changed then.
        """

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state to a file in the format safetensors, which gnp-run and the package safetensors read.

        The file holds all of it or what it held before, whatever happens.

        Raises:
            GnpError: It cannot be written.
        """

    @abstractmethod
    def load(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a file that :meth:`save` or gnp-run wrote.

        Raises:
            GnpError: It cannot be read, or is not a state of this model; nothing is changed then.
        """

    def fit(
        self,
        loader: Loader,
        *,
        epochs: int = 1,
        lr: Schedule = None,
        r: Schedule = None,
        alpha: Schedule = None,
        validation: Loader | None = None,
        callbacks: Iterable[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        **others: Schedule,
    ) -> History:
        """Trains on all batches of ``loader``, ``epochs`` times.

        Ctrl-C lets the step under way end, saves the state to ``checkpoint``, tells the callbacks and then raises
        KeyboardInterrupt: ``load(checkpoint)`` goes on.

        Args:
            loader: Batches: any iterable that begins anew in each epoch (a PyTorch DataLoader, a tf.data.Dataset, a
                list), or a function without arguments that returns one (a generator function).
            epochs: How often.
            lr: The learning rate: a number, or a function of the step, counted from 0; the model's own where none is
                given, as for all hyperparameters.
            r: The radius of the perturbation, likewise.
            alpha: The weight of the perturbed gradient, likewise.
            validation: Batches that :meth:`evaluate` is given after each epoch.
            callbacks: Told of what happens (:mod:`gnp.callbacks`).
            checkpoint: The file for the state where the training is interrupted; ``gnp-interrupted.safetensors`` in
                the current folder.
            **others: Other hyperparameters, by the names of their inputs.

        Returns:
            What was recorded.

        Raises:
            GnpError: A batch does not fit; a loader has nothing to give; the training diverged (the state is that
                before the step which did).
        """
        named = {"lr": lr, "r": r, "alpha": alpha, **others}
        training = _Training(self, loader, validation, {k: v for k, v in named.items() if v is not None}, epochs)
        told, rescue = _checked(callbacks), _rescue_path(checkpoint)
        fit = training.fit
        with ExitStack() as ends, training.interrupts:
            try:
                for callback in told:
                    callback.on_fit_begin(fit)
                    ends.callback(callback.on_fit_end, fit)
                training.run(told)
            except KeyboardInterrupt:
                # A second Ctrl-C waits until all is saved; it asks for what is being done.
                with training.interrupts.held:
                    saved = _rescue(self, rescue)
                    for callback in told:
                        callback.on_interrupt(fit, saved)
                raise
        return fit.history


@dataclass
class Fit:
    """A training under way, as callbacks see it.

    Attributes:
        trainable: What is trained.
        epochs: How many epochs there are to be.
        steps_per_epoch: How many steps each has, where the loader tells its length.
        history: What was recorded so far.
        is_over: Whether to end after this step, or this epoch. Callbacks may set it.
    """

    trainable: Trainable
    epochs: int
    steps_per_epoch: int | None
    history: History = field(default_factory=History)
    is_over: bool = False


class _Training:
    """The loop of :meth:`Trainable.fit`."""

    def __init__(
        self,
        trainable: Trainable,
        loader: Loader,
        validation: Loader | None,
        schedules: Mapping[str, Schedule],
        epochs: int,
    ) -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise GnpError(f"epochs is a whole number from 1 on, not {epochs!r}")
        self.trainable = trainable
        self.loader = _Batches("loader", loader, epochs)
        self.validation = None if validation is None else _Batches("validation", validation, epochs)
        self.schedules = schedules
        self.interrupts = Interrupts()
        self.fit = Fit(trainable, epochs, self.loader.length())

    def run(self, callbacks: Sequence[Callback]) -> None:
        fit = self.fit
        for epoch in range(1, fit.epochs + 1):
            means = Means()
            began = waiting = time.perf_counter()
            for given in self.loader.batches():
                with self.interrupts.held:
                    record = self._step(given, epoch, waiting, means)
                for callback in callbacks:
                    callback.on_step(fit, record)
                if fit.is_over:
                    break
                waiting = time.perf_counter()
            if not means.samples:
                raise self.loader.has_nothing(epoch)
            seconds = time.perf_counter() - began
            chosen = {name: value for name, value in fit.history.steps[-1].items() if name in self._chosen_names()}
            record = {"epoch": epoch, "step": len(fit.history.steps)} | means.values() | chosen
            record |= {"seconds": seconds, "examples_per_second": means.samples / seconds}
            record |= self._validate()
            fit.history.epochs.append(record)
            _LOGGER.info("epoch %d/%d: %s", epoch, fit.epochs, record)
            for callback in callbacks:
                callback.on_epoch(fit, record)
            if fit.is_over:
                break

    def _step(self, given: object, epoch: int, waiting: float, means: Means) -> Record:
        """Takes a step, and records it."""
        arrived = time.perf_counter()
        done = len(self.fit.history.steps)
        batch = as_batch(self.trainable.batch_inputs, given)
        hyperparameters = {name: _value_at(name, schedule, done) for name, schedule in self.schedules.items()}
        try:
            outputs = self.trainable.step(batch, **hyperparameters)
        except GnpError as error:
            if error.kind == "diverged":
                raise _placed(error, batch, done + 1, epoch) from error
            raise
        counts = Counts.of(outputs, batch.samples)
        measured = measure(outputs, counts)
        means.add(measured, counts)
        now = time.perf_counter()
        record: Record = {"epoch": epoch, "step": done + 1} | measured | self._chosen(hyperparameters)
        record |= {"seconds": now - waiting, "data_seconds": arrived - waiting}
        record["examples_per_second"] = batch.samples / (now - waiting)
        self.fit.history.steps.append(record)
        return record

    def _chosen(self, given: Mapping[str, float]) -> Record:
        """The hyperparameters of a step, as they are recorded."""
        defaults = self.trainable.defaults
        inputs = {"lr": contract.LEARNING_RATE, "r": contract.R, "alpha": contract.ALPHA}
        own = {name: defaults[output] for name, output in inputs.items() if output in defaults}
        chosen: Record = {**own, **given}
        return {("learning_rate" if name == "lr" else name): value for name, value in chosen.items()}

    def _chosen_names(self) -> set[str]:
        return {"learning_rate", "r", "alpha", *self.schedules}

    def _validate(self) -> Record:
        """The means over the validation data."""
        if self.validation is None:
            return {}
        means, weight = Means(), 0.0
        for given in self.validation.batches():
            batch = as_batch(self.trainable.batch_inputs, given)
            outputs = self.trainable.evaluate(batch)
            counts = Counts.of(outputs, batch.samples)
            means.add(measure(outputs, counts), counts)
            weight += counts.weight
        if not means.samples:
            raise self.validation.has_nothing(len(self.fit.history.epochs) + 1)
        if not weight:
            raise GnpError("no label of the validation data counts")
        values = means.values()
        return {f"validation_{name}": values[name] for name in ("loss", "error") if name in values}


class _Batches:
    """A loader, as often as there are epochs."""

    def __init__(self, name: str, loader: Loader, epochs: int) -> None:
        self._name = name
        self._loader = loader
        # By its type: iter(loader) would begin to read.
        is_iterable = hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
        if not is_iterable and not callable(loader):
            raise GnpError(
                f"`{name}` is {type(loader).__name__}, which is no iterable of batches",
                help="give a DataLoader, a list of batches, or a function that returns an iterable",
            )
        if isinstance(loader, (str, bytes, Mapping)):
            said = type(loader).__name__
            raise GnpError(f"`{name}` is {said}; expected an iterable of batches", help="[batch] is one")
        self._is_function = not is_iterable
        if epochs > 1 and isinstance(loader, Iterator):
            raise GnpError(
                f"`{name}` is a {type(loader).__name__}, which can be gone through once, but there are {epochs} epochs",
                help="give the function that makes it (without calling it), a list, or a DataLoader",
            )

    def length(self) -> int | None:
        """How many batches an epoch has, where the loader tells."""
        try:
            return len(self._loader)  # type: ignore[arg-type]
        except Exception:  # What has no length says so in many ways.
            return None

    def batches(self) -> Iterable[Any]:
        """Those of an epoch."""
        batches = self._loader() if self._is_function else self._loader  # type: ignore[operator]
        if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
            raise GnpError(f"the function `{self._name}` returned {type(batches).__name__}, no iterable of batches")
        return batches

    def has_nothing(self, epoch: int) -> GnpError:
        return GnpError(
            f"`{self._name}` gave no batch in epoch {epoch}",
            help="it must begin anew in each epoch: a list, a DataLoader, or a function that returns an iterable"
            if epoch > 1
            else "look at the data, and whether an incomplete last batch is left out",
        )


def _checked(callbacks: Iterable[Callback]) -> list[Callback]:
    from gnp.callbacks import Callback

    if isinstance(callbacks, Callback):
        raise GnpError("callbacks is one callback; expected several", help="callbacks=[callback]")
    told = list(callbacks)
    for callback in told:
        if not isinstance(callback, Callback):
            said = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise GnpError(f"{said} is no callback", help="give instances of classes that derive from gnp.Callback")
    return told


def _value_at(name: str, schedule: Schedule, step: int) -> float:
    value = schedule(step) if callable(schedule) else schedule
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise GnpError(f"`{name}` is {value!r} at step {step}; expected a number") from error


def _placed(error: GnpError, batch: Batch, step: int, epoch: int) -> GnpError:
    """``error``, with where it was, and the number of the batch that it may come from."""
    message, help = f"{error.message}, at step {step} (epoch {epoch})", error.help
    for name, array in batch.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            message = f"{message}; its batch has {array[place]} at {list(place)} of `{name}`"
            help = "mend that sample, or leave it out"
            break
    rest = {name: value for name, value in vars(error).items() if name not in ("message", "help")}
    return type(error)(message, help=help, **rest)


def _rescue_path(checkpoint: str | os.PathLike[str] | None) -> str:
    path = os.fspath(INTERRUPTED if checkpoint is None else checkpoint)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise GnpError(f"there is no folder {folder} for the checkpoint", kind="io", file=path, help="make it before")
    return path


def _rescue(trainable: Trainable, path: str) -> str | None:
    """Saves the state of a training that was interrupted."""
    try:
        trainable.save(path)
    except GnpError as error:
        _LOGGER.error("interrupted, and the state could not be saved: %s", error)
        return None
    _LOGGER.warning("interrupted: the state is in %s; load() goes on from it", path)
    return path
