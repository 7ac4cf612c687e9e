"""Training with gnp's own engines: ONNX Runtime with gnp's kernels, or tract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import _contract as contract
from . import _gnp
from ._installed import prefer_installed
from ._paths import as_path
from .batches import Array, Input, as_batch
from .errors import GnpError
from .fitting import Trainable
from .rewriting import ModelLike, StepModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import EngineOptions


class Trainer(Trainable):
    """Trains a step model: what ``gnp-run`` trains with, step by step.

    >>> import numpy as np, gnp
    >>> step = gnp.rewrite("models/mlp/model.onnx", loss="cross-entropy", optimizer="sgd")
    >>> trainer = gnp.Trainer(step, engine="tract")
    >>> batch = {"input": np.ones((8, 64), np.float32), "labels": np.zeros(8, np.int64)}
    >>> before, after = (trainer.step(batch, lr=0.1)["loss"] for _ in range(2))
    >>> after < before
    True
    """

    def __init__(
        self,
        step: StepModel | ModelLike,
        *,
        seed: int = 0,
        **options: Unpack[EngineOptions],
    ) -> None:
        """Loads a step model.

        Args:
            step: What :func:`gnp.rewrite` made, or a step model's file or message.
            seed: What the random draws of every step (Dropout) follow from.
            **options: What ``gnp-run`` has as flags (:class:`gnp.options.EngineOptions`): ``engine`` (``"auto"``,
                ``"onnxruntime"`` or ``"tract"``), ``device`` (``"cpu"``, ``"cuda"`` or ``"cuda:1"``), ``threads``, …
                With ``"auto"`` it is ONNX Runtime where one is found, that of the installed package first.

        Raises:
            GnpError: Where there is no such engine, or it does not load the model.
        """
        self._model = step if isinstance(step, StepModel) else StepModel.load(step)
        prefer_installed()
        self._engine = _gnp.Engine(self._model._step, _seed(seed), dict(options))
        inputs = self._model._step.batch_inputs()
        self._inputs = [Input(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in inputs]
        self._defaults = self._model._step.hyperparameters()

    @property
    def step_model(self) -> StepModel:
        """The step model."""
        return self._model

    @property
    def engine(self) -> str:
        """What computes the steps: ``ONNX Runtime 1.32.0``."""
        return self._engine.name

    @property
    def remarks(self) -> list[str]:
        """How steps are computed: which of gnp's kernels run, how images lie in memory."""
        return self._engine.remarks

    @property
    def batch_inputs(self) -> list[Input]:
        return self._inputs

    @property
    def defaults(self) -> Mapping[str, float]:
        return self._defaults

    def step(
        self,
        batch: object,
        *,
        lr: float | None = None,
        r: float | None = None,
        alpha: float | None = None,
        **others: float,
    ) -> dict[str, float | Array]:
        fed = list(as_batch(self._inputs, batch).values())
        if lr is None:
            lr = self._defaults.get(contract.LEARNING_RATE, 0.0)
        return self._engine.step(fed, _number("lr", lr), _optional("r", r), _optional("alpha", alpha), _numbers(others))

    def evaluate(self, batch: object) -> dict[str, float | Array]:
        return self._engine.evaluate(list(as_batch(self._inputs, batch).values()))

    def state_dict(self) -> dict[str, Array]:
        return self._engine.state()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        if not isinstance(state, Mapping):
            raise GnpError(f"expected a state, a dictionary of arrays by name, not {type(state).__name__}")
        self._engine.set_state({str(name): np.asarray(array) for name, array in state.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        self._engine.save(as_path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        self._engine.load(as_path(path))

    def save_trained(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Writes the model that was given, with the weights as they stand.

        Raises:
            GnpError: The file exists, or the model that the step model was made of is not known.
        """
        return self._model.save_trained(self.state_dict(), path, force=force)

    def __repr__(self) -> str:
        return f"<gnp.Trainer with {self.engine}: {'; '.join(f'{port.name}: {port}' for port in self._inputs)}>"


def epoch_order(samples: int, epoch: int, seed: int = 0) -> np.ndarray:
    """In which order ``gnp-run`` takes the samples in an epoch: with it, a training of one's own sees the same batches.

    Args:
        samples: How many there are.
        epoch: The epoch, from 1.
        seed: The run's seed.

    Returns:
        The indices of the samples, int64.

    >>> sorted(epoch_order(4, epoch=1).tolist())
    [0, 1, 2, 3]
    """
    if epoch < 1 or samples < 0:
        raise GnpError(f"expected an epoch from 1 on and a number of samples, not {epoch} and {samples}")
    return np.asarray(_gnp.epoch_order(samples, epoch - 1, seed), np.int64)


def _seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise GnpError(f"the seed is a whole number from 0 on, not {seed!r}")
    return int(seed)


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise GnpError(f"`{name}` is {value!r}; expected a number") from None


def _optional(name: str, value: object) -> float | None:
    return None if value is None else _number(name, value)


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {name: _number(name, value) for name, value in values.items()}
